//! An uplink that lets connections open and then carries nothing: a captive portal, a data
//! plan that is used up, a router that lost its line.
//!
//! A single server that says nothing is no evidence: a long poll waits for a minute. Evidence is
//! [`CONNECTIONS`] connections to [`HOSTS`] hosts that were never answered, without one byte by any
//! other connection of the uplink meanwhile, while other uplinks were answered [`ANSWERS`] times.

use core::net::IpAddr;

/// So many connections without an answer,
const CONNECTIONS: u32 = 4;
/// to so many hosts: one server that is down is not the uplink.
const HOSTS: usize = 3;
/// So often must other uplinks have been answered since the first of these: else the internet may
/// be what is down.
const ANSWERS: u32 = 4;

/// What speaks against one uplink since it last carried a byte.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mute {
    connections: u32,
    hosts: [Option<IpAddr>; HOSTS],
    answers: u32,
}

impl Mute {
    /// A byte has come by it.
    pub(super) fn answered(&mut self) {
        *self = Mute::default();
    }

    /// A byte has come by another uplink.
    pub(super) fn other_answered(&mut self) {
        if self.connections > 0 {
            self.answers = self.answers.saturating_add(1);
        }
    }

    /// A connection to `to` was not answered. How many were not, if that is enough.
    pub(super) fn unanswered(&mut self, to: IpAddr) -> Option<u32> {
        self.connections = self.connections.saturating_add(1);
        if !self.hosts.contains(&Some(to))
            && let Some(free) = self.hosts.iter_mut().find(|host| host.is_none())
        {
            *free = Some(to);
        }
        let enough = self.connections >= CONNECTIONS
            && self.hosts.iter().all(Option::is_some)
            && self.answers >= ANSWERS;
        enough.then_some(self.connections)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    /// `a` to `z`: that host did not answer; `+`: this uplink has carried; `.`: another has.
    fn verdicts(story: &str) -> usize {
        let mut mute = Mute::default();
        let mut count = 0;
        for byte in story.bytes() {
            match byte {
                b'+' => mute.answered(),
                b'.' => mute.other_answered(),
                host => {
                    count += usize::from(mute.unanswered(Ipv4Addr::new(192, 0, 2, host).into()).is_some())
                }
            }
        }
        count
    }

    #[test]
    fn four_connections_to_three_hosts_while_others_are_answered_are_evidence() {
        assert_eq!(verdicts("a.b.c..a"), 1);
        assert_eq!(verdicts("a.b.c."), 0, "three connections");
        assert_eq!(verdicts("a.b.a..a.b"), 0, "two hosts");
        assert_eq!(verdicts("a.bcd..e"), 0, "others were answered three times");
        assert_eq!(verdicts("....abcd"), 0, "they were answered before, not since");
    }

    #[test]
    fn one_byte_clears_it() {
        assert_eq!(verdicts("a.b.c..+a.b.c."), 0);
        assert_eq!(verdicts("a.b.c..+a.b.c..d"), 1);
    }
}
