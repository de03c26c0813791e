//! What may happen: packets of a few flows leave over a few paths; paths delay, lose and repeat
//! them, and die.

use crate::time::{Duration, Instant};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use proptest::prelude::*;

/// One packet, as its sender sends it.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub(super) flow: u8,
    pub(super) path: u8,
    /// Microseconds after the packet before.
    pub(super) gap: u64,
    pub(super) lost: bool,
    /// It comes again, on this path and this many microseconds after it was sent.
    pub(super) again: Option<(u8, u64)>,
}

/// What happens to a path, and when, in microseconds.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) at: u64,
    pub(super) path: u8,
    pub(super) live: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) packets: Vec<Packet>,
    pub(super) changes: Vec<Change>,
    /// One-way delay of each path, in microseconds.
    pub(super) delays: [u64; 3],
    /// In milliseconds.
    pub(super) patience: u64,
    pub(super) repair: Option<u64>,
    /// The first sequence: near the end of 32 bits it wraps on the way.
    pub(super) first: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Packet `index` comes on `path`.
    Arrive {
        path: u8,
        index: usize,
    },
    Path {
        path: u8,
        live: bool,
    },
}

pub(super) fn microseconds(at: u64) -> Instant {
    Instant::from_nanos(at * 1000)
}

impl Plan {
    pub(super) fn patience(&self) -> Duration {
        Duration::from_millis(self.patience)
    }

    pub(super) fn repair(&self) -> Option<Duration> {
        self.repair.map(Duration::from_millis)
    }

    pub(super) fn sequence(&self, index: usize) -> u32 {
        self.first.wrapping_add(index as u32)
    }

    /// The index of the packet before, in the same flow. Flow 0 is not ordered.
    pub(super) fn predecessor(&self, index: usize) -> Option<usize> {
        let flow = self.packets[index].flow;
        (0..index).rev().find(|before| flow != 0 && self.packets[*before].flow == flow)
    }

    pub(super) fn distance(&self, index: usize) -> u16 {
        self.predecessor(index).map_or(0, |before| (index - before) as u16)
    }

    /// Everything that happens, by time; what happens at one time in the order of sending.
    pub(super) fn events(&self) -> Vec<(u64, Event)> {
        let mut events: BTreeMap<(u64, usize), Event> = BTreeMap::new();
        let mut order = 0..;
        let mut add = |at, event| events.insert((at, order.next().expect("endless")), event);
        for change in &self.changes {
            add(change.at, Event::Path { path: change.path, live: change.live });
        }
        let mut sent = 0;
        for (index, packet) in self.packets.iter().enumerate() {
            sent += packet.gap;
            if !packet.lost {
                let path = packet.path;
                add(sent + self.delays[usize::from(path)], Event::Arrive { path, index });
            }
            if let Some((path, later)) = packet.again {
                add(sent + later + self.delays[usize::from(path)], Event::Arrive { path, index });
            }
        }
        events.into_iter().map(|((at, _), event)| (at, event)).collect()
    }

    /// The same without loss, repeats and deaths, and with paths that are waited for.
    pub(super) fn without_loss(mut self) -> Plan {
        for packet in &mut self.packets {
            (packet.lost, packet.again) = (false, None);
        }
        self.changes.clear();
        self.patience = 200;
        self
    }

    pub(super) fn on_one_path(mut self) -> Plan {
        for packet in &mut self.packets {
            packet.path = 0;
        }
        self
    }

    /// The same with one packet lost.
    pub(super) fn losing(mut self, index: usize) -> Plan {
        if let Some(index) = index.checked_rem(self.packets.len()) {
            self.packets[index].lost = true;
        }
        self
    }
}

pub(super) fn plan() -> impl Strategy<Value = Plan> {
    let again = prop::option::weighted(0.15, (0u8..3, 0u64..120_000));
    let packet = (0u8..4, 0u8..3, 0u64..3000, prop::bool::weighted(0.1), again)
        .prop_map(|(flow, path, gap, lost, again)| Packet { flow, path, gap, lost, again });
    let change = (0u64..100_000, 0u8..3, any::<bool>());
    let change = change.prop_map(|(at, path, live)| Change { at, path, live });
    let first = prop_oneof![Just(0), Just(u32::MAX - 20), any::<u32>()];
    (
        prop::collection::vec(packet, 0..60),
        prop::collection::vec(change, 0..4),
        [0u64..60_000, 0u64..60_000, 0u64..60_000],
        1u64..120,
        prop::option::of(1u64..100),
        first,
    )
        .prop_map(|(packets, changes, delays, patience, repair, first)| Plan {
            packets,
            changes,
            delays,
            patience,
            repair,
            first,
        })
}
