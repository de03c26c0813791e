//! Why a connection was refused.

use crate::machine::Fault;
use crate::name::BadHost;
use crate::wire::Malformed;
use core::fmt;
use core::net::{IpAddr, SocketAddr};

/// How a head is larger than allowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Excess {
    /// It has more bytes than this.
    Bytes(usize),
    /// It has more header fields than this.
    Fields(usize),
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Excess::Bytes(limit) => write!(f, "its head has more than {limit} bytes"),
            Excess::Fields(limit) => write!(f, "its head has more than {limit} header fields"),
        }
    }
}

/// Why a connection was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// What the client sent is not of its protocol.
    Malformed(Malformed),
    /// What a balancer sent is no PROXY header.
    BadHeader(Malformed),
    /// What an origin sent is no HTTP.
    BadResponse(Malformed),
    /// A request is larger than allowed.
    RequestTooLarge(Excess),
    /// A response is larger than allowed.
    ResponseTooLarge(Excess),
    /// An origin closed its kept connection just as the next request went out, which cannot be sent
    /// once more.
    Stale,
    /// The host it named is none.
    BadHost(BadHost),
    /// It offered no way to authenticate that is allowed here.
    NoAuthMethod,
    /// User or password are wrong.
    BadCredentials,
    /// A user and a password are asked for, and none came that could be read.
    NoCredentials,
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
    /// It was the oldest of this many incomplete handshakes, and a newer client came.
    CrowdedOut {
        /// The limit.
        limit: usize,
    },
    /// As many UDP associations are open as are allowed.
    AssociationLimit {
        /// The limit.
        limit: usize,
    },
    /// No socket could be opened for its datagrams.
    NoRelay(Fault),
    /// The client left before its handshake was complete.
    Left,
    /// The client's connection failed during its handshake.
    ClientFailed(Fault),
    /// The peer is not among those whose header is trusted.
    PeerNotAllowed,
    /// The header names a client that cannot be one.
    BogusSource(IpAddr),
    /// No server is set for clients of this family.
    NoTarget {
        /// The family: IPv6, or IPv4.
        ipv6: bool,
    },
    /// The header names port 0, and another port is not wanted.
    NoPort,
    /// The client's own port was not available, and another is not wanted.
    PortConflict(Fault),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Malformed(why) => write!(f, "malformed request: {why}"),
            Refusal::BadHeader(why) => write!(f, "malformed header: {why}"),
            Refusal::BadResponse(why) => write!(f, "malformed response: {why}"),
            Refusal::RequestTooLarge(why) => write!(f, "request too large: {why}"),
            Refusal::ResponseTooLarge(why) => write!(f, "response too large: {why}"),
            Refusal::Stale => f.write_str("origin closed a kept connection before it answered; ask again"),
            Refusal::BadHost(why) => write!(f, "bad host: {why}"),
            Refusal::NoAuthMethod => f.write_str("no acceptable authentication method offered"),
            Refusal::BadCredentials => f.write_str("user or password wrong"),
            Refusal::NoCredentials => f.write_str("user and password missing"),
            Refusal::Socks4WithAuth => f.write_str("SOCKS4 has no password, and one is asked for"),
            Refusal::Command(code) => {
                write!(f, "expected command 1 (CONNECT) or 3 (UDP ASSOCIATE), got {code}")
            }
            Refusal::AddressType(code) => write!(f, "expected address type 1, 3 or 4, got {code}"),
            Refusal::NotAllowed(to) => write!(f, "destination {to} is not open to this client"),
            Refusal::Itself(to) => write!(f, "destination {to} is this proxy itself"),
            Refusal::Name(fault) => write!(f, "{fault}"),
            Refusal::Unreachable(fault) => write!(f, "destination not reached: {fault}"),
            Refusal::NoUplink => f.write_str("no uplink can carry this destination"),
            Refusal::HandshakeTimeout => f.write_str("handshake not complete at its deadline"),
            Refusal::CrowdedOut { limit } => {
                write!(f, "oldest of {limit} incomplete handshakes, and a newer client came")
            }
            Refusal::AssociationLimit { limit } => write!(f, "{limit} UDP associations are open already"),
            Refusal::NoRelay(fault) => write!(f, "no socket for datagrams: {fault}"),
            Refusal::Left => f.write_str("client left during its handshake"),
            Refusal::ClientFailed(fault) => write!(f, "client failed during its handshake: {fault}"),
            Refusal::PeerNotAllowed => f.write_str("peer is not in the allowed subnets"),
            Refusal::BogusSource(ip) => {
                write!(f, "header names {ip} as its client, which no client can have")
            }
            Refusal::NoTarget { ipv6: true } => f.write_str("no target for IPv6 clients"),
            Refusal::NoTarget { ipv6: false } => f.write_str("no target for IPv4 clients"),
            Refusal::NoPort => f.write_str("header names port 0 as its client's"),
            Refusal::PortConflict(fault) => write!(f, "the client's own port cannot be had: {fault}"),
        }
    }
}
