//! What a machine asks of its driver.

#[cfg(doc)]
use super::Input;
use super::{
    Assign, ListenerId, LocalPath, QueryId, Report, SocketId, StreamId, TunConfiguration, TunId, Via,
};
use crate::name::Name;
use core::net::SocketAddr;

/// What a machine asks of its driver. Each command is said once.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Output {
    /// When a connection comes in on `listener`, call it `stream` and tell [`Input::Accepted`]. One
    /// connection for each command; what has no command waits in the backlog.
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
    /// Open a stream to a Unix socket of this host; answered as [`Output::Connect`], with the
    /// unspecified address as our own.
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
    /// Datagrams that come in on `listener` are those of `socket`, until [`Output::CloseSocket`],
    /// which closes the listener.
    Receive {
        /// Where.
        listener: ListenerId,
        /// The id its socket has from now on.
        socket: SocketId,
        /// Whether the system may send a datagram in fragments. If not, one that is too large fails
        /// with [`Fault::TooLarge`](super::Fault::TooLarge).
        fragments: bool,
    },
    /// Open a datagram socket that speaks with one other address only; answered by
    /// [`Input::Opened`] or [`Input::OpenFailed`].
    OpenSocket {
        /// The id it will have.
        socket: SocketId,
        /// The other address.
        to: SocketAddr,
        /// How to leave.
        via: Via,
        /// As in [`Output::Receive`].
        fragments: bool,
    },
    /// Open a datagram socket that speaks with anybody; answered by [`Input::Opened`] or
    /// [`Input::OpenFailed`].
    BindSocket {
        /// The id it will have.
        socket: SocketId,
        /// Its own address; port 0: the system's choice.
        local: SocketAddr,
        /// Whom it speaks with first. It is not opened where no way of `via` leads there.
        to: SocketAddr,
        /// How to leave: device and mark. (Its address is `local`.)
        via: Via,
        /// As in [`Output::Receive`].
        fragments: bool,
    },
    /// Close a datagram socket, and forget the id. What waits to be sent on it is lost.
    CloseSocket {
        /// Which.
        socket: SocketId,
    },
    /// Set a TUN device's addresses and MTU; answered by
    /// [`Input::ConfigureFailed`] where that cannot be done, else by
    /// nothing.
    Configure {
        /// Which.
        tun: TunId,
        /// To what.
        configuration: TunConfiguration,
    },
    /// Give secret random bytes; answered at once by [`Input::Entropy`], or by nothing in a world
    /// that has none.
    Entropy,
    /// Something a person may want to see. It changes nothing.
    Event(super::Event),
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
