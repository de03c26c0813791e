//! A client that may come in no more: what lives of it ends, and its key is a stranger's.

use super::{Reply, Server};
use crate::bond::handshake::ClientId;
use crate::bond::peer::Peer;
use crate::bond::wire::{CloseReason, Frame, PathId};
use crate::time::Instant;
use alloc::vec;
use alloc::vec::Vec;

/// Datagrams of each path in which its farewell is looked for; what else they carry goes too.
const FAREWELLS: usize = 2;
/// The longest datagram over IPv4 or IPv6.
const LONGEST: usize = 65_535;

/// The last words to an association that ends now, for its paths: where to, from where, and what.
pub(super) fn farewell(now: Instant, peer: &mut Peer, reason: CloseReason) -> Vec<Reply> {
    peer.send_frame(Frame::Close(reason));
    let (mut words, mut buf) = (Vec::new(), vec![0; LONGEST]);
    let paths: Vec<PathId> = peer.slots().map(|slot| slot.id).collect();
    for path in paths {
        for _ in 0..FAREWELLS {
            let Some(sent) = peer.poll_transmit(now, path, &mut buf) else { break };
            let (Some(to), Some(bytes)) = (sent.to, buf.get(..sent.len)) else { break };
            let datagrams = bytes.chunks(sent.segment.unwrap_or(sent.len).max(1));
            words.extend(datagrams.map(|datagram| (to, sent.from, datagram.to_vec())));
        }
    }
    words
}

impl Server {
    /// Shuts a client out, by its number: its association ends with a farewell, and its first
    /// messages are a stranger's. False if there is none with this number.
    ///
    /// The farewell is not repeated: a client that does not hear it finds silence. The number is
    /// another's from the next enrolment on, if it was the largest.
    pub fn revoke(&mut self, now: Instant, client: u32) -> bool {
        let id = ClientId(client);
        let Some(session) = self.sessions.get_mut(&id) else { return false };
        if let Some(peer) = session.live.as_mut() {
            self.replies.extend(farewell(now, peer, CloseReason::Revoked));
            self.socket_dirty = true;
        }
        if session.live.is_some() {
            self.end(id);
        }
        self.responder.remove_client(id);
        if let Some(peer) = self.sessions.remove(&id).and_then(|gone| gone.waiting) {
            peer.keys.indexes().for_each(|index| self.responder.release(index));
        }
        self.routes.retain(|_, owner| *owner != id);
        true
    }
}
