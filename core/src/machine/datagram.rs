//! The datagram half of the contract: what is received, what is to be sent, and the machine that
//! moves them.

use super::{Machine, SocketId};
use crate::time::Instant;
use core::net::{IpAddr, SocketAddr};

/// What was received in one go: one datagram, or several of equal length from the same sender.
#[derive(Debug)]
pub struct Rx<'a> {
    /// The bytes. They are the machine's to change until the call ends: what is sealed can be
    /// opened in place.
    pub data: &'a mut [u8],
    /// Bytes of each datagram in `data`; the last may be shorter. Not 0, unless `data` is empty:
    /// one empty datagram.
    pub stride: usize,
    /// The sender.
    pub from: SocketAddr,
    /// Our address that it was sent to, where the system tells.
    pub to: Option<IpAddr>,
    /// The index of the interface it came in on, where the system tells.
    pub interface: Option<u32>,
    /// Its ECN codepoint (RFC 3168), 0 to 3.
    pub ecn: u8,
}

impl Rx<'_> {
    /// The datagrams, one by one; at least one.
    pub fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        let empty = self.data.is_empty().then_some(&self.data[..]);
        empty.into_iter().chain(self.data.chunks(self.stride.max(1)))
    }
}

/// What is to be sent in one go: one datagram, or several of equal length to the same receiver.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Transmit {
    /// A name for it; a failure is reported by it in
    /// [`Input::SendFailed`](super::Input::SendFailed).
    pub id: u32,
    /// The receiver; `None`: the one that the socket was opened for.
    pub to: Option<SocketAddr>,
    /// Our address to send it from, where the socket has more than one.
    pub from: Option<IpAddr>,
    /// Its ECN codepoint (RFC 3168), 0 to 3.
    pub ecn: u8,
    /// Bytes written to the buffer.
    pub len: usize,
    /// Bytes of each datagram among them, the last of which may be shorter; `None`: it is one.
    pub segment: Option<usize>,
}

/// The most datagrams in one [`Transmit`] (Linux `UDP_MAX_SEGMENTS` of old kernels).
pub const MAX_SEGMENTS: usize = 64;

/// A machine that moves datagrams. One that has none to move says so: `impl DatagramMachine for
/// Mine {}`.
pub trait DatagramMachine: Machine {
    /// A socket on which the machine may have gained something to send; each once until it gains
    /// more.
    fn poll_dirty_socket(&mut self) -> Option<SocketId> {
        None
    }

    /// Takes in what was received on `socket`.
    fn handle_datagrams(&mut self, now: Instant, socket: SocketId, rx: &mut [Rx<'_>]) {
        let _ = (now, socket, rx);
    }

    /// Writes what is to be sent next on `socket` to `buf`, which has room for the largest datagram
    /// of UDP, and for more where several can be sent in one go. `None`: nothing.
    fn poll_transmit(&mut self, now: Instant, socket: SocketId, buf: &mut [u8]) -> Option<Transmit> {
        let _ = (now, socket, buf);
        None
    }
}
