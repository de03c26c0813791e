//! Names, looked up through the uplink that will carry their connection.
//!
//! ```text
//!  Ask(name, uplink) ─┬─▶ cache ──────────────────────────────────────────────▶ Answer
//!                     └─▶ [`Lookup`] ─▶ a server of the uplink ─▶ A and AAAA ──▶ ▲
//!                           ▲             UDP, a new socket and new ids         │
//!                           └─ silent, refused: the next server                 │
//!                                         truncated: the same over TCP ─────────┘
//! ```
//!
//! It is a connection of the service's own: sockets, streams and timers are the service's, and what
//! asks are its other connections, by `service::mail`.
//!
//! Invariants
//! - A question leaves by its uplink, as a connection would, or not at all.
//! - The same name is asked once through an uplink however many wait (RFC 5452 section 5: many
//!   questions at once would make a forged answer likely).
//! - An answer counts only on the socket that asked, which hears its server alone, and only if it
//!   repeats id and question (RFC 5452 section 9).
//! - What is under way is bounded by the shares of clients (`service::lookups`), and each by
//!   `lookup_timeout`.
//!
//! | file | is |
//! | --- | --- |
//! | `settings` | [`NamesConfig`] |
//! | `message` | the bytes of questions and answers |
//! | `lookup` | one name under way |
//! | `exchange` | servers that are asked: sockets, streams, what they say |
//! | `cache` | answers that are kept |
//! | `prefixes` | how networks without IPv4 translate |
//! | `random` | ids that nobody can guess |

mod cache;
mod exchange;
mod lookup;
pub mod message;
mod prefixes;
mod random;
mod settings;

use super::Cx;
use crate::machine::event::{Event, NamesNews};
use crate::machine::{Close, ConnId, Fault, Output, QueryId, SocketId, StreamId, UplinkId};
use crate::name::Name;
use crate::time::Instant;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use cache::Cache;
use core::net::{IpAddr, SocketAddr};
use lookup::Lookup;
use message::Kind;
#[cfg(feature = "laws")]
pub use message::assert_laws as assert_answer_laws;
use prefixes::Prefixes;
use random::Random;
pub use settings::NamesConfig;

/// Addresses, or why there are none.
type Known = Result<Vec<IpAddr>, Fault>;

/// A name, and the uplink through which it is asked for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Key {
    uplink: UplinkId,
    name: Arc<str>,
}

/// The names of one worker.
#[derive(Debug)]
pub(super) struct Names {
    conn: ConnId,
    cache: Cache,
    lookups: BTreeMap<Key, Lookup>,
    waiting: BTreeMap<QueryId, Key>,
    deadlines: BTreeSet<(Instant, Key)>,
    sockets: BTreeMap<SocketId, Key>,
    streams: BTreeMap<StreamId, Key>,
    /// Servers for which the pool was asked, in that order.
    asking: VecDeque<(Key, SocketAddr)>,
    /// Which of an uplink's servers has answered last.
    best: BTreeMap<UplinkId, usize>,
    random: Random,
    prefixes: Prefixes,
    ended: bool,
}

impl Names {
    pub(super) fn new(conn: ConnId) -> Self {
        Names {
            conn,
            cache: Cache::default(),
            lookups: BTreeMap::new(),
            waiting: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            sockets: BTreeMap::new(),
            streams: BTreeMap::new(),
            asking: VecDeque::new(),
            best: BTreeMap::new(),
            random: Random::default(),
            prefixes: Prefixes::default(),
            ended: false,
        }
    }

    pub(super) fn is_gone(&self) -> bool {
        self.ended
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at).into_iter().chain(self.prefixes.deadline()).min()
    }

    /// A connection asks for a name.
    pub(super) fn ask(&mut self, query: QueryId, name: &Name, uplink: UplinkId, cx: &mut Cx) {
        let key = Key { uplink, name: settings::canonical(name).into() };
        if let Some(known) = self.cache.look_up(cx.now, &key) {
            cx.answer(query, known.clone());
            return say(uplink, NamesNews::Known, cx);
        }
        self.waiting.insert(query, key.clone());
        match self.lookups.get_mut(&key) {
            Some(lookup) => lookup.waiters.push(query),
            None => {
                let mut lookup = Lookup::new(cx.now, cx.config.lookup_timeout);
                lookup.waiters.push(query);
                self.lookups.insert(key.clone(), lookup);
                self.try_next(&key, cx);
            }
        }
    }

    /// The connection that asked this query has ended.
    pub(super) fn cancel(&mut self, query: QueryId, cx: &mut Cx) {
        let Some(key) = self.waiting.remove(&query) else { return };
        let Some(lookup) = self.lookups.get_mut(&key) else { return };
        lookup.waiters.retain(|waiter| *waiter != query);
        if lookup.waiters.is_empty()
            && !lookup.own
            && let Some(lookup) = self.remove(&key)
        {
            self.close(lookup, cx);
        }
    }

    pub(super) fn entropy(&mut self, bytes: &[u8; 32]) {
        self.random.refill(bytes);
    }

    pub(super) fn timeout(&mut self, cx: &mut Cx) {
        while let Some((at, key)) = self.deadlines.first().cloned()
            && at <= cx.now
        {
            self.deadlines.pop_first();
            let Some(lookup) = self.lookups.get_mut(&key) else { continue };
            lookup.armed = None;
            if lookup.is_complete(cx.now) || lookup.until <= cx.now {
                self.finish(&key, Fault::TimedOut, cx);
            } else if lookup.next_try.is_some_and(|at| at <= cx.now) {
                self.try_next(&key, cx);
            } else {
                self.rearm(&key);
            }
        }
        self.prefixes_timeout(cx);
    }

    /// Its deadline has changed.
    fn rearm(&mut self, key: &Key) {
        let Some(lookup) = self.lookups.get_mut(key) else { return };
        let deadline = lookup.deadline();
        if lookup.armed != Some(deadline) {
            if let Some(before) = lookup.armed.replace(deadline) {
                self.deadlines.remove(&(before, key.clone()));
            }
            self.deadlines.insert((deadline, key.clone()));
        }
    }

    /// Ends the look-up: gives all that wait for it the addresses that are known, or else `fault`.
    fn finish(&mut self, key: &Key, fault: Fault, cx: &mut Cx) {
        let Some(mut lookup) = self.remove(key) else { return };
        let (known, ttl) = lookup.result(fault);
        for query in core::mem::take(&mut lookup.waiters) {
            self.waiting.remove(&query);
            cx.answer(query, known.clone());
        }
        if lookup.own && !lookup.outdated {
            let half = lookup.open().any(|kind| kind == Kind::V6);
            self.prefix_told(key.uplink, &known, half, ttl, cx);
        }
        let (took, outdated) = (cx.now - lookup.began, lookup.outdated);
        self.close(lookup, cx);
        let news = match known {
            Ok(_) => NamesNews::Answered { took },
            Err(fault) => NamesNews::Failed { fault, took },
        };
        say(key.uplink, news, cx);
        let limit = cx.config.names.cache;
        if !outdated && self.cache.keep(cx.now, key.clone(), known, ttl, limit) {
            say(key.uplink, NamesNews::CacheFull { limit }, cx);
        }
    }

    fn remove(&mut self, key: &Key) -> Option<Lookup> {
        let lookup = self.lookups.remove(key)?;
        if let Some(armed) = lookup.armed {
            self.deadlines.remove(&(armed, key.clone()));
        }
        Some(lookup)
    }

    fn close(&mut self, lookup: Lookup, cx: &mut Cx) {
        lookup.exchanges.into_iter().for_each(|exchange| self.close_exchange(exchange, cx));
    }

    fn close_exchange(&mut self, exchange: lookup::Exchange, cx: &mut Cx) {
        if let Some(socket) = exchange.socket {
            self.sockets.remove(&socket);
            cx.close_socket(socket);
        }
        for stream in exchange.streams.into_iter().flatten() {
            self.streams.remove(&stream.id);
            cx.close(stream.id, Close::Reset);
        }
    }

    /// The interface of an uplink has vanished: what was known through it was of another network.
    pub(super) fn uplink_gone(&mut self, uplink: UplinkId, cx: &mut Cx) {
        let through = |key: &&Key| key.uplink == uplink;
        for key in self.lookups.keys().filter(through).cloned().collect::<Vec<_>>() {
            self.finish(&key, Fault::NameUnavailable, cx);
        }
        // Last: one that was ended may have known a half.
        self.cache.forget(uplink);
        self.prefixes.uplink_gone(uplink, cx);
        self.best.remove(&uplink);
    }

    /// Other servers are asked from now on. What the others still answer is for those who wait.
    pub(super) fn forget(&mut self) {
        self.lookups.values_mut().for_each(|lookup| lookup.outdated = true);
        self.cache.clear();
        self.prefixes.forget();
        self.best.clear();
    }

    /// No client's connection is left.
    pub(super) fn retire(&mut self, cx: &mut Cx) {
        for key in self.lookups.keys().cloned().collect::<Vec<_>>() {
            self.finish(&key, Fault::NameUnavailable, cx);
        }
        self.ended = true;
    }
}

fn say(uplink: UplinkId, news: NamesNews, cx: &mut Cx) {
    cx.event(Event::Names { uplink, news });
}

/// Asks the driver for more numbers, before what needs them.
fn refill(cx: &mut Cx) {
    cx.push_output(Output::Entropy);
}
