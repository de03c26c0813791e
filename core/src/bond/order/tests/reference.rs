//! The rules again, as plainly as they can be said: everything is looked at after every event.

use super::transition::{Event, Plan, microseconds};
use crate::time::{Duration, Instant};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

const HOLD: Duration = Duration::from_millis(250);

#[derive(Debug)]
struct Path {
    /// Every index below has passed.
    passed: usize,
    heard: Instant,
}

#[derive(Debug)]
struct Waiting {
    index: usize,
    before: usize,
    since: Instant,
    passed: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Reference {
    plan: Plan,
    paths: BTreeMap<u8, Path>,
    come: BTreeSet<usize>,
    delivered: BTreeSet<usize>,
    waiting: Vec<Waiting>,
}

impl Reference {
    pub(super) fn new(plan: &Plan) -> Self {
        let path = |path| (path, Path { passed: 0, heard: Instant::ZERO });
        Reference {
            plan: plan.clone(),
            paths: (0..3).map(path).collect(),
            come: BTreeSet::new(),
            delivered: BTreeSet::new(),
            waiting: Vec::new(),
        }
    }

    /// Takes in an event, or that time has passed; what is delivered by it.
    pub(super) fn handle(&mut self, at: u64, event: Option<Event>) -> Vec<usize> {
        let now = microseconds(at);
        let mut out = Vec::new();
        match event {
            None => {}
            Some(Event::Path { path, live: false }) => {
                self.paths.remove(&path);
            }
            Some(Event::Path { path, live: true }) => {
                self.paths.entry(path).or_insert(Path { passed: 0, heard: now });
            }
            Some(Event::Arrive { path, index }) => {
                if self.come.insert(index) {
                    match self.plan.predecessor(index).filter(|before| !self.delivered.contains(before)) {
                        Some(before) => {
                            self.waiting.push(Waiting { index, before, since: now, passed: None });
                        }
                        None => {
                            self.delivered.insert(index);
                            out.push(index);
                        }
                    }
                }
                if let Some(path) = self.paths.get_mut(&path) {
                    path.passed = path.passed.max(index);
                    path.heard = now;
                }
            }
        }
        while let Some(index) = self.deliverable(now) {
            self.waiting.retain(|waiting| waiting.index != index);
            self.delivered.insert(index);
            out.push(index);
        }
        out
    }

    /// When something is delivered if nothing happens.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting.iter().map(|waiting| self.until(waiting)).min()
    }

    fn deliverable(&mut self, now: Instant) -> Option<usize> {
        for at in 0..self.waiting.len() {
            let Waiting { index, before, .. } = self.waiting[at];
            if self.delivered.contains(&before) {
                return Some(index);
            }
            if !self.come.contains(&before) && self.paths.values().all(|path| path.passed > before) {
                self.waiting[at].passed.get_or_insert(now);
            }
        }
        // What is due at one time goes in the order of sending.
        let due = self.waiting.iter().filter(|waiting| self.until(waiting) <= now);
        let due = due.min_by_key(|waiting| waiting.index)?;
        // Its predecessors go first, if they are here.
        let mut first = due.index;
        while let Some(before) = self.waiting.iter().find(|waiting| waiting.index == first).map(|w| w.before)
        {
            if !self.come.contains(&before) {
                break;
            }
            first = before;
        }
        Some(first)
    }

    fn until(&self, waiting: &Waiting) -> Instant {
        let longest = waiting.since + HOLD;
        if self.come.contains(&waiting.before) {
            return longest;
        }
        let behind = self.paths.values().filter(|path| path.passed <= waiting.before);
        let silent = behind.map(|path| path.heard.max(waiting.since) + self.plan.patience()).max();
        let hope = match (silent, waiting.passed) {
            (Some(silent), _) => silent,
            (None, Some(passed)) => passed + self.plan.repair().unwrap_or_default(),
            (None, None) => longest,
        };
        hope.min(longest)
    }
}
