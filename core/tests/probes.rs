//! Probes of uplinks, in virtual time: the machine, its pool, and a network by hand.

use ropewalk_core::dispatch::{Config, Dispatch, HttpProbe, ProbeConfig};
use ropewalk_core::machine::event::Event;
use ropewalk_core::machine::{
    Assign, ConnId, Device, Fault, HostKey, Input, Machine, Output, QueryId, Report, StreamId, StreamMachine,
    UplinkId, UplinkSet,
};
use ropewalk_core::name::{Destination, Host};
use ropewalk_core::time::{Duration, Instant};
use ropewalk_core::uplink::{Pool, PoolConfig, UplinkConfig};
use std::net::SocketAddr;

/// What becomes of a connection through an uplink.
#[derive(Clone, Copy)]
enum Net {
    Silent,
    Refuses,
    /// It connects, and answers these bytes to whatever is asked.
    Answers(&'static [u8]),
}

struct World {
    machine: Dispatch,
    pool: Pool,
    now: Instant,
    /// Of uplinks a and b.
    net: [Net; 2],
    /// When, through which uplink, and to where.
    connects: Vec<(Instant, char, SocketAddr)>,
    open: Vec<StreamId>,
    asked: Vec<QueryId>,
    verdicts: Vec<(u16, Result<(), Fault>)>,
    events: Vec<Event>,
    finished: bool,
}

fn probe(host: &str, http: Option<HttpProbe>) -> Option<ProbeConfig> {
    let host = Host::parse(host.as_bytes()).expect("the test wrote a host");
    let (period, timeout) = (Duration::from_secs(5), Duration::from_secs(2));
    Some(ProbeConfig { destination: Destination { host, port: 443 }, http, period, timeout })
}

fn web() -> Option<HttpProbe> {
    Some(HttpProbe { host: "probe.example".into(), path: "/204".into(), status: Some(204) })
}

impl World {
    fn new(probes: Vec<Option<ProbeConfig>>, net: [Net; 2]) -> Self {
        let listeners = vec!["127.0.0.1:1080".parse().expect("literal")];
        let machine = Dispatch::new(Config { listeners, probes, ..Config::default() }).expect("valid");
        let uplink = |label: &str| UplinkConfig { device: Device::new(label), ..UplinkConfig::new(label) };
        let uplinks = ["a", "b"].map(uplink).into();
        let pool = Pool::new(PoolConfig { uplinks, ..PoolConfig::default() }).expect("valid");
        let mut world = World {
            machine,
            pool,
            now: Instant::ZERO,
            net,
            connects: Vec::new(),
            open: Vec::new(),
            asked: Vec::new(),
            verdicts: Vec::new(),
            events: Vec::new(),
            finished: false,
        };
        world.pump();
        world
    }

    fn input(&mut self, input: Input<'_>) {
        self.machine.handle_input(self.now, input);
        self.pump();
    }

    fn pump(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Assign(assign) => {
                    let assignment = self.pool.assign(self.now, &assign);
                    self.machine.handle_input(self.now, Input::Assigned { conn: assign.conn, assignment });
                }
                Output::Connect { stream, to, via } => {
                    let b = via.device.is_some_and(|device| device.as_str() == "b");
                    self.connects.push((self.now, if b { 'b' } else { 'a' }, to));
                    match self.net[usize::from(b)] {
                        Net::Silent => self.open.push(stream),
                        Net::Refuses => {
                            let fault = Fault::Refused;
                            self.machine.handle_input(self.now, Input::ConnectFailed { stream, fault });
                        }
                        Net::Answers(answer) => self.serve(stream, answer),
                    }
                }
                Output::Close { stream, .. } => self.open.retain(|open| *open != stream),
                Output::Resolve { query, .. } => self.asked.push(query),
                Output::CancelResolve { query } => self.asked.retain(|asked| *asked != query),
                Output::Report(report) => {
                    if let Report::Probed { uplink, result, .. } = report {
                        self.verdicts.push((uplink.0, result.map(drop)));
                    }
                    self.pool.report(self.now, &report);
                    self.events.extend(std::iter::from_fn(|| self.pool.poll_event()));
                }
                Output::Finished => self.finished = true,
                _ => {}
            }
        }
    }

    fn serve(&mut self, stream: StreamId, mut answer: &[u8]) {
        self.open.push(stream);
        let local = "10.0.0.1:1".parse().expect("literal");
        self.machine.handle_input(self.now, Input::Connected { stream, local });
        let request = self.machine.write_buf(stream).to_vec();
        if !request.is_empty() {
            assert!(request.starts_with(b"GET /204 HTTP/1.1\r\nHost: probe.example\r\n"), "{request:?}");
            assert!(request.ends_with(b"\r\n\r\n"));
            self.machine.handle_input(self.now, Input::Written { stream, len: request.len() });
        }
        // In pieces, as a network may have it.
        while !answer.is_empty() {
            let buf = self.machine.read_buf(stream);
            let len = buf.len().min(answer.len()).min(5);
            if len == 0 {
                return;
            }
            buf[..len].copy_from_slice(&answer[..len]);
            answer = &answer[len..];
            self.machine.handle_input(self.now, Input::Read { stream, len });
        }
    }

    fn advance(&mut self, secs: u64) {
        self.advance_by(Duration::from_secs(secs));
    }

    /// The uplink that the next connection gets.
    fn chosen(&mut self) -> Option<UplinkId> {
        let to = "198.51.100.9:80".parse().expect("literal");
        let conn = ConnId::from_parts(0, 0);
        let assign =
            Assign { conn, destination: Some(to), tried: UplinkSet::EMPTY, host: HostKey::default() };
        self.pool.assign(self.now, &assign).and_then(|assignment| assignment.uplink)
    }

    fn advance_by(&mut self, span: Duration) {
        let until = self.now + span;
        while let Some(at) = self.machine.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.machine.handle_timeout(self.now);
            self.pump();
        }
        self.now = until;
    }
}

#[test]
fn each_uplink_is_asked_once_in_a_period_through_itself() {
    let all = vec![probe("192.0.2.1", None), probe("192.0.2.2", None)];
    let mut world = World::new(all, [Net::Answers(b""); 2]);
    world.advance(11);
    let seconds = |label| -> Vec<u64> {
        let own = world.connects.iter().filter(|(_, uplink, _)| *uplink == label);
        own.map(|(at, ..)| (*at - Instant::ZERO).as_secs()).collect()
    };
    assert_eq!((seconds('a'), seconds('b')), (vec![0, 5, 10], vec![0, 5, 10]));
    assert!(world.verdicts.iter().all(|(_, verdict)| verdict.is_ok()));
    assert!(world.open.is_empty() && world.events.is_empty());
}

#[test]
fn a_silent_uplink_is_left_after_two_probes_and_used_again_with_the_first_that_succeeds() {
    let mut world = World::new(vec![None, probe("192.0.2.1", None)], [Net::Silent, Net::Silent]);
    world.advance(8);
    assert_eq!(world.verdicts, [(1, Err(Fault::TimedOut)); 2]);
    let left = Event::ProbesFailed { uplink: UplinkId(1), failed: 2, fault: Fault::TimedOut };
    assert_eq!(world.events, std::slice::from_ref(&left));
    world.net[1] = Net::Answers(b"");
    world.advance(2);
    assert_eq!(world.events, [left, Event::UplinkUp { uplink: UplinkId(1) }]);
    assert!(world.open.is_empty(), "a probe that failed is closed");
}

#[test]
fn an_uplink_is_back_in_use_within_two_periods_of_its_return_whenever_that_is() {
    // A period and a bit, in steps that hit each phase of it: before a probe, within one that is
    // still silent, after one that has failed.
    for after in (0..60).map(|step| Duration::from_millis(100 * step)) {
        let mut world = World::new(vec![None, probe("192.0.2.1", None)], [Net::Answers(b""), Net::Silent]);
        world.advance(20);
        assert!(matches!(world.events[..], [Event::ProbesFailed { uplink: UplinkId(1), .. }]));
        world.advance_by(after);
        let back = world.now;
        world.net[1] = Net::Answers(b"");
        while world.events.len() == 1 {
            let at = world.machine.poll_timeout().expect("it is probed");
            world.advance_by(at - world.now);
            assert!(world.now - back <= Duration::from_secs(10), "returned {after:?} later");
        }
        assert_eq!(world.events[1], Event::UplinkUp { uplink: UplinkId(1) });
        // And by connections, not in word only.
        let both = [world.chosen(), world.chosen()];
        assert!(both.contains(&Some(UplinkId(1))), "{both:?}");
    }
}

#[test]
fn a_captive_portal_answers_and_is_found_out() {
    for (answer, verdict) in [
        (&b"HTTP/1.1 204 No Content\r\n\r\n"[..], Ok(())),
        (b"HTTP/1.1 302 Found\r\nLocation: http://portal/\r\n\r\n", Err(Fault::Malformed)),
        (b"HTTP/1.1 200 OK\r\n\r\n", Err(Fault::Malformed)),
        (b"220 mail.example ESMTP\r\n", Err(Fault::Malformed)),
        // It connects and says nothing: a data plan that is used up.
        (b"", Err(Fault::TimedOut)),
        (b"HTTP/1.1 20", Err(Fault::TimedOut)),
    ] {
        let mut world = World::new(vec![probe("192.0.2.1", web())], [Net::Answers(answer); 2]);
        world.advance(3);
        assert_eq!(world.verdicts, [(0, verdict)], "{}", answer.escape_ascii());
    }
}

#[test]
fn a_refusal_is_a_failure_of_the_probe() {
    let mut world = World::new(vec![probe("192.0.2.1", None)], [Net::Refuses; 2]);
    world.advance(1);
    assert_eq!(world.verdicts, [(0, Err(Fault::Refused))]);
}

#[test]
fn a_name_that_cannot_be_looked_up_is_no_verdict_and_its_last_address_will_do() {
    let mut world = World::new(vec![probe("probe.example", None)], [Net::Answers(b""); 2]);
    world.advance(1);
    let query = world.asked.pop().expect("it is looked up");
    world.input(Input::ResolveFailed { query, fault: Fault::NameUnavailable });
    world.advance(4);
    assert_eq!(world.verdicts, []);
    let query = world.asked.pop().expect("it is looked up again");
    world.input(Input::Resolved { query, addresses: &["192.0.2.1".parse().expect("literal")] });
    assert_eq!(world.verdicts, [(0, Ok(()))]);
    // Now the look-up hangs.
    world.advance(8);
    assert_eq!(world.verdicts, [(0, Ok(())); 2]);
    assert!(world.connects.iter().all(|(_, _, to)| to.to_string() == "192.0.2.1:443"));
}

#[test]
fn probes_end_when_the_service_drains_and_are_no_connections() {
    let mut world = World::new(vec![probe("192.0.2.1", None)], [Net::Silent; 2]);
    world.advance(1);
    assert_eq!((world.open.len(), world.machine.counters().open), (1, 0));
    world.input(Input::Drain);
    assert!(world.finished && world.open.is_empty());
}
