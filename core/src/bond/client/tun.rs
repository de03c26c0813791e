//! The TUN half: what goes in has our source, what comes out is for us.

use super::Client;
use crate::bond::inner;
use crate::machine::{Fault, Offload, TunId, TunMachine};
use crate::time::Instant;

impl TunMachine for Client {
    fn poll_dirty_tun(&mut self) -> Option<TunId> {
        core::mem::take(&mut self.tun_dirty).then_some(self.config.common.tun)
    }

    fn take_buf(&mut self, tun: TunId) -> &mut [u8] {
        if tun == self.config.common.tun && !self.drained { &mut self.take } else { &mut [] }
    }

    fn handle_packet(&mut self, now: Instant, _: TunId, len: usize, offload: Offload) {
        let packet = self.take.get(..len).unwrap_or_default();
        let source = inner::source(packet);
        // What leaves with another source would be dropped at the server.
        if source.is_some_and(|source| self.addresses.contains(&source)) {
            self.peer.ingest(now, &mut self.take, len, offload, &mut self.give);
        } else {
            self.peer.count_foreign();
        }
        self.taken = Some(now);
    }

    fn give_buf(&self, _: TunId) -> Option<(&[u8], Offload)> {
        self.give.front()
    }

    fn handle_given(&mut self, _: Instant, _: TunId, _: Result<(), Fault>) {
        self.give.pop();
        self.tun_dirty |= !self.give.is_empty();
    }
}
