//! What happened to names that are looked up through uplinks.

use crate::machine::Fault;
use crate::time::Duration;
use core::net::SocketAddr;

/// What happened to a name that is looked up through an uplink.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum NamesNews {
    /// It was known from before.
    Known,
    /// A server was asked.
    Asked {
        /// Which.
        server: SocketAddr,
    },
    /// There are addresses.
    Answered {
        /// From the first question on.
        took: Duration,
    },
    /// There are none, or nobody says so.
    Failed {
        /// Why.
        fault: Fault,
        /// From the first question on.
        took: Duration,
    },
    /// A server's answer did not fit into a datagram: it is asked over TCP.
    Truncated {
        /// Which.
        server: SocketAddr,
    },
    /// Something came that is no answer to what was asked: it is dropped.
    Stray {
        /// The server that was asked.
        server: SocketAddr,
    },
    /// An answer that could have been kept for longer made room for another.
    CacheFull {
        /// Answers that are kept.
        limit: usize,
    },
}
