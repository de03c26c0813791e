use super::*;
use crate::machine::{Assignment, StreamMachine, UplinkId, Via};
use crate::time::Duration;
use alloc::sync::Arc;
use alloc::vec;
use core::net::SocketAddr;
use std::sync::Mutex;

const NOW: Instant = Instant::ZERO;
/// What each server sends, and no client takes.
const SENT: usize = 20_000;

#[derive(Clone, Default)]
struct Entries(Arc<Mutex<Vec<u8>>>);

impl Sink for Entries {
    fn put(&mut self, entry: &[u8]) -> bool {
        self.0.lock().expect("one thread").extend_from_slice(entry);
        true
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("literal")
}

fn read(m: &mut Incident<Dispatch>, stream: StreamId, bytes: &[u8]) {
    StreamMachine::read_buf(m, stream)[..bytes.len()].copy_from_slice(bytes);
    m.handle_input(NOW, Input::Read { stream, len: bytes.len() });
}

/// Does what the machine asks for; gives the client that it accepts and the target that it
/// connects.
fn perform(m: &mut Incident<Dispatch>) -> (Option<StreamId>, Option<StreamId>) {
    let (mut client, mut target) = (None, None);
    while let Some(output) = m.poll_output() {
        match output {
            Output::Accept { stream, .. } => client = Some(stream),
            Output::Assign(assign) => {
                let assignment = Some(Assignment {
                    uplink: Some(UplinkId(0)),
                    via: Via::default(),
                    endpoint: None,
                    prefix64: None,
                    patience: Duration::from_millis(250),
                });
                m.handle_input(NOW, Input::Assigned { conn: assign.conn, assignment });
            }
            Output::Connect { stream, .. } => {
                target = Some(stream);
                m.handle_input(NOW, Input::Connected { stream, local: address("10.0.0.2:4000") });
            }
            _ => {}
        }
    }
    (client, target)
}

/// A recording of so many clients that take nothing of what their servers send.
fn stalled(clients: usize) -> Vec<u8> {
    let listeners = vec![address("127.0.0.1:1080")];
    let entries = Entries::default();
    let config = dispatch::Config { listeners, ..dispatch::Config::default() };
    let mut m = Incident::of_dispatch(config, false, Box::new(entries.clone())).expect("valid");
    let mut next = perform(&mut m).0;
    for _ in 0..clients {
        let stream = next.expect("it accepts");
        let (peer, local) = (address("127.0.0.1:5"), address("127.0.0.1:1080"));
        m.handle_input(NOW, Input::Accepted { stream, peer, local });
        next = perform(&mut m).0;
        read(&mut m, stream, b"\x05\x01\x00\x05\x01\x00\x01\xc0\x00\x02\x09\x00\x50");
        let (_, target) = perform(&mut m);
        let len = m.inner().write_buf(stream).len();
        m.handle_input(NOW, Input::Written { stream, len });
        read(&mut m, target.expect("it connects"), &[b'y'; SENT]);
        perform(&mut m);
    }
    entries.0.lock().expect("one thread").clone()
}

#[test]
fn a_recording_that_would_take_more_memory_than_a_replay_has_is_refused() {
    let size = dispatch::Config::default().buffer_size;
    let recording = stalled(10);
    assert!(recording.len() < SENT, "few bytes stand for many: {}", recording.len());
    let replayed = replay_within(&recording, 10 * size + 1000, &mut |_| {});
    assert!(replayed.is_ok(), "what was recorded is enough: {replayed:?}");
    // What the sixth client asks for fits beside five buffers; its buffer does not.
    let most = 5 * size + 1000;
    match replay_within(&recording, most, &mut |_| {}) {
        Err(Divergence::TooMuch { held, .. }) => {
            assert!((6 * size..6 * size + 1000).contains(&held), "it ends with the first too many: {held}");
        }
        other => panic!("{other:?}"),
    }
    assert!(replay_incident(&recording, &mut |_| {}).is_ok());
}
