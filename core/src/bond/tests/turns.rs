//! Whose turn it is at the server's one socket.

use super::pair::{Pair, packet};
use crate::machine::{DatagramMachine, Machine, Offload, SocketId, TunId, TunMachine};
use crate::time::Duration;

/// Each datagram takes the driver some time, so that the paths have room again in between. What one
/// path's turn gives to another one leaves too: no event need follow.
#[test]
fn packets_that_are_staged_in_another_paths_turn_have_their_own() {
    for micros in (20..400).step_by(20) {
        let mut pair = Pair::connected();
        pair.download(200);
        // Runs end with each short one, so the paths have many turns.
        for len in [1000, 300].into_iter().cycle().take(60) {
            pair.server.take_buf(TunId(0))[..usize::from(len)].copy_from_slice(&packet(len));
            pair.server.handle_packet(pair.now, TunId(0), len.into(), Offload::None);
        }
        while pair.server.poll_output().is_some() {}
        let (mut now, mut buf) = (pair.now, [0; 65_535]);
        while pair.server.poll_transmit(now, SocketId::from_parts(0, 0), &mut buf).is_some() {
            now += Duration::from_micros(micros);
        }
        assert_eq!(pair.server.staged(), 0, "{micros} us for each datagram");
    }
}
