//! What a machine and the uplink pool say to each other.

use super::{ConnId, Fault, UplinkId, Via};
use crate::name::Host;
use crate::time::Duration;
use crate::uplink::Prefix64;
use core::fmt;
use core::net::{IpAddr, SocketAddr};

/// A question to the uplink pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Assign {
    /// The connection that asks.
    pub conn: ConnId,
    /// Where the connection goes; `None` when the pool's own endpoints are the destination.
    pub destination: Option<SocketAddr>,
    /// Uplinks that shall not be chosen: they were tried before.
    pub tried: UplinkSet,
    /// The host, for a policy by which one host keeps one uplink.
    pub host: HostKey,
}

/// A host, as a number that is the same for all its names' spellings and for all ports.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct HostKey(u64);

impl HostKey {
    /// Of a host that a client names: of its name where it has one, so that all addresses of a name
    /// are one host.
    pub fn of_host(host: &Host) -> Self {
        match host {
            Host::Ip(ip) => HostKey::of_ip(*ip),
            Host::Name(name) => HostKey::of_name(name.as_str()),
        }
    }

    /// Of a name, in any case, with or without a dot at the end.
    pub fn of_name(name: &str) -> Self {
        let name = name.strip_suffix('.').unwrap_or(name);
        HostKey(fnv(name.bytes().map(|byte| byte.to_ascii_lowercase())))
    }

    /// Of an address; IPv4-mapped ones are IPv4.
    pub fn of_ip(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(v4) => HostKey(fnv(v4.octets().into_iter())),
            IpAddr::V6(v6) => HostKey(fnv(v6.octets().into_iter())),
        }
    }

    /// The number.
    pub const fn to_bits(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("_")
    }
}

/// FNV-1a, 64 bits. An attacker can choose hosts that share an uplink, and gains nothing by it.
fn fnv(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
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
    /// The destination is an IPv4 address and this uplink carries IPv6 alone: it is reached by the
    /// address that has it under this prefix. Not beside an `endpoint`.
    pub prefix64: Option<Prefix64>,
    /// How long the attempt may be silent before it gets company (RFC 8305 section 5).
    pub patience: Duration,
}

impl Assignment {
    /// Where `to` is reached by it.
    pub fn translated(&self, to: SocketAddr) -> SocketAddr {
        match (self.prefix64, to.ip()) {
            (Some(prefix), IpAddr::V4(v4)) => {
                prefix.embed(v4).map_or(to, |v6| SocketAddr::new(v6.into(), to.port()))
            }
            _ => to,
        }
    }
}

/// What a machine reports to the pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Report {
    /// An attempt through `uplink` begins.
    Attempting {
        /// Through this.
        uplink: UplinkId,
    },
    /// An attempt through `uplink` was given up, or has failed: it did not become a connection.
    AttemptOver {
        /// Through this.
        uplink: UplinkId,
    },
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
    /// An attempt through `uplink` was still silent when one through another uplink, begun later,
    /// had reached the same address.
    Outpaced {
        /// The silent one.
        uplink: UplinkId,
    },
    /// Bytes that a connection has moved through `uplink` since it last said so: about once a
    /// second while it moves any, and at its end.
    Traffic {
        /// Through this.
        uplink: UplinkId,
        /// Bytes from clients to targets.
        sent: u64,
        /// Bytes from targets to clients.
        received: u64,
        /// Within this time. Zero: not known, or not of one connection.
        over: Duration,
    },
    /// A connection through `uplink` has sent something, and nothing has moved since for several
    /// seconds. A single server may be slow; many of them are not.
    Mute {
        /// Through this.
        uplink: UplinkId,
        /// To this host.
        to: IpAddr,
    },
    /// A probe of `uplink` has ended: how long it took, or why it failed.
    Probed {
        /// Through this.
        uplink: UplinkId,
        /// What came of it.
        result: Result<Duration, Fault>,
        /// A success is an answer: more than a connection that opens.
        answered: bool,
    },
    /// The name servers of `uplink` say how its network translates IPv4 destinations (RFC 7050);
    /// `None`: not at all, or it is not known any more.
    Prefix64 {
        /// Of this.
        uplink: UplinkId,
        /// The prefix.
        prefix: Option<Prefix64>,
    },
    /// A connection that was reported as [`Report::Connected`] has ended.
    Ended {
        /// Through this.
        uplink: UplinkId,
    },
}

impl Report {
    /// The uplink that it is about.
    pub(crate) fn uplink(&self) -> UplinkId {
        let (Report::Attempting { uplink }
        | Report::AttemptOver { uplink }
        | Report::Mute { uplink, .. }
        | Report::Connected { uplink, .. }
        | Report::Failed { uplink, .. }
        | Report::Outpaced { uplink }
        | Report::Traffic { uplink, .. }
        | Report::Probed { uplink, .. }
        | Report::Prefix64 { uplink, .. }
        | Report::Ended { uplink }) = *self;
        uplink
    }
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
