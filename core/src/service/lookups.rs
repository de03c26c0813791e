//! Names under way and the clients that wait for them: names of one client that hang delay no other
//! client's.
//!
//! ```text
//!   begin ─▶ waiting ─▶ fresh ──[half a second]──▶ slow ─▶ end
//!               │        at most a quarter of the    at most the client's share, fresh ones included
//!               │        share of a client
//!               └─ each client has a line of its own
//! ```
//!
//! - A name that answers soon never waits behind those that hang, until its client's whole share
//!   hangs.
//! - When all clients together have many under way, each may have only a few; when they have most
//!   of what drivers look up at once, two and then one: the rest is for those who have none.

use super::clients::whose;
use super::mail::Wanted;
use crate::machine::QueryId;
use crate::time::{Duration, Instant};
use alloc::collections::{BTreeMap, VecDeque};
use core::net::IpAddr;

/// What answers later than this is thought to hang.
const FRESH: Duration = Duration::from_millis(500);
/// With more than this many in all, each client has only [`FEW`].
const MANY: usize = 128;
/// What a client may have under way when there are many.
const FEW: usize = 8;
/// With more than this many in all, each client has only [`TWO`]: one that hangs, and one more.
/// The system looks up 256 at once for each worker, and those behind them wait.
const CROWD: usize = 192;
/// What a client may have under way in a crowd.
const TWO: usize = 2;
/// With more than this many in all, each client has one.
const THRONG: usize = 224;

/// One client's names.
#[derive(Debug, Default)]
struct Share {
    /// Under way for a short time, oldest first.
    fresh: VecDeque<(Instant, QueryId)>,
    /// Under way for longer.
    slow: VecDeque<QueryId>,
    waiting: VecDeque<(QueryId, Wanted)>,
}

impl Share {
    fn running(&self) -> usize {
        self.fresh.len() + self.slow.len()
    }
}

/// The names that all clients of a machine are waiting for.
#[derive(Debug)]
pub(super) struct Lookups {
    /// What one client may have under way.
    share: usize,
    clients: BTreeMap<IpAddr, Share>,
    running: usize,
    waiting: usize,
}

/// What has become of a new query.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Begun {
    /// It goes out now.
    Now(Wanted),
    /// It waits for its turn.
    Waits,
    /// It waits, for all that its client may have is under way.
    ShareTaken,
}

impl Lookups {
    pub(super) fn new(share: usize) -> Self {
        Lookups { share, clients: BTreeMap::new(), running: 0, waiting: 0 }
    }

    /// Another share, for queries that begin from now on.
    pub(super) fn set_share(&mut self, share: usize) {
        self.share = share;
    }

    /// A query of `client` is to begin.
    pub(super) fn begin(&mut self, now: Instant, client: IpAddr, query: QueryId, what: Wanted) -> Begun {
        let share = self.clients.entry(whose(client)).or_default();
        age(share, now);
        if may_begin(share, self.share, self.running) && share.waiting.is_empty() {
            share.fresh.push_back((now, query));
            self.running += 1;
            return Begun::Now(what);
        }
        let taken = share.running() + share.waiting.len() >= self.share;
        share.waiting.push_back((query, what));
        self.waiting += 1;
        if taken { Begun::ShareTaken } else { Begun::Waits }
    }

    /// The query has ended. False: it had not begun.
    pub(super) fn end(&mut self, client: IpAddr, query: QueryId) -> bool {
        let client = whose(client);
        let Some(share) = self.clients.get_mut(&client) else { return false };
        let before = (share.running(), share.waiting.len());
        share.fresh.retain(|(_, other)| *other != query);
        share.slow.retain(|other| *other != query);
        share.waiting.retain(|(other, _)| *other != query);
        let after = (share.running(), share.waiting.len());
        self.running -= before.0 - after.0;
        self.waiting -= before.1 - after.1;
        if after == (0, 0) {
            self.clients.remove(&client);
        }
        after.0 < before.0
    }

    /// A query that may begin now, of those that waited.
    pub(super) fn next(&mut self, now: Instant) -> Option<(QueryId, Wanted)> {
        if self.waiting == 0 {
            return None;
        }
        let (limit, running) = (self.share, self.running);
        let share = self.clients.values_mut().find_map(|share| {
            age(share, now);
            (!share.waiting.is_empty() && may_begin(share, limit, running)).then_some(share)
        })?;
        let (query, what) = share.waiting.pop_front()?;
        share.fresh.push_back((now, query));
        self.running += 1;
        self.waiting -= 1;
        Some((query, what))
    }

    /// When one that waits may begin though none has ended.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        if self.waiting == 0 {
            return None;
        }
        let limit = most(self.share, self.running);
        let shares = self.clients.values().filter(|share| {
            !share.waiting.is_empty() && share.running() < limit && share.fresh.len() >= pace(limit)
        });
        shares.filter_map(|share| share.fresh.front()).map(|(since, _)| *since + FRESH).min()
    }
}

/// How many names of a client may be fresh at a time.
fn pace(share: usize) -> usize {
    share.div_ceil(4)
}

/// What a client may have under way of its `share`, when so many are in all.
fn most(share: usize, running: usize) -> usize {
    share.min(match running {
        ..MANY => share,
        MANY..CROWD => FEW,
        CROWD..THRONG => TWO,
        THRONG.. => 1,
    })
}

fn may_begin(share: &Share, limit: usize, running: usize) -> bool {
    let limit = most(limit, running);
    share.running() < limit && share.fresh.len() < pace(limit)
}

/// Those that are fresh no more are slow.
fn age(share: &mut Share, now: Instant) {
    while let Some((since, query)) = share.fresh.front().copied()
        && since + FRESH <= now
    {
        share.fresh.pop_front();
        share.slow.push_back(query);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Host;
    use alloc::format;
    use alloc::vec::Vec;

    const SHARE: usize = 64;

    fn name() -> Wanted {
        match Host::parse(b"host.example") {
            Ok(Host::Name(name)) => Wanted { name, by: None },
            other => panic!("{other:?}"),
        }
    }

    fn query(number: usize) -> QueryId {
        QueryId::from_parts(number as u32, 0)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("literal")
    }

    fn ms(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    /// Starts every query that may start, and returns when each did.
    fn begun(lookups: &mut Lookups, now: Instant) -> usize {
        core::iter::from_fn(|| lookups.next(now)).count()
    }

    #[test]
    fn hanging_names_of_one_client_leave_room_for_those_of_others() {
        let mut lookups = Lookups::new(SHARE);
        let (bad, good) = (ip("192.0.2.1"), ip("192.0.2.2"));
        let now = ms(0);
        let at_once =
            (0..1000).filter(|n| lookups.begin(now, bad, query(*n), name()) == Begun::Now(name())).count();
        assert_eq!(at_once, 16, "a quarter of its share");
        assert_eq!(lookups.begin(now, good, query(2000), name()), Begun::Now(name()));
        // The others begin as those before them hang.
        let mut running = 16;
        for step in 1..=3 {
            assert_eq!(lookups.next_timeout(), Some(ms(500 * step)));
            assert_eq!(begun(&mut lookups, ms(500 * step - 1)), 0);
            running += begun(&mut lookups, ms(500 * step));
        }
        assert_eq!(
            (running, lookups.next_timeout()),
            (SHARE, None),
            "its share hangs: nothing to wait for but an end"
        );
        assert_eq!(lookups.begin(ms(9000), bad, query(1000), name()), Begun::ShareTaken);
        assert!(lookups.end(bad, query(3)));
        assert_eq!(begun(&mut lookups, ms(9000)), 1);
    }

    #[test]
    fn the_same_client_waits_for_its_hanging_names_for_a_short_time_only() {
        let mut lookups = Lookups::new(SHARE);
        let client = ip("127.0.0.1");
        for n in 0..40 {
            lookups.begin(ms(0), client, query(n), name());
        }
        assert_eq!(lookups.begin(ms(0), client, query(99), name()), Begun::Waits);
        let mut order = Vec::new();
        for at in [500, 1000] {
            while let Some((query, _)) = lookups.next(ms(at)) {
                order.push(query.index());
            }
        }
        assert_eq!(order.last(), Some(&99), "after a second it has its turn");
    }

    #[test]
    fn nobody_takes_all_there_is() {
        let mut lookups = Lookups::new(SHARE);
        let mut number = 0;
        for (round, at) in (0..8).map(|round| (round, ms(round * 500))) {
            for client in 0..4u8 {
                for _ in 0..16 {
                    number += 1;
                    lookups.begin(at, IpAddr::from([192, 0, 2, client]), query(number), name());
                }
            }
            begun(&mut lookups, at);
            assert!(lookups.running <= MANY + 4 * SHARE / 4, "round {round}: {}", lookups.running);
        }
        assert!(lookups.running >= MANY);
        assert_eq!(lookups.begin(ms(9000), ip("192.0.2.9"), query(0), name()), Begun::Now(name()));
    }

    #[test]
    fn where_many_hang_a_client_of_few_names_still_waits_for_a_short_time_only() {
        let mut lookups = Lookups::new(SHARE);
        for n in 0..MANY {
            lookups.begin(ms(0), IpAddr::from([192, 0, 2, (n / 16) as u8]), query(n), name());
        }
        let client = ip("198.51.100.1");
        let begun = [200, 201, 202].map(|n| lookups.begin(ms(0), client, query(n), name()));
        assert_eq!(begun, [Begun::Now(name()), Begun::Now(name()), Begun::Waits]);
        assert_eq!(lookups.next_timeout(), Some(ms(500)), "the two hang by then");
        assert_eq!(lookups.next(ms(500)).map(|(query, _)| query.index()), Some(202));
    }

    #[test]
    fn where_the_names_of_a_crowd_hang_there_is_room_for_those_of_a_new_client() {
        let mut lookups = Lookups::new(SHARE);
        let mut number = 0;
        for at in (0..10).map(|round| ms(round * 500)) {
            for client in 0..95u8 {
                for _ in 0..20 {
                    number += 1;
                    lookups.begin(at, IpAddr::from([192, 0, 2, client]), query(number), name());
                }
            }
            begun(&mut lookups, at);
        }
        let threads = 256;
        assert!(lookups.running > THRONG && lookups.running < threads - 3, "{}", lookups.running);
        let new = [1, 2, 3].map(|n| ip(&format!("198.51.100.{n}")));
        let begun = new.map(|client| lookups.begin(ms(9000), client, query(0), name()));
        assert_eq!(begun, [(); 3].map(|()| Begun::Now(name())));
        // Its next one begins when this one has ended.
        assert_eq!(lookups.begin(ms(9000), new[0], query(1), name()), Begun::Waits);
        assert!(lookups.end(new[0], query(0)));
        assert_eq!(lookups.next(ms(9000)).map(|(query, _)| query.index()), Some(1));
    }

    #[test]
    fn nothing_is_left_of_queries_that_have_ended() {
        let mut lookups = Lookups::new(2);
        let client = ip("2001:db8::1");
        for n in 0..5 {
            // One network, several addresses of it.
            lookups.begin(ms(0), IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, n]), query(n.into()), name());
        }
        assert_eq!((lookups.running, lookups.waiting), (1, 4));
        assert!(!lookups.end(client, query(4)), "it had not begun");
        assert!(lookups.end(client, query(0)));
        while let Some((query, _)) = lookups.next(ms(0)) {
            assert!(lookups.end(client, query));
        }
        assert!(!lookups.end(client, query(0)), "it has ended");
        assert_eq!((lookups.running, lookups.waiting, lookups.clients.len()), (0, 0, 0));
        assert_eq!(lookups.next_timeout(), None);
    }
}
