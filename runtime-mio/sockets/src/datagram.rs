//! Datagram sockets: open, receive in batches, send in groups.
//!
//! quinn-udp knows what each system can do in one call: recvmmsg and GRO, UDP_SEGMENT (GSO), the
//! address a datagram was sent to and leaves from, ECN. `send` is the sending half; `many` sends to
//! several receivers in one call.

mod many;
mod send;

use super::bind::Binder;
use super::socket::{Tried, bound, try_error};
use crate::AsSocket;
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSockRef, UdpSocketState};
use ropewalk_core::drive::Received;
use ropewalk_core::errno::fault;
use ropewalk_core::machine::{Fault, Rx, Via};
use send::Held;
use socket2::{Protocol, Type};
use std::collections::VecDeque;
use std::io::{IoSliceMut, Result};
use std::net::{SocketAddr, UdpSocket};

/// A socket that receives datagrams at `address`.
///
/// # Errors
/// What the system says; [`AddrInUse`](std::io::ErrorKind::AddrInUse) when another socket receives
/// there.
pub fn listen_datagrams(address: SocketAddr) -> Result<UdpSocket> {
    let socket = bound(address, Type::DGRAM, Protocol::UDP, |_| Ok(()))?;
    // Many clients come in here in one burst. The system may cap it (net.core.rmem_max).
    if let Err(error) = socket.set_recv_buffer_size(BUFFER) {
        log::debug!("SO_RCVBUF: {error}");
    }
    Ok(socket.into())
}

/// Opens a datagram socket at `local` that speaks with anybody, with `to` first.
///
/// # Errors
/// What the system says.
pub(super) fn bind_datagrams(
    binder: &mut Binder,
    local: SocketAddr,
    to: SocketAddr,
    via: &Via,
) -> std::result::Result<UdpSocket, Fault> {
    let socket = binder.bind_datagrams(local, to, via)?;
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
/// How many, once they come large: what is received has to stay in the processor's own cache until
/// it is dealt with.
const LARGE_GROUPS: usize = if GROUPS < 4 { GROUPS } else { 4 };
/// Bytes of a group that is large.
const LARGE: usize = GROUP / 4;

/// Memory that all sockets of a worker use in turns; none is taken before there are datagrams.
#[derive(Default)]
pub struct Buffers {
    receive: Vec<u8>,
    send: Vec<u8>,
    /// What came last came in large groups.
    large: bool,
}

/// One datagram socket, in whatever type its runtime holds it.
pub struct Datagrams<S> {
    socket: S,
    state: UdpSocketState,
    /// The one it speaks with, where there is one.
    peer: Option<SocketAddr>,
    held: VecDeque<Held>,
    /// It sends without groups, and that was counted.
    ungrouped: bool,
}

impl<S: AsSocket> Datagrams<S> {
    /// Takes over a socket; `peer` is the one it is connected to. Without `fragments` none of its
    /// datagrams leaves in pieces.
    ///
    /// # Errors
    /// What the system says to the options it needs.
    pub fn new(socket: S, peer: Option<SocketAddr>, fragments: bool) -> Result<Self> {
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        // What quinn-udp has set: never fragment, and probe beyond the route's MTU.
        if fragments {
            may_fragment(&socket);
        } else if peer.is_some() {
            // A path of a tunnel: a small buffer would drop at a burst what the path has carried.
            enlarge(&socket);
        }
        let mut datagrams = Datagrams { socket, state, peer, held: VecDeque::new(), ungrouped: false };
        datagrams.note_groups();
        Ok(datagrams)
    }

    /// Counts a socket that has no groups, once.
    fn note_groups(&mut self) {
        if !self.ungrouped && self.state.max_gso_segments() == 1 {
            self.ungrouped = true;
            crate::hits::UNGROUPED.hit();
        }
    }

    /// The socket.
    pub fn get(&self) -> &S {
        &self.socket
    }

    /// The socket, to be registered.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.socket
    }

    /// Receives what one call brings. `call` makes it where the runtime has to see its outcome.
    ///
    /// # Errors
    /// As [`TryError`](ropewalk_core::drive::TryError) says.
    pub fn receive(
        &self,
        buffers: &mut Buffers,
        call: impl FnOnce(&S, &mut dyn FnMut() -> Result<usize>) -> Result<usize>,
        sink: &mut dyn FnMut(&mut [Rx<'_>]),
    ) -> Tried<Received> {
        if buffers.receive.is_empty() {
            // Made in this way the system gives a page only when something is written to it.
            buffers.receive = vec![0; GROUP * GROUPS];
        }
        let mut metas = [RecvMeta::default(); GROUPS];
        let most = if buffers.large { LARGE_GROUPS } else { GROUPS };
        let count = {
            let mut slices = buffers.receive.chunks_mut(GROUP).map(IoSliceMut::new);
            let mut slices: [IoSliceMut<'_>; GROUPS] =
                std::array::from_fn(|_| slices.next().unwrap_or_else(|| IoSliceMut::new(&mut [])));
            let mut receive =
                || self.state.recv(UdpSockRef::from(&self.socket), &mut slices[..most], &mut metas);
            call(&self.socket, &mut receive).map_err(try_error)?
        };
        buffers.large = metas[..count].iter().all(|meta| meta.len >= LARGE);
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
        Ok(Received { count, more: count == most })
    }

    /// What came between bind and connect is here too, from whomever.
    fn is_from_peer(&self, from: SocketAddr) -> bool {
        self.peer.is_none_or(|peer| (peer.ip(), peer.port()) == (from.ip(), from.port()))
    }
}

/// Asks for room for a burst: beyond net.core.rmem_max where this process may.
fn enlarge(socket: &impl AsSocket) {
    #[cfg(target_os = "linux")]
    if nix::sys::socket::setsockopt(socket, nix::sys::socket::sockopt::RcvBufForce, &BUFFER).is_ok() {
        return;
    }
    if let Err(error) = socket2::SockRef::from(socket).set_recv_buffer_size(BUFFER) {
        log::debug!("SO_RCVBUF: {error}");
    }
}

/// quinn-udp forbids fragments, as QUIC does. What is passed on here was not made by us: it goes on
/// as large as it came.
#[cfg(target_os = "linux")]
fn may_fragment(socket: &impl AsSocket) {
    use nix::sys::socket::{setsockopt, sockopt::Ipv6DontFrag};
    use rustix::net::sockopt::{
        Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
    };
    use socket2::SockRef;
    use std::io::Error;
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
