//! The socket half: which client a datagram belongs to, and the paths that send, in turns.

use super::Server;
use super::rules::Rules;
use crate::bond::handshake::ClientId;
use crate::bond::peer::Remote;
use crate::bond::session::OpenError;
use crate::bond::wire::{Header, MAX_PATHS, PacketType, PathId};
use crate::machine::{DatagramMachine, Rx, SocketId, Transmit};
use crate::time::Instant;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

/// What a datagram is called where the driver speaks of it: its client and its path. One that the
/// system refuses says nothing of the paths of others.
fn name(client: ClientId, path: PathId) -> u32 {
    client.0 << PATH_BITS | u32::from(path.get())
}

/// Whose a datagram with this name is.
pub(super) fn owner(name: u32) -> Option<(ClientId, PathId)> {
    let path = u8::try_from(name % (1 << PATH_BITS)).ok().and_then(PathId::new)?;
    Some((ClientId(name >> PATH_BITS), path))
}

/// Bits of a path's number.
const PATH_BITS: u32 = MAX_PATHS.ilog2();
const _: () = assert!(1 << PATH_BITS == MAX_PATHS);

impl Server {
    /// The client, if it was opened.
    pub(super) fn handle_datagram(
        &mut self,
        now: Instant,
        datagram: &mut [u8],
        from: SocketAddr,
        to: Option<IpAddr>,
        ecn: u8,
    ) -> Option<ClientId> {
        match PacketType::of(*datagram.first()?).ok()? {
            PacketType::Init => {
                self.handle_init(now, datagram, from, to);
                None
            }
            // What was not opened changed nothing; the keyring and the responder count it.
            PacketType::Transport => self.handle_transport(now, datagram, from, to, ecn).ok(),
            // A server asks nothing, so no answer comes.
            PacketType::Response | PacketType::Cookie => None,
        }
    }

    pub(super) fn handle_transport(
        &mut self,
        now: Instant,
        datagram: &mut [u8],
        from: SocketAddr,
        to: Option<IpAddr>,
        ecn: u8,
    ) -> Result<ClientId, OpenError> {
        let header = Header::parse(datagram).map_err(OpenError::Malformed)?;
        let client = self.responder.owner(header.receiver).ok_or(OpenError::NoSession)?;
        let session = self.sessions.get_mut(&client).ok_or(OpenError::NoSession)?;
        let is_live = session.live.as_ref().is_some_and(|peer| peer.keys.owns(header.receiver));
        let peer = if is_live { &mut session.live } else { &mut session.waiting };
        let peer = peer.as_mut().ok_or(OpenError::NoSession)?;
        let remote = Remote { socket: self.socket, to: from, from: to, named: true };
        let rules = Rules { config: &self.config, routes: &self.routes, addresses: &session.addresses };
        let known = peer.slot(header.path).is_some();
        let bytes = datagram.len() as u64 + u64::from(remote.headers());
        let (accept, give) = (|packet: &[u8]| rules.allow(packet), &mut self.give);
        let arrival = if known {
            peer.receive(now, datagram, remote.headers(), ecn, accept, give)?
        } else {
            // A path begins with its first valid packet, and not before.
            peer.receive_first(now, datagram, remote, ecn, accept, give)?
        };
        session.heard = now;
        if arrival.confirms {
            self.confirmed(now, client, header.receiver, is_live);
        }
        let Some(session) = self.sessions.get_mut(&client) else { return Ok(client) };
        let Some(peer) = session.live.as_mut() else { return Ok(client) };
        // Where it came from may be sent three times as much, and no other address.
        let moved = peer.earn(arrival.path, remote, bytes);
        if arrival.newest && moved {
            let token = self.rng.bytes();
            peer.challenge(now, arrival.path, remote, token, bytes);
        }
        while let Some(index) = peer.keys.poll_retired() {
            self.responder.release(index);
        }
        Ok(client)
    }
}

impl DatagramMachine for Server {
    fn poll_dirty_socket(&mut self) -> Option<SocketId> {
        core::mem::take(&mut self.socket_dirty).then_some(self.socket)
    }

    fn handle_datagrams(&mut self, now: Instant, _: SocketId, rx: &mut [Rx<'_>]) {
        let mut heard: Vec<ClientId> = Vec::new();
        for rx in rx {
            let (from, to, stride, ecn) = (rx.from, rx.to, rx.stride.max(1), rx.ecn);
            for datagram in rx.data.chunks_mut(stride) {
                // Only what was opened is an event for its client.
                if let Some(client) = self.handle_datagram(now, datagram, from, to, ecn)
                    && !heard.contains(&client)
                {
                    heard.push(client);
                }
            }
        }
        for client in heard {
            let live = self.sessions.get_mut(&client).and_then(|session| session.live.as_mut());
            if let Some(peer) = live {
                peer.finish_batch(now, &mut self.give);
            }
            self.settle(now, client);
        }
    }

    fn poll_transmit(&mut self, now: Instant, _: SocketId, buf: &mut [u8]) -> Option<Transmit> {
        if let Some((to, from, bytes)) = self.replies.pop_front() {
            buf.get_mut(..bytes.len())?.copy_from_slice(&bytes);
            // No client has this number: a reply that fails is reported to none.
            let id = u32::MAX;
            return Some(Transmit { id, to: Some(to), from, len: bytes.len(), ..Transmit::default() });
        }
        while let Some((client, path)) = self.busy.pop_front() {
            let live = self.sessions.get_mut(&client).and_then(|session| session.live.as_mut());
            let Some(peer) = live else { continue };
            let sent = peer.poll_transmit(now, path, buf);
            // Others were asked too, and no event may follow that would name them.
            self.busy.extend(core::iter::from_fn(|| peer.poll_staged()).map(|other| (client, other)));
            if let Some(sent) = sent {
                // The others first: it has its turn again behind them.
                self.busy.push_back((client, path));
                return Some(Transmit { id: name(client, path), ..sent });
            }
        }
        None
    }
}
