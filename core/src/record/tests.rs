use super::*;
use crate::dispatch::{Config, Dispatch};
use crate::machine::{Assign, Assignment, Close, Device, Fault, QueryId, UplinkId, Via};
use crate::time::Duration;
use alloc::vec;
use core::net::SocketAddr;

fn machine(request_events: bool) -> Dispatch {
    let listeners = vec!["127.0.0.1:1080".parse().expect("literal")];
    Dispatch::new(Config { listeners, request_events, ..Config::default() }).expect("valid")
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("literal")
}

/// A SOCKS5 client asks for a name, one uplink fails, another carries, bytes go both ways, all
/// ends.
fn run() -> Vec<u8> {
    let mut m = Recorder::new(machine(true));
    let mut recording = Vec::new();
    let mut now = Instant::ZERO;
    let Some(Output::Accept { stream: client, .. }) = m.poll_output() else { panic!("asks for a client") };
    m.handle_input(
        now,
        Input::Accepted { stream: client, peer: address("127.0.0.1:5"), local: address("127.0.0.1:1080") },
    );
    let request = b"\x05\x01\x00\x05\x01\x00\x03\x0bexample.org\x00\x50hello";
    m.read_buf(client)[..request.len()].copy_from_slice(request);
    m.handle_input(now, Input::Read { stream: client, len: request.len() });
    let mut query: Option<QueryId> = None;
    while let Some(output) = m.poll_output() {
        if let Output::Resolve { query: asked, .. } = output {
            query = Some(asked);
        }
    }
    recording.extend(m.take());
    m.handle_input(now, Input::Written { stream: client, len: 2 });
    now += Duration::from_millis(3);
    let addresses = [address("192.0.2.1:0").ip(), address("[2001:db8::1]:0").ip()];
    m.handle_input(now, Input::Resolved { query: query.expect("asked"), addresses: &addresses });
    let mut target = None;
    let mut uplink = 0;
    while let Some(output) = m.poll_output() {
        match output {
            Output::Assign(Assign { conn, .. }) => {
                let via = Via { device: Device::new("wlan0"), source: Some(addresses[0]), ..Via::default() };
                let patience = Duration::from_millis(250);
                let assignment = Assignment {
                    uplink: Some(UplinkId(uplink)),
                    via,
                    endpoint: None,
                    prefix64: None,
                    patience,
                };
                uplink += 1;
                m.handle_input(now, Input::Assigned { conn, assignment: Some(assignment) });
            }
            Output::Connect { stream, .. } if target.is_none() => {
                target = Some(stream);
                m.handle_input(now, Input::ConnectFailed { stream, fault: Fault::Other(-7) });
            }
            Output::Connect { stream, .. } => target = Some(stream),
            _ => {}
        }
    }
    let target = target.expect("connects");
    now += Duration::from_millis(40);
    m.handle_input(now, Input::Connected { stream: target, local: address("10.0.0.2:4000") });
    m.handle_input(now, Input::Written { stream: client, len: 10 });
    m.handle_input(now, Input::Written { stream: target, len: 5 });
    m.read_buf(target)[..3].copy_from_slice(b"hey");
    m.handle_input(now, Input::Read { stream: target, len: 3 });
    m.handle_input(now, Input::Written { stream: client, len: 3 });
    m.handle_input(now, Input::ReadClosed { stream: target });
    m.handle_timeout(now + Duration::from_secs(1));
    m.handle_input(now + Duration::from_secs(1), Input::ReadClosed { stream: client });
    let mut closed = 0;
    while let Some(output) = m.poll_output() {
        closed += usize::from(matches!(output, Output::Close { how: Close::Graceful, .. }));
    }
    assert_eq!(closed, 2, "both sides end in order");
    recording.extend(m.take());
    recording
}

#[test]
fn a_fresh_machine_does_again_what_was_recorded() {
    let replayed = replay(&run(), machine(true)).expect("no divergence");
    assert!(replayed.inputs >= 14 && replayed.compared >= 16, "{replayed:?}");
    assert_eq!(run(), run(), "the same run is the same recording");
}

#[test]
fn a_machine_that_speaks_differently_is_found_out() {
    assert!(matches!(replay(&run(), machine(false)), Err(Divergence::Output { .. })));
}

#[test]
fn other_bytes_are_found_out() {
    let good = run();
    let at = good.windows(3).position(|w| w == b"hey").expect("was read");
    let mut bad = good.clone();
    bad[at] = b'H';
    assert!(matches!(replay(&bad, machine(true)), Err(Divergence::Written { .. })));
}

#[test]
fn damage_is_an_error_and_never_a_panic() {
    let good = run();
    assert_eq!(replay(b"nonsense", machine(true)), Err(Divergence::Damaged { at: 0 }));
    for len in 0..good.len() {
        let cut = replay(&good[..len], machine(true));
        assert!(cut.is_err() || len >= MAGIC.len(), "{len}");
    }
    for at in MAGIC.len()..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x55;
        let _ = replay(&bad, machine(true));
    }
}

#[test]
fn an_output_that_nobody_polled_is_found_out() {
    let mut m = Recorder::new(machine(true));
    let empty = m.take();
    let told = replay(&empty, machine(true));
    assert!(matches!(told, Err(Divergence::Extra { entry: 0, .. })), "it asks for a client: {told:?}");
    assert!(m.poll_output().is_some());
    let told = replay(&[empty, m.take()].concat(), machine(true));
    assert_eq!(told.map(|replayed| replayed.compared), Ok(1));
}

#[test]
fn a_machine_that_says_less_is_found_out() {
    let two = vec![address("127.0.0.1:1080"), address("127.0.0.1:1081")];
    let of = |listeners| Dispatch::new(Config { listeners, ..Config::default() }).expect("valid");
    let mut m = Recorder::new(of(two.clone()));
    while m.poll_output().is_some() {}
    let told = replay(&m.take(), of(two[..1].to_vec()));
    assert_eq!(told, Err(Divergence::Output { entry: 1, got: None }));
}

#[test]
fn a_machine_that_reads_or_writes_less_is_found_out() {
    let talk = |bytes: &[u8], writes: usize| {
        let mut m = Recorder::new(machine(true));
        let Some(Output::Accept { stream, .. }) = m.poll_output() else { panic!("asks for a client") };
        let (peer, local) = (address("127.0.0.1:5"), address("127.0.0.1:1080"));
        m.handle_input(Instant::ZERO, Input::Accepted { stream, peer, local });
        while m.poll_output().is_some() {}
        m.read_buf(stream)[..bytes.len()].copy_from_slice(bytes);
        m.handle_input(Instant::ZERO, Input::Read { stream, len: bytes.len() });
        if writes > 0 {
            m.handle_input(Instant::ZERO, Input::Written { stream, len: writes });
        }
        while m.poll_output().is_some() {}
        (m.take(), stream)
    };
    let (greeting, _) = talk(b"\x05\x01\x00", 2);
    assert!(replay(&greeting, machine(true)).is_ok());
    // One with small buffers reads in smaller pieces.
    let (long, stream) = talk(&[b'G'; 3000], 0);
    let listeners = vec![address("127.0.0.1:1080")];
    let small = Config { listeners, buffer_size: 1024, request_events: true, ..Config::default() };
    let small = Dispatch::new(small).expect("valid");
    assert_eq!(replay(&long, small), Err(Divergence::Read { entry: 3, stream }));
    // One that offers more ways to log in answers otherwise: the same greeting, the other bytes.
    let users = crate::dispatch::Credentials::parse(b"ann:secret\n").expect("valid");
    let listeners = vec![address("127.0.0.1:1080")];
    let guarded = Config { listeners, credentials: Some(users), request_events: true, ..Config::default() };
    let guarded = Dispatch::new(guarded).expect("valid");
    assert_eq!(
        replay(&greeting, guarded).map_err(|told| matches!(told, Divergence::Written { .. })),
        Err(true)
    );
}
