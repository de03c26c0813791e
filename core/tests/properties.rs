//! What holds for any split of bytes, any bytes at all, any order of inputs, and any weather.

mod util;

use proptest::prelude::*;
use ropewalk_core::dispatch::{Config, Credentials, Dispatch};
use ropewalk_core::machine::{
    Assignment, ConnId, Fault, Input, Machine, Output, QueryId, StreamId, StreamMachine, UplinkId, Via,
};
use ropewalk_core::time::Instant;
use std::collections::BTreeMap;
use util::say;
use util::{Act, Answer, End, Lab, Person, Setup, SpliceMode, Target, addr, cases, ms, pattern, secs};

const ECHO: &str = "192.0.2.1:80";

// ---- splits ----

/// Handshakes that are good, or nearly so.
fn words(kind: usize) -> Vec<u8> {
    let auth =
        [&[5, 2, 0, 2][..], &say::user_password(b"ann", b"secret"), &say::socks5_request(1, addr(ECHO))];
    match kind % 8 {
        0 => say::socks5(addr(ECHO)),
        1 => say::socks5_to_name("one.example", 80),
        2 => say::socks4(1, [192, 0, 2, 1], 80, b"user"),
        3 => say::socks4a(b"one.example", 80, b"user"),
        4 => say::http_connect(ECHO),
        5 => {
            b"CONNECT one.example:80 HTTP/1.1\r\nProxy-Authorization: Basic YW5uOnNlY3JldA==\r\n\r\n".to_vec()
        }
        6 => auth.concat(),
        _ => b"GET http://192.0.2.1/ HTTP/1.1\r\nX: y\r\nHost: a\r\n\r\n".to_vec(),
    }
}

fn split_world(auth: bool) -> Lab {
    let mut setup = Setup::new(2);
    if auth {
        setup.config.credentials = Some(Credentials::parse(b"ann:secret\n").expect("valid"));
    }
    let mut lab = setup.build();
    lab.serve(ECHO, [Act::Echo]);
    lab.name("one.example", [Answer::ips(ms(15), &["192.0.2.1"])]);
    lab
}

/// What became of a client that sends `pieces`, half-closes and waits: its bytes, its end, the
/// target's bytes.
fn outcome(auth: bool, pieces: &[&[u8]], gap: u64) -> (Vec<u8>, End, Vec<Vec<u8>>) {
    let mut lab = split_world(auth);
    let sends = pieces.iter().filter(|piece| !piece.is_empty());
    let script = sends.flat_map(|piece| [Act::Send(piece.to_vec()), Act::Pause(ms(gap))]);
    // The pause lets each reply come before our end: a client that leaves during a handshake is not
    // answered.
    let script: Vec<Act> = script.chain([Act::Pause(secs(4)), Act::Fin, Act::AwaitEnd]).collect();
    let who = lab.person(Person::new(script).whole());
    lab.finish();
    let served = lab.world.served.iter().map(|(_, sock)| lab.got(*sock).to_vec()).collect();
    (lab.got(who).to_vec(), lab.end(who), served)
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn any_split_of_the_clients_bytes_gives_the_same_result(
        kind in 0usize..8,
        auth in any::<bool>(),
        payload in prop::collection::vec(any::<u8>(), 0..200),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        mutations in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        gap in 0u64..3,
    ) {
        let mut bytes = words(kind);
        for (at, byte) in mutations {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        // A forwarded request ends with its head: what is behind it would be another request.
        if kind != 7 {
            bytes.extend(payload);
        }
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        let whole = outcome(auth, &[&bytes], 0);
        let split = outcome(auth, &pieces, gap);
        prop_assert_eq!(whole, split, "{}", bytes.escape_ascii());
    }

    #[test]
    fn no_bytes_of_a_client_or_an_origin_hurt(
        kind in 0usize..12,
        noise in prop::collection::vec(any::<u8>(), 0..600),
        mutations in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        answer in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            "HTTP/1\\.[01] [0-9]{3} [A-Z]{0,4}\r\n\
             (Content-Length: [0-9]{1,2}\r\n|Transfer-Encoding: chunked\r\n|Connection: close\r\n){0,2}\r\n\
             [0-9a-f\r\n]{0,40}"
                .prop_map(String::into_bytes),
        ],
        segment in 1usize..100,
        leave in 0usize..3,
    ) {
        let mut bytes = if kind < 8 { words(kind) } else { Vec::new() };
        bytes.extend(&noise);
        for (at, byte) in mutations {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        let mut setup = Setup::new(2).with(|config| config.idle_timeout = Some(secs(60)));
        (setup.config.buffer_size, setup.splice) = (1024, SpliceMode::Moody(500));
        let mut lab = setup.build();
        lab.machine.quiet = true;
        let leave = [Act::Fin, Act::Reset, Act::Close][leave].clone();
        let script = [Act::AwaitTotal(1), Act::Send(answer), leave.clone()];
        lab.target(ECHO, Target::new(Person::new(script).segments(segment, ms(1))));
        lab.name("one.example", [Answer::ips(ms(15), &["192.0.2.1"])]);
        let script = [Act::Send(bytes), Act::Pause(secs(1)), leave, Act::AwaitEnd];
        lab.person(Person::new(script).segments(segment, ms(1)));
        lab.finish();
    }
}

// ---- any order of inputs ----

/// One thing a driver might say, right or wrong, in time or late. Numbers choose among the ids
/// known.
#[derive(Clone, Copy, Debug)]
struct Say {
    what: u8,
    who: prop::sample::Index,
    len: usize,
    fault: u8,
}

fn faults(n: u8) -> Fault {
    [Fault::Refused, Fault::Reset, Fault::TimedOut, Fault::NoDescriptors, Fault::NoRoute, Fault::Other(5)]
        [usize::from(n) % 6]
}

struct Chaos {
    machine: Dispatch,
    now: Instant,
    streams: Vec<StreamId>,
    conns: Vec<ConnId>,
    queries: Vec<QueryId>,
    piped: BTreeMap<StreamId, usize>,
}

impl Chaos {
    fn hear(&mut self) {
        let mut said = 0;
        loop {
            while let Some(output) = self.machine.poll_output() {
                said += 1;
                assert!(said < 500, "it never stops talking");
                match output {
                    Output::Accept { stream, .. } | Output::Connect { stream, .. } => {
                        self.streams.push(stream)
                    }
                    Output::Assign(assign) => self.conns.push(assign.conn),
                    Output::Resolve { query, .. } => self.queries.push(query),
                    _ => {}
                }
            }
            let Some(stream) = self.machine.poll_dirty() else { return };
            let _ = self.machine.write_buf(stream).len() + self.machine.read_buf(stream).len();
        }
    }

    fn say(&mut self, say: Say, words: &[u8]) {
        let pick = |list: &[StreamId]| list[say.who.index(list.len())];
        let stream = pick(&self.streams);
        let other = self.streams[(say.len + say.who.index(self.streams.len())) % self.streams.len()];
        let (fault, len) = (faults(say.fault), say.len);
        let peer = addr("127.0.0.1:9");
        let query = match self.queries.len() {
            0 => QueryId::from_parts(say.len as u32, 0),
            n => self.queries[say.who.index(n)],
        };
        let conn = match self.conns.len() {
            0 => ConnId::from_parts(say.len as u32, 0),
            n => self.conns[say.who.index(n)],
        };
        let ips = ["192.0.2.1".parse().expect("ip"), "2001:db8::1".parse().expect("ip")];
        let input = match say.what % 20 {
            0..=2 => Input::Accepted { stream, peer, local: peer },
            3 => Input::AcceptFailed { stream, fault },
            4 | 5 => Input::Connected { stream, local: peer },
            6 => Input::ConnectFailed { stream, fault },
            7 | 8 => {
                let via = Via::default();
                let uplink = (!len.is_multiple_of(3)).then_some(UplinkId((len % 70) as u16));
                let endpoint = len.is_multiple_of(5).then_some(peer);
                let assignment =
                    Assignment { uplink, via, endpoint, prefix64: None, patience: ms(len as u64 % 300) };
                Input::Assigned { conn, assignment: (!len.is_multiple_of(7)).then_some(assignment) }
            }
            9 => Input::Resolved { query, addresses: &ips[..1 + len % 2] },
            10 => Input::ResolveFailed { query, fault },
            11..=13 => {
                // Only what a buffer was offered for can have been read.
                let buf = self.machine.read_buf(stream);
                let len = words.len().min(buf.len());
                if len == 0 {
                    return;
                }
                buf[..len].copy_from_slice(&words[..len]);
                Input::Read { stream, len }
            }
            14 => Input::ReadClosed { stream },
            15 => {
                let most = self.machine.write_buf(stream).len();
                Input::Written { stream, len: if most == 0 { len } else { 1 + len % most } }
            }
            16 => match self.machine.splice(stream) {
                Some(splice) => {
                    let piped = self.piped.entry(stream).or_default();
                    let taken = (len * 97) % (splice.max + 1);
                    let given = (len * 31) % (*piped + taken + 1);
                    *piped = *piped + taken - given;
                    Input::Spliced { from: stream, to: splice.to, taken, given, eof: len.is_multiple_of(5) }
                }
                None => Input::Spliced {
                    from: stream,
                    to: other,
                    taken: len,
                    given: len / 2,
                    eof: len.is_multiple_of(2),
                },
            },
            17 => Input::Failed { stream, fault },
            18 => {
                self.machine.refuse_splice(stream);
                return;
            }
            _ if len.is_multiple_of(40) => Input::Drain,
            _ => {
                self.now += ms(len as u64 * 10);
                for _ in 0..1000 {
                    if self.machine.poll_timeout().is_none_or(|at| at > self.now) {
                        return;
                    }
                    self.machine.handle_timeout(self.now);
                    self.hear();
                }
                panic!("the timers spin");
            }
        };
        self.machine.handle_input(self.now, input);
    }
}

fn says() -> impl Strategy<Value = Say> {
    (any::<u8>(), any::<prop::sample::Index>(), 0usize..2000, any::<u8>())
        .prop_map(|(what, who, len, fault)| Say { what, who, len, fault })
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn no_order_of_inputs_panics(
        kinds in prop::collection::vec(0usize..9, 1..12),
        all in prop::collection::vec(says(), 0..300),
        tunnel in prop::bool::weighted(0.2),
    ) {
        let listeners = vec![addr("127.0.0.1:1080"), addr("[::1]:1080")];
        let idle_timeout = Some(secs(30));
        let config = Config {
            listeners, tunnel, idle_timeout,
            buffer_size: 1024, buffer_limit: 3, max_connections: 4, splice_after: 1,
            ..Config::default()
        };
        let mut chaos = Chaos {
            machine: Dispatch::new(config).expect("valid"),
            now: Instant::ZERO,
            streams: vec![StreamId::from_parts(7, 7)],
            conns: Vec::new(),
            queries: Vec::new(),
            piped: BTreeMap::new(),
        };
        let mut texts: Vec<Vec<u8>> = kinds.iter().map(|kind| match kind {
            8 => b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n".to_vec(),
            kind => words(*kind),
        }).collect();
        texts.push(pattern(1024, 1));
        chaos.hear();
        for (n, say) in all.iter().enumerate() {
            chaos.say(*say, &texts[n % texts.len()]);
            chaos.hear();
        }
    }
}

#[test]
fn an_accept_that_ends_after_its_listener_was_closed_misses() {
    // Output::Unlisten: "accepts asked of it are void and their ids dead".
    let config = Config { listeners: vec![addr("127.0.0.1:1080")], ..Config::default() };
    let mut machine = Dispatch::new(config).expect("valid");
    let Some(Output::Accept { stream, .. }) = machine.poll_output() else { panic!("it listens") };
    machine.handle_input(Instant::ZERO, Input::Drain);
    while machine.poll_output().is_some() {}
    let peer = addr("127.0.0.1:9");
    machine.handle_input(Instant::ZERO, Input::Accepted { stream, peer, local: peer });
    assert_eq!(machine.counters().open, 0, "it has said Finished and serves somebody");
    assert!(machine.read_buf(stream).is_empty());
}

#[test]
fn a_late_completion_misses_the_next_tenant_of_its_slot() {
    let config = Config { listeners: vec![addr("127.0.0.1:1080")], ..Config::default() };
    let mut machine = Dispatch::new(config).expect("valid");
    let peer = addr("127.0.0.1:9");
    let accept = |machine: &mut Dispatch| {
        let stream = std::iter::from_fn(|| machine.poll_output()).find_map(|output| match output {
            Output::Accept { stream, .. } => Some(stream),
            _ => None,
        });
        let stream = stream.expect("it listens");
        machine.handle_input(Instant::ZERO, Input::Accepted { stream, peer, local: peer });
        stream
    };
    let first = accept(&mut machine);
    let second = accept(&mut machine);
    machine.handle_input(Instant::ZERO, Input::Failed { stream: first, fault: Fault::Reset });
    let third = accept(&mut machine);
    let fourth = accept(&mut machine);
    let tenants = [second, third, fourth];
    let tenant =
        *tenants.iter().find(|tenant| tenant.index() == first.index()).expect("the slot is used again");
    assert_eq!(machine.counters().open, 3);
    while machine.poll_output().is_some() {}
    for input in [
        Input::Failed { stream: first, fault: Fault::Reset },
        Input::ReadClosed { stream: first },
        Input::Connected { stream: first, local: peer },
        Input::ConnectFailed { stream: first, fault: Fault::Refused },
        Input::Accepted { stream: first, peer, local: peer },
        Input::AcceptFailed { stream: first, fault: Fault::NoDescriptors },
        Input::Written { stream: first, len: 1 },
        Input::Spliced { from: first, to: tenant, taken: 1, given: 1, eof: true },
    ] {
        machine.handle_input(Instant::ZERO, input);
        assert_eq!((machine.poll_output(), machine.counters().open), (None, 3), "{input:?}");
        assert!(machine.read_buf(first).is_empty() && !machine.read_buf(tenant).is_empty());
    }
}
