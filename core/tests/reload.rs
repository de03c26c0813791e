//! Another configuration for a machine that runs: what lives on, what ends, and that a bad one
//! changes nothing.

mod util;

use ropewalk_core::dispatch::{Config, ConfigError, Credentials, Dispatch, ProbeConfig};
use ropewalk_core::machine::event::Event;
use ropewalk_core::machine::{Close, Input, Machine, Output, StreamId};
use ropewalk_core::name::{Destination, Host};
use ropewalk_core::time::{Duration, Instant};
use ropewalk_core::unwrap::{UdpHeader, Unwrap};
use util::lab::Who;
use util::manual::{prefixes, tcp, udp};
use util::say;
use util::{Act, End, Lab, Setup, addr, secs};

const FAR: &str = "192.0.2.7:80";

fn users(lines: &str) -> Option<Credentials> {
    Some(Credentials::parse(lines.as_bytes()).expect("valid"))
}

fn config(credentials: Option<Credentials>) -> Config {
    Config { listeners: vec![addr("127.0.0.1:1080")], credentials, ..Config::default() }
}

fn lab(credentials: Option<Credentials>) -> Lab {
    let mut lab = Setup::new(2).with(|own| *own = config(credentials)).build();
    lab.serve(FAR, [Act::Echo]);
    lab
}

fn reconfigure(lab: &mut Lab, config: Config) -> Result<usize, ConfigError> {
    let now = lab.now();
    lab.machine.inner.reconfigure(now, config).expect("it is dispatch's")
}

/// A client that is relayed, and says a word after `later`.
fn relayed(lab: &mut Lab, user: Option<(&str, &str)>, later: Duration) -> Who {
    let words = match user {
        None => say::socks5(addr(FAR)),
        Some((user, password)) => {
            let login = say::user_password(user.as_bytes(), password.as_bytes());
            [&[5, 1, 2][..], &login, &say::socks5_request(1, addr(FAR))].concat()
        }
    };
    lab.client([Act::Send(words), Act::Pause(later), Act::Send(b"word".to_vec()), Act::Fin, Act::AwaitEnd])
}

fn heard(lab: &Lab, who: Who) -> (bool, End) {
    (lab.got(who).ends_with(b"word"), lab.end(who))
}

#[test]
fn connections_of_removed_users_end_and_all_others_live_on() {
    let mut lab = lab(users("ann:a\nbob:b\ncid:c\n"));
    let [ann, bob, cid] =
        [("ann", "a"), ("bob", "b"), ("cid", "c")].map(|user| relayed(&mut lab, Some(user), secs(5)));
    lab.run_for(secs(2));
    // Bob is gone, cid has another password.
    let ended = reconfigure(&mut lab, config(users("ann:a\ncid:new\n")));
    assert_eq!(ended, Ok(2));
    lab.run_for(secs(1));
    let late = relayed(&mut lab, Some(("cid", "new")), Duration::ZERO);
    let refused = relayed(&mut lab, Some(("bob", "b")), Duration::ZERO);
    lab.finish();
    assert_eq!((heard(&lab, ann), heard(&lab, late)), ((true, End::Fin), (true, End::Fin)));
    for who in [bob, cid] {
        assert_eq!(heard(&lab, who), (false, End::Reset));
    }
    assert!(!heard(&lab, refused).0);
}

#[test]
fn an_http_connection_of_a_removed_user_ends_too() {
    let mut lab = lab(users("ann:a\nbob:b\n"));
    let ask = |token: &str| {
        let connect = format!("CONNECT {FAR} HTTP/1.1\r\nProxy-Authorization: Basic {token}\r\n\r\n");
        let later = Act::Pause(secs(5));
        [Act::Send(connect.into_bytes()), later, Act::Send(b"word".to_vec()), Act::Fin, Act::AwaitEnd]
    };
    // ann:a and bob:b.
    let (ann, bob) = (lab.client(ask("YW5uOmE=")), lab.client(ask("Ym9iOmI=")));
    lab.run_for(secs(2));
    assert_eq!(reconfigure(&mut lab, config(users("ann:a\n"))), Ok(1));
    lab.finish();
    assert_eq!((heard(&lab, ann), heard(&lab, bob)), ((true, End::Fin), (false, End::Reset)));
}

#[test]
fn a_bad_configuration_changes_nothing() {
    let mut lab = lab(users("ann:a\n"));
    let who = relayed(&mut lab, Some(("ann", "a")), secs(5));
    lab.run_for(secs(1));
    let bad = [
        (Config { max_head: 1, ..config(None) }, ConfigError::HeadSize(1)),
        (Config { max_queue: 0, ..config(None) }, ConfigError::Zero("max_queue")),
        (Config { max_connections: 0, ..config(None) }, ConfigError::Zero("max_connections")),
        (Config { listeners: vec![addr("127.0.0.1:1081")], ..config(None) }, ConfigError::OtherListeners),
    ];
    for (config, why) in bad {
        assert_eq!(reconfigure(&mut lab, config), Err(why));
    }
    let stranger = relayed(&mut lab, None, Duration::ZERO);
    lab.finish();
    assert_eq!(heard(&lab, who), (true, End::Fin));
    assert!(!heard(&lab, stranger).0, "its users are still asked for");
}

#[test]
fn a_shorter_idle_time_holds_for_what_is_open_and_more_room_is_used_at_once() {
    let mut lab = Setup::new(2).with(|own| *own = Config { max_connections: 1, ..config(None) }).build();
    lab.serve(FAR, [Act::Echo]);
    let (first, waits) = (relayed(&mut lab, None, secs(60)), relayed(&mut lab, None, Duration::ZERO));
    lab.run_for(secs(1));
    assert!(!heard(&lab, waits).0, "there is room for one");
    let next = Config { idle_timeout: Some(secs(10)), max_connections: 2, ..config(None) };
    assert_eq!(reconfigure(&mut lab, next), Ok(0));
    lab.run_for(secs(2));
    assert_eq!(heard(&lab, waits), (true, End::Fin));
    lab.run_for(secs(12));
    assert_eq!(heard(&lab, first), (false, End::Reset), "idle for ten seconds");
    lab.finish();
}

#[test]
fn probes_begin_anew_where_they_changed() {
    let probe = |host: &str| {
        let host = Host::parse(host.as_bytes()).expect("literal");
        let (period, timeout) = (secs(5), secs(2));
        Some(ProbeConfig { destination: Destination { host, port: 443 }, http: None, period, timeout })
    };
    let probed = |probes| Config { probes, ..config(None) };
    let mut machine = Dispatch::new(probed(vec![probe("192.0.2.1"), None])).expect("valid");
    let asks = |machine: &mut Dispatch, now| {
        machine.handle_timeout(now);
        let outputs = std::iter::from_fn(|| machine.poll_output());
        outputs.filter(|output| matches!(output, Output::Assign(_))).count()
    };
    assert_eq!(asks(&mut machine, Instant::ZERO), 1);
    let later = Instant::ZERO + secs(1);
    assert_eq!(machine.reconfigure(later, probed(vec![probe("192.0.2.2"), probe("192.0.2.2")])), Ok(0));
    assert_eq!(asks(&mut machine, later), 2);
    // The same again: they go on as they were.
    assert_eq!(machine.reconfigure(later, probed(vec![probe("192.0.2.2"), probe("192.0.2.2")])), Ok(0));
    assert_eq!(asks(&mut machine, later), 0);
    assert_eq!(machine.reconfigure(later, probed(Vec::new())), Ok(0));
    assert_eq!(asks(&mut machine, later + secs(60)), 0);
    assert_eq!(machine.counters().open, 0);
}

// ---- unwrap ----

/// The stream that the machine asks a connection for.
fn asked(machine: &mut Unwrap) -> Option<StreamId> {
    let mut stream = None;
    while let Some(output) = machine.poll_output() {
        if let Output::Accept { stream: asked, .. } = output {
            stream = Some(asked);
        }
    }
    stream
}

/// Whether a peer is reset when it comes.
fn shuts_out(machine: &mut Unwrap, stream: StreamId, peer: &str) -> (bool, Option<StreamId>) {
    let local = addr("198.51.100.1:25577");
    machine.handle_input(Instant::ZERO, Input::Accepted { stream, peer: addr(peer), local });
    let (mut reset, mut next) = (false, None);
    while let Some(output) = machine.poll_output() {
        match output {
            Output::Close { stream: closed, how: Close::Reset } => reset |= closed == stream,
            Output::Accept { stream, .. } => next = Some(stream),
            Output::Event(Event::Refused { .. }) => {}
            other => assert!(!matches!(other, Output::Unlisten { .. }), "{other:?}"),
        }
    }
    (reset, next)
}

#[test]
fn other_networks_are_believed_from_the_next_connection_on() {
    let mut machine = Unwrap::new(tcp()).expect("valid");
    let first = asked(&mut machine).expect("it listens");
    let (reset, next) = shuts_out(&mut machine, first, "10.0.0.1:7000");
    assert!(!reset);
    let mut config = tcp();
    config.listeners[0].allowed = prefixes(&["192.0.2.0/24"]).into();
    machine.reconfigure(Instant::ZERO, config).expect("valid");
    let (reset, next) = shuts_out(&mut machine, next.expect("asked"), "10.0.0.2:7000");
    assert!(reset);
    let (reset, _) = shuts_out(&mut machine, next.expect("asked"), "192.0.2.1:7000");
    assert!(!reset);
    // What was open before lives on.
    assert_eq!(machine.counters().open, 2);
}

#[test]
fn unwrap_takes_no_other_listeners_and_no_bad_limits() {
    let mut machine = Unwrap::new(tcp()).expect("valid");
    let mut config = tcp();
    config.listeners[0].address = addr("198.51.100.1:1");
    assert_eq!(machine.reconfigure(Instant::ZERO, config), Err(ConfigError::OtherListeners));
    let mut both = udp(UdpHeader::Each);
    both.listeners = tcp().listeners;
    let mut machine = Unwrap::new(both.clone()).expect("valid");
    let mut config = both.clone();
    config.datagram_listeners[0].address = addr("198.51.100.1:1");
    assert_eq!(
        machine.reconfigure(Instant::ZERO, config),
        Err(ConfigError::OtherListeners),
        "datagrams alone"
    );
    let mut config = both;
    config.listeners[0].address = addr("198.51.100.1:1");
    assert_eq!(machine.reconfigure(Instant::ZERO, config), Err(ConfigError::OtherListeners), "streams alone");
    let config = ropewalk_core::unwrap::Config { max_flows: 0, ..tcp() };
    assert_eq!(machine.reconfigure(Instant::ZERO, config), Err(ConfigError::Zero("max_flows")));
}
