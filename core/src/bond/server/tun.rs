//! The TUN half: a packet goes to the client that its destination belongs to.

use super::Server;
use crate::bond::inner;
use crate::machine::{Fault, Offload, TunId, TunMachine};
use crate::time::Instant;

impl TunMachine for Server {
    fn poll_dirty_tun(&mut self) -> Option<TunId> {
        core::mem::take(&mut self.tun_dirty).then_some(self.config.common.tun)
    }

    fn take_buf(&mut self, tun: TunId) -> &mut [u8] {
        if tun == self.config.common.tun { &mut self.take } else { &mut [] }
    }

    fn handle_packet(&mut self, now: Instant, _: TunId, len: usize, offload: Offload) {
        let packet = self.take.get(..len).unwrap_or_default();
        let to = inner::destination(packet);
        let client = to.and_then(|to| self.routes.get(&to)).copied();
        let session = client.and_then(|client| self.sessions.get_mut(&client));
        let Some(peer) = session.and_then(|session| session.live.as_mut()) else {
            self.unroutable += 1;
            return;
        };
        peer.ingest(now, &mut self.take, len, offload, &mut self.give);
        if let Some(client) = client
            && !self.taken.1.contains(&client)
        {
            self.taken.1.push(client);
        }
        self.taken.0 = now;
    }

    fn give_buf(&self, _: TunId) -> Option<(&[u8], Offload)> {
        self.give.front()
    }

    fn handle_given(&mut self, _: Instant, _: TunId, _: Result<(), Fault>) {
        self.give.pop();
        self.tun_dirty |= !self.give.is_empty();
    }
}
