//! Answers that are kept for as long as they say (RFC 1035 section 3.2.1, RFC 2308).
//!
//! Invariants
//! - Never more than the limit: what would expire first makes room.
//! - What has expired is no answer, whether it was taken out yet or not.
//! - Each uplink has answers of its own: what one resolver says is not what another would.

use super::{Key, Known};
use crate::machine::UplinkId;
use crate::time::{Duration, Instant};
use alloc::collections::{BTreeMap, BTreeSet};

/// The longest time that an answer is kept: a wrong one shall not stay for weeks.
const LONGEST: Duration = Duration::from_secs(86_400);
/// The longest time that "there is none" is kept (RFC 2308 section 5 allows up to 3 hours): what is
/// set up now shall be reached soon.
const LONGEST_NOTHING: Duration = Duration::from_secs(300);

/// What is kept.
#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: BTreeMap<Key, (Instant, Known)>,
    by_expiry: BTreeSet<(Instant, Key)>,
}

impl Cache {
    /// What is known of a name.
    pub(super) fn look_up(&self, now: Instant, key: &Key) -> Option<&Known> {
        self.entries.get(key).filter(|(expires, _)| *expires > now).map(|(_, known)| known)
    }

    /// Keeps an answer for `ttl` seconds. True: another had to go that could have stayed.
    pub(super) fn keep(&mut self, now: Instant, key: Key, known: Known, ttl: u32, limit: usize) -> bool {
        let longest = if known.is_ok() { LONGEST } else { LONGEST_NOTHING };
        let expires = now + Duration::from_secs(ttl.into()).min(longest);
        if expires <= now || limit == 0 {
            return false;
        }
        self.remove(&key);
        let mut evicted = false;
        while self.entries.len() >= limit
            && let Some((at, oldest)) = self.by_expiry.pop_first()
        {
            self.entries.remove(&oldest);
            evicted |= at > now;
        }
        self.by_expiry.insert((expires, key.clone()));
        self.entries.insert(key, (expires, known));
        evicted
    }

    fn remove(&mut self, key: &Key) {
        if let Some((expires, _)) = self.entries.remove(key) {
            self.by_expiry.remove(&(expires, key.clone()));
        }
    }

    /// Forgets all answers that came through an uplink: behind it is another network now.
    pub(super) fn forget(&mut self, uplink: UplinkId) {
        self.entries.retain(|key, _| key.uplink != uplink);
        self.by_expiry.retain(|(_, key)| key.uplink != uplink);
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.by_expiry.clear();
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.entries.len(), self.by_expiry.len());
        self.entries.len()
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
