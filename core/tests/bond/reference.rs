//! What must be true of what comes out, from nothing but what went in.

use super::packet::{Flow, Kind, Way};
use std::collections::{BTreeMap, BTreeSet};

/// One flow.
#[derive(Default)]
pub(crate) struct Sent {
    /// Numbers below this were sent.
    pub(crate) next: u32,
    /// The place of the next byte in a TCP flow.
    pub(crate) seq: u32,
    /// What came out.
    pub(crate) delivered: BTreeSet<u32>,
    /// The highest that came out.
    highest: Option<u32>,
    /// Packets that came out behind one that was sent after them.
    pub(crate) overtaken: u64,
}

/// All flows.
#[derive(Default)]
pub(crate) struct Reference {
    pub(crate) flows: BTreeMap<Flow, Sent>,
}

impl Reference {
    /// Packets go in: the number of the first, and where its bytes begin.
    pub(crate) fn send(&mut self, flow: Flow, count: u32, size: usize) -> (u32, u32) {
        let sent = self.flows.entry(flow).or_default();
        let (number, seq) = (sent.next, sent.seq);
        sent.next += count;
        sent.seq = seq.wrapping_add(count * size as u32);
        (number, seq)
    }

    /// Packets have come out.
    ///
    /// # Panics
    /// One was never sent, or came out before.
    pub(crate) fn deliver(&mut self, flow: Flow, numbers: &[u32]) {
        if numbers.is_empty() {
            // A header alone, or the bond's own word.
            return;
        }
        let sent = self.flows.get_mut(&flow).unwrap_or_else(|| panic!("nothing was sent in {flow:?}"));
        for number in numbers {
            assert!(*number < sent.next, "{number} of {flow:?} was never sent");
            assert!(sent.delivered.insert(*number), "{number} of {flow:?} came out twice");
            sent.overtaken += u64::from(sent.highest > Some(*number));
            sent.highest = sent.highest.max(Some(*number));
        }
    }

    /// Packets that went in and did not come out.
    pub(crate) fn missing(&self) -> u64 {
        self.flows.values().map(|sent| u64::from(sent.next) - sent.delivered.len() as u64).sum()
    }

    /// Packets of flows that are always ordered that came out too late.
    pub(crate) fn overtaken(&self, way: Way) -> u64 {
        let of = |flow: &Flow| flow.way == way && flow.kind != Kind::Udp;
        let ordered = self.flows.iter().filter(|(flow, _)| of(flow));
        ordered.map(|(_, sent)| sent.overtaken).sum()
    }
}
