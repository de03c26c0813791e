//! Why flows end, and why datagrams are dropped.

use super::Refusal;
use crate::machine::Fault;
use core::fmt;
use core::net::IpAddr;

/// Why a UDP flow has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum FlowEnd {
    /// Nothing moved for the time set.
    Idle,
    /// There were too many, and it was the longest idle.
    Evicted {
        /// The limit.
        limit: usize,
    },
    /// Its socket could not be opened.
    Failed(Fault),
    /// Its client's own port was not available, and another is not wanted.
    PortConflict(Fault),
    /// Its socket would have sent from this address, which is not its client's.
    OtherAddress(IpAddr),
    /// Its association has ended.
    Association,
    /// No uplink can carry it.
    NoUplink,
}

impl fmt::Display for FlowEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FlowEnd::Idle => f.write_str("idle"),
            FlowEnd::Evicted { limit } => write!(f, "there are {limit} flows, and it was the longest idle"),
            FlowEnd::Failed(fault) => write!(f, "its socket cannot be opened: {fault}"),
            FlowEnd::PortConflict(fault) => write!(f, "the client's own port cannot be had: {fault}"),
            FlowEnd::Association => f.write_str("its association has ended"),
            FlowEnd::NoUplink => f.write_str("no uplink can carry it"),
            FlowEnd::OtherAddress(ip) => {
                write!(f, "its socket would send from {ip}, not from the client's address")
            }
        }
    }
}

/// Why a datagram was not passed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Dropped {
    /// For a reason that ends connections too.
    Refused(Refusal),
    /// Its header is not whole: the number of bytes that came.
    CutShort(usize),
    /// It has no header and no flow.
    NoFlow,
    /// Too much waits to be sent already: more bytes than the limit, or more datagrams than 64 and
    /// one for each 16 bytes of the limit.
    QueueFull {
        /// The limit, in bytes.
        limit: usize,
    },
    /// With its header it is longer than a datagram can be: its length in bytes.
    TooLong(usize),
    /// It would begin a flow, and no new ones are taken.
    Draining,
    /// It is a part of a datagram, with this place among them: parts are not put together.
    Fragment(u8),
    /// It came to an association from a sender who is not its client, or from another of its
    /// client's ports.
    NotClient,
    /// It came to an association from an address to which its client has sent nothing.
    Stranger,
    /// It is beyond the rate of its uplink.
    Rate,
    /// It is for a name, and as many names of its association are being looked up as may be.
    NamesFull {
        /// The limit.
        limit: usize,
    },
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dropped::Refused(why) => why.fmt(f),
            Dropped::CutShort(len) => {
                write!(f, "expected a whole header, the datagram ends after {len} bytes")
            }
            Dropped::NoFlow => f.write_str("it has no header and belongs to no flow"),
            Dropped::QueueFull { limit } => {
                write!(f, "too many bytes or datagrams wait to be sent (limit {limit} bytes)")
            }
            Dropped::TooLong(len) => {
                write!(f, "with its header it has {len} bytes, more than a datagram can have")
            }
            Dropped::Fragment(place) => write!(f, "expected a whole datagram (FRAG 0), got FRAG {place}"),
            Dropped::NotClient => {
                f.write_str("its sender is not the association's client, or not by its port")
            }
            Dropped::Stranger => f.write_str("the association's client has sent nothing to that address"),
            Dropped::Rate => f.write_str("its uplink carries as much as it may"),
            Dropped::NamesFull { limit } => {
                write!(f, "{limit} names of its association are being looked up already")
            }
            Dropped::Draining => f.write_str("it would begin a flow, and no new ones are taken"),
        }
    }
}
