//! The handshake as the client lives it: messages on every open socket, the session, the challenge
//! of each path.

use super::Client;
use crate::bond::path::State;
use crate::bond::peer::{Peer, Remote, Slot};
use crate::bond::session::Role;
use crate::bond::wire::PathId;
use crate::machine::Output;
use crate::machine::event::{BondNews, Event};
use crate::time::{Duration, Instant};
use alloc::vec::Vec;

/// A server of which nothing is opened for this long, while all paths are down, may have forgotten
/// us. Dead paths are probed every half second: one that lives answers some probe until then.
const FORGOTTEN: Duration = Duration::from_secs(3);

impl Client {
    /// When the server is taken for one that has forgotten us.
    ///
    /// That all paths fell is not enough to go by: it happens once. The handshake that follows can
    /// end by the last word of a server that restarts just then, and no path falls again.
    pub(super) fn forgotten_at(&self) -> Option<Instant> {
        let silent = self.established && !self.initiator.is_active() && self.is_cut_off();
        silent.then_some(self.heard + FORGOTTEN)
    }

    /// Whether all paths are down.
    pub(super) fn is_cut_off(&self) -> bool {
        self.peer.slots().all(|slot| slot.path.state() == State::Down)
    }

    /// Whether an idle client asks for new keys: when a PING is due, whose place the INIT takes, or
    /// at the latest.
    pub(super) fn renews_idle(&self, now: Instant) -> bool {
        let pings = |slot: &Slot| slot.ping && slot.path.state() == State::Live;
        let late = || self.peer.keys.renew_by().is_none_or(|by| by <= now);
        self.peer.keys.is_ending(now) && (self.peer.slots().any(pings) || late())
    }

    /// When it does so at the latest.
    pub(super) fn renew_by(&self) -> Option<Instant> {
        self.peer.keys.renew_by().filter(|_| self.established && !self.initiator.is_active())
    }

    /// New keys are to follow: asked for by one path while the old ones are good, in place of its
    /// PING if one is due.
    pub(super) fn renew(&mut self, now: Instant) {
        let ways = self.ways.iter().filter(|way| way.open && self.peer.keys.is_usable(now));
        let slots = ways.filter_map(|way| Some((way.path, self.peer.slot(way.path)?)));
        let live = slots.filter(|(_, slot)| slot.path.state() == State::Live);
        let Some((path, _)) = live.min_by_key(|(_, slot)| !slot.ping) else {
            return self.initiator.start(now);
        };
        if self.initiator.is_active() {
            return;
        }
        self.initiator.renew(now, path);
        if let Some(slot) = self.peer.slot_mut(path).filter(|slot| slot.path.in_flight() == 0) {
            slot.ping = false;
        }
    }

    /// Lets the handshake go on: names the sockets on which a message is due.
    pub(super) fn shake(&mut self, now: Instant) {
        if self.initiator.poll_timeout().is_some_and(|at| at <= now) {
            self.outputs.push_back(Output::Entropy);
            self.initiator.handle_timeout(now);
        }
        for way in self.ways.iter().filter(|way| way.open && self.initiator.is_due(way.path)) {
            self.dirty.extend(way.socket);
        }
    }

    /// Whether it was authentic.
    pub(super) fn handle_response(&mut self, now: Instant, path: PathId, datagram: &[u8]) -> bool {
        let Some(established) = self.initiator.handle_response(now, datagram) else { return false };
        if established.restarted {
            self.begin_again(now);
        }
        self.peer.keys.install(established.session);
        while self.peer.keys.poll_retired().is_some() {}
        let first = !core::mem::replace(&mut self.established, true);
        if first {
            self.outputs.push_back(Output::Event(Event::Bond { client: None, news: BondNews::Established }));
            self.ask_config = Some(now);
            self.announce_unless_plain(now);
        }
        // The way of the response first: the server learns of the others by their first packets.
        let others = self.ways.iter().filter(|way| way.open && way.path != path).map(|way| way.path);
        let ids: Vec<PathId> = core::iter::once(path).chain(others).collect();
        for id in ids {
            if self.peer.slot(id).is_some_and(|slot| !slot.validated) {
                self.challenge(now, id);
            } else if let Some(slot) = self.peer.slot_mut(id) {
                // The server uses new keys when it has seen a packet under them.
                slot.ping |= id == path;
            }
        }
        true
    }

    pub(super) fn challenge(&mut self, now: Instant, id: PathId) {
        let token = self.rng.bytes();
        let Some(remote) = self.peer.slot(id).map(|slot| slot.remote) else { return };
        self.peer.challenge(now, id, remote, token, 0);
    }

    /// The server knows nothing of what was before: neither its paths nor its numbers mean anything
    /// now.
    pub(super) fn begin_again(&mut self, now: Instant) {
        let common = &self.config.common;
        self.peer = Peer::new(now, Role::Initiator, common.tuning, common.offload, common.mtu);
        (self.established, self.epoch) = (false, 0);
        for way in self.ways.iter().filter(|way| way.open) {
            let Some(socket) = way.socket else { continue };
            let remote = Remote { socket, to: self.config.server, from: None, named: false };
            self.peer.add_path(now, way.path, remote, u32::from(way.uplink.weight));
        }
    }
}
