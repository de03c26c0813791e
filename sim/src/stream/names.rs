//! A table of names: what each answers, and after how long.

use ropewalk_core::machine::{Fault, QueryId};
use ropewalk_core::time::{Duration, Instant};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Addresses, best first, or why there are none.
pub type Answer = Result<Vec<IpAddr>, Fault>;

/// What a name answers.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The answer.
    pub answer: Answer,
    /// When it comes.
    pub delay: Duration,
    /// It comes even when it was cancelled: resolvers do that.
    pub stubborn: bool,
}

/// Names and their answers; what is not in it is not found, at once.
#[derive(Clone, Debug, Default)]
pub struct Table {
    entries: BTreeMap<String, Entry>,
}

impl Table {
    /// Puts a name in, or changes it.
    pub fn insert(&mut self, name: impl Into<String>, entry: Entry) {
        self.entries.insert(name.into(), entry);
    }

    fn look_up(&self, name: &str) -> Entry {
        let none = Entry { answer: Err(Fault::NameNotFound), delay: Duration::ZERO, stubborn: false };
        self.entries.get(name).cloned().unwrap_or(none)
    }
}

/// The queries of one driver that are under way.
pub(super) struct Resolver {
    table: Table,
    pending: BTreeMap<(Instant, QueryId), Entry>,
}

impl Resolver {
    pub(super) fn new(table: Table) -> Self {
        Resolver { table, pending: BTreeMap::new() }
    }

    pub(super) fn ask(&mut self, now: Instant, query: QueryId, name: &str) {
        let entry = self.table.look_up(name);
        self.pending.insert((now + entry.delay, query), entry);
    }

    pub(super) fn cancel(&mut self, query: QueryId) {
        self.pending.retain(|(_, other), entry| *other != query || entry.stubborn);
    }

    /// When the next answer comes.
    pub(super) fn next(&self) -> Option<Instant> {
        self.pending.first_key_value().map(|((at, _), _)| *at)
    }

    /// An answer that has come.
    pub(super) fn answer(&mut self, now: Instant) -> Option<(QueryId, Answer)> {
        if self.next()? > now {
            return None;
        }
        self.pending.pop_first().map(|((_, query), entry)| (query, entry.answer))
    }
}
