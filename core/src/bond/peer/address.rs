//! Whether the peer is where its packets come from. It shows that by an answer to a question; until
//! then an address gets at most three bytes for each that came from it (RFC 9000 section 8.1).

use super::Peer;
use super::slot::{AMPLIFICATION, Challenge, MOST_QUESTIONS, Remote};
use crate::bond::wire::PathId;
use crate::time::Instant;

impl Peer {
    /// `bytes` of IP came by a path from `remote`. Whether that address is still to be proved.
    pub(in crate::bond) fn earn(&mut self, id: PathId, remote: Remote, bytes: u64) -> bool {
        let Some(slot) = &mut self.slots[id.index()] else { return false };
        if slot.remote != remote {
            return true;
        }
        slot.allowance += bytes * AMPLIFICATION;
        !slot.validated
    }

    /// Asks whether the peer is at `remote`; the path goes there once it has answered.
    pub(in crate::bond) fn challenge(
        &mut self,
        now: Instant,
        id: PathId,
        remote: Remote,
        token: [u8; 8],
        bytes: u64,
    ) {
        let Some(slot) = &mut self.slots[id.index()] else { return };
        let allowance = bytes * AMPLIFICATION;
        if let Some(challenge) = &mut slot.challenge
            && challenge.remote == remote
        {
            challenge.allowance += allowance;
            if challenge.asked < MOST_QUESTIONS || challenge.next > now {
                return;
            }
        }
        slot.challenge = Some(Challenge { token, remote, next: now, asked: 0, allowance });
        slot.asks = true;
    }

    /// An address has answered. Whether a path goes there now that did not before.
    pub(in crate::bond) fn answered(&mut self, now: Instant, by: PathId, token: [u8; 8]) -> bool {
        let Some(slot) = &mut self.slots[by.index()] else { return false };
        let Some(challenge) = slot.challenge.take_if(|challenge| challenge.token == token) else {
            return false;
        };
        let moved = slot.remote != challenge.remote || !slot.validated;
        // Another port is another mapping of the same network.
        let elsewhere = slot.remote.to.ip() != challenge.remote.to.ip();
        (slot.remote, slot.validated, slot.asks) = (challenge.remote, true, false);
        if elsewhere {
            slot.path.handle_moved(now);
        }
        if moved {
            self.mtu.stale = true;
            self.fit(now);
            self.watch(now);
            self.suit(now);
            self.pump(now);
        }
        moved
    }
}
