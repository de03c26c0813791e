//! The sockets and the TUN device of one end, in virtual time.

use super::link::Datagram;
use ropewalk_core::drive::{Io, Received, TransmitError, TryError};
use ropewalk_core::machine::event::Event;
use ropewalk_core::machine::{
    Fault, ListenerId, Offload, Rx, SocketId, Transmit, TunConfiguration, TunId, Via,
};
use ropewalk_core::time::Instant;
use std::collections::VecDeque;
use std::net::SocketAddr;

pub(crate) const SERVER: &str = "198.51.100.1:4500";

/// A datagram socket.
#[derive(Default)]
pub(crate) struct Socket {
    generation: u32,
    pub(crate) open: bool,
    /// Its own address.
    pub(crate) local: Option<SocketAddr>,
    /// Whom it speaks with alone.
    peer: Option<SocketAddr>,
    /// It takes nothing to send.
    pub(crate) blocked: bool,
    pub(crate) inbox: VecDeque<Datagram>,
}

/// What one end has.
pub(crate) struct LabIo {
    pub(crate) now: Instant,
    pub(crate) sockets: Vec<Socket>,
    /// The address of each uplink of a client, until its port: sockets opened later have others.
    pub(crate) uplinks: Vec<Uplink>,
    next_port: u16,
    pub(crate) outbox: VecDeque<Datagram>,
    /// What the system sends into the TUN.
    pub(crate) tun_in: VecDeque<(Vec<u8>, Offload)>,
    /// What it took out of it.
    pub(crate) tun_out: Vec<(Vec<u8>, Offload)>,
    /// The system takes nothing.
    pub(crate) tun_full: bool,
    /// The device refuses its configuration so many times.
    pub(crate) refuse: u32,
    pub(crate) configured: Option<TunConfiguration>,
    pub(crate) events: Vec<Event>,
    /// Bytes and datagrams that left.
    pub(crate) sent: u64,
    buf: Vec<u8>,
    entropy: u64,
}

#[derive(Clone, Copy)]
pub(crate) struct Uplink {
    pub(crate) address: SocketAddr,
    pub(crate) present: bool,
    pub(crate) blocked: bool,
}

impl LabIo {
    pub(crate) fn new(uplinks: Vec<SocketAddr>, seed: u64) -> LabIo {
        let uplinks = uplinks.into_iter().map(|address| Uplink { address, present: true, blocked: false });
        LabIo {
            now: Instant::ZERO,
            sockets: Vec::new(),
            uplinks: uplinks.collect(),
            next_port: 10_000,
            outbox: VecDeque::new(),
            tun_in: VecDeque::new(),
            tun_out: Vec::new(),
            tun_full: false,
            refuse: 0,
            configured: None,
            events: Vec::new(),
            sent: 0,
            buf: vec![0; 65_535],
            entropy: seed,
        }
    }

    fn socket(&mut self, id: SocketId) -> &mut Socket {
        let at = id.index() as usize;
        if self.sockets.len() <= at {
            self.sockets.resize_with(at + 1, Socket::default);
        }
        &mut self.sockets[at]
    }

    /// A datagram arrives: the index of the socket that hears it.
    pub(crate) fn arrive(&mut self, datagram: Datagram) -> Option<u32> {
        let at = self.sockets.iter().position(|socket| {
            socket.open
                && socket.local == Some(datagram.to)
                && socket.peer.is_none_or(|peer| peer == datagram.from)
        })?;
        self.sockets[at].inbox.push_back(datagram);
        Some(at as u32)
    }
}

fn device(via: &Via) -> Option<usize> {
    via.device?.as_str().strip_prefix("up")?.parse().ok()
}

impl Io for LabIo {
    fn now(&mut self) -> Instant {
        self.now
    }

    fn receive(&mut self, _: ListenerId, id: SocketId, _: bool) {
        let local = SERVER.parse().ok();
        let blocked = self.sockets.first().is_some_and(|socket| socket.blocked);
        *self.socket(id) =
            Socket { generation: id.generation(), open: true, local, blocked, ..Socket::default() };
    }

    fn open_socket(&mut self, id: SocketId, to: SocketAddr, via: &Via, _: bool) -> Result<SocketAddr, Fault> {
        let at = device(via).ok_or(Fault::NoDevice)?;
        let uplink = self.uplinks[at];
        if !uplink.present {
            return Err(Fault::NoDevice);
        }
        self.next_port += 1;
        let local = SocketAddr::new(uplink.address.ip(), self.next_port);
        *self.socket(id) = Socket {
            generation: id.generation(),
            open: true,
            local: Some(local),
            peer: Some(to),
            blocked: uplink.blocked,
            inbox: VecDeque::new(),
        };
        Ok(local)
    }

    fn close_socket(&mut self, id: SocketId) {
        *self.socket(id) = Socket::default();
    }

    fn try_receive(
        &mut self,
        id: SocketId,
        sink: &mut dyn FnMut(&mut [Rx<'_>]),
    ) -> Result<Received, TryError> {
        let socket = self.socket(id);
        if socket.generation != id.generation() || socket.inbox.is_empty() {
            return Err(TryError::WouldBlock);
        }
        // As GRO does it: equal lengths from one sender in one go, the last may be shorter.
        let first = socket.inbox.pop_front().expect("not empty");
        let Datagram { from, to, ecn, mut data } = first;
        let (stride, mut count) = (data.len(), 1);
        while let Some(next) = socket.inbox.front()
            && next.from == from
            && next.ecn == ecn
            && next.data.len() <= stride
            && !next.data.is_empty()
            && data.len().is_multiple_of(stride.max(1))
            && count < 64
        {
            data.extend(socket.inbox.pop_front().expect("seen").data);
            count += 1;
        }
        let more = !socket.inbox.is_empty();
        sink(&mut [Rx { data: &mut data, stride, from, to: Some(to.ip()), interface: None, ecn }]);
        Ok(Received { count, more })
    }

    fn try_transmit(
        &mut self,
        id: SocketId,
        source: &mut dyn FnMut(&mut [u8]) -> Option<Transmit>,
    ) -> Result<usize, TransmitError> {
        let socket = self.socket(id);
        if socket.blocked {
            return Err(TransmitError::WouldBlock);
        }
        let (local, peer) = (socket.local, socket.peer);
        let Some(local) = local else { return Ok(0) };
        for sent in 0..16 {
            let Some(transmit) = source(&mut self.buf) else { return Ok(sent) };
            let to = peer.or(transmit.to).expect("a socket with many peers is told which");
            let data = &self.buf[..transmit.len];
            let step = transmit.segment.unwrap_or(transmit.len).max(1);
            for (at, piece) in data.chunks(step).enumerate() {
                if piece.len() + 28 > 1500 {
                    return Err(TransmitError::Failed { id: transmit.id, sent: at, fault: Fault::TooLarge });
                }
                self.sent += 1;
                self.outbox.push_back(Datagram { from: local, to, ecn: transmit.ecn, data: piece.to_vec() });
            }
        }
        Ok(16)
    }

    fn try_take(&mut self, _: TunId, buf: &mut [u8]) -> Result<(usize, Offload), TryError> {
        let (packet, offload) = self.tun_in.pop_front().ok_or(TryError::WouldBlock)?;
        buf[..packet.len()].copy_from_slice(&packet);
        Ok((packet.len(), offload))
    }

    fn try_give(&mut self, _: TunId, packet: &[u8], offload: Offload) -> Result<(), TryError> {
        if self.tun_full {
            return Err(TryError::WouldBlock);
        }
        assert!(offload.fits(packet.len()), "{offload:?} of {} bytes", packet.len());
        self.tun_out.push((packet.to_vec(), offload));
        Ok(())
    }

    fn configure(&mut self, _: TunId, configuration: &TunConfiguration) -> Result<(), Fault> {
        if self.refuse > 0 {
            self.refuse -= 1;
            return Err(Fault::Unsupported);
        }
        self.configured = Some(configuration.clone());
        Ok(())
    }

    fn entropy(&mut self, bytes: &mut [u8; 32]) -> bool {
        self.entropy = self.entropy.wrapping_add(1);
        bytes[..8].copy_from_slice(&self.entropy.to_le_bytes());
        true
    }

    fn event(&mut self, _: Instant, event: &Event) {
        self.events.push(event.clone());
    }
}
