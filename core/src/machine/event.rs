//! What a person may want to see: said by machines and pools, logged and counted by the watcher.
//!
//! Events are small and copied. They change nothing: a run without an observer is the same run.
//!
//! | file | is |
//! | --- | --- |
//! | `refusal` | why a connection was refused |
//! | `flow` | why a UDP flow ended, why a datagram was dropped |
//! | `names` | what happened to names that are looked up through uplinks |

mod flow;
mod names;
mod refusal;

pub use flow::{Dropped, FlowEnd};
pub use names::NamesNews;
pub use refusal::{Excess, Refusal};

use super::{ConnId, Fault, ListenerId, SocketId, Target, UplinkId};
use crate::name::{Destination, Name};
use crate::time::Duration;
use crate::uplink::Prefix64;
use alloc::string::String;
use core::fmt;
use core::net::{IpAddr, SocketAddr};

pub use super::bond_news::{BondNews, BondRefusal};
pub use crate::wire::Malformed as WireFault;

/// Something worth a log line or a counter.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// Something happened to an association of a bond.
    Bond {
        /// At the server: which client's, by its place in the configuration.
        client: Option<u32>,
        /// What.
        news: BondNews,
    },
    /// Something happened to a name that is looked up through an uplink.
    Names {
        /// Which uplink.
        uplink: UplinkId,
        /// What.
        news: NamesNews,
    },
    /// A client asked for a destination. Said only where the configuration asks for it: it copies a
    /// name.
    Requested {
        /// The connection.
        conn: ConnId,
        /// The client.
        client: SocketAddr,
        /// Where it wants to go.
        destination: Destination,
    },
    /// A connection was refused before it reached a target.
    Refused {
        /// The connection.
        conn: ConnId,
        /// The client.
        client: SocketAddr,
        /// Why.
        why: Refusal,
    },
    /// An attempt to reach a target failed; another may follow.
    AttemptFailed {
        /// The connection.
        conn: ConnId,
        /// Where to.
        to: SocketAddr,
        /// Through this uplink, if any.
        uplink: Option<UplinkId>,
        /// Why.
        fault: Fault,
    },
    /// A connection reached its target.
    Connected {
        /// The connection.
        conn: ConnId,
        /// The target.
        to: SocketAddr,
        /// Through this uplink, if any.
        uplink: Option<UplinkId>,
        /// From the request to the connection.
        took: Duration,
    },
    /// Bytes have moved over a connection: told about once a second while they do, and at its end.
    /// The sum is what [`Event::Closed`] tells.
    Moved {
        /// Bytes from client to target.
        sent: u64,
        /// Bytes from target to client.
        received: u64,
    },
    /// Connections had to wait because their uplink carries as much as it may: told at most once a
    /// second.
    HeldBack {
        /// Which.
        uplink: UplinkId,
        /// On the way to targets; else from them.
        sent: bool,
        /// How often a reader had to wait since the last such event.
        count: u64,
    },
    /// A connection that had reached its target has ended.
    Closed {
        /// The connection.
        conn: ConnId,
        /// Bytes from client to target.
        sent: u64,
        /// Bytes from target to client.
        received: u64,
        /// From accept to end.
        lasted: Duration,
        /// What ended it, if it was no orderly end.
        fault: Option<Fault>,
    },
    /// A connection's client was taken from its PROXY header, and the server has accepted it.
    Unwrapped {
        /// The connection.
        conn: ConnId,
        /// The sender of the header.
        peer: SocketAddr,
        /// The address that the server sees as its client.
        client: SocketAddr,
        /// The server.
        to: Target,
        /// From the header to the connection.
        took: Duration,
    },
    /// What a PROXY header said. Said only where the configuration asks for it: it copies text.
    Header {
        /// The connection.
        conn: ConnId,
        /// The sender.
        peer: SocketAddr,
        /// The header, readable; bytes that are no text are escaped.
        text: String,
    },
    /// The server will see the client's address, but another port.
    PortChanged {
        /// The connection.
        conn: ConnId,
        /// The client.
        client: SocketAddr,
        /// Why its own port was not available; `None`: the header said port 0.
        fault: Option<Fault>,
    },
    /// A server that is known by name was not reached, and has another address by now.
    TargetMoved {
        /// The name.
        name: Name,
        /// Where it was.
        from: SocketAddr,
        /// Where it is.
        to: SocketAddr,
    },
    /// A UDP flow has begun: datagrams of `client` go to `to` from its address.
    FlowOpened {
        /// Its socket.
        socket: SocketId,
        /// The sender of the header.
        peer: SocketAddr,
        /// The client that the server sees.
        client: SocketAddr,
        /// The server.
        to: SocketAddr,
    },
    /// A UDP flow has ended.
    FlowClosed {
        /// Its socket.
        socket: SocketId,
        /// Its client.
        client: SocketAddr,
        /// Datagrams from client to server.
        sent: u64,
        /// Datagrams from server to client.
        received: u64,
        /// From the first datagram to the end.
        lasted: Duration,
        /// Why.
        why: FlowEnd,
    },
    /// Datagrams passed since the last such event: at most one event a second, and one when a flow
    /// ends.
    Datagrams {
        /// From clients to servers.
        sent: u64,
        /// From servers to clients.
        received: u64,
    },
    /// The server will see a flow's client by its address, but by another port.
    FlowPortChanged {
        /// Its socket.
        socket: SocketId,
        /// The client.
        client: SocketAddr,
        /// Why its own port was not available; `None`: the header said port 0.
        fault: Option<Fault>,
    },
    /// The system reported an error on a flow's socket, which goes on.
    FlowFault {
        /// Its socket.
        socket: SocketId,
        /// The server.
        to: SocketAddr,
        /// The error.
        fault: Fault,
    },
    /// What the header of a flow's first datagram said. Said only where the configuration asks for
    /// it.
    DatagramHeader {
        /// The sender.
        peer: SocketAddr,
        /// The header, readable; bytes that are no text are escaped.
        text: String,
    },
    /// A datagram was not passed on.
    DatagramDropped {
        /// The balancer or client it came from, or was for; the server that sent it.
        peer: SocketAddr,
        /// Why.
        why: Dropped,
    },
    /// A datagram could not be sent.
    DatagramLost {
        /// The server, where it was for one.
        to: Option<SocketAddr>,
        /// Why.
        fault: Fault,
    },
    /// A client has got a UDP association.
    Associated {
        /// Its connection, with which it ends.
        conn: ConnId,
        /// The client.
        client: SocketAddr,
        /// Where it sends its datagrams.
        local: SocketAddr,
    },
    /// A UDP association has ended.
    AssociationEnded {
        /// Its connection.
        conn: ConnId,
        /// Datagrams from the client.
        sent: u64,
        /// Datagrams to the client.
        received: u64,
        /// From the request to the end.
        lasted: Duration,
    },
    /// Datagrams of an association to one destination have got their way, and keep to it.
    DestinationAssigned {
        /// Its connection.
        conn: ConnId,
        /// The destination.
        to: SocketAddr,
        /// Through this uplink, if any.
        uplink: Option<UplinkId>,
    },
    /// An association has forgotten one of its destinations.
    DestinationEnded {
        /// Its connection.
        conn: ConnId,
        /// The destination.
        to: SocketAddr,
        /// Datagrams that went there.
        sent: u64,
        /// Datagrams that came from there.
        received: u64,
        /// From the first datagram to the end.
        lasted: Duration,
        /// Why.
        why: FlowEnd,
    },
    /// The way of some destinations of an association is no more: each gets another with its next
    /// datagram.
    DestinationsMoved {
        /// Its connection.
        conn: ConnId,
        /// What they have left by.
        uplink: Option<UplinkId>,
        /// How many they are.
        count: usize,
    },
    /// As many connections are open as are allowed: new ones wait in the backlog.
    ConnectionLimit {
        /// The limit.
        limit: usize,
    },
    /// A client offers a user and a password only, and none is asked for here: whatever it says is
    /// taken.
    LoginIgnored {
        /// The client.
        client: SocketAddr,
    },
    /// This client has as many connections as one may have: another was reset.
    ClientLimit {
        /// The client.
        client: IpAddr,
        /// The limit.
        limit: usize,
    },
    /// Clients have sent as much as is kept before their relays stand: what is read now waits for
    /// room.
    KeptLimit {
        /// The limit, in bytes.
        limit: usize,
    },
    /// All names that this client may have looked up at the same time are under way: more wait.
    LookupLimit {
        /// The client.
        client: IpAddr,
        /// The limit.
        limit: usize,
    },
    /// The system keeps more for the streams of this machine than it may.
    SocketMemory {
        /// Bytes that it keeps.
        used: u64,
        /// Bytes that it may keep.
        limit: u64,
        /// Stalled connections that were ended.
        ended: usize,
    },
    /// Accepting failed and pauses.
    AcceptPaused {
        /// Where.
        listener: ListenerId,
        /// Why.
        fault: Fault,
    },
    /// All relay buffers are taken: what is read now is held in small pieces.
    BuffersExhausted {
        /// The limit, in buffers.
        limit: usize,
    },
    /// A limit was hit that no switch moves. `core/docs/limits.md` has all of them.
    FixedLimit {
        /// Which.
        which: FixedLimit,
        /// Its value.
        limit: usize,
    },
    /// An uplink is left until it may be tried again.
    UplinkDown {
        /// Which.
        uplink: UplinkId,
        /// Why.
        why: DownReason,
        /// How long it rests.
        rest: Duration,
    },
    /// An uplink has carried nothing since it was first left: told again after a minute, then at
    /// intervals that double up to an hour, when something was tried.
    UplinkStillDown {
        /// Which.
        uplink: UplinkId,
        /// How long ago it was first left.
        lasts: Duration,
        /// What was tried since.
        tried: Tried,
    },
    /// A connection by this uplink broke because what it sent was not acknowledged in time.
    Unacknowledged {
        /// Which.
        uplink: UplinkId,
    },
    /// Probes of an uplink have failed: it is left until they succeed.
    ProbesFailed {
        /// Which.
        uplink: UplinkId,
        /// How many in a row.
        failed: u32,
        /// Why the last one did.
        fault: Fault,
    },
    /// An uplink has carried what it may: it takes no new connections until its account begins
    /// anew.
    CapReached {
        /// This one.
        uplink: UplinkId,
        /// How many bytes it may carry.
        cap: u64,
    },
    /// The account of an uplink that was at its cap has begun anew.
    CapReset {
        /// This one.
        uplink: UplinkId,
    },
    /// An uplink without IPv4 carries IPv4 destinations from now on, or does no more.
    Translates {
        /// Which.
        uplink: UplinkId,
        /// The prefix under which its network translates them.
        prefix: Option<Prefix64>,
    },
    /// An uplink carries connections again.
    UplinkUp {
        /// Which.
        uplink: UplinkId,
    },
}

/// A limit that no switch moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum FixedLimit {
    /// Attempts for one connection: there were addresses or uplinks left to try.
    Attempts,
    /// Balancers' ports in quarantine: the one that was silent for longest was forgotten.
    Quarantine,
}

/// What became of the attempts of an uplink that is down.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tried {
    /// Attempts that got nowhere where another uplink then reached the same address.
    pub outpaced: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// The last fault of these.
    pub fault: Option<Fault>,
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} attempts were silent where other uplinks got through", self.outpaced)?;
        match self.fault {
            Some(fault) => write!(f, ", {} failed (the last: {fault})", self.failed),
            None => Ok(()),
        }
    }
}

/// Why an uplink is left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum DownReason {
    /// The system said so.
    Fault(Fault),
    /// Several attempts in a row stayed silent where other uplinks reached the same address.
    Silent {
        /// How many.
        attempts: u32,
    },
    /// It lets connections open and carries nothing, while other uplinks carry: a captive portal,
    /// or a data plan that is used up.
    Mute {
        /// How many of its connections in a row were never answered.
        connections: u32,
    },
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DownReason::Fault(fault) => fault.fmt(f),
            DownReason::Silent { attempts } => {
                write!(f, "{attempts} attempts in a row did not reach what other uplinks reached")
            }
            DownReason::Mute { connections } => {
                write!(
                    f,
                    "it lets connections open and carries nothing ({connections} in a row without an answer): \
                     a captive portal, or a data plan that is used up?"
                )
            }
        }
    }
}
