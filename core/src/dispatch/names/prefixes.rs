//! How networks that carry IPv6 alone translate IPv4 destinations: their name servers tell (RFC
//! 7050), the pool uses it.
//!
//! ```text
//!  uplink without IPv4 ─▶ ipv4only.arpa, asked of its name servers ─┬─▶ a prefix: Report::Prefix64
//!          ▲                                                        ├─▶ none: again after 5 minutes
//!          └──── before its time to live is over, or it has failed ─┴─▶ silent: again after 10 s
//! ```

use super::lookup::Lookup;
use super::{Key, Known, Names};
use crate::dispatch::Cx;
use crate::machine::{Fault, Report, UplinkId, UplinkSet};
use crate::time::{Duration, Instant};
use crate::uplink::Prefix64;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// RFC 7050 section 2.2: a name that has IPv4 addresses only.
const NAME: &str = "ipv4only.arpa";
/// When it is asked again where no server has answered, and how often at most.
const AGAIN: Duration = Duration::from_secs(10);
/// When it is asked again where nothing is translated.
const RARELY: Duration = Duration::from_secs(300);
/// The longest time that a prefix is kept.
const LONGEST: Duration = Duration::from_secs(86_400);

/// What is known of one network.
#[derive(Debug)]
struct Translator {
    prefix: Option<Prefix64>,
    /// When the prefix is no longer to be used.
    until: Instant,
    ask_at: Instant,
}

/// What is known of all that are asked about.
#[derive(Debug, Default)]
pub(super) struct Prefixes(BTreeMap<UplinkId, Translator>);

impl Prefixes {
    pub(super) fn deadline(&self) -> Option<Instant> {
        let at = |its: &Translator| if its.prefix.is_some() { its.ask_at.min(its.until) } else { its.ask_at };
        self.0.values().map(at).min()
    }

    /// Name servers have changed.
    pub(super) fn forget(&mut self) {
        self.0.values_mut().for_each(|its| its.ask_at = Instant::ZERO);
    }

    /// The interface of an uplink has vanished.
    pub(super) fn uplink_gone(&mut self, uplink: UplinkId, cx: &mut Cx) {
        if let Some(its) = self.0.get_mut(&uplink) {
            its.ask_at = cx.now + AGAIN;
            its.set(uplink, None, cx);
        }
    }
}

impl Translator {
    fn set(&mut self, uplink: UplinkId, prefix: Option<Prefix64>, cx: &mut Cx) {
        if core::mem::replace(&mut self.prefix, prefix) != prefix {
            cx.report(Report::Prefix64 { uplink, prefix });
        }
    }
}

impl Names {
    /// Asks about the uplinks that the configuration has without IPv4; what is known of others is
    /// forgotten.
    pub(in crate::dispatch) fn seek_prefixes(&mut self, cx: &mut Cx) {
        let wanted = cx.config.names.v6_only;
        self.prefixes.0.retain(|uplink, its| {
            if !wanted.contains(*uplink) {
                its.set(*uplink, None, cx);
            }
            wanted.contains(*uplink)
        });
        let new = Translator { prefix: None, until: cx.now, ask_at: cx.now };
        for uplink in (0..UplinkSet::CAPACITY as u16).map(UplinkId).filter(|its| wanted.contains(*its)) {
            self.prefixes.0.entry(uplink).or_insert(Translator { ..new });
        }
        self.prefixes_timeout(cx);
    }

    pub(super) fn prefixes_timeout(&mut self, cx: &mut Cx) {
        let mut due: Vec<UplinkId> = Vec::new();
        for (uplink, its) in &mut self.prefixes.0 {
            if its.until <= cx.now {
                its.set(*uplink, None, cx);
            }
            if its.ask_at <= cx.now {
                its.ask_at = cx.now + AGAIN;
                due.push(*uplink);
            }
        }
        due.into_iter().for_each(|uplink| self.ask_for_prefix(uplink, cx));
    }

    fn ask_for_prefix(&mut self, uplink: UplinkId, cx: &mut Cx) {
        if cx.config.names.servers(uplink).is_empty() {
            return;
        }
        let key = Key { uplink, name: NAME.into() };
        // What is kept would be older.
        if let Some(lookup) = self.lookups.get_mut(&key) {
            lookup.own = true;
            return;
        }
        let mut lookup = Lookup::new(cx.now, cx.config.lookup_timeout);
        lookup.own = true;
        self.lookups.insert(key.clone(), lookup);
        self.try_next(&key, cx);
    }

    /// What name servers say. `half`: none of the IPv6 addresses, which would tell.
    pub(super) fn prefix_told(&mut self, uplink: UplinkId, known: &Known, half: bool, ttl: u32, cx: &mut Cx) {
        let Some(its) = self.prefixes.0.get_mut(&uplink) else { return };
        let prefix = match known {
            Ok(addresses) => Prefix64::find(addresses.iter().copied()),
            Err(Fault::NameNotFound) => None,
            Err(_) => return,
        };
        match prefix {
            Some(_) => {
                let ttl = Duration::from_secs(ttl.into()).clamp(AGAIN, LONGEST);
                // Before it is over, so that connections are not refused meanwhile.
                (its.until, its.ask_at) = (cx.now + ttl, cx.now + ttl * 7 / 8);
            }
            None if half => return,
            None => its.ask_at = cx.now + RARELY,
        }
        its.set(uplink, prefix, cx);
    }
}
