//! Flow queues served by deficit round robin, new ones first (RFC 8290 section 4).

use super::Item;
use super::codel::{Codel, Delays, Verdict};
use crate::bond::inner::FlowKey;
use crate::time::{Duration, Instant};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

/// A queue of at most one packet of this size is never shortened (RFC 8289 section 5.2), in bytes.
const FULL_PACKET: usize = 1500;

/// Packets dropped from the longest queue before the longest is looked for anew.
const BATCH: usize = 64;

/// Flows remembered for each queue. One that shares a queue keeps it until the queue is empty, so
/// that its packets stay in order; those beyond may lose their order, no more.
const SHARERS: usize = 4;

/// The bounds of the queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    /// Bytes in all flows together.
    pub(crate) limit: usize,
    /// Flows with a queue of their own; those beyond share them.
    pub(crate) flows: u16,
    /// Bytes that a flow may send in its turn. One packet of full size serves sparse flows best.
    pub(crate) quantum: usize,
}

impl Default for Config {
    /// RFC 8290 section 5.2: 1024 flows and a packet each turn. 4 MiB are 60 ms of half a gigabit.
    fn default() -> Self {
        Config { limit: 4 << 20, flows: 1024, quantum: FULL_PACKET }
    }
}

/// What became of packets, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Packets that left, and their bytes.
    pub(crate) sent: u64,
    pub(crate) sent_bytes: u64,
    /// Packets marked instead of dropped.
    pub(crate) marked: u64,
    /// Packets dropped because their flow's queue stood too long.
    pub(crate) dropped_codel: u64,
    /// Packets dropped because all queues together were full.
    pub(crate) dropped_full: u64,
    /// Flows that had to share a queue with another.
    pub(crate) shared: u64,
}

/// The packet that leaves next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Bytes of the packet.
    pub(crate) bytes: usize,
    /// Bytes of its flow's queue, itself included.
    pub(crate) flow_bytes: usize,
    /// Bytes of all queues.
    pub(crate) backlog: usize,
    /// Its flow has sent less than a quantum since its queue was last empty.
    pub(crate) sparse: bool,
    /// How long it has waited.
    pub(crate) waited: Duration,
}

#[derive(Debug)]
struct Waiting<T> {
    item: T,
    since: Instant,
}

#[derive(Debug)]
struct Queue<T> {
    /// Its flow, and those that share it since it was last empty.
    keys: Vec<FlowKey>,
    items: VecDeque<Waiting<T>>,
    bytes: usize,
    /// Bytes it may still send in its turn; below zero what it has sent beyond.
    deficit: i64,
    /// On the list of new flows.
    new: bool,
    codel: Codel,
    /// CoDel has let the packet at the head pass.
    passed: bool,
}

/// FQ-CoDel over items of one or more packets.
#[derive(Debug)]
pub(crate) struct FqCodel<T> {
    config: Config,
    delays: Delays,
    queues: Vec<Queue<T>>,
    /// Places in `queues` of no flow.
    free: Vec<u16>,
    slots: BTreeMap<FlowKey, u16>,
    new: VecDeque<u16>,
    old: VecDeque<u16>,
    bytes: usize,
    /// The queue whose head [`FqCodel::peek`] chose.
    chosen: Option<u16>,
    spent: VecDeque<T>,
    counters: Counters,
}

impl<T: Item> FqCodel<T> {
    pub(crate) fn new(config: Config) -> Self {
        let config = Config { flows: config.flows.max(1), quantum: config.quantum.max(1), ..config };
        FqCodel {
            config,
            delays: Delays::default(),
            queues: Vec::new(),
            free: Vec::new(),
            slots: BTreeMap::new(),
            new: VecDeque::new(),
            old: VecDeque::new(),
            bytes: 0,
            chosen: None,
            spent: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// How long packets may wait from now on.
    pub(crate) fn set_delays(&mut self, delays: Delays) {
        self.delays = delays;
    }

    /// Bytes in all queues.
    pub(crate) fn backlog(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }

    /// Items whose packets have all left or been dropped.
    pub(crate) fn poll_spent(&mut self) -> Option<T> {
        self.spent.pop_front()
    }

    /// Sets the bytes that may wait in all.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.config.limit = limit;
    }

    /// Queues an item behind the others of its flow. Over the limit, the longest queue loses its
    /// head.
    pub(crate) fn push(&mut self, now: Instant, key: FlowKey, item: T) {
        let bytes = item.bytes_left();
        if bytes == 0 {
            self.spent.push_back(item);
            return;
        }
        let slot = self.slot(key);
        let queue = &mut self.queues[usize::from(slot)];
        queue.bytes += bytes;
        queue.items.push_back(Waiting { item, since: now });
        self.bytes += bytes;
        while self.bytes > self.config.limit {
            self.shorten();
        }
    }

    /// The queue of a flow: its own, a new one, or one that it has to share.
    fn slot(&mut self, key: FlowKey) -> u16 {
        if let Some(slot) = self.slots.get(&key) {
            return *slot;
        }
        let slot = if let Some(slot) = self.free.pop() {
            slot
        } else if self.queues.len() < usize::from(self.config.flows) {
            self.queues.push(Queue {
                keys: Vec::new(),
                items: VecDeque::new(),
                bytes: 0,
                deficit: 0,
                new: true,
                codel: Codel::default(),
                passed: false,
            });
            (self.queues.len() - 1) as u16
        } else {
            self.counters.shared += 1;
            let slot = (key.mix() % u32::from(self.config.flows)) as u16;
            if self.slots.len() < SHARERS * usize::from(self.config.flows) {
                self.slots.insert(key, slot);
                self.queues[usize::from(slot)].keys.push(key);
            }
            return slot;
        };
        let queue = &mut self.queues[usize::from(slot)];
        queue.keys.push(key);
        (queue.new, queue.deficit, queue.codel) = (true, self.config.quantum as i64, Codel::default());
        self.slots.insert(key, slot);
        self.new.push_back(slot);
        slot
    }

    /// RFC 8290 section 4.1: drops from the head of the longest queue, half of it at most.
    fn shorten(&mut self) {
        let longest = (0..self.queues.len()).max_by_key(|slot| self.queues[*slot].bytes);
        let slot = longest.expect("bytes over the limit are in some queue");
        let half = self.queues[slot].bytes / 2;
        for _ in 0..BATCH {
            self.counters.dropped_full += 1;
            self.advance(slot);
            if self.bytes <= self.config.limit || self.queues[slot].bytes <= half {
                break;
            }
        }
    }

    /// The packet that leaves next, after those that CoDel drops.
    pub(crate) fn peek(&mut self, now: Instant) -> Option<Head> {
        self.peek_where(now, |_, _| true)
    }

    /// As [`FqCodel::peek`], of the flows whose head `accept` takes. The others keep their turn.
    pub(crate) fn peek_where(
        &mut self,
        now: Instant,
        mut accept: impl FnMut(&Head, &T) -> bool,
    ) -> Option<Head> {
        self.chosen = None;
        let mut at = 0;
        while let Some(&slot) = self.new.get(at) {
            // RFC 8290 section 4.2: a new flow that has used its quantum, or ran empty, becomes an
            // old one.
            if self.refill(slot) || !self.has_head(now, slot) {
                self.new.remove(at);
                self.queues[usize::from(slot)].new = false;
                self.old.push_back(slot);
            } else if let head @ Some(_) = self.choose(now, slot, &mut accept) {
                return head;
            } else {
                at += 1;
            }
        }
        let mut at = 0;
        while let Some(&slot) = self.old.get(at) {
            if self.refill(slot) {
                self.old.remove(at);
                self.old.push_back(slot);
            } else if !self.has_head(now, slot) {
                self.old.remove(at);
                self.release(slot);
            } else if let head @ Some(_) = self.choose(now, slot, &mut accept) {
                return head;
            } else {
                at += 1;
            }
        }
        None
    }

    /// The item whose next packet [`FqCodel::peek`] chose.
    pub(crate) fn chosen(&self) -> Option<&T> {
        self.queues[usize::from(self.chosen?)].items.front().map(|waiting| &waiting.item)
    }

    /// Takes out the packet that [`FqCodel::peek`] chose: `send` gets its item, to write the next
    /// packet of it.
    pub(crate) fn pop<R>(&mut self, send: impl FnOnce(&T) -> R) -> Option<R> {
        let slot = usize::from(self.chosen.take()?);
        let sent = send(&self.queues[slot].items.front()?.item);
        let bytes = self.advance(slot);
        self.queues[slot].deficit -= bytes as i64;
        self.counters.sent += 1;
        self.counters.sent_bytes += bytes as u64;
        Some(sent)
    }

    /// Gives a flow whose deficit is used up another quantum; it then has to wait for its next
    /// turn.
    fn refill(&mut self, slot: u16) -> bool {
        let queue = &mut self.queues[usize::from(slot)];
        let used_up = queue.deficit <= 0;
        if used_up {
            queue.deficit += self.config.quantum as i64;
        }
        used_up
    }

    /// Asks CoDel about the packets at the head until one may leave. `false` where none is left.
    fn has_head(&mut self, now: Instant, slot: u16) -> bool {
        let slot = usize::from(slot);
        loop {
            let queue = &mut self.queues[slot];
            let Some(first) = queue.items.front_mut() else {
                queue.codel.handle_empty();
                return false;
            };
            if queue.passed {
                return true;
            }
            let short = queue.bytes <= FULL_PACKET;
            match queue.codel.judge(now, now - first.since, short, &self.delays) {
                Verdict::Pass => queue.passed = true,
                Verdict::Congested if first.item.mark() => {
                    self.counters.marked += 1;
                    queue.passed = true;
                }
                Verdict::Congested => {
                    self.counters.dropped_codel += 1;
                    self.advance(slot);
                }
            }
        }
    }

    fn choose(
        &mut self,
        now: Instant,
        slot: u16,
        accept: &mut impl FnMut(&Head, &T) -> bool,
    ) -> Option<Head> {
        let queue = &self.queues[usize::from(slot)];
        let first = queue.items.front()?;
        let head = Head {
            bytes: first.item.next_len(),
            flow_bytes: queue.bytes,
            backlog: self.bytes,
            sparse: queue.new,
            waited: now - first.since,
        };
        let taken = accept(&head, &first.item);
        self.chosen = taken.then_some(slot);
        taken.then_some(head)
    }

    /// Moves over the packet at the head of a queue, which has one; its bytes.
    fn advance(&mut self, slot: usize) -> usize {
        let queue = &mut self.queues[slot];
        let Some(first) = queue.items.front_mut() else { return 0 };
        let bytes = first.item.next_len();
        first.item.advance();
        let spent = first.item.next_len() == 0;
        queue.bytes -= bytes;
        queue.passed = false;
        self.bytes -= bytes;
        if spent {
            self.spent.extend(queue.items.pop_front().map(|waiting| waiting.item));
        }
        bytes
    }

    fn release(&mut self, slot: u16) {
        for key in self.queues[usize::from(slot)].keys.drain(..) {
            self.slots.remove(&key);
        }
        self.free.push(slot);
    }
}
