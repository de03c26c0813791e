//! Names to which an association sends: looked up once, and then at the same address for as long as
//! that is a destination.
//!
//! ```text
//!  name ─┬─▶ ask the pool ─▶ its uplink's name servers ─┬─▶ addresses, tried by the uplink first asked
//!        │        ▲              silent for a while, or │
//!        │        └──────────────── failed: the next ◀──┘
//!        └─▶ the system, where no uplink has name servers for it
//! ```
//!
//! As a connection does (`opening::names`), so that one name leads both to the same uplink. Each
//! query is its client's: none takes another client's turn (`service::lookups`).

use super::{Asking, Association, Held, NamedPort};
use crate::dispatch::Cx;
use crate::machine::event::{Dropped, Refusal};
use crate::machine::{Assign, Assignment, Fault, HostKey, Output, QueryId, UplinkId, UplinkSet};
use crate::service::FlowId;
use crate::time::{Duration, Instant};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// Names of one association that are looked up at the same time.
pub(super) const MOST_ASKED: usize = 64;
/// Queries for one name at the same time.
const MOST_QUERIES: usize = 3;
/// How long an uplink's name servers may be silent before those of another are asked too.
const PATIENCE: Duration = Duration::from_millis(200);

/// A name that is looked up.
#[derive(Debug)]
pub(super) struct Sought {
    held: Held,
    /// Queries that go on.
    queries: Vec<QueryId>,
    /// The pool was asked, and has not answered.
    asking: bool,
    /// Uplinks that are not to be asked any more.
    tried: UplinkSet,
    /// The system is, or was, asked.
    by_system: bool,
    /// What was chosen first: its destination is to leave by it.
    chosen: Option<UplinkId>,
    fault: Option<Fault>,
    until: Instant,
    /// When one more is asked.
    next_try: Option<Instant>,
}

impl Sought {
    fn deadline(&self) -> Instant {
        self.next_try.map_or(self.until, |at| at.min(self.until))
    }
}

#[derive(Debug)]
enum Entry {
    Asked(Box<Sought>),
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
    /// Of each name that is looked up.
    deadlines: BTreeSet<(Instant, NamedPort)>,
}

impl Names {
    pub(super) fn known(&mut self, name: &NamedPort) -> Known<'_> {
        match self.entries.get_mut(name) {
            None => Known::No,
            Some(Entry::Asked(sought)) => Known::Asked(&mut sought.held),
            Some(Entry::Known(flow)) => Known::Flow(*flow),
        }
    }

    /// Whether one more may be looked up.
    pub(super) fn room(&self) -> Result<(), Dropped> {
        match self.deadlines.len() < MOST_ASKED {
            true => Ok(()),
            false => Err(Dropped::NamesFull { limit: MOST_ASKED }),
        }
    }

    fn sought(&mut self, name: &NamedPort) -> Option<&mut Sought> {
        match self.entries.get_mut(name)? {
            Entry::Asked(sought) => Some(sought),
            Entry::Known(_) => None,
        }
    }

    fn insert(&mut self, name: NamedPort, sought: Sought) {
        self.deadlines.insert((sought.deadline(), name.clone()));
        self.entries.insert(name, Entry::Asked(Box::new(sought)));
    }

    /// Changes one, and its deadline with it.
    fn change<T>(&mut self, name: &NamedPort, f: impl FnOnce(&mut Sought) -> T) -> Option<T> {
        let sought = self.sought(name)?;
        let before = sought.deadline();
        let result = f(sought);
        let now = sought.deadline();
        if before != now {
            self.deadlines.remove(&(before, name.clone()));
            self.deadlines.insert((now, name.clone()));
        }
        Some(result)
    }

    /// Forgets the look-up of `name`; answers that still come are ignored.
    fn remove(&mut self, name: &NamedPort, cx: &mut Cx) -> Option<Box<Sought>> {
        self.sought(name)?;
        let Some(Entry::Asked(sought)) = self.entries.remove(name) else { return None };
        self.deadlines.remove(&(sought.deadline(), name.clone()));
        for query in &sought.queries {
            self.by_query.remove(query);
            cx.cancel(*query);
        }
        Some(sought)
    }

    /// A query has ended.
    fn answered(&mut self, query: QueryId) -> Option<NamedPort> {
        let name = self.by_query.remove(&query)?;
        self.sought(&name)?.queries.retain(|other| *other != query);
        Some(name)
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
        self.deadlines.first().map(|(at, _)| *at)
    }

    fn due(&self, now: Instant) -> Option<NamedPort> {
        self.deadlines.first().filter(|(at, _)| *at <= now).map(|(_, name)| name.clone())
    }

    /// Forgets all look-ups. Gives the queries under way, for the caller to cancel.
    pub(super) fn give_up(&mut self) -> Vec<QueryId> {
        self.deadlines.clear();
        core::mem::take(&mut self.by_query).into_keys().collect()
    }
}

impl Association {
    /// Looks a name up, which is known by no destination.
    pub(super) fn seek(&mut self, name: NamedPort, held: Held, cx: &mut Cx) {
        let through = cx.config.may_ask(&name.0);
        let sought = Sought {
            held,
            queries: Vec::new(),
            asking: false,
            // A proxy carries connections only.
            tried: cx.config.upstream_set(),
            by_system: false,
            chosen: None,
            fault: None,
            until: cx.now + cx.config.lookup_timeout,
            next_try: None,
        };
        self.names.insert(name.clone(), sought);
        match through {
            true => self.ask_for_name(&name, cx),
            false => self.query(&name, None, cx),
        }
    }

    /// Asks the pool by whom the name is to be looked up next.
    fn ask_for_name(&mut self, name: &NamedPort, cx: &mut Cx) {
        let Some(sought) = self.names.sought(name) else { return };
        sought.asking = true;
        let (tried, host) = (sought.tried, HostKey::of_name(name.0.as_str()));
        self.asking.push_back(Asking::Name(name.clone()));
        cx.push_output(Output::Assign(Assign { conn: self.conn, destination: None, tried, host }));
    }

    /// The pool's answer.
    pub(super) fn name_assigned(&mut self, name: &NamedPort, assignment: Option<Assignment>, cx: &mut Cx) {
        let others = UplinkSet::from_bits(!cx.config.naming_set(&name.0).to_bits());
        let Some(sought) = self.names.sought(name) else { return };
        sought.asking = false;
        let Some(given) = assignment else { return self.judge_name(name, cx) };
        let known = match given.uplink {
            Some(uplink) => sought.tried.contains(uplink),
            None => sought.by_system,
        };
        // One that is given all the same ends the questions.
        if known {
            return self.judge_name(name, cx);
        }
        given.uplink.into_iter().for_each(|uplink| sought.tried.insert(uplink));
        // A proxy of a reload that has not reached this worker yet.
        if given.endpoint.is_some() {
            return self.ask_for_name(name, cx);
        }
        let by = cx.config.asks(given.uplink, &name.0);
        if by.is_none() {
            // Uplinks without name servers all ask the system: once is enough.
            sought.tried = UplinkSet::from_bits(sought.tried.to_bits() | others.to_bits());
            if sought.by_system {
                return self.ask_for_name(name, cx);
            }
        }
        if !sought.by_system && sought.chosen.is_none() {
            sought.chosen = given.uplink;
        }
        self.query(name, by, cx);
    }

    fn query(&mut self, name: &NamedPort, by: Option<UplinkId>, cx: &mut Cx) {
        let query = cx.query(self.conn, self.peer.ip(), &name.0, by);
        self.names.by_query.insert(query, name.clone());
        self.names.change(name, |sought| {
            sought.queries.push(query);
            sought.by_system |= by.is_none();
            let company = by.is_some() && sought.queries.len() < MOST_QUERIES;
            sought.next_try = company.then(|| cx.now + PATIENCE);
        });
    }

    /// A name was looked up, or not: the addresses, the name, what waits, and who was chosen.
    pub(super) fn name_answered(
        &mut self,
        query: QueryId,
        fault: Option<Fault>,
        cx: &mut Cx,
    ) -> Option<(NamedPort, Held, Option<UplinkId>)> {
        let name = self.names.answered(query)?;
        // That there is no such name is an answer, and another would say the same.
        let Some(fault) = fault.filter(|fault| *fault != Fault::NameNotFound) else {
            let sought = self.names.remove(&name, cx)?;
            return Some((name, sought.held, sought.chosen));
        };
        self.names.change(&name, |sought| {
            sought.fault = Some(fault);
            sought.next_try = None;
        });
        let through = cx.config.may_ask(&name.0);
        match self.names.sought(&name)?.asking {
            true => {}
            false if through => self.ask_for_name(&name, cx),
            false => self.judge_name(&name, cx),
        }
        None
    }

    /// No other name server is left to ask.
    fn judge_name(&mut self, name: &NamedPort, cx: &mut Cx) {
        let goes_on = self.names.change(name, |sought| {
            sought.next_try = None;
            !sought.queries.is_empty()
        });
        if goes_on == Some(false)
            && let Some(sought) = self.names.remove(name, cx)
        {
            let why = sought.fault.map_or(Refusal::NoUplink, Refusal::Name);
            self.drop_held(sought.held, Dropped::Refused(why), cx);
        }
    }

    /// Time has passed: names that are late are given up, and where servers are silent others are
    /// asked too.
    pub(super) fn names_timeout(&mut self, cx: &mut Cx) {
        while let Some(name) = self.names.due(cx.now) {
            let late = self.names.change(&name, |sought| {
                sought.next_try = None;
                sought.until <= cx.now
            });
            if late == Some(false) {
                self.ask_for_name(&name, cx);
            } else if let Some(sought) = self.names.remove(&name, cx) {
                self.drop_held(sought.held, Dropped::Refused(Refusal::Name(Fault::TimedOut)), cx);
            }
        }
    }
}
