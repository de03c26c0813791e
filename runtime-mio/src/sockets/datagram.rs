//! Datagram sockets: open, receive in batches, send in groups.
//!
//! quinn-udp knows what each system can do in one call: recvmmsg and GRO, UDP_SEGMENT (GSO), the address a datagram was
//! sent to and leaves from, ECN.

use super::AsSocket;
use super::bind::Binder;
use super::socket::{Tried, bound, try_error};
use quinn_udp::{BATCH_SIZE, EcnCodepoint, RecvMeta, UdpSockRef, UdpSocketState};
use ropewalk_core::drive::{Received, TransmitError};
use ropewalk_core::errno::fault;
use ropewalk_core::machine::{Fault, Rx, Transmit, Via};
use socket2::{Protocol, SockRef, Type};
use std::io::{Error, ErrorKind, IoSliceMut, Result};
use std::net::{SocketAddr, UdpSocket};

/// A socket that receives datagrams at `address`.
///
/// # Errors
/// What the system says; [`ErrorKind::AddrInUse`] when somebody else receives there.
pub fn listen_datagrams(address: SocketAddr) -> Result<UdpSocket> {
    let socket = bound(address, Type::DGRAM, Protocol::UDP, |_| Ok(()))?;
    // Many clients come in here in one burst. The system may cap it (net.core.rmem_max).
    if let Err(error) = socket.set_recv_buffer_size(BUFFER) {
        log::debug!("SO_RCVBUF: {error}");
    }
    Ok(socket.into())
}

/// Opens a datagram socket that speaks with `to` only.
///
/// # Errors
/// What the system says.
pub(super) fn open_datagrams(
    binder: &mut Binder,
    to: SocketAddr,
    via: &Via,
) -> std::result::Result<UdpSocket, Fault> {
    let socket = binder.open(Type::DGRAM, Protocol::UDP, to, via)?;
    socket.connect(&to.into()).map_err(|error| fault(&error))?;
    Ok(socket.into())
}

/// Bytes asked for to hold what comes in a burst.
const BUFFER: usize = 4 << 20;
/// Bytes of the largest group that can come in one go.
const GROUP: usize = 65_536;
/// How many groups are received in one call.
const GROUPS: usize = if BATCH_SIZE < 16 { BATCH_SIZE } else { 16 };
/// How many are sent between two looks at other sockets.
const SENDS: usize = 16;

/// Whether a connected socket can be told its receiver once more, which ECN needs here; BSD and macOS refuse (EISCONN).
const NAMED_TWICE: bool = cfg!(any(target_os = "linux", target_os = "android", windows));

/// Memory that all sockets of a worker use in turns; none is taken before there are datagrams.
#[derive(Default)]
pub struct Buffers {
    receive: Vec<u8>,
    send: Vec<u8>,
}

/// One datagram socket, in whatever type its runtime holds it.
pub struct Datagrams<S> {
    socket: S,
    state: UdpSocketState,
    /// The one it speaks with, where there is one.
    peer: Option<SocketAddr>,
    held: Option<Held>,
}

/// What was to be sent when that would have blocked.
struct Held {
    transmit: Transmit,
    /// What is left of it.
    bytes: Vec<u8>,
    /// How many of its datagrams were sent before.
    sent: usize,
}

impl<S: AsSocket> Datagrams<S> {
    /// Takes over a socket; `peer` is the one it is connected to.
    ///
    /// # Errors
    /// What the system says to the options it needs.
    pub fn new(socket: S, peer: Option<SocketAddr>) -> Result<Self> {
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        may_fragment(&socket);
        Ok(Datagrams { socket, state, peer, held: None })
    }

    /// The socket.
    pub fn get(&self) -> &S {
        &self.socket
    }

    /// The socket, to be registered.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.socket
    }

    /// Receives what can be had in one call. `call` makes it where the runtime has to see its outcome.
    ///
    /// # Errors
    /// As [`TryError`](ropewalk_core::drive::TryError) says.
    pub fn receive(
        &self,
        buffers: &mut Buffers,
        call: impl FnOnce(&S, &mut dyn FnMut() -> Result<usize>) -> Result<usize>,
        sink: &mut dyn FnMut(&mut [Rx<'_>]),
    ) -> Tried<Received> {
        buffers.receive.resize(GROUP * GROUPS, 0);
        let mut metas = [RecvMeta::default(); GROUPS];
        let count = {
            let mut slices = buffers.receive.chunks_mut(GROUP).map(IoSliceMut::new);
            let mut slices: [IoSliceMut<'_>; GROUPS] =
                std::array::from_fn(|_| slices.next().unwrap_or_else(|| IoSliceMut::new(&mut [])));
            let mut receive = || self.state.recv(UdpSockRef::from(&self.socket), &mut slices, &mut metas);
            call(&self.socket, &mut receive).map_err(try_error)?
        };
        let slots = buffers.receive.chunks_mut(GROUP).zip(&metas[..count]);
        let mut rx: Vec<Rx<'_>> = slots
            .filter(|(_, meta)| self.is_from_peer(meta.addr))
            .map(|(slot, meta)| Rx {
                data: &mut slot[..meta.len],
                stride: meta.stride,
                from: meta.addr,
                to: meta.dst_ip,
                interface: meta.interface_index,
                ecn: meta.ecn.map_or(0, |ecn| ecn as u8),
            })
            .collect();
        if !rx.is_empty() {
            sink(&mut rx);
        }
        Ok(Received { count, more: count == GROUPS })
    }

    /// What came between bind and connect is here too, from whomever.
    fn is_from_peer(&self, from: SocketAddr) -> bool {
        self.peer.is_none_or(|peer| (peer.ip(), peer.port()) == (from.ip(), from.port()))
    }

    /// Sends what was held, then what `source` has, some of it. How many were sent; 0: there is nothing.
    ///
    /// # Errors
    /// As [`TransmitError`] says.
    pub fn transmit(
        &mut self,
        buffers: &mut Buffers,
        call: impl Fn(&S, &mut dyn FnMut() -> Result<()>) -> Result<()>,
        source: &mut dyn FnMut(&mut [u8]) -> Option<Transmit>,
    ) -> std::result::Result<usize, TransmitError> {
        buffers.send.resize(GROUP, 0);
        let mut count = 0;
        if let Some(Held { transmit, bytes, sent }) = self.held.take() {
            self.send_or_hold(&transmit, &bytes, sent, &call)?;
            count += 1;
        }
        while count < SENDS
            && let Some(transmit) = source(&mut buffers.send)
        {
            self.send_or_hold(&transmit, &buffers.send[..transmit.len], 0, &call)?;
            count += 1;
        }
        Ok(count)
    }

    fn send_or_hold(
        &mut self,
        transmit: &Transmit,
        bytes: &[u8],
        mut sent: usize,
        call: impl Fn(&S, &mut dyn FnMut() -> Result<()>) -> Result<()>,
    ) -> std::result::Result<(), TransmitError> {
        let size = transmit.segment.unwrap_or(bytes.len()).max(1);
        let mut grouped = size * self.state.max_gso_segments();
        let mut at = 0;
        let mut again = self.peer.is_some();
        loop {
            let group = &bytes[at..bytes.len().min(at + grouped)];
            let segment = transmit.segment.filter(|segment| *segment < group.len());
            match call(&self.socket, &mut || self.send(transmit, group, segment)) {
                Ok(()) => {
                    sent += group.len().div_ceil(size);
                    at += group.len();
                    again = self.peer.is_some();
                    if at >= bytes.len() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let transmit = Transmit { len: bytes.len() - at, ..*transmit };
                    self.held = Some(Held { transmit, bytes: bytes[at..].to_vec(), sent });
                    return Err(TransmitError::WouldBlock);
                }
                // What a connected socket tells may be the fate of an earlier datagram (ip(7), "Error handling"): then
                // this one was not tried.
                Err(_) if again => again = false,
                // The way may be too narrow for one that is cut by the system, or the device cannot cut.
                Err(_) if segment.is_some() => grouped = size,
                Err(error) => return Err(failed(transmit, sent, &error)),
            }
        }
    }

    fn send(&self, transmit: &Transmit, contents: &[u8], segment: Option<usize>) -> Result<()> {
        let Some(destination) = transmit.to.or(self.peer) else {
            return Err(ErrorKind::NotConnected.into());
        };
        if transmit.to.is_none() && segment.is_none() && (transmit.ecn == 0 || !NAMED_TWICE) {
            // Connected, the socket knows its route.
            return SockRef::from(&self.socket).send(contents).map(|_| ());
        }
        let ecn = EcnCodepoint::from_bits(transmit.ecn);
        let src_ip = transmit.from;
        let transmit = quinn_udp::Transmit { destination, ecn, contents, segment_size: segment, src_ip };
        self.state.try_send(UdpSockRef::from(&self.socket), &transmit)
    }
}

fn failed(transmit: &Transmit, sent: usize, error: &Error) -> TransmitError {
    TransmitError::Failed { id: transmit.id, sent, fault: fault(error) }
}

/// quinn-udp forbids fragments, as QUIC does. What is passed on here was not made by us: it goes on as large as it came.
#[cfg(target_os = "linux")]
fn may_fragment(socket: &impl AsSocket) {
    use nix::sys::socket::{setsockopt, sockopt::Ipv6DontFrag};
    use rustix::net::sockopt::{
        Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
    };
    let v6 = SockRef::from(socket).local_addr().is_ok_and(|address| address.is_ipv6());
    let allowed = match v6 {
        false => set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::WANT).map_err(Error::from),
        true => set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::WANT)
            .map_err(Error::from)
            .and_then(|()| setsockopt(socket, Ipv6DontFrag, &false).map_err(Error::from)),
    };
    if let Err(error) = allowed {
        log::debug!("cannot allow fragments: {error}");
    }
}

#[cfg(not(target_os = "linux"))]
fn may_fragment(_: &impl AsSocket) {}

#[cfg(test)]
mod tests;
