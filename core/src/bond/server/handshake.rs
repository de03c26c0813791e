//! Associations begin and end: what a first message makes waits until a packet proves its keys.

use super::Server;
use super::revoke::farewell;
use crate::bond::handshake::{ClientId, Kind};
use crate::bond::peer::Peer;
use crate::bond::session::Role;
use crate::bond::wire::CloseReason;
use crate::machine::event::BondNews;
use crate::time::Instant;
use core::net::{IpAddr, SocketAddr};

/// Handshake messages that may wait for the socket. What is over it is lost: the client asks again.
const REPLIES: usize = 256;

impl Server {
    pub(super) fn handle_init(
        &mut self,
        now: Instant,
        datagram: &[u8],
        from: SocketAddr,
        to: Option<IpAddr>,
    ) {
        let reaction = self.admit(now, datagram, from);
        if let Some(accepted) = reaction.accepted
            && let Some(session) = self.sessions.get_mut(&accepted.client)
        {
            let common = &self.config.common;
            let peer = match accepted.kind {
                Kind::Rekey => session.live.as_mut(),
                Kind::Restart => {
                    if let Some(gone) = session.waiting.take() {
                        gone.keys.indexes().for_each(|index| self.responder.release(index));
                    }
                    let peer = Peer::new(now, Role::Responder, common.tuning, common.offload, common.mtu);
                    Some(session.waiting.insert(peer))
                }
            };
            if let Some(peer) = peer {
                peer.keys.install(accepted.session);
                while let Some(index) = peer.keys.poll_retired() {
                    self.responder.release(index);
                }
            }
        }
        if let Some(reply) = reaction.reply
            && self.replies.len() < REPLIES
        {
            self.replies.push_back((from, to, reply.as_bytes().to_vec()));
            self.socket_dirty = true;
        }
    }

    /// The first packet under new keys: what waited lives. What lived is told: where its process is
    /// still there, another host has the client's key.
    pub(super) fn confirmed(&mut self, now: Instant, client: ClientId, receiver: u32, was_live: bool) {
        let is_back = self.responder.is_back(client, receiver);
        self.responder.confirm(client, receiver);
        if was_live {
            return;
        }
        let Some(session) = self.sessions.get_mut(&client) else { return };
        let gone = core::mem::replace(&mut session.live, session.waiting.take());
        if let Some(mut gone) = gone {
            self.replies.extend(farewell(now, &mut gone, CloseReason::Replaced));
            self.socket_dirty = true;
            gone.keys.indexes().for_each(|index| self.responder.release(index));
        }
        self.busy.retain(|(id, _)| *id != client);
        self.share_memory();
        self.tell(client, BondNews::Established);
        if is_back {
            self.tell(client, BondNews::KeyShared { pause: None });
        }
    }

    /// The association is over.
    pub(super) fn end(&mut self, client: ClientId) {
        let Some(session) = self.sessions.get_mut(&client) else { return };
        for gone in [session.live.take(), session.waiting.take()].into_iter().flatten() {
            gone.keys.indexes().for_each(|index| self.responder.release(index));
        }
        self.responder.forget(client);
        self.busy.retain(|(id, _)| *id != client);
        self.share_memory();
        self.tell(client, BondNews::Closed);
    }
}
