//! The sockets of the uplinks: opened, closed, and opened again.

use super::Client;
use crate::bond::config::Uplink;
use crate::bond::peer::Remote;
use crate::bond::wire::PathId;
use crate::machine::{Fault, Output, SocketId, UplinkId};
use crate::time::{Duration, Instant};
use core::net::IpAddr;

/// A socket that could not be opened is tried again after this, then twice as long, up to
/// [`REOPEN_MOST`].
const REOPEN: Duration = Duration::from_millis(500);
const REOPEN_MOST: Duration = Duration::from_secs(8);

/// One uplink.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) uplink: Uplink,
    pub(super) path: PathId,
    pub(super) generation: u32,
    pub(super) socket: Option<SocketId>,
    pub(super) open: bool,
    /// When it is opened again.
    pub(super) reopen: Option<Instant>,
    pub(super) tries: u32,
    pub(super) gone: bool,
    /// The two ends' addresses, once it was open.
    ends: Option<(IpAddr, IpAddr)>,
}

impl Way {
    /// The uplink with this place, closed.
    pub(super) fn new(index: usize, uplink: Uplink) -> Way {
        let path = PathId::new(index as u8).expect("at most MAX_PATHS");
        Way {
            uplink,
            path,
            generation: 0,
            socket: None,
            open: false,
            reopen: None,
            tries: 0,
            gone: false,
            ends: None,
        }
    }
}

impl Client {
    pub(super) fn open(&mut self, index: usize) {
        // Nobody would close it.
        if self.finished {
            return;
        }
        let (to, way) = (self.config.server, &mut self.ways[index]);
        let socket = SocketId::from_parts(index as u32, way.generation);
        way.generation += 1;
        (way.socket, way.open, way.reopen) = (Some(socket), false, None);
        self.outputs.push_back(Output::OpenSocket { socket, to, via: way.uplink.via, fragments: false });
    }

    pub(super) fn close(&mut self, index: usize) {
        let way = &mut self.ways[index];
        if let Some(socket) = way.socket.take().filter(|_| way.open) {
            self.outputs.push_back(Output::CloseSocket { socket });
        }
        way.open = false;
    }

    pub(super) fn way_of(&self, socket: SocketId) -> Option<usize> {
        let index = socket.index() as usize;
        self.ways.get(index).is_some_and(|way| way.socket == Some(socket)).then_some(index)
    }

    pub(super) fn index_of(&self, uplink: UplinkId) -> Option<usize> {
        self.ways.iter().position(|way| way.uplink.id == uplink)
    }

    pub(super) fn opened(&mut self, now: Instant, index: usize, local: IpAddr) {
        let way = &mut self.ways[index];
        let Some(socket) = way.socket else { return };
        (way.open, way.tries) = (true, 0);
        let (id, weight) = (way.path, u32::from(way.uplink.weight));
        let ends = (local, self.config.server.ip());
        let elsewhere = way.ends.replace(ends).is_some_and(|before| before != ends);
        let remote = Remote { socket, to: self.config.server, from: None, named: false };
        let slot = self.peer.add_path(now, id, remote, weight);
        slot.dirty = false;
        slot.validated = false;
        if elsewhere {
            slot.path.handle_moved(now);
        }
        self.peer.handle_link(now, id, true);
        if self.established {
            self.challenge(now, id);
        } else {
            self.initiator.start(now);
        }
        self.initiator.hurry(now);
        self.shake(now);
    }

    /// A socket failed or could not be opened: it is tried again later.
    pub(super) fn reopen_later(&mut self, now: Instant, index: usize) {
        self.close(index);
        let way = &mut self.ways[index];
        let wait = (REOPEN * (1 << way.tries.min(5))).min(REOPEN_MOST);
        way.tries += 1;
        way.reopen = (!way.gone && !self.drained).then_some(now + wait);
        self.peer.handle_link(now, self.ways[index].path, false);
    }

    pub(super) fn send_failed(&mut self, now: Instant, index: usize, fault: Fault) {
        match fault {
            Fault::TooLarge => {
                let id = self.ways[index].path;
                self.peer.handle_too_large(now, id);
            }
            Fault::NoDevice | Fault::NetworkDown | Fault::AddressNotAvailable | Fault::NoRoute => {
                self.reopen_later(now, index);
            }
            // The system is short of something, or a host refused an earlier datagram (ICMP): this
            // one is lost.
            _ => {}
        }
    }
}
