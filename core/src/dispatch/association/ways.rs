//! The sockets by which an association reaches its destinations: one for each uplink and family.

use crate::dispatch::Cx;
use crate::machine::{SocketId, UplinkId, Via};
use crate::service::FlowId;
use crate::uplink::Prefix64;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

/// One socket.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) socket: SocketId,
    pub(super) uplink: Option<UplinkId>,
    pub(super) via: Via,
    pub(super) v6: bool,
    /// IPv4 destinations answer from addresses under this prefix.
    pub(super) prefix64: Option<Prefix64>,
    pub(super) open: bool,
    /// Destinations that wait for it to be open.
    pub(super) waiting: Vec<FlowId>,
    /// How many destinations leave by it.
    pub(super) users: usize,
    /// Bytes not reported to the pool yet.
    pub(super) sent: u64,
    pub(super) received: u64,
}

impl Way {
    /// The IPv4 address that this one stands for, where it stands for one.
    pub(super) fn before(&self, from: SocketAddr) -> Option<SocketAddr> {
        let IpAddr::V6(v6) = from.ip() else { return None };
        let v4 = self.prefix64?.extract(v6)?;
        Some(SocketAddr::new(v4.into(), from.port()))
    }

    fn tell(&mut self, cx: &mut Cx) {
        if let Some(uplink) = self.uplink {
            cx.traffic(uplink, self.sent, self.received);
        }
        (self.sent, self.received) = (0, 0);
    }
}

/// All of them: as few as there are uplinks, so that a search is no slower than a map.
#[derive(Debug, Default)]
pub(super) struct Ways(Vec<Way>);

impl Ways {
    pub(super) fn get(&self, socket: SocketId) -> Option<&Way> {
        self.0.iter().find(|way| way.socket == socket)
    }

    pub(super) fn get_mut(&mut self, socket: SocketId) -> Option<&mut Way> {
        self.0.iter_mut().find(|way| way.socket == socket)
    }

    pub(super) fn find(&self, wanted: impl Fn(&Way) -> bool) -> Option<SocketId> {
        self.0.iter().find(|way| wanted(way)).map(|way| way.socket)
    }

    pub(super) fn insert(&mut self, socket: SocketId, uplink: Option<UplinkId>, via: Via, v6: bool) {
        let (waiting, open, prefix64) = (Vec::new(), false, None);
        self.0.push(Way { socket, uplink, via, v6, prefix64, open, waiting, users: 0, sent: 0, received: 0 });
    }

    /// Takes one out, and accounts for it.
    pub(super) fn remove(&mut self, socket: SocketId, cx: &mut Cx) -> Option<Way> {
        let at = self.0.iter().position(|way| way.socket == socket)?;
        let mut way = self.0.swap_remove(at);
        way.tell(cx);
        Some(way)
    }

    /// Says how many bytes have left and come by each.
    pub(super) fn tell(&mut self, cx: &mut Cx) {
        self.0.iter_mut().for_each(|way| way.tell(cx));
    }

    /// Closes them all.
    pub(super) fn close(&mut self, cx: &mut Cx) {
        for mut way in self.0.drain(..) {
            way.tell(cx);
            cx.close_socket(way.socket);
        }
    }
}
