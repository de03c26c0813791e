//! Names to which an association sends: looked up once, and then at the same address for as long as
//! that is a destination.

use super::{Held, NamedPort};
use crate::machine::QueryId;
use crate::machine::event::Dropped;
use crate::service::FlowId;
use crate::time::Instant;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

/// Names of one association that are looked up at the same time.
pub(super) const MOST_ASKED: usize = 64;

#[derive(Debug)]
enum Entry {
    Asked(Held),
    Known(FlowId),
}

/// What is known of a name.
pub(super) enum Known<'a> {
    /// Nothing: it is to be looked up.
    No,
    /// It is being looked up, and this waits for it.
    Asked(&'a mut Held),
    /// It leads there, if that is still a destination.
    Flow(FlowId),
}

/// The names of an association.
#[derive(Debug, Default)]
pub(super) struct Names {
    entries: BTreeMap<NamedPort, Entry>,
    by_query: BTreeMap<QueryId, NamedPort>,
    /// Queries in the order of their deadlines; those that were answered are still among them.
    deadlines: VecDeque<(Instant, QueryId)>,
}

impl Names {
    pub(super) fn known(&mut self, name: &NamedPort) -> Known<'_> {
        match self.entries.get_mut(name) {
            None => Known::No,
            Some(Entry::Asked(held)) => Known::Asked(held),
            Some(Entry::Known(flow)) => Known::Flow(*flow),
        }
    }

    /// Whether one more may be looked up.
    pub(super) fn room(&self) -> Result<(), Dropped> {
        match self.by_query.len() < MOST_ASKED {
            true => Ok(()),
            false => Err(Dropped::NamesFull { limit: MOST_ASKED }),
        }
    }

    /// The name is being looked up, until `until`.
    pub(super) fn asked(&mut self, name: NamedPort, query: QueryId, until: Instant, held: Held) {
        self.by_query.insert(query, name.clone());
        self.deadlines.push_back((until, query));
        self.entries.insert(name, Entry::Asked(held));
    }

    /// The query has ended.
    pub(super) fn answered(&mut self, query: QueryId) -> Option<(NamedPort, Held)> {
        let name = self.by_query.remove(&query)?;
        self.skip_answered();
        match self.entries.remove(&name)? {
            Entry::Asked(held) => Some((name, held)),
            Entry::Known(_) => None,
        }
    }

    /// The name leads to this destination.
    pub(super) fn leads_to(&mut self, name: NamedPort, flow: FlowId) {
        self.entries.insert(name, Entry::Known(flow));
    }

    /// The destination is no more.
    pub(super) fn forget(&mut self, name: &NamedPort, flow: FlowId) {
        if matches!(self.entries.get(name), Some(Entry::Known(known)) if *known == flow) {
            self.entries.remove(name);
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadlines.front().map(|(at, _)| *at)
    }

    /// A query whose time is over, and what has waited for it.
    pub(super) fn pop_late(&mut self, now: Instant) -> Option<(QueryId, Held)> {
        let (_, query) = *self.deadlines.front().filter(|(at, _)| *at <= now)?;
        self.answered(query).map(|(_, held)| (query, held))
    }

    fn skip_answered(&mut self) {
        while let Some((_, query)) = self.deadlines.front()
            && !self.by_query.contains_key(query)
        {
            self.deadlines.pop_front();
        }
    }

    /// All queries that go on. Nobody waits for them any more.
    pub(super) fn give_up(&mut self) -> Vec<QueryId> {
        core::mem::take(&mut self.by_query).into_keys().collect()
    }
}
