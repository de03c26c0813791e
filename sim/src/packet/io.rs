//! The sockets and the TUN device of one side: [`Io`] in virtual time.
//!
//! ```text
//!   hosts ──▶ queue ──▶ try_take ┐         ┌ try_transmit ──▶ outbox ──▶ links
//!                                 machine
//!   hosts ◀── given ◀── try_give ┘         └ try_receive ◀── inboxes ◀── links
//! ```
//!
//! The client has a device and an address for each link; the server has one address and knows a
//! link by the address that the client's NAT there has. A NAT that forgets its mappings gives the
//! client another port.

use super::Side;
use super::frame::{Datagram, Frame, UDP_IP};
use super::offload;
use crate::scenario::{HostSettings, LinkSpec};
use ropewalk_core::drive::{Io, Received, TransmitError, TryError};
use ropewalk_core::machine::event::Event;
use ropewalk_core::machine::{
    Device, Fault, ListenerId, Offload, Rx, SocketId, Transmit, TunConfiguration, TunId, Via,
};
use ropewalk_core::time::Instant;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Where the server listens.
pub(super) const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)), 4500);
/// Linux's `txqueuelen` for a TUN device, in packets, doubled: bond.md asks for 1000 or more.
const TUN_QUEUE: usize = 2000;
/// The largest packet that a client's own device takes.
const DEVICE_MTU: usize = 1500;
/// The most bytes of datagrams that are received as one.
const MOST: usize = 65_507;
/// The most that one call receives.
const BATCH: usize = 64;

/// The client's address on a link, behind its NAT.
fn private(link: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, link as u8 + 1, 2)
}

/// The same, as the server sees it.
fn public(link: usize) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113, link as u8 + 1)
}

/// A link as the sockets see it.
#[derive(Clone, Debug)]
pub(super) struct Port {
    device: Device,
    mtu: usize,
    /// Whether the client's device is there.
    pub(super) present: bool,
    /// How often its NAT has forgotten.
    pub(super) rebinds: u16,
    /// Bytes of this side that wait at its queue.
    pub(super) waiting: u64,
}

impl Port {
    pub(super) fn new(link: &LinkSpec) -> Self {
        let device = Device::new(&link.name).expect("the scenario allows no other names");
        Port { device, mtu: usize::from(link.mtu), present: link.present, rebinds: 0, waiting: 0 }
    }
}

/// How a client's machine is to leave by link number `link`.
pub(super) fn via(link: usize, spec: &LinkSpec) -> Via {
    Via { device: Device::new(&spec.name), source: Some(IpAddr::V4(private(link))), ..Via::default() }
}

/// One datagram socket.
#[derive(Default)]
struct Inbox {
    generation: u32,
    open: bool,
    local: Option<SocketAddr>,
    /// Its only peer, and the link to there.
    peer: Option<(SocketAddr, usize)>,
    queue: VecDeque<Datagram>,
}

/// How often an end has met what a device or a socket does beside single packets.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Met {
    /// Superpackets taken out of the TUN device, and given to it.
    pub(super) taken: u64,
    pub(super) given: u64,
    /// Datagrams that were received as one with others.
    pub(super) received: u64,
    /// Sends that were refused.
    pub(super) refusals: u64,
}

/// The sockets and the TUN device of one side.
pub(super) struct SimIo {
    pub(super) now: Instant,
    side: Side,
    host: HostSettings,
    pub(super) ports: Vec<Port>,
    /// The sockets that refused to send.
    refused: Vec<u32>,
    pub(super) met: Met,
    inboxes: Vec<Inbox>,
    next_port: u16,
    /// What goes out, by link.
    pub(super) outbox: VecDeque<(usize, Frame)>,
    /// Datagrams over a link's MTU, which vanish on the way.
    pub(super) vanished: VecDeque<(usize, Frame)>,
    /// What the hosts have sent into the TUN device.
    pub(super) queue: VecDeque<Vec<u8>>,
    /// Packets that found no room there.
    pub(super) queue_drops: u64,
    /// What the machine has given to the hosts.
    pub(super) given: VecDeque<Vec<u8>>,
    pub(super) configured: Option<TunConfiguration>,
    /// The machine's events.
    pub(super) events: Vec<(Instant, Event)>,
    buf: Box<[u8]>,
    batch: Vec<Datagram>,
    entropy: crate::link::Rng,
}

impl SimIo {
    pub(super) fn new(side: Side, host: HostSettings, ports: Vec<Port>, seed: u64) -> Self {
        SimIo {
            now: Instant::ZERO,
            side,
            host,
            ports,
            refused: Vec::new(),
            met: Met::default(),
            inboxes: Vec::new(),
            next_port: 40_000,
            outbox: VecDeque::new(),
            vanished: VecDeque::new(),
            queue: VecDeque::new(),
            queue_drops: 0,
            given: VecDeque::new(),
            configured: None,
            events: Vec::new(),
            buf: vec![0; 1 << 16].into(),
            batch: Vec::with_capacity(BATCH),
            entropy: crate::link::Rng::new(seed),
        }
    }

    fn inbox(&mut self, socket: SocketId) -> &mut Inbox {
        let at = socket.index() as usize;
        if self.inboxes.len() <= at {
            self.inboxes.resize_with(at + 1, Inbox::default);
        }
        &mut self.inboxes[at]
    }

    /// A host sends a packet into the TUN device; false where its queue is full.
    pub(super) fn send_into_tun(&mut self, packet: Vec<u8>) -> bool {
        if self.queue.len() >= TUN_QUEUE {
            self.queue_drops += 1;
            return false;
        }
        self.queue.push_back(packet);
        true
    }

    /// A datagram has come out of `link`: the index of the socket that hears it.
    pub(super) fn arrive(&mut self, link: usize, mut datagram: Datagram) -> Option<u32> {
        if self.side == Side::Client {
            // The NAT turns the public address into the private one; what was sent to an old
            // mapping is lost.
            let port = &self.ports[link];
            let private_port = datagram.to.port().wrapping_sub(port.rebinds * 1000);
            if !port.present || datagram.to.ip() != IpAddr::V4(public(link)) {
                return None;
            }
            datagram.to = SocketAddr::new(IpAddr::V4(private(link)), private_port);
        }
        let index = self.inboxes.iter().position(|inbox| {
            inbox.open
                && inbox.local == Some(datagram.to)
                && inbox.peer.is_none_or(|(peer, _)| peer == datagram.from)
        })?;
        self.inboxes[index].queue.push_back(datagram);
        Some(index as u32)
    }

    /// Bytes that wait for where this socket sends: to its link; or, of the server's one socket, to
    /// all of them.
    fn waiting(&self, link: Option<usize>) -> u64 {
        match link {
            Some(link) => self.ports[link].waiting,
            None => self.ports.iter().map(|port| port.waiting).sum(),
        }
    }

    /// Whether a socket may refuse to send.
    pub(super) fn has_send_buffer(&self) -> bool {
        self.host.send_buffer.is_some()
    }

    /// Whether a socket refuses to send.
    pub(super) fn is_refused(&self) -> bool {
        !self.refused.is_empty()
    }

    /// The sockets that had refused and take more now: those before which half of the buffer is
    /// free again.
    pub(super) fn writable(&mut self) -> Vec<u32> {
        let half = self.host.send_buffer.map_or(u64::MAX, |most| most / 2);
        let free = |index: &u32| {
            let peer = self.inboxes.get(*index as usize).and_then(|inbox| inbox.peer);
            self.waiting(peer.map(|(_, link)| link)) <= half
        };
        let (free, refused) = self.refused.iter().copied().partition(free);
        self.refused = refused;
        free
    }

    /// Puts one transmit on its link, in as many datagrams as it is.
    fn transmit(
        &mut self,
        local: SocketAddr,
        peer: Option<(SocketAddr, usize)>,
        transmit: &Transmit,
    ) -> Result<(), TransmitError> {
        let failed = |sent, fault| TransmitError::Failed { id: transmit.id, sent, fault };
        let to = peer.map(|(peer, _)| peer).or(transmit.to).ok_or(failed(0, Fault::Other(89)))?;
        let (from, link) = match (self.side, peer) {
            (Side::Client, Some((_, link))) => {
                // The NAT at this link.
                let port = &self.ports[link];
                if !port.present {
                    return Err(failed(0, Fault::NetworkDown));
                }
                let outside = local.port().wrapping_add(port.rebinds * 1000);
                (SocketAddr::new(IpAddr::V4(public(link)), outside), link)
            }
            _ => {
                let link = (0..self.ports.len()).find(|link| to.ip() == IpAddr::V4(public(*link)));
                (local, link.ok_or(failed(0, Fault::NetworkUnreachable))?)
            }
        };
        let data = &self.buf[..transmit.len];
        let stride = transmit.segment.unwrap_or(transmit.len).max(1);
        // An empty datagram is one too.
        let empty = data.is_empty().then_some(data);
        for (sent, piece) in empty.into_iter().chain(data.chunks(stride)).enumerate() {
            let size = piece.len() + UDP_IP;
            if size > DEVICE_MTU {
                return Err(failed(sent, Fault::TooLarge));
            }
            let datagram = Datagram { from, to, ecn: transmit.ecn, data: piece.to_vec() };
            let frame = (link, Frame::Outer(datagram));
            self.ports[link].waiting += size as u64;
            if size > self.ports[link].mtu {
                self.vanished.push_back(frame);
            } else {
                self.outbox.push_back(frame);
            }
        }
        Ok(())
    }
}

/// Joins datagrams as GRO does: of one sender, of equal lengths but for the last. What each then
/// has as the length of one.
fn join(batch: &mut Vec<Datagram>) -> Vec<usize> {
    let (mut strides, mut joined) = (Vec::new(), Vec::<Datagram>::new());
    for next in batch.drain(..) {
        let (Some(last), Some(&stride)) = (joined.last_mut(), strides.last()) else {
            strides.push(next.data.len());
            joined.push(next);
            continue;
        };
        let fits = (last.from, last.ecn) == (next.from, next.ecn)
            && last.data.len().is_multiple_of(stride)
            && (1..=stride).contains(&next.data.len())
            && last.data.len() + next.data.len() <= MOST;
        if fits {
            last.data.extend_from_slice(&next.data);
        } else {
            strides.push(next.data.len());
            joined.push(next);
        }
    }
    *batch = joined;
    strides
}

impl Io for SimIo {
    fn now(&mut self) -> Instant {
        self.now
    }

    fn event(&mut self, now: Instant, event: &Event) {
        self.events.push((now, event.clone()));
    }

    fn receive(&mut self, _: ListenerId, socket: SocketId, _: bool) {
        let generation = socket.generation();
        *self.inbox(socket) = Inbox { generation, open: true, local: Some(SERVER), ..Inbox::default() };
    }

    fn open_socket(
        &mut self,
        socket: SocketId,
        to: SocketAddr,
        via: &Via,
        _: bool,
    ) -> Result<SocketAddr, Fault> {
        let by_device = |port: &Port| via.device.is_some_and(|device| device == port.device);
        let by_source = |link: usize| via.source == Some(IpAddr::V4(private(link)));
        let link = match (via.device, via.source) {
            (None, None) => Some(0),
            (Some(_), _) => self.ports.iter().position(by_device),
            (None, Some(_)) => (0..self.ports.len()).find(|link| by_source(*link)),
        };
        let link = link.ok_or(Fault::NoDevice)?;
        if !self.ports[link].present {
            return Err(Fault::NoDevice);
        }
        let local = SocketAddr::new(IpAddr::V4(private(link)), self.next_port);
        self.next_port += 1;
        let generation = socket.generation();
        let peer = Some((to, link));
        *self.inbox(socket) =
            Inbox { generation, open: true, local: Some(local), peer, queue: VecDeque::new() };
        Ok(local)
    }

    fn close_socket(&mut self, socket: SocketId) {
        *self.inbox(socket) = Inbox::default();
    }

    fn try_receive(
        &mut self,
        socket: SocketId,
        sink: &mut dyn FnMut(&mut [Rx<'_>]),
    ) -> Result<Received, TryError> {
        let mut batch = std::mem::take(&mut self.batch);
        let inbox = self.inbox(socket);
        let (generation, to) = (inbox.generation, inbox.local.map(|local| local.ip()));
        if generation != socket.generation() || inbox.queue.is_empty() {
            self.batch = batch;
            return Err(TryError::WouldBlock);
        }
        let taken = inbox.queue.len().min(BATCH);
        batch.extend(inbox.queue.drain(..taken));
        let more = !inbox.queue.is_empty();
        let joined = if self.host.offload { join(&mut batch) } else { Vec::new() };
        self.met.received += if self.host.offload { (taken - batch.len()) as u64 } else { 0 };
        fn rx(datagram: &mut Datagram, to: Option<IpAddr>) -> Rx<'_> {
            let Datagram { from, ecn, ref mut data, .. } = *datagram;
            let stride = data.len();
            Rx { data, stride, from, to, interface: None, ecn }
        }
        match &mut batch[..] {
            _ if self.host.offload => {
                let mut all: Vec<Rx<'_>> = batch
                    .iter_mut()
                    .zip(joined)
                    .map(|(datagram, stride)| Rx { stride, ..rx(datagram, to) })
                    .collect();
                sink(&mut all);
            }
            [one] => sink(&mut [rx(one, to)]),
            several => {
                let mut all: Vec<Rx<'_>> = several.iter_mut().map(|datagram| rx(datagram, to)).collect();
                sink(&mut all);
            }
        }
        batch.clear();
        self.batch = batch;
        Ok(Received { count: taken, more })
    }

    fn try_transmit(
        &mut self,
        socket: SocketId,
        source: &mut dyn FnMut(&mut [u8]) -> Option<Transmit>,
    ) -> Result<usize, TransmitError> {
        let inbox = self.inbox(socket);
        let (local, peer) = (inbox.local, inbox.peer);
        let Some(local) = local else { return Ok(0) };
        let (mut sent, link) = (0, peer.map(|(_, link)| link));
        let full = |io: &Self| io.host.send_buffer.is_some_and(|most| io.waiting(link) >= most);
        if full(self) {
            self.met.refusals += 1;
            if !self.refused.contains(&socket.index()) {
                self.refused.push(socket.index());
            }
            return Err(TransmitError::WouldBlock);
        }
        while sent < BATCH
            && !full(self)
            && let Some(transmit) = source(&mut self.buf)
        {
            self.transmit(local, peer, &transmit)?;
            sent += 1;
        }
        Ok(sent)
    }

    fn try_take(&mut self, _: TunId, buf: &mut [u8]) -> Result<(usize, Offload), TryError> {
        let taken = if self.host.offload {
            offload::join(&mut self.queue)
        } else {
            self.queue.pop_front().map(|packet| (packet, Offload::None))
        };
        let (packet, offload) = taken.ok_or(TryError::WouldBlock)?;
        self.met.taken += u64::from(matches!(offload, Offload::Tcp { .. }));
        match buf.get_mut(..packet.len()) {
            Some(room) => {
                room.copy_from_slice(&packet);
                Ok((packet.len(), offload))
            }
            None => Ok((0, Offload::None)),
        }
    }

    fn try_give(&mut self, _: TunId, packet: &[u8], offload: Offload) -> Result<(), TryError> {
        match offload {
            _ if self.host.offload => {
                self.met.given += u64::from(matches!(offload, Offload::Tcp { .. } | Offload::Udp { .. }));
                offload::cut(packet, offload, &mut self.given).map_err(TryError::Fault)
            }
            // A device without offload: what needs cutting is refused as a kernel refuses nonsense.
            Offload::None => {
                self.given.push_back(packet.to_vec());
                Ok(())
            }
            _ => Err(TryError::Fault(Fault::Other(22))),
        }
    }

    fn configure(&mut self, _: TunId, configuration: &TunConfiguration) -> Result<(), Fault> {
        self.configured = Some(configuration.clone());
        Ok(())
    }

    fn entropy(&mut self, bytes: &mut [u8; 32]) -> bool {
        // Part of the seed's world: the same run draws the same.
        for chunk in bytes.as_chunks_mut::<8>().0 {
            *chunk = self.entropy.bits().to_le_bytes();
        }
        true
    }
}
