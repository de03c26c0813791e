//! Packets sent and not yet settled, by packet number.
//!
//! ```text
//! slots        [ .  .  A  O  O  L  O  .  .  . ]     a ring, number modulo its size (a power of two)
//! outstanding            1  1     1                 one bit for each slot: neither acknowledged nor lost
//! lost                         1                    declared lost, kept to know one that only came late
//!                 first              next
//! ```
//!
//! Adding, and taking by number, are O(1); a range costs one step for 64 numbers and one for each
//! packet it takes. The ring doubles as needed up to [`MAX_PACKETS`]; a full one refuses.

use crate::time::{Duration, Instant};
use alloc::vec;
use alloc::vec::Vec;
use core::ops::RangeInclusive;

/// | constant | reason |
/// | --- | --- |
/// | `MAX_PACKETS` 2^15 | 500 Mbit/s over 300 ms are 13,400 packets of 1,400 bytes; as much again for what is lost |
/// | `MIN_PACKETS` 64 | an idle path of a server with many clients costs 3 KiB |
pub(crate) const MAX_PACKETS: u64 = 1 << 15;
const MIN_PACKETS: u64 = 64;

/// What is remembered of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Packet {
    pub(crate) number: u64,
    pub(crate) sent_at: Instant,
    /// Bytes of the IP packet.
    pub(crate) bytes: u32,
    /// The DATA frame's sequence; none in a control packet.
    pub(crate) sequence: Option<u32>,
    /// The peer acknowledges it; it counts as in flight.
    pub(crate) eliciting: bool,
    /// A probe for a larger MTU: its loss says nothing of the path.
    pub(crate) mtu_probe: bool,
    /// It left while the path was asked for more than it is believed to have: its loss may be our
    /// own doing.
    pub(crate) probing: bool,
    /// How often, up to its sending, the source left the path without work.
    pub(crate) gaps: u32,
}

/// What became of a packet before it was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Was {
    Outstanding,
    Lost,
}

/// The packets of one path.
#[derive(Clone, Debug)]
pub(crate) struct SentMap {
    slots: Vec<Packet>,
    outstanding: Vec<u64>,
    lost: Vec<u64>,
    /// No number below is in the map.
    first: u64,
    next: u64,
    in_flight: u64,
}

impl SentMap {
    pub(crate) fn new() -> Self {
        SentMap {
            slots: vec![Packet::default(); MIN_PACKETS as usize],
            outstanding: vec![0; (MIN_PACKETS / 64) as usize],
            lost: vec![0; (MIN_PACKETS / 64) as usize],
            first: 0,
            next: 0,
            in_flight: 0,
        }
    }

    /// The number that the next packet has at least.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Eliciting bytes neither acknowledged nor lost.
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// True when another packet must wait.
    pub(crate) fn is_full(&self) -> bool {
        self.next - self.first >= MAX_PACKETS
    }

    /// Remembers a packet. Numbers only rise; false where the map is full or the number is not new.
    pub(crate) fn push(&mut self, packet: Packet) -> bool {
        let number = packet.number;
        if number < self.next || number == u64::MAX {
            return false;
        }
        if self.first == self.next {
            self.first = number;
        }
        if number - self.first >= MAX_PACKETS {
            // Numbers that were skipped fill no slot, but a lost packet far below holds them.
            self.forget_lost(Instant::from_nanos(u64::MAX), Duration::ZERO);
            self.first = if self.first == self.next { number } else { self.first };
        }
        let Some(reach) = number.checked_sub(self.first).filter(|reach| *reach < MAX_PACKETS) else {
            return false;
        };
        if reach >= self.size() {
            self.grow(reach + 1);
        }
        self.next = number + 1;
        let slot = self.slot(number);
        self.slots[slot] = packet;
        self.outstanding[slot / 64] |= 1 << (slot % 64);
        if packet.eliciting {
            self.in_flight += u64::from(packet.bytes);
        }
        true
    }

    /// A number that is sent and not remembered: nobody acknowledges it for its own sake.
    pub(crate) fn skip(&mut self, number: u64) {
        if number >= self.next && number < u64::MAX {
            if self.first == self.next {
                self.first = number + 1;
            }
            self.next = number + 1;
        }
    }

    /// A truncated number as the full number nearest below `next`; none if it was never sent.
    pub(crate) fn expand(&self, low: u32) -> Option<u64> {
        let newest = self.next.checked_sub(1)?;
        let candidate = (newest & !0xffff_ffff) | u64::from(low);
        if candidate <= newest { Some(candidate) } else { candidate.checked_sub(1 << 32) }
    }

    /// The packet if it is neither acknowledged nor lost.
    pub(crate) fn outstanding(&self, number: u64) -> Option<&Packet> {
        if number < self.first || number >= self.reach() {
            return None;
        }
        let slot = self.slot(number);
        (self.outstanding[slot / 64] >> (slot % 64) & 1 == 1).then(|| &self.slots[slot])
    }

    /// The oldest packet from `from` on that is neither acknowledged nor lost.
    pub(crate) fn oldest_from(&self, from: u64) -> Option<&Packet> {
        let number = self.find(from.max(self.first), self.next, |map, word| map.outstanding[word])?;
        Some(&self.slots[self.slot(number)])
    }

    /// All that is neither acknowledged nor lost, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Packet> {
        let mut from = self.first;
        core::iter::from_fn(move || {
            let packet = self.oldest_from(from)?;
            from = packet.number + 1;
            Some(packet)
        })
    }

    /// Takes the acknowledged range out, lowest first.
    pub(crate) fn take(&mut self, range: RangeInclusive<u64>, mut each: impl FnMut(&Packet, Was)) {
        let end = range.end().saturating_add(1).min(self.next);
        let mut from = (*range.start()).max(self.first);
        while let Some(number) = self.find(from, end, |map, word| map.outstanding[word] | map.lost[word]) {
            let slot = self.slot(number);
            let bit = 1 << (slot % 64);
            let packet = self.slots[slot];
            if self.outstanding[slot / 64] & bit != 0 {
                self.leave(&packet);
                each(&packet, Was::Outstanding);
            } else {
                self.lost[slot / 64] &= !bit;
                each(&packet, Was::Lost);
            }
            from = number + 1;
        }
        self.advance();
    }

    /// No number from here on has a slot. Skipped numbers have none, so `next` may be further than
    /// the ring is long: beyond its end the slots of old numbers would be taken for those of new
    /// ones.
    fn reach(&self) -> u64 {
        self.next.min(self.first.saturating_add(self.size()))
    }

    /// Marks a packet lost. It stays in the map until [`SentMap::forget_lost`].
    pub(crate) fn mark_lost(&mut self, number: u64) -> Option<Packet> {
        let packet = *self.outstanding(number)?;
        self.leave(&packet);
        let slot = self.slot(number);
        self.lost[slot / 64] |= 1 << (slot % 64);
        Some(packet)
    }

    /// Forgets lost packets that were sent `age` ago or earlier.
    pub(crate) fn forget_lost(&mut self, now: Instant, age: Duration) {
        let mut from = self.first;
        while let Some(number) = self.find(from, self.next, |map, word| map.lost[word]) {
            let slot = self.slot(number);
            if self.slots[slot].sent_at + age > now {
                break;
            }
            self.lost[slot / 64] &= !(1 << (slot % 64));
            from = number + 1;
        }
        self.advance();
    }

    /// Gives the memory of a busy time back, if nothing is in the map.
    pub(crate) fn shrink(&mut self) {
        if self.first == self.next && self.size() > MIN_PACKETS {
            let next = self.next;
            *self = SentMap { first: next, next, ..SentMap::new() };
        }
    }

    fn leave(&mut self, packet: &Packet) {
        let slot = self.slot(packet.number);
        self.outstanding[slot / 64] &= !(1 << (slot % 64));
        if packet.eliciting {
            self.in_flight -= u64::from(packet.bytes);
        }
    }

    fn advance(&mut self) {
        let first = self.find(self.first, self.next, |map, word| map.outstanding[word] | map.lost[word]);
        self.first = first.unwrap_or(self.next);
    }

    /// The lowest number in `from..end` whose bit is set; `from..end` lies within `first..next`.
    fn find(&self, mut from: u64, end: u64, word_of: impl Fn(&Self, usize) -> u64) -> Option<u64> {
        let end = end.min(self.reach());
        while from < end {
            let slot = self.slot(from);
            let word = word_of(self, slot / 64) >> (slot % 64);
            if word != 0 {
                let found = from + u64::from(word.trailing_zeros());
                return (found < end).then_some(found);
            }
            from += 64 - (slot % 64) as u64;
        }
        None
    }

    fn grow(&mut self, needed: u64) {
        let size = needed.next_power_of_two().min(MAX_PACKETS);
        let words = (size / 64) as usize;
        let mut larger = SentMap {
            slots: vec![Packet::default(); size as usize],
            outstanding: vec![0; words],
            lost: vec![0; words],
            ..*self
        };
        for number in self.first..self.reach() {
            let (old, new) = (self.slot(number), larger.slot(number));
            larger.slots[new] = self.slots[old];
            larger.outstanding[new / 64] |= (self.outstanding[old / 64] >> (old % 64) & 1) << (new % 64);
            larger.lost[new / 64] |= (self.lost[old / 64] >> (old % 64) & 1) << (new % 64);
        }
        *self = larger;
    }

    fn size(&self) -> u64 {
        self.slots.len() as u64
    }

    fn slot(&self, number: u64) -> usize {
        (number & (self.size() - 1)) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    fn packet(number: u64) -> Packet {
        Packet {
            number,
            sent_at: Instant::from_nanos(number),
            bytes: 100,
            eliciting: true,
            ..Packet::default()
        }
    }

    #[test]
    fn a_full_map_refuses_and_a_settled_one_is_small_again() {
        let mut map = SentMap::new();
        for number in 0..MAX_PACKETS {
            assert!(!map.is_full() && map.push(packet(number)));
        }
        assert!(map.is_full() && !map.push(packet(MAX_PACKETS)));
        map.take(0..=u64::MAX, |_, _| ());
        assert_eq!((map.in_flight(), map.first), (0, MAX_PACKETS));
        map.shrink();
        assert!(map.push(packet(MAX_PACKETS)) && !map.push(packet(MAX_PACKETS)));
        assert_eq!((map.size(), map.in_flight()), (MIN_PACKETS, 100));
    }

    #[test]
    fn truncated_numbers_expand_to_what_was_sent() {
        let mut map = SentMap::new();
        assert_eq!(map.expand(0), None);
        assert!(map.push(packet(5)));
        assert_eq!((map.expand(5), map.expand(4), map.expand(6)), (Some(5), Some(4), None));
        assert!(map.push(packet((1 << 32) + 2)) || map.push(packet(6)));
        map.take(0..=u64::MAX, |_, _| ());
        assert!(map.push(packet((1 << 32) + 2)));
        assert_eq!((map.expand(2), map.expand(3)), (Some((1 << 32) + 2), Some(3)));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push { skip: u64, eliciting: bool },
        Skip { count: u64 },
        Take { back: u64, len: u64 },
        Lose { back: u64 },
        Forget { back: u64 },
        Shrink,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => (0u64..3, any::<bool>()).prop_map(|(skip, eliciting)| Step::Push { skip, eliciting }),
            1 => (1u64..200).prop_map(|count| Step::Skip { count }),
            3 => (0u64..300, 1u64..90).prop_map(|(back, len)| Step::Take { back, len }),
            2 => (0u64..300).prop_map(|back| Step::Lose { back }),
            1 => (0u64..300).prop_map(|back| Step::Forget { back }),
            1 => Just(Step::Shrink),
        ]
    }

    #[test]
    fn an_old_packet_stays_one_packet_when_more_numbers_are_skipped_than_the_ring_is_long() {
        let mut map = SentMap::new();
        assert!(map.push(packet(5)));
        (6..200).for_each(|number| map.skip(number));
        assert!(map.push(packet(200)));
        let numbers = |map: &SentMap| map.iter().map(|packet| packet.number).collect::<Vec<_>>();
        assert_eq!(numbers(&map), [5, 200]);
        assert!(map.mark_lost(69).is_none());
        assert!(map.mark_lost(5).is_some());
        assert_eq!(numbers(&map), [200]);
    }

    proptest! {
        /// Against a plain ordered map that does the same the slow way.
        #[test]
        fn it_does_what_a_plain_map_does(
            steps in prop::collection::vec(step(), 1..600), start in any::<u32>()
        ) {
            let mut map = SentMap::new();
            let mut plain: BTreeMap<u64, (Packet, Was)> = BTreeMap::new();
            let mut next = u64::from(start);
            for step in steps {
                match step {
                    Step::Push { skip, eliciting } => {
                        let new = Packet { eliciting, ..packet(next + skip) };
                        prop_assert!(map.push(new));
                        plain.insert(new.number, (new, Was::Outstanding));
                        next = new.number + 1;
                    }
                    Step::Skip { count } => {
                        (0..count).for_each(|n| map.skip(next + n));
                        next += count;
                    }
                    Step::Take { back, len } => {
                        let start = next.saturating_sub(back);
                        let range = start..=start + len;
                        let mut got = Vec::new();
                        map.take(range.clone(), |packet, was| got.push((*packet, was)));
                        let expected: Vec<_> = plain.range(range).map(|(_, entry)| *entry).collect();
                        for (packet, _) in &expected {
                            plain.remove(&packet.number);
                        }
                        prop_assert_eq!(got, expected);
                    }
                    Step::Lose { back } => {
                        let number = next.saturating_sub(back);
                        let entry = plain.get_mut(&number).filter(|(_, was)| *was == Was::Outstanding);
                        let expected = entry.map(|entry| {
                            entry.1 = Was::Lost;
                            entry.0
                        });
                        prop_assert_eq!(map.mark_lost(number), expected);
                    }
                    Step::Forget { back } => {
                        let now = Instant::from_nanos(next);
                        map.forget_lost(now, Duration::from_nanos(back));
                        plain.retain(|_, (packet, was)| {
                            *was == Was::Outstanding || packet.number + back > next
                        });
                    }
                    Step::Shrink => map.shrink(),
                }
                let outstanding: Vec<Packet> = plain
                    .values()
                    .filter(|(_, was)| *was == Was::Outstanding)
                    .map(|(packet, _)| *packet)
                    .collect();
                let in_flight = outstanding.iter().filter(|packet| packet.eliciting).count() as u64 * 100;
                prop_assert_eq!(map.in_flight(), in_flight);
                prop_assert_eq!(map.iter().copied().collect::<Vec<_>>(), outstanding);
            }
        }
    }
}
