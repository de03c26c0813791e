//! Balancers' ports whose session is over although their clients still send: what comes from them
//! is dropped until idle.
//!
//! Where only the first datagram has a header, a header counts when its port has no flow. After
//! that first datagram was refused, or its flow has failed or was evicted, what the port sends next
//! was written by the client: a header in it would let the client choose its own address. So all of
//! it is dropped, until the port was silent for as long as a flow may be.

use crate::time::Instant;
use crate::timers::Timers;
use alloc::collections::BTreeMap;
use core::net::SocketAddr;

/// A listener, and the port of a balancer that sends to it.
pub(super) type Port = (usize, SocketAddr);

/// As many as one address of a balancer has ports. Beyond that the longest silent one is forgotten.
pub(super) const MOST: usize = 65_536;

#[derive(Debug)]
pub(super) struct Quarantine {
    armed: BTreeMap<Port, Option<Instant>>,
    deadlines: Timers<Port>,
}

impl Quarantine {
    pub(super) fn new() -> Self {
        Quarantine { armed: BTreeMap::new(), deadlines: Timers::new() }
    }

    /// Puts `port` into quarantine until `until`. Whether another had to be forgotten for it.
    pub(super) fn insert(&mut self, port: Port, until: Instant) -> bool {
        let armed = self.armed.entry(port).or_default();
        self.deadlines.rearm(port, armed, Some(until));
        if self.armed.len() > MOST
            && let Some(oldest) = self.deadlines.first()
        {
            self.forget(oldest);
            return true;
        }
        false
    }

    /// Whether `port` is in quarantine at `now`. If so, it has just sent something, and stays until
    /// `until`.
    pub(super) fn heard(&mut self, now: Instant, port: Port, until: Instant) -> bool {
        while let Some(silent) = self.deadlines.pop_due(now) {
            self.armed.remove(&silent);
        }
        let Some(armed) = self.armed.get_mut(&port) else { return false };
        self.deadlines.rearm(port, armed, Some(until));
        true
    }

    fn forget(&mut self, port: Port) {
        if let Some(mut armed) = self.armed.remove(&port) {
            self.deadlines.rearm(port, &mut armed, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;
    use core::net::{Ipv4Addr, SocketAddr};

    fn port(n: u32) -> Port {
        (0, SocketAddr::new(Ipv4Addr::from_bits(n).into(), 7000))
    }

    fn at(secs: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(secs)
    }

    #[test]
    fn it_lasts_until_it_was_silent_for_long_enough() {
        let mut quarantine = Quarantine::new();
        assert!(!quarantine.insert(port(1), at(60)));
        assert!(!quarantine.heard(at(1), port(2), at(61)));
        assert!(quarantine.heard(at(59), port(1), at(119)));
        assert!(quarantine.heard(at(118), port(1), at(178)));
        assert!(!quarantine.heard(at(178), port(1), at(238)));
        assert!(quarantine.armed.is_empty() && quarantine.deadlines.is_empty());
    }

    #[test]
    fn there_is_an_end_to_them_and_the_longest_silent_goes_first() {
        let mut quarantine = Quarantine::new();
        for n in 0..MOST as u32 {
            assert!(!quarantine.insert(port(n), at(60)));
        }
        assert!(quarantine.heard(at(1), port(0), at(61)));
        assert!(quarantine.insert(port(u32::MAX), at(61)));
        assert_eq!((quarantine.armed.len(), quarantine.deadlines.len()), (MOST, MOST));
        assert!(quarantine.heard(at(2), port(0), at(62)) && !quarantine.heard(at(2), port(1), at(62)));
    }
}
