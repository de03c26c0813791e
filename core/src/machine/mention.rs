//! The ids that an [`Input`] or an [`Output`] names, and what it says of each.
//!
//! A checker of the contract (the auditor of the conformance kit, a recorder, a test) follows ids
//! by these lists. The matches below are exhaustive, which they cannot be outside this crate: a new
//! variant does not compile until its ids are named here, so it cannot pass a checker unseen.

use super::{ConnId, Input, ListenerId, Output, QueryId, SocketId, StreamId, TunId, UplinkId};

/// An id of any kind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[non_exhaustive]
pub enum Id {
    /// A stream.
    Stream(StreamId),
    /// A datagram socket.
    Socket(SocketId),
    /// A name query.
    Query(QueryId),
    /// A connection that waits for the pool's answer.
    Conn(ConnId),
    /// A listener: known by its place, the machine does not give it.
    Listener(ListenerId),
    /// A TUN device: known by its place.
    Tun(TunId),
    /// An uplink: known by its place.
    Uplink(UplinkId),
}

/// What an input or an output says of an id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mention {
    /// From now on the id lives: the machine gives it, or asks with it.
    Born,
    /// The id is alive.
    Alive,
    /// From now on the id is dead.
    Dead,
}

/// Up to two ids, each with what is said of it.
type Ids = [Option<(Id, Mention)>; 2];

const NONE: Ids = [None, None];

fn one(id: Id, mention: Mention) -> Ids {
    [Some((id, mention)), None]
}

impl Input<'_> {
    /// What the variant is called.
    pub fn name(&self) -> &'static str {
        match self {
            Input::Accepted { .. } => "Accepted",
            Input::AcceptFailed { .. } => "AcceptFailed",
            Input::Connected { .. } => "Connected",
            Input::ConnectFailed { .. } => "ConnectFailed",
            Input::Assigned { .. } => "Assigned",
            Input::Resolved { .. } => "Resolved",
            Input::ResolveFailed { .. } => "ResolveFailed",
            Input::Read { .. } => "Read",
            Input::ReadClosed { .. } => "ReadClosed",
            Input::Written { .. } => "Written",
            Input::Spliced { .. } => "Spliced",
            Input::Failed { .. } => "Failed",
            Input::WriteFailed { .. } => "WriteFailed",
            Input::Opened { .. } => "Opened",
            Input::OpenFailed { .. } => "OpenFailed",
            Input::SocketFailed { .. } => "SocketFailed",
            Input::SendFailed { .. } => "SendFailed",
            Input::LocalAddresses { .. } => "LocalAddresses",
            Input::SocketMemory { .. } => "SocketMemory",
            Input::UplinkGone { .. } => "UplinkGone",
            Input::UplinkBack { .. } => "UplinkBack",
            Input::ConfigureFailed { .. } => "ConfigureFailed",
            Input::Entropy { .. } => "Entropy",
            Input::Drain => "Drain",
        }
    }

    /// The ids it names. Ids that the machine gave must have been born before, or the driver has
    /// made them up.
    ///
    /// ```
    /// use ropewalk_core::machine::{Id, Input, Mention, StreamId};
    /// let stream = StreamId::from_parts(0, 0);
    /// let ids: Vec<_> = Input::Read { stream, len: 1 }.ids().collect();
    /// assert_eq!(ids, [(Id::Stream(stream), Mention::Alive)]);
    /// ```
    pub fn ids(&self) -> impl Iterator<Item = (Id, Mention)> + use<> {
        let ids = match *self {
            Input::Accepted { stream, .. }
            | Input::Connected { stream, .. }
            | Input::Read { stream, .. }
            | Input::ReadClosed { stream }
            | Input::Written { stream, .. }
            | Input::Failed { stream, .. }
            | Input::WriteFailed { stream, .. } => one(Id::Stream(stream), Mention::Alive),
            Input::AcceptFailed { stream, .. } | Input::ConnectFailed { stream, .. } => {
                one(Id::Stream(stream), Mention::Dead)
            }
            Input::Spliced { from, to, .. } => {
                [from, to].map(|stream| Some((Id::Stream(stream), Mention::Alive)))
            }
            Input::Assigned { conn, .. } => one(Id::Conn(conn), Mention::Dead),
            Input::Resolved { query, .. } | Input::ResolveFailed { query, .. } => {
                one(Id::Query(query), Mention::Dead)
            }
            Input::Opened { socket, .. }
            | Input::SocketFailed { socket, .. }
            | Input::SendFailed { socket, .. } => one(Id::Socket(socket), Mention::Alive),
            Input::OpenFailed { socket, .. } => one(Id::Socket(socket), Mention::Dead),
            Input::UplinkGone { uplink } | Input::UplinkBack { uplink, .. } => {
                one(Id::Uplink(uplink), Mention::Alive)
            }
            Input::ConfigureFailed { tun, .. } => one(Id::Tun(tun), Mention::Alive),
            // Its streams are many: each is only a candidate.
            Input::LocalAddresses { .. }
            | Input::SocketMemory { .. }
            | Input::Entropy { .. }
            | Input::Drain => NONE,
        };
        ids.into_iter().flatten()
    }
}

impl Output {
    /// What the variant is called.
    pub fn name(&self) -> &'static str {
        match self {
            Output::Accept { .. } => "Accept",
            Output::CancelAccept { .. } => "CancelAccept",
            Output::Unlisten { .. } => "Unlisten",
            Output::Connect { .. } => "Connect",
            Output::ConnectLocal { .. } => "ConnectLocal",
            Output::Resolve { .. } => "Resolve",
            Output::CancelResolve { .. } => "CancelResolve",
            Output::Assign(_) => "Assign",
            Output::Report(_) => "Report",
            Output::Shutdown { .. } => "Shutdown",
            Output::Close { .. } => "Close",
            Output::Receive { .. } => "Receive",
            Output::OpenSocket { .. } => "OpenSocket",
            Output::BindSocket { .. } => "BindSocket",
            Output::CloseSocket { .. } => "CloseSocket",
            Output::Configure { .. } => "Configure",
            Output::Entropy => "Entropy",
            Output::Event(_) => "Event",
            Output::Finished => "Finished",
        }
    }

    /// The ids it names. [`Output::Unlisten`] also kills the accepts asked of its listener, which
    /// it does not name.
    pub fn ids(&self) -> impl Iterator<Item = (Id, Mention)> + use<> {
        let ids = match *self {
            Output::Accept { listener, stream } => {
                [Some((Id::Listener(listener), Mention::Alive)), Some((Id::Stream(stream), Mention::Born))]
            }
            Output::CancelAccept { listener, stream } => {
                [Some((Id::Listener(listener), Mention::Alive)), Some((Id::Stream(stream), Mention::Dead))]
            }
            Output::Unlisten { listener } => one(Id::Listener(listener), Mention::Dead),
            Output::Connect { stream, .. } | Output::ConnectLocal { stream, .. } => {
                one(Id::Stream(stream), Mention::Born)
            }
            Output::Resolve { query, .. } => one(Id::Query(query), Mention::Born),
            Output::CancelResolve { query } => one(Id::Query(query), Mention::Dead),
            Output::Assign(ref assign) => one(Id::Conn(assign.conn), Mention::Born),
            Output::Shutdown { stream } => one(Id::Stream(stream), Mention::Alive),
            Output::Close { stream, .. } => one(Id::Stream(stream), Mention::Dead),
            Output::Receive { listener, socket, .. } => {
                [Some((Id::Listener(listener), Mention::Alive)), Some((Id::Socket(socket), Mention::Born))]
            }
            Output::OpenSocket { socket, .. } | Output::BindSocket { socket, .. } => {
                one(Id::Socket(socket), Mention::Born)
            }
            Output::CloseSocket { socket } => one(Id::Socket(socket), Mention::Dead),
            Output::Configure { tun, .. } => one(Id::Tun(tun), Mention::Alive),
            Output::Report(_) | Output::Entropy | Output::Event(_) | Output::Finished => NONE,
        };
        ids.into_iter().flatten()
    }
}
