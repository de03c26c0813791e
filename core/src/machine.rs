//! The contract all machines share: what a driver may tell a machine, and what a machine may ask of a driver.
//!
//! ```text
//!              handle_input, handle_timeout
//!   driver  ─────────────────────────────────▶  machine
//!  sockets, ◀─────────────────────────────────  decisions,
//!   clock      poll_output, poll_timeout,        protocol
//!              poll_dirty, read_buf, write_buf, splice
//! ```
//!
//! Invariants
//! - After any input the driver drains [`Machine::poll_output`] before it waits.
//! - `now` is an argument and never goes back.
//! - The machine hands out ids; they carry a generation, so that a late completion misses.
//! - Commands ([`Output`]) are said once. Byte movement is level-triggered: as long as `read_buf` is not empty
//!   the machine wants bytes, as long as `write_buf` is not empty it has some to give.
//! - Only constructors return errors. What a peer does wrong becomes outputs.
//!
//! The manual, with a toy machine and two toy drivers, is [`crate::docs::contract`].

mod datagram;

pub use datagram::{DatagramMachine, MAX_SEGMENTS, Rx, Transmit};

use crate::name::Name;
use crate::slab::Key;
use crate::time::{Duration, Instant};
use alloc::sync::Arc;
use core::fmt;
use core::net::{IpAddr, SocketAddr};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $letter:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name {
            index: u32,
            generation: u32,
        }

        impl $name {
            /// An id from its parts. Ids come from machines; a driver builds one only to read a recording,
            /// or to keep an id in a smaller form (an event token).
            pub const fn from_parts(index: u32, generation: u32) -> Self {
                $name { index, generation }
            }

            /// The slot: small, dense and used again after its tenant has gone.
            pub const fn index(self) -> u32 {
                self.index
            }

            /// Which tenant of the slot is meant.
            pub const fn generation(self) -> u32 {
                self.generation
            }
        }

        impl Key for $name {
            fn new(index: u32, generation: u32) -> Self {
                $name { index, generation }
            }
            fn index(self) -> u32 {
                self.index
            }
            fn generation(self) -> u32 {
                self.generation
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}.{}", $letter, self.index, self.generation)
            }
        }
    };
}

id!(
    /// One byte stream: a client's connection, or one attempt to reach a target.
    StreamId,
    "s"
);
id!(
    /// One relayed connection of the machine.
    ConnId,
    "c"
);
id!(
    /// One name query.
    QueryId,
    "q"
);

id!(
    /// One datagram socket: a listener's, or one that the machine has opened.
    SocketId,
    "d"
);

/// A listener, by its place in the configuration.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerId(pub u16);

impl fmt::Debug for ListenerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "l{}", self.0)
    }
}

/// An uplink, by its place in the configuration.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UplinkId(pub u16);

impl fmt::Debug for UplinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "u{}", self.0)
    }
}

/// The name of a network device, at most 15 bytes (Linux `IFNAMSIZ` less its NUL).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Device {
    bytes: [u8; Device::MAX],
    len: u8,
}

impl Device {
    /// The longest name, in bytes.
    pub const MAX: usize = 15;

    /// The device called `name`; `None` for an empty name, one over [`Device::MAX`] bytes, or one with a NUL,
    /// a slash or white space (Linux refuses these).
    pub fn new(name: &str) -> Option<Self> {
        let bad = |b: u8| b == 0 || b == b'/' || b.is_ascii_whitespace();
        if name.is_empty() || name.len() > Self::MAX || name.bytes().any(bad) {
            return None;
        }
        let mut bytes = [0; Self::MAX];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Some(Device { bytes, len: name.len() as u8 })
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.bytes[..usize::from(self.len)]).expect("made from a str")
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How an attempt must leave this host. What cannot be kept fails the attempt: traffic never leaks out of
/// another way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Via {
    /// Leave through this device (Linux `SO_BINDTODEVICE`).
    pub device: Option<Device>,
    /// Leave with this source address; the port is the system's choice.
    pub source: Option<IpAddr>,
    /// Leave with this address, which need not be this host's (Linux `IP_TRANSPARENT`), and with its port; port 0:
    /// the system's choice.
    pub transparent: Option<SocketAddr>,
    /// Mark each packet with this number (Linux `SO_MARK`).
    pub mark: Option<u32>,
}

/// The path of a Unix socket of this host, as the system takes it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalPath(Arc<[u8]>);

impl LocalPath {
    /// The longest path, in bytes (Linux `sun_path` less its NUL).
    pub const MAX: usize = 107;

    /// The socket at `path`; `None` for an empty path, one over [`LocalPath::MAX`] bytes, or one with a NUL.
    pub fn new(path: &[u8]) -> Option<Self> {
        let fits = !path.is_empty() && path.len() <= Self::MAX && !path.contains(&0);
        fits.then(|| LocalPath(path.into()))
    }

    /// The path.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for LocalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for LocalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix:{}", self.0.escape_ascii())
    }
}

/// A server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// A TCP server. It sees an address.
    Address(SocketAddr),
    /// A server on a Unix socket. It has no way to see one.
    Local(LocalPath),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Address(address) => address.fmt(f),
            Target::Local(path) => path.fmt(f),
        }
    }
}

/// Why a socket operation failed, in words that do not depend on the system.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The other side answered that nobody listens.
    Refused,
    /// The other side reset the connection.
    Reset,
    /// No answer in the system's or the machine's time.
    TimedOut,
    /// The network cannot be reached (`ENETUNREACH`).
    NetworkUnreachable,
    /// The host cannot be reached (`EHOSTUNREACH`).
    HostUnreachable,
    /// The device the attempt was bound to has no route to the address.
    NoRoute,
    /// The network or the device is down.
    NetworkDown,
    /// There is no such device.
    NoDevice,
    /// The source address is not (or no longer) of this host.
    AddressNotAvailable,
    /// Address and port are in use, or no port is left.
    AddressInUse,
    /// The system forbids it.
    PermissionDenied,
    /// No descriptor is left in this process or in the system.
    NoDescriptors,
    /// No memory or buffer space is left in the system.
    NoMemory,
    /// The system cannot do this (an address family, an option).
    Unsupported,
    /// The name does not exist, or has no address.
    NameNotFound,
    /// The name could not be looked up now.
    NameUnavailable,
    /// Any other error, with the system's number (0 where there is none).
    Other(i32),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Fault::Refused => "refused by the other side",
            Fault::Reset => "reset by the other side",
            Fault::TimedOut => "no answer in time",
            Fault::NetworkUnreachable => "network unreachable",
            Fault::HostUnreachable => "host unreachable",
            Fault::NoRoute => "no route through this device",
            Fault::NetworkDown => "network is down",
            Fault::NoDevice => "no such device",
            Fault::AddressNotAvailable => "source address is not of this host",
            Fault::AddressInUse => "address in use",
            Fault::PermissionDenied => "permission denied",
            Fault::NoDescriptors => "no descriptors left",
            Fault::NoMemory => "no memory left in the system",
            Fault::Unsupported => "not supported by the system",
            Fault::NameNotFound => "name not found",
            Fault::NameUnavailable => "name could not be looked up",
            Fault::Other(number) => return write!(f, "system error {number}"),
        };
        f.write_str(text)
    }
}

/// What a driver tells a machine.
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
        /// Who asked.
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
    /// Nothing can be written to the stream any more; what the other side sent before that may still be read. The
    /// driver keeps the socket until [`Output::Close`].
    WriteFailed {
        /// Which.
        stream: StreamId,
        /// Why.
        fault: Fault,
    },
    /// An [`Output::Open`] succeeded.
    Opened {
        /// The id the machine gave.
        socket: SocketId,
        /// Its own address.
        local: SocketAddr,
    },
    /// An [`Output::Open`] failed; the id is dead, no [`Output::CloseSocket`] follows.
    OpenFailed {
        /// The id the machine gave.
        socket: SocketId,
        /// Why.
        fault: Fault,
    },
    /// The system told of an error on a datagram socket, such as an answer that nobody listens. The socket lives on.
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
    /// The interface of an uplink has vanished: what is open through it is dead, though no packet will tell.
    UplinkGone {
        /// Which.
        uplink: UplinkId,
    },
    /// Take no new work, finish what is open, then say [`Output::Finished`].
    Drain,
}

/// What a machine asks of its driver. Each command is said once.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Output {
    /// When a connection comes in on `listener`, call it `stream` and tell [`Input::Accepted`]. One connection
    /// for each command; what has no command waits in the backlog.
    Accept {
        /// Where.
        listener: ListenerId,
        /// The id it will have.
        stream: StreamId,
    },
    /// The connection asked for as `stream` is not wanted any more; the id is dead.
    CancelAccept {
        /// Where.
        listener: ListenerId,
        /// The id it would have had.
        stream: StreamId,
    },
    /// Close this listener; accepts asked of it are void and their ids dead.
    Unlisten {
        /// Which.
        listener: ListenerId,
    },
    /// Open a stream; answered by [`Input::Connected`] or [`Input::ConnectFailed`].
    Connect {
        /// The id it will have.
        stream: StreamId,
        /// Where to.
        to: SocketAddr,
        /// How to leave.
        via: Via,
    },
    /// Open a stream to a Unix socket of this host; answered as [`Output::Connect`], with the unspecified address as our
    /// own.
    ConnectLocal {
        /// The id it will have.
        stream: StreamId,
        /// Where to.
        path: LocalPath,
    },
    /// Look up a name; answered by [`Input::Resolved`] or [`Input::ResolveFailed`].
    Resolve {
        /// The id of the query.
        query: QueryId,
        /// The name.
        name: Name,
    },
    /// The answer to `query` is no longer wanted; none comes, or it is ignored.
    CancelResolve {
        /// Which.
        query: QueryId,
    },
    /// Which way should this connection take? Answered at once by [`Input::Assigned`].
    Assign(Assign),
    /// News for the pool about an attempt or a connection. No answer.
    Report(Report),
    /// All is written: end our half of the stream (FIN).
    Shutdown {
        /// Which.
        stream: StreamId,
    },
    /// Close the stream and forget the id. Pending attempts are given up.
    Close {
        /// Which.
        stream: StreamId,
        /// With a FIN, or with a reset.
        how: Close,
    },
    /// Datagrams that come in on `listener` are those of `socket`, until [`Output::CloseSocket`], which closes the listener.
    Receive {
        /// Where.
        listener: ListenerId,
        /// The id its socket has from now on.
        socket: SocketId,
    },
    /// Open a datagram socket that speaks with one other address only; answered by [`Input::Opened`] or
    /// [`Input::OpenFailed`].
    Open {
        /// The id it will have.
        socket: SocketId,
        /// The other address.
        to: SocketAddr,
        /// How to leave.
        via: Via,
    },
    /// Close a datagram socket, and forget the id. What waits to be sent on it is lost.
    CloseSocket {
        /// Which.
        socket: SocketId,
    },
    /// Something a person may want to see. It changes nothing.
    Event(crate::event::Event),
    /// After [`Input::Drain`]: nothing is open any more.
    Finished,
}

/// How to close a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Close {
    /// Nothing is lost that was written.
    Graceful,
    /// The other side shall see a reset.
    Reset,
}

/// A question to the uplink pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Assign {
    /// Who asks.
    pub conn: ConnId,
    /// Where the connection goes; `None` when the pool's own endpoints are the destination.
    pub destination: Option<SocketAddr>,
    /// Uplinks that shall not be chosen: they were tried before.
    pub tried: UplinkSet,
}

/// The pool's answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Assignment {
    /// The uplink; `None` for what leaves unbound (loopback, networks that are no uplink's).
    pub uplink: Option<UplinkId>,
    /// How to leave.
    pub via: Via,
    /// Where to connect to, when the pool's endpoints are the destination.
    pub endpoint: Option<SocketAddr>,
    /// How long the attempt may be silent before it gets company (RFC 8305 section 5).
    pub patience: Duration,
}

/// What a machine tells the pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Report {
    /// A connection through `uplink` is open.
    Connected {
        /// Through this.
        uplink: UplinkId,
        /// How long it took.
        took: Duration,
    },
    /// An attempt through `uplink` failed.
    Failed {
        /// Through this.
        uplink: UplinkId,
        /// Why.
        fault: Fault,
    },
    /// An attempt through `uplink` was still silent when one through another uplink, begun later, had
    /// reached the same address.
    Outpaced {
        /// The silent one.
        uplink: UplinkId,
    },
    /// Bytes that a connection has moved through `uplink`, said at its end.
    Traffic {
        /// Through this.
        uplink: UplinkId,
        /// Bytes from clients to targets.
        sent: u64,
        /// Bytes from targets to clients.
        received: u64,
    },
    /// A connection that was told as [`Report::Connected`] has ended.
    Ended {
        /// Through this.
        uplink: UplinkId,
    },
}

/// A set of uplinks: the first 64 of a configuration, which is all it may have.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct UplinkSet(u64);

impl UplinkSet {
    /// No uplink.
    pub const EMPTY: UplinkSet = UplinkSet(0);
    /// How many uplinks there can be.
    pub const CAPACITY: usize = 64;

    /// Adds `uplink`.
    pub fn insert(&mut self, uplink: UplinkId) {
        self.0 |= 1 << (uplink.0 % 64);
    }

    /// Whether `uplink` is in the set.
    pub fn contains(self, uplink: UplinkId) -> bool {
        self.0 & (1 << (uplink.0 % 64)) != 0
    }

    /// How many uplinks are in the set.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The set as bits, uplink 0 lowest.
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// The set of these bits.
    pub const fn from_bits(bits: u64) -> Self {
        UplinkSet(bits)
    }
}

impl fmt::Debug for UplinkSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members = (0..64).map(UplinkId).filter(|u| self.contains(*u));
        f.debug_set().entries(members).finish()
    }
}

/// Leave to move bytes in the kernel, without a look at them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Splice {
    /// Where they go.
    pub to: StreamId,
    /// At most this many may be taken in one call; 0: only give what is inside already.
    pub max: usize,
}

/// What every machine does.
pub trait Machine {
    /// Takes in what happened. Infallible: what a peer did wrong becomes outputs.
    fn handle_input(&mut self, now: Instant, input: Input<'_>);

    /// Takes in that time has passed; called when [`Machine::poll_timeout`] is not after `now`.
    fn handle_timeout(&mut self, now: Instant);

    /// The next command, oldest first.
    fn poll_output(&mut self) -> Option<Output>;

    /// When [`Machine::handle_timeout`] wants to be called next. It may be early; it is never late.
    fn poll_timeout(&self) -> Option<Instant>;
}

/// A machine that moves the bytes of streams.
pub trait StreamMachine: Machine {
    /// A stream whose wishes (read, write, splice) may have changed since it was last told, each once.
    fn poll_dirty(&mut self) -> Option<StreamId>;

    /// Where to read the next bytes of `stream` into; empty: do not read now. What was read is told with
    /// [`Input::Read`] before any other call that takes `&mut self`: the next stream may get the same buffer.
    fn read_buf(&mut self, stream: StreamId) -> &mut [u8];

    /// What to write to `stream` next; empty: nothing.
    fn write_buf(&self, stream: StreamId) -> &[u8];

    /// Leave to move bytes from `from` in the kernel. While it stands, `read_buf` of `from` is empty. A driver
    /// that cannot splice reads instead: see [`StreamMachine::refuse_splice`].
    fn splice(&self, from: StreamId) -> Option<Splice>;

    /// The driver cannot splice (at all, or no pipe is left for `from` now): the machine offers `read_buf`
    /// for it again. Never said while a splice has taken more than it has given.
    fn refuse_splice(&mut self, from: StreamId);
}

/// What a driver drives: a machine of streams and datagrams.
pub trait Application: StreamMachine + DatagramMachine {}

impl<M: StreamMachine + DatagramMachine> Application for M {}
