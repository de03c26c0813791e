//! A recording of datagrams that was changed is found out when it is replayed.

use ropewalk_core::dispatch::{Config, Dispatch};
use ropewalk_core::machine::{
    Assignment, DatagramMachine, Input, Machine, Output, Rx, SocketId, StreamMachine, UplinkId, Via,
};
use ropewalk_core::record::{Divergence, Recorder, replay};
use ropewalk_core::time::{Duration, Instant};
use std::net::SocketAddr;

fn address(text: &str) -> SocketAddr {
    text.parse().expect("literal")
}

fn machine(max_queue: usize) -> Dispatch {
    let listeners = vec![address("127.0.0.1:1080")];
    Dispatch::new(Config { listeners, max_queue, ..Config::default() }).expect("valid")
}

/// What the driver does with all that the machine asks for; gives the sockets that were bound.
fn perform(m: &mut Recorder<Dispatch>, now: Instant) -> Vec<SocketId> {
    let mut bound = Vec::new();
    while let Some(output) = m.poll_output() {
        match output {
            Output::BindSocket { socket, mut local, .. } => {
                bound.push(socket);
                local.set_port(40_000);
                m.handle_input(now, Input::Opened { socket, local });
            }
            Output::Assign(assign) => {
                let patience = Duration::from_millis(250);
                let uplink = Some(UplinkId(0));
                let assignment = Some(Assignment {
                    uplink,
                    via: Via::default(),
                    endpoint: None,
                    prefix64: None,
                    patience,
                });
                m.handle_input(now, Input::Assigned { conn: assign.conn, assignment });
            }
            _ => {}
        }
    }
    bound
}

/// A client of UDP ASSOCIATE sends `question`, and `answer` comes back.
fn run() -> Vec<u8> {
    let (mut m, now) = (Recorder::new(machine(1 << 20)), Instant::ZERO);
    let Some(Output::Accept { stream, .. }) = m.poll_output() else { panic!("asks for a client") };
    let (peer, local) = (address("127.0.0.1:5"), address("127.0.0.1:1080"));
    m.handle_input(now, Input::Accepted { stream, peer, local });
    let asks = [5, 1, 0, 5, 3, 0, 1, 0, 0, 0, 0, 0, 0];
    m.read_buf(stream)[..asks.len()].copy_from_slice(&asks);
    m.handle_input(now, Input::Read { stream, len: asks.len() });
    let client = perform(&mut m, now);
    let len = m.write_buf(stream).len();
    m.handle_input(now, Input::Written { stream, len });

    let (header, far) = ([0, 0, 0, 1, 192, 0, 2, 9, 0, 53], address("192.0.2.9:53"));
    let mut passes = |socket: SocketId, from: SocketAddr, data: &mut [u8]| {
        let stride = data.len();
        let mut rx = [Rx { data, stride, from, to: None, interface: None, ecn: 0 }];
        m.handle_datagrams(now, socket, &mut rx);
        let bound = perform(&mut m, now);
        let mut sent = 0;
        while let Some(socket) = m.poll_dirty_socket() {
            while m.poll_transmit(now, socket, &mut [0; 2000]).is_some() {
                sent += 1;
            }
        }
        assert_eq!(sent, 1, "it is passed on");
        bound
    };
    let to_far = passes(client[0], peer, &mut [&header[..], b"question"].concat());
    passes(to_far[0], far, &mut b"answer".to_vec());
    m.take()
}

#[test]
fn a_recording_of_datagrams_replays() {
    let replayed = replay(&run(), machine(1 << 20)).expect("no divergence");
    assert!(replayed.compared >= 2, "{replayed:?}");
}

#[test]
fn datagrams_that_would_be_sent_otherwise_are_found_out() {
    let good = run();
    for text in [&b"question"[..], b"answer"] {
        let at = good.windows(text.len()).position(|window| window == text).expect("it was received");
        let mut bad = good.clone();
        bad[at] ^= 0x20;
        let told = replay(&bad, machine(1 << 20));
        assert!(matches!(told, Err(Divergence::Sent { .. })), "{}: {told:?}", text.escape_ascii());
    }
    // To somebody else.
    let at = good.windows(6).position(|window| window == [1, 192, 0, 2, 9, 0]).expect("it was received");
    let mut bad = good.clone();
    bad[at + 4] = 10;
    assert!(replay(&bad, machine(1 << 20)).is_err());
    // Not at all: a machine with less room.
    let told = replay(&good, machine(4));
    assert!(told.is_err(), "{told:?}");
}
