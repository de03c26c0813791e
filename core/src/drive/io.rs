//! What a runtime's sockets can do, each without waiting.

use crate::machine::event::Event;
use crate::machine::{
    Assign, Assignment, Close, Fault, ListenerId, LocalPath, Offload, QueryId, Report, Rx, SocketId,
    StreamId, Transmit, TunConfiguration, TunId, Via,
};
use crate::name::Name;
use crate::time::Instant;
use core::net::SocketAddr;

/// Why an operation moved nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TryError {
    /// It would have to wait. By this answer, and by nothing else, `Drive` asks to be notified: the
    /// runtime says [`Drive::ready`](super::Drive::ready) when that has changed.
    WouldBlock,
    /// It failed for good.
    Fault(Fault),
}

/// What a read or a write moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moved {
    /// Bytes; 0 from a read says that the other side has ended its half.
    pub len: usize,
    /// False when the next try is known to block, so that it need not be made: counts as
    /// `WouldBlock`.
    pub more: bool,
}

/// What a splice moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SpliceMoved {
    /// Bytes taken from the source.
    pub taken: usize,
    /// Bytes given to the sink.
    pub given: usize,
    /// Bytes that are still inside, after this call.
    pub held: usize,
    /// The source has ended its half.
    pub eof: bool,
    /// The source had nothing (more) to take.
    pub from_blocked: bool,
    /// The sink would not take (more).
    pub to_blocked: bool,
}

/// Why a splice could not be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpliceError {
    /// This runtime, or this moment, has no splice to offer: copy instead.
    Unavailable,
    /// Reading failed.
    From(Fault),
    /// Writing failed.
    To(Fault),
}

/// What the system keeps in the two buffers of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Memory {
    /// Bytes of memory, with what the system needs to hold them.
    pub bytes: u32,
    /// Bytes that the other side has acknowledged since the stream began, where it has not
    /// acknowledged all that was written; else `None`.
    pub acknowledged: Option<u64>,
}

/// An accepted connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Incoming {
    /// The client's address.
    pub peer: SocketAddr,
    /// The address it reached us at.
    pub local: SocketAddr,
}

/// What was received.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received {
    /// Datagrams, or groups of them.
    pub count: usize,
    /// False when the next try is known to block, so that it need not be made: counts as
    /// `WouldBlock`.
    pub more: bool,
}

/// Why nothing was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TransmitError {
    /// It would have to wait. The runtime keeps what it took, to be sent first at the next call,
    /// and says [`Drive::socket_ready`](super::Drive::socket_ready) when that may be possible.
    WouldBlock,
    /// This one could not be sent, or not all of it; the next may be.
    Failed {
        /// The [`Transmit::id`].
        id: u32,
        /// How many of its datagrams were sent.
        sent: usize,
        /// Why.
        fault: Fault,
    },
}

/// What a runtime's sockets can do, each without waiting. Streams are kept by [`StreamId::index`]:
/// the machine closes a stream before it uses the index again.
///
/// A machine asks only for what it needs. What a runtime does not write has a default for a world
/// without it: there is nothing to accept and no uplink, and what would be opened is
/// [`Fault::Unsupported`].
pub trait Io {
    /// The time since the runtime's epoch.
    fn now(&mut self) -> Instant;

    /// Takes one connection from the backlog of `listener` and calls it `stream`.
    ///
    /// # Errors
    /// `WouldBlock` when the backlog is empty; a fault when waiting may cure it (no descriptors). A
    /// connection that was reset in the backlog is no error: take the next.
    fn try_accept(&mut self, listener: ListenerId, stream: StreamId) -> Result<Incoming, TryError> {
        let _ = (listener, stream);
        Err(TryError::WouldBlock)
    }

    /// Closes a listener.
    fn unlisten(&mut self, listener: ListenerId) {
        let _ = listener;
    }

    /// Begins to connect; the runtime says [`Drive::ready`](super::Drive::ready) when it may have
    /// ended.
    ///
    /// # Errors
    /// What is known at once; the id is then unused.
    fn connect(&mut self, stream: StreamId, to: SocketAddr, via: &Via) -> Result<(), Fault> {
        let _ = (stream, to, via);
        Err(Fault::Unsupported)
    }

    /// Begins to connect to a Unix socket of this host, as [`Io::connect`] does to an address.
    ///
    /// # Errors
    /// What is known at once; [`Fault::Unsupported`] where there are none.
    fn connect_local(&mut self, stream: StreamId, path: &LocalPath) -> Result<(), Fault> {
        let _ = (stream, path);
        Err(Fault::Unsupported)
    }

    /// Whether a connect that was begun has ended: gives our own address on it.
    ///
    /// # Errors
    /// `WouldBlock` while it goes on; a fault when it failed (the runtime has forgotten the stream
    /// then).
    fn finish_connect(&mut self, stream: StreamId) -> Result<SocketAddr, TryError> {
        let _ = stream;
        Err(TryError::Fault(Fault::Unsupported))
    }

    /// Reads into `buf`.
    ///
    /// # Errors
    /// As [`TryError`] says.
    fn try_read(&mut self, stream: StreamId, buf: &mut [u8]) -> Result<Moved, TryError> {
        let _ = (stream, buf);
        Err(TryError::Fault(Fault::Unsupported))
    }

    /// Writes from `buf`.
    ///
    /// # Errors
    /// As [`TryError`] says.
    fn try_write(&mut self, stream: StreamId, buf: &[u8]) -> Result<Moved, TryError> {
        let _ = (stream, buf);
        Err(TryError::Fault(Fault::Unsupported))
    }

    /// Moves bytes in the kernel: gives what is inside, takes at most `max`, gives that. If it
    /// fails after bytes moved, it returns the bytes first and the failure at the next call.
    ///
    /// # Errors
    /// As [`SpliceError`] says. `Unavailable` only while nothing is inside.
    fn try_splice(&mut self, from: StreamId, to: StreamId, max: usize) -> Result<SpliceMoved, SpliceError> {
        let _ = (from, to, max);
        Err(SpliceError::Unavailable)
    }

    /// What the system keeps in the two buffers of a stream; nothing where it does not tell.
    fn memory(&mut self, stream: StreamId) -> Memory {
        let _ = stream;
        Memory::default()
    }

    /// Ends our half of the stream.
    fn shutdown(&mut self, stream: StreamId) {
        let _ = stream;
    }

    /// Closes the stream, or gives up a connect that goes on.
    fn close(&mut self, stream: StreamId, how: Close) {
        let _ = (stream, how);
    }

    /// Begins to look up a name; the runtime passes the answer to
    /// [`Drive::resolved`](super::Drive::resolved).
    ///
    /// # Errors
    /// What is known at once (too many queries at a time).
    fn resolve(&mut self, query: QueryId, name: &Name) -> Result<(), Fault> {
        let _ = (query, name);
        Err(Fault::Unsupported)
    }

    /// The answer is no longer wanted.
    fn cancel_resolve(&mut self, query: QueryId) {
        let _ = query;
    }

    /// Asks the process's uplink pool.
    fn assign(&mut self, now: Instant, assign: &Assign) -> Option<Assignment> {
        let _ = (now, assign);
        None
    }

    /// Passes a report to the process's uplink pool.
    fn report(&mut self, now: Instant, report: &Report) {
        let _ = (now, report);
    }

    /// Passes an event to the watcher.
    fn event(&mut self, now: Instant, event: &Event) {
        let _ = (now, event);
    }

    /// Datagrams of `listener` are those of `socket`; without `fragments` none leaves it in pieces.
    fn receive(&mut self, listener: ListenerId, socket: SocketId, fragments: bool) {
        let _ = (listener, socket, fragments);
    }

    /// Opens a datagram socket and connects it; gives its own address. Without `fragments` none of
    /// its datagrams leaves in pieces.
    ///
    /// # Errors
    /// The id is then unused. [`Fault::Unsupported`] where the runtime moves no datagrams.
    fn open_socket(
        &mut self,
        socket: SocketId,
        to: SocketAddr,
        via: &Via,
        fragments: bool,
    ) -> Result<SocketAddr, Fault> {
        let _ = (socket, to, via, fragments);
        Err(Fault::Unsupported)
    }

    /// Opens a datagram socket at `local` that speaks with anybody, with `to` first; gives its own
    /// address. Fragments as in [`Io::open_socket`].
    ///
    /// # Errors
    /// The id is then unused. [`Fault::NoRoute`] where no way of `via` leads to `to`,
    /// [`Fault::Unsupported`] where the runtime moves no datagrams.
    fn bind_socket(
        &mut self,
        socket: SocketId,
        local: SocketAddr,
        to: SocketAddr,
        via: &Via,
        fragments: bool,
    ) -> Result<SocketAddr, Fault> {
        let _ = (socket, local, to, via, fragments);
        Err(Fault::Unsupported)
    }

    /// Closes a datagram socket.
    fn close_socket(&mut self, socket: SocketId) {
        let _ = socket;
    }

    /// Receives what one call brings and gives it to `sink`.
    ///
    /// # Errors
    /// As [`TryError`] says; a fault is one of the socket's past, and the next try may succeed.
    fn try_receive(
        &mut self,
        socket: SocketId,
        sink: &mut dyn FnMut(&mut [Rx<'_>]),
    ) -> Result<Received, TryError> {
        let _ = (socket, sink);
        Err(TryError::WouldBlock)
    }

    /// Asks `source` for something to send, and sends it: as much as can be sent in one call. How
    /// many [`Transmit`]s were sent; 0: there is nothing.
    ///
    /// # Errors
    /// As [`TransmitError`] says.
    fn try_transmit(
        &mut self,
        socket: SocketId,
        source: &mut dyn FnMut(&mut [u8]) -> Option<Transmit>,
    ) -> Result<usize, TransmitError> {
        let _ = (socket, source);
        Ok(0)
    }

    /// Takes one packet out of a TUN device into `buf`; gives its length and what is left to do
    /// with it, which [fits](Offload::fits) the packet. A length of 0: one was dropped that does
    /// not fit.
    ///
    /// # Errors
    /// As [`TryError`] says. The runtime says [`Drive::tun_ready`](super::Drive::tun_ready) when
    /// that has changed.
    fn try_take(&mut self, tun: TunId, buf: &mut [u8]) -> Result<(usize, Offload), TryError> {
        let _ = (tun, buf);
        Err(TryError::WouldBlock)
    }

    /// Gives one packet to a TUN device.
    ///
    /// # Errors
    /// As [`TryError`] says; after a fault this packet is lost, and the next may be taken.
    fn try_give(&mut self, tun: TunId, packet: &[u8], offload: Offload) -> Result<(), TryError> {
        let _ = (tun, packet, offload);
        Err(TryError::Fault(Fault::Unsupported))
    }

    /// Sets a TUN device's addresses and MTU.
    ///
    /// # Errors
    /// What the system says; [`Fault::Unsupported`] where the runtime has no TUN devices.
    fn configure(&mut self, tun: TunId, configuration: &TunConfiguration) -> Result<(), Fault> {
        let _ = (tun, configuration);
        Err(Fault::Unsupported)
    }

    /// Fills `bytes` with secret random bytes. False: this world has none.
    fn entropy(&mut self, bytes: &mut [u8; 32]) -> bool {
        let _ = bytes;
        false
    }
}
