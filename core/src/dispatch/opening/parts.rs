//! What an opening is made of: addresses to try, attempts under way, and what comes of them.

use crate::dispatch::upstream::{Introduction, Upstream};
use crate::machine::{Fault, QueryId, StreamId, UplinkId, UplinkSet};
use crate::time::Instant;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

#[derive(Debug)]
pub(super) struct Candidate {
    /// `None`: the pool's endpoint is the destination, or is a proxy that gets the name.
    pub(super) to: Option<SocketAddr>,
    pub(super) tried: UplinkSet,
    pub(super) tried_unbound: bool,
    /// Not to be tried again.
    pub(super) dead: bool,
    /// The destination itself has said no.
    pub(super) refused: bool,
}

impl Candidate {
    pub(super) fn new(to: Option<SocketAddr>, tried: UplinkSet) -> Self {
        Candidate { to, tried, tried_unbound: false, dead: false, refused: false }
    }

    /// This uplink does not serve. One that is given all the same ends the questions.
    pub(super) fn leave_out(&mut self, uplink: UplinkId) {
        self.dead |= self.tried.contains(uplink);
        self.tried.insert(uplink);
    }
}

#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) stream: StreamId,
    pub(super) candidate: usize,
    pub(super) to: SocketAddr,
    pub(super) uplink: Option<UplinkId>,
    pub(super) began: Instant,
    /// The proxy that it leads to.
    pub(super) upstream: Option<Box<Upstream>>,
    /// What is said to that, once it is connected.
    pub(super) talk: Option<Box<Talk>>,
}

#[derive(Debug)]
pub(super) struct Talk {
    pub(super) introduction: Introduction,
    /// Our own address on this connection.
    pub(super) local: SocketAddr,
}

/// A name that is looked up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sought {
    pub(super) query: QueryId,
    pub(super) began: Instant,
    /// By this uplink's name servers; `None`: by the system.
    pub(super) by: Option<UplinkId>,
}

/// A question to the pool that is under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asking {
    pub(super) candidate: usize,
    /// Leaving out every uplink this connection has tried, whatever the address.
    pub(super) fresh_uplink: bool,
    /// This uplink and no other: its turn has come for the name.
    pub(super) only: Option<UplinkId>,
}

/// The attempt that won.
#[derive(Debug)]
pub(in crate::dispatch) struct Winner {
    pub(in crate::dispatch) stream: StreamId,
    pub(in crate::dispatch) uplink: Option<UplinkId>,
    /// Our own address on this connection.
    pub(in crate::dispatch) local: SocketAddr,
    /// Bytes of the destination that came behind a proxy's answer.
    pub(in crate::dispatch) heard: Vec<u8>,
    /// Where it leads.
    pub(in crate::dispatch) to: IpAddr,
}

/// What a connection that stands comes to.
#[derive(Debug)]
pub(in crate::dispatch) enum Reached {
    /// It is not wanted any more.
    Unwanted,
    /// A proxy, to which the destination must be written first.
    Proxy,
    /// The destination.
    Target(Winner),
}

/// Ranks faults: a destination's answer is more useful to the client than what this host lacks.
pub(super) fn weight(fault: Fault) -> u8 {
    match fault {
        Fault::Refused | Fault::Reset => 6,
        Fault::TimedOut => 5,
        Fault::ProxyForbids => 4,
        Fault::HostUnreachable => 3,
        Fault::NetworkUnreachable => 2,
        Fault::NoDescriptors | Fault::NoMemory | Fault::AddressInUse => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of several faults the client is told the first of these that has come.
    #[test]
    fn what_a_destination_says_comes_before_what_this_host_lacks() {
        let order = [
            &[Fault::Refused, Fault::Reset][..],
            &[Fault::TimedOut],
            &[Fault::ProxyForbids],
            &[Fault::HostUnreachable],
            &[Fault::NetworkUnreachable],
            &[Fault::NoDescriptors, Fault::NoMemory, Fault::AddressInUse],
            &[Fault::NoDevice, Fault::NetworkDown, Fault::NoRoute],
        ];
        for pair in order.windows(2) {
            for (before, behind) in pair[0].iter().flat_map(|a| pair[1].iter().map(move |b| (*a, *b))) {
                assert!(weight(before) > weight(behind), "{before:?} {behind:?}");
            }
        }
        assert_eq!(weight(Fault::Refused), weight(Fault::Reset));
    }
}
