//! 3: a hole in one flow never delays another. What has come, with all before it in its own flow,
//! is out at once, whatever other flows miss.
//!
//! Each packet has a length of its own: the datagram that brings it is known without its key.

use super::lab::{LONGEST, OVERHEAD, SHORTEST};
use super::packet::{Flow, Kind, Way};
use super::sut::Sut;
use super::transition::{self, Transition};
use proptest::collection::vec;
use proptest::prelude::*;
use ropewalk_core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// What has come of a flow: all below a number, and some above it.
#[derive(Default)]
struct Come {
    whole: u32,
    above: BTreeSet<u32>,
}

/// A bond whose packets are known by their length.
struct Labelled {
    sut: Sut,
    /// By way, by length: whose it is, and its number.
    sent: [Vec<(Flow, u32)>; 2],
    come: BTreeMap<Flow, Come>,
}

impl Labelled {
    fn send(&mut self, flow: Flow) {
        let labels = &mut self.sent[flow.way as usize];
        let len = SHORTEST + labels.len();
        assert!(len <= LONGEST, "there is no length left");
        let number = self.sut.reference.flows.get(&flow).map_or(0, |sent| sent.next);
        labels.push((flow, number));
        let size = len - if flow.kind == Kind::Tcp { 40 } else { 28 };
        self.sut.apply(&Transition::Send { flow, count: 1, size: size as u16, joined: false });
        self.check();
    }

    fn run(&mut self, time: Duration) {
        let end = self.sut.lab.now + time;
        while self.sut.lab.step(end) {
            self.check();
        }
    }

    fn check(&mut self) {
        self.sut.collect();
        for way in [Way::Up, Way::Down] {
            for len in std::mem::take(&mut self.sut.lab.brought[way as usize]) {
                let (flow, number) = self.sent[way as usize][len - OVERHEAD - SHORTEST];
                let come = self.come.entry(flow).or_default();
                if number >= come.whole {
                    come.above.insert(number);
                }
            }
        }
        for (flow, come) in &mut self.come {
            while come.above.remove(&come.whole) {
                let out = self.sut.reference.flows[flow].delivered.contains(&come.whole);
                assert!(out, "{} of {flow:?} has come, as all before it, and waits", come.whole);
                come.whole += 1;
            }
        }
    }
}

fn flow() -> impl Strategy<Value = Flow> {
    let way = prop_oneof![Just(Way::Up), Just(Way::Down)];
    let kind = prop_oneof![Just(Kind::Tcp), Just(Kind::WireGuard), Just(Kind::Udp)];
    (way, kind, 0u8..2).prop_map(|(way, kind, id)| Flow { client: 0, way, kind, id })
}

proptest! {
    #![proptest_config(super::cases(48))]

    #[test]
    fn a_hole_in_one_flow_never_delays_another(
        setup in transition::rough(),
        sends in vec((flow(), prop_oneof![4 => 0u64..6, 1 => 20u64..200]), 50..400),
    ) {
        let mut labelled = Labelled { sut: Sut::new(&setup), sent: Default::default(), come: BTreeMap::new() };
        for (flow, wait) in sends {
            labelled.send(flow);
            labelled.run(Duration::from_millis(wait));
        }
        labelled.run(Duration::from_secs(2));
    }
}
