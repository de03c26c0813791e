//! What a person may want to see: said by machines and pools, logged and counted by whoever watches.
//!
//! Events are small and copied. They change nothing: a run with nobody watching is the same run.

use crate::machine::{ConnId, Fault, ListenerId, UplinkId};
use crate::name::{BadHost, Destination};
use crate::time::Duration;
use crate::wire::Malformed;
use core::fmt;
use core::net::SocketAddr;

pub use crate::wire::Malformed as WireFault;

/// Something worth a log line or a counter.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A client asked for a destination. Said only where the configuration asks for it: it copies a name.
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
    /// As many connections are open as are allowed: new ones wait in the backlog.
    ConnectionLimit {
        /// The limit.
        limit: usize,
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
    /// An uplink is left until it may be tried again.
    UplinkDown {
        /// Which.
        uplink: UplinkId,
        /// Why.
        why: DownReason,
        /// How long it rests.
        rest: Duration,
    },
    /// An uplink carries connections again.
    UplinkUp {
        /// Which.
        uplink: UplinkId,
    },
}

/// Why a connection was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// What the client sent is not of its protocol.
    Malformed(Malformed),
    /// The host it named is none.
    BadHost(BadHost),
    /// It offered no way to authenticate that is allowed here.
    NoAuthMethod,
    /// User or password are wrong or missing.
    BadCredentials,
    /// SOCKS4 cannot carry a password, and this listener asks for one.
    Socks4WithAuth,
    /// A command that is not served.
    Command(u8),
    /// An address type that does not exist.
    AddressType(u8),
    /// The destination is not allowed for this client.
    NotAllowed(SocketAddr),
    /// The destination is this proxy itself.
    Itself(SocketAddr),
    /// The name was not found, or could not be looked up.
    Name(Fault),
    /// No attempt succeeded; the last fault.
    Unreachable(Fault),
    /// No uplink could carry it.
    NoUplink,
    /// The handshake was not complete at its deadline.
    HandshakeTimeout,
    /// The client left before its handshake was complete.
    Left,
    /// The client's connection failed during its handshake.
    ClientFailed(Fault),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Malformed(why) => write!(f, "malformed request: {why}"),
            Refusal::BadHost(why) => write!(f, "bad host: {why}"),
            Refusal::NoAuthMethod => f.write_str("no acceptable authentication method offered"),
            Refusal::BadCredentials => f.write_str("user or password wrong or missing"),
            Refusal::Socks4WithAuth => f.write_str("SOCKS4 has no password, and one is asked for"),
            Refusal::Command(code) => write!(f, "expected command 1 (CONNECT), got {code}"),
            Refusal::AddressType(code) => write!(f, "expected address type 1, 3 or 4, got {code}"),
            Refusal::NotAllowed(to) => write!(f, "destination {to} is not open to clients beyond loopback"),
            Refusal::Itself(to) => write!(f, "destination {to} is this proxy itself"),
            Refusal::Name(fault) => write!(f, "{fault}"),
            Refusal::Unreachable(fault) => write!(f, "destination not reached: {fault}"),
            Refusal::NoUplink => f.write_str("no uplink can carry this destination"),
            Refusal::HandshakeTimeout => f.write_str("handshake not complete at its deadline"),
            Refusal::Left => f.write_str("client left during its handshake"),
            Refusal::ClientFailed(fault) => write!(f, "client failed during its handshake: {fault}"),
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
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DownReason::Fault(fault) => fault.fmt(f),
            DownReason::Silent { attempts } => {
                write!(f, "{attempts} attempts in a row did not reach what other uplinks reached")
            }
        }
    }
}
