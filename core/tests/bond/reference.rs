//! What must be true of what comes out, from nothing but what went in.

use super::packet::{Came, Flow, Kind, Way};
use std::collections::{BTreeMap, BTreeSet};

/// One flow.
#[derive(Default)]
pub(crate) struct Sent {
    /// Numbers below this were sent.
    pub(crate) next: u32,
    /// The place of the next byte in a TCP flow.
    pub(crate) seq: u32,
    /// Where each packet of a TCP flow begins.
    places: BTreeMap<u32, u32>,
    /// What came out, and what of it was a header alone.
    pub(crate) delivered: BTreeSet<u32>,
    headers: u64,
    /// The highest that came out.
    highest: Option<u32>,
    /// Packets that came out behind one that was sent after them.
    pub(crate) overtaken: u64,
}

/// All flows.
#[derive(Default)]
pub(crate) struct Reference {
    pub(crate) flows: BTreeMap<Flow, Sent>,
    /// How often a host was told that its packet is too big, at the end where packets of the
    /// direction come out.
    pub(crate) told: BTreeMap<Way, u64>,
}

impl Reference {
    /// Packets go in: the number of the first, and where its bytes begin.
    pub(crate) fn send(&mut self, flow: Flow, count: u32, size: usize) -> (u32, u32) {
        let sent = self.flows.entry(flow).or_default();
        let (number, seq) = (sent.next, sent.seq);
        sent.next += count;
        sent.seq = seq.wrapping_add(count * size as u32);
        if flow.kind == Kind::Tcp {
            sent.places.extend((0..count).map(|at| (seq.wrapping_add(at * size as u32), number + at)));
        }
        (number, seq)
    }

    /// Something has come out where packets that go `way` do.
    ///
    /// # Panics
    /// It was never sent, came out before, or where it went in.
    pub(crate) fn take(&mut self, way: Way, came: Came) {
        match came {
            Came::Packets(flow, numbers) => {
                assert_eq!(flow.way, way, "it came out where it went in");
                self.deliver(flow, &numbers);
            }
            Came::Header(flow, place) => {
                assert_eq!(flow.way, way, "it came out where it went in");
                let sent =
                    self.flows.get_mut(&flow).unwrap_or_else(|| panic!("nothing was sent in {flow:?}"));
                let number = *sent.places.get(&place).unwrap_or_else(|| panic!("{place} of {flow:?}"));
                sent.headers += 1;
                self.deliver(flow, &[number]);
            }
            Came::TooBig(flow) => {
                assert_ne!(flow.way, way, "who sent it is told");
                assert!(self.flows.contains_key(&flow), "nothing was sent in {flow:?}");
                *self.told.entry(way).or_default() += 1;
            }
        }
    }

    /// Packets have come out.
    ///
    /// # Panics
    /// One was never sent, or came out before.
    fn deliver(&mut self, flow: Flow, numbers: &[u32]) {
        let sent = self.flows.get_mut(&flow).unwrap_or_else(|| panic!("nothing was sent in {flow:?}"));
        for number in numbers {
            assert!(*number < sent.next, "{number} of {flow:?} was never sent");
            assert!(sent.delivered.insert(*number), "{number} of {flow:?} came out twice");
            sent.overtaken += u64::from(sent.highest > Some(*number));
            sent.highest = sent.highest.max(Some(*number));
        }
    }

    /// Packets of one way of which the header alone came out.
    pub(crate) fn headers(&self, way: Way) -> u64 {
        self.flows.iter().filter(|(flow, _)| flow.way == way).map(|(_, sent)| sent.headers).sum()
    }

    /// Packets that went in and did not come out, not even their header.
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
