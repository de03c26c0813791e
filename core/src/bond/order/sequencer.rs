//! The sender's side: a sequence for each packet as it leaves, and the distance to its predecessor.

use crate::bond::inner::FlowKey;
use alloc::collections::BTreeMap;

/// Flows remembered. One that is forgotten is unordered for one packet.
const FLOWS: usize = 4096;

/// Gives packets their place.
#[derive(Debug, Default)]
pub(crate) struct Sequencer {
    /// The next sequence, not cut to 32 bits.
    next: u64,
    /// The flow of the last packet, which is in neither map: packets come in runs, and a run costs
    /// no look-up.
    recent: Option<(FlowKey, u64)>,
    /// The last sequence of each other flow.
    last: BTreeMap<FlowKey, u64>,
    /// The flows by their last sequence, oldest first.
    by_age: BTreeMap<u64, FlowKey>,
}

impl Sequencer {
    pub(crate) fn new() -> Self {
        Sequencer::default()
    }

    /// The sequence and the distance of a packet that leaves now. The distance is zero where it is
    /// not `ordered`, or where its predecessor is unknown or further back than a distance can say.
    pub(crate) fn assign(&mut self, key: FlowKey, ordered: bool) -> (u32, u16) {
        let sequence = self.next;
        self.next += 1;
        // A packet that does not wait may still be waited for.
        let last = match self.recent.replace((key, sequence)) {
            Some((recent, last)) if recent == key => Some(last),
            recent => {
                if let Some((recent, last)) = recent {
                    self.last.insert(recent, last);
                    self.by_age.insert(last, recent);
                }
                let last = self.last.remove(&key);
                if let Some(last) = last {
                    self.by_age.remove(&last);
                }
                self.forget(sequence);
                last
            }
        };
        let distance = last.and_then(|last| u16::try_from(sequence - last).ok());
        (sequence as u32, distance.filter(|_| ordered).unwrap_or(0))
    }

    /// Forgets what is too far back from `sequence`, or one too many.
    fn forget(&mut self, sequence: u64) {
        while let Some((last, key)) = self.by_age.first_key_value() {
            if sequence - last <= u64::from(u16::MAX) && self.last.len() < FLOWS {
                break;
            }
            self.last.remove(key);
            self.by_age.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bond::inner::testing::Build;
    use crate::bond::inner::{Flow, Packet};

    fn key(source: u16, destination: u16) -> FlowKey {
        let packet = Build { ports: (source, destination), ..Build::default() }.udp(b"");
        Flow::of(&Packet::parse(&packet).expect("a packet")).key
    }

    #[test]
    fn a_distance_leads_to_the_packet_before_in_the_same_flow() {
        let mut sequencer = Sequencer::new();
        let (a, b) = (key(1, 1), key(2, 1));
        let given = [(a, true), (b, true), (b, false), (a, true), (b, true)];
        let given = given.map(|(key, ordered)| sequencer.assign(key, ordered));
        assert_eq!(given, [(0, 0), (1, 0), (2, 0), (3, 3), (4, 2)]);
    }

    #[test]
    fn a_predecessor_too_far_back_is_none() {
        for (between, distance) in [(65_534, 65_535), (65_535, 0)] {
            let mut sequencer = Sequencer::new();
            sequencer.assign(key(1, 1), true);
            for _ in 0..between {
                sequencer.assign(key(2, 1), true);
            }
            assert_eq!(sequencer.assign(key(1, 1), true), (between + 1, distance));
        }
    }

    #[test]
    fn a_thousand_flows_too_many_cost_no_memory() {
        let mut sequencer = Sequencer::new();
        for flow in 0..5000 {
            sequencer.assign(key(flow, 1), true);
        }
        assert!(sequencer.last.len() <= FLOWS && sequencer.by_age.len() == sequencer.last.len());
        assert_eq!(sequencer.assign(key(0, 1), true).1, 0, "forgotten");
        assert_eq!(sequencer.assign(key(4999, 1), true).1, 2, "remembered");
    }
}
