//! What a driver reports to a machine.

use super::{Assignment, ConnId, Fault, QueryId, SocketId, StreamId, TunId, UplinkId, Via};
#[cfg(doc)]
use super::{Output, StreamMachine, Transmit};
use crate::time::Duration;
use core::net::{IpAddr, SocketAddr};

/// What a driver reports to a machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Input<'a> {
    /// An [`Output::Accept`] was served: `stream` is open.
    Accepted {
        /// The id the machine gave.
        stream: StreamId,
        /// The client's address.
        peer: SocketAddr,
        /// The address the client reached us at.
        local: SocketAddr,
    },
    /// An [`Output::Accept`] failed for a reason that waiting may cure; the id is dead.
    AcceptFailed {
        /// The id the machine gave.
        stream: StreamId,
        /// Why.
        fault: Fault,
    },
    /// An [`Output::Connect`] succeeded: `stream` is open.
    Connected {
        /// The id the machine gave.
        stream: StreamId,
        /// Our address on this connection.
        local: SocketAddr,
    },
    /// An [`Output::Connect`] failed; the id is dead, no [`Output::Close`] follows.
    ConnectFailed {
        /// The id the machine gave.
        stream: StreamId,
        /// Why.
        fault: Fault,
    },
    /// The pool's answer to an [`Output::Assign`], given at once.
    Assigned {
        /// The connection that asked.
        conn: ConnId,
        /// The way out; `None` when none is left.
        assignment: Option<Assignment>,
    },
    /// An [`Output::Resolve`] succeeded.
    Resolved {
        /// The id the machine gave.
        query: QueryId,
        /// At least one address, best first.
        addresses: &'a [IpAddr],
    },
    /// An [`Output::Resolve`] failed.
    ResolveFailed {
        /// The id the machine gave.
        query: QueryId,
        /// Why.
        fault: Fault,
    },
    /// `len` > 0 bytes were read into the `read_buf` of `stream`.
    Read {
        /// Read from here.
        stream: StreamId,
        /// Bytes.
        len: usize,
    },
    /// The other side has ended its half of `stream`: nothing more can be read.
    ReadClosed {
        /// Ended here.
        stream: StreamId,
    },
    /// The first `len` > 0 bytes of the `write_buf` of `stream` are with the system.
    Written {
        /// Written here.
        stream: StreamId,
        /// Bytes.
        len: usize,
    },
    /// Bytes moved in the kernel, as [`StreamMachine::splice`] allowed.
    Spliced {
        /// Read from here.
        from: StreamId,
        /// Written here.
        to: StreamId,
        /// Bytes read from `from` by this call.
        taken: usize,
        /// Bytes given to `to` by this call: never more in sum than taken.
        given: usize,
        /// Nothing more can be read from `from`.
        eof: bool,
    },
    /// The stream failed while open; the driver keeps the socket until [`Output::Close`].
    Failed {
        /// Which.
        stream: StreamId,
        /// Why.
        fault: Fault,
    },
    /// Nothing can be written to the stream any more; what the other side sent before that may
    /// still be read. The driver keeps the socket until [`Output::Close`].
    WriteFailed {
        /// Which.
        stream: StreamId,
        /// Why.
        fault: Fault,
    },
    /// An [`Output::OpenSocket`] or [`Output::BindSocket`] succeeded.
    Opened {
        /// The id the machine gave.
        socket: SocketId,
        /// Its own address.
        local: SocketAddr,
    },
    /// An [`Output::OpenSocket`] or [`Output::BindSocket`] failed; the id is dead, no
    /// [`Output::CloseSocket`] follows.
    OpenFailed {
        /// The id the machine gave.
        socket: SocketId,
        /// Why.
        fault: Fault,
    },
    /// The system reported an error on a datagram socket, such as an ICMP answer that no server
    /// listens. The socket lives on.
    SocketFailed {
        /// Which.
        socket: SocketId,
        /// Why.
        fault: Fault,
    },
    /// A [`Transmit`] was not sent, or not all of it; it is not tried again.
    SendFailed {
        /// Whose it was.
        socket: SocketId,
        /// Its [`Transmit::id`].
        id: u32,
        /// How many of its datagrams were sent before.
        sent: usize,
        /// Why the rest was not.
        fault: Fault,
    },
    /// This host's own addresses have changed.
    LocalAddresses {
        /// All of them.
        addresses: &'a [IpAddr],
    },
    /// The system keeps more for this machine's streams than it should, in buffers that are not
    /// read or not acknowledged yet. Told again while that is so, and once when it no longer is.
    SocketMemory {
        /// Bytes kept for all streams.
        used: u64,
        /// Bytes that may be kept.
        limit: u64,
        /// What is kept for each, where that matters; none where `used` is not above `limit`.
        streams: &'a [Kept],
    },
    /// The interface of an uplink has vanished: what is open through it is dead, though no packet
    /// will tell.
    UplinkGone {
        /// Which.
        uplink: UplinkId,
    },
    /// An uplink that was gone can be used again, or its address has changed: a socket that was
    /// opened before still has the old one.
    UplinkBack {
        /// Which.
        uplink: UplinkId,
        /// How to leave by it now.
        via: Via,
    },
    /// An [`Output::Configure`] could not be carried out.
    ConfigureFailed {
        /// Which device.
        tun: TunId,
        /// Why.
        fault: Fault,
    },
    /// The answer to [`Output::Entropy`]: secret random bytes. A recording holds none that make
    /// keys (see [`Machine::entropy_is_secret`](super::Machine::entropy_is_secret)).
    Entropy {
        /// The bytes.
        bytes: &'a [u8; 32],
    },
    /// Take no new work, finish what is open, then say [`Output::Finished`].
    Drain,
}

/// What the system keeps for one stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kept {
    /// Which.
    pub stream: StreamId,
    /// Bytes of memory.
    pub bytes: u32,
    /// How long nothing of what was written to it has been acknowledged; zero where nothing waits
    /// for that.
    pub stuck: Duration,
}
