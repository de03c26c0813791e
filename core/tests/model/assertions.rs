//! The comparison: what was seen in the world, held against the reference.
//!
//! Seen from outside are the bytes and ends at clients and targets and the connects at the uplinks;
//! the machine's events say which connection they belong to, and bytes and addresses confirm it.

use super::observed::{Attempt, Closed, Observed};
use super::reference::{
    Allowed, CONNECT, Client, HANDSHAKE, Link, No, PLACES, QUIET, Reference, SLACK, is_v6,
};
use super::relayed::Relayed;
use super::said::{Said, said};
use super::transition::{Mode, Protocol};
use super::util::{End, Lab, addr, secs};
use ropewalk_core::machine::event::{DownReason, Event};
use ropewalk_core::machine::{ConnId, Fault, UplinkId};
use ropewalk_core::time::Instant;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// How far an uplink is known to rest: since when and until when.
#[derive(Clone, Copy, Debug)]
struct Rest {
    at: Instant,
    until: Option<Instant>,
}

pub(crate) struct Assertions {
    uplinks: usize,
    observed: BTreeMap<ConnId, Observed>,
    by_client: BTreeMap<usize, ConnId>,
    /// Changes of each uplink's rest, oldest first.
    rests: Vec<Vec<Rest>>,
}

impl Assertions {
    pub(crate) fn new(uplinks: usize) -> Self {
        Assertions {
            uplinks,
            observed: BTreeMap::new(),
            by_client: BTreeMap::new(),
            rests: vec![Vec::new(); uplinks],
        }
    }

    pub(crate) fn after_each(&mut self, lab: &Lab, reference: &Reference) {
        self.read(lab, reference);
        self.ways(lab, reference);
        self.weights(lab, reference);
        self.accounts(lab);
        for (at, client) in reference.clients.iter().enumerate() {
            self.client(lab, reference, at, client);
        }
    }

    pub(crate) fn at_the_end(&self, lab: &Lab, reference: &Reference) {
        assert!(lab.finished, "drained, and not finished");
        lab.check_end();
        for (at, client) in reference.clients.iter().enumerate() {
            let sock = lab.sock(client.who);
            assert!(
                sock.stopped_reading || sock.got.end != End::Open,
                "client {at} was left hanging: {client:?}"
            );
        }
        for seen in self.observed.values() {
            assert_eq!(seen.connected.is_some(), seen.closed.is_some(), "an end that was not told: {seen:?}");
        }
        let sum = |of: fn(&Closed) -> u64, uplink: usize| -> u64 {
            let through = self.observed.values().filter(|s| s.connected.is_some_and(|(.., u)| u == uplink));
            through.filter_map(|seen| seen.closed.as_ref().map(of)).sum()
        };
        for (uplink, (label, account, _)) in lab.world.pool.accounts(lab.now()).enumerate() {
            assert_eq!(account.sent, sum(|closed| closed.sent, uplink), "bytes sent through {label}");
            assert_eq!(
                account.received,
                sum(|closed| closed.received, uplink),
                "bytes received through {label}"
            );
        }
    }

    // ---- reading ----

    /// Collects what was seen of each connection.
    fn read(&mut self, lab: &Lab, reference: &Reference) {
        (self.observed, self.by_client) = (BTreeMap::new(), BTreeMap::new());
        self.rests = vec![Vec::new(); self.uplinks];
        for (_, event) in &lab.world.events {
            if let Event::Requested { conn, client, .. } = event {
                let found = reference.clients.iter().position(|c| lab.sock(c.who).peer == *client);
                let client = found.expect("who asks has come");
                assert!(reference.clients[client].asked(), "client {client} has asked for nothing yet");
                assert_eq!(self.by_client.insert(client, *conn), None, "client {client} asked twice");
                self.observed.insert(*conn, Observed::default());
            }
        }
        let asked = lab.machine.asked.iter().filter_map(|asked| asked.answer.map(|answer| (asked, answer)));
        let asked: Vec<_> = asked.collect();
        assert_eq!(asked.len(), lab.world.attempts.len(), "a way out for each connect");
        for (number, ((asked, answer), attempt)) in asked.into_iter().zip(&lab.world.attempts).enumerate() {
            assert_eq!(
                (Some(attempt.to), attempt.via),
                (asked.assign.destination, answer.via),
                "another way"
            );
            let conn = asked.assign.conn;
            let seen = self.observed.get_mut(&conn).expect("a way for who has asked");
            let uplink = usize::from(answer.uplink.expect("nothing here leaves unbound").0);
            let port = 40_001 + number as u16;
            seen.attempts.push(Attempt { at: attempt.at, to: attempt.to, uplink, port });
        }
        for (n, (at, event)) in lab.world.events.iter().enumerate() {
            self.event(reference, n, *at, event);
        }
    }

    fn event(&mut self, reference: &Reference, n: usize, at: Instant, event: &Event) {
        let index = |uplink: &Option<UplinkId>| usize::from(uplink.expect("nothing here leaves unbound").0);
        match event {
            Event::AttemptFailed { conn, to, uplink, fault } => {
                let uplink = index(uplink);
                let seen = self.observed.get_mut(conn).expect("a known connection");
                seen.failed.push((at, *to, uplink, *fault));
                if *fault == Fault::NoDevice {
                    self.rests[uplink].push(Rest { at, until: Some(at + secs(1)) });
                }
            }
            Event::Connected { conn, to, uplink, .. } => {
                let seen = self.observed.get_mut(conn).expect("a known connection");
                assert_eq!(seen.connected, None, "connected twice: {seen:?}");
                assert_eq!(seen.refused, 0, "refused and connected: {seen:?}");
                seen.connected = Some((at, *to, index(uplink)));
                self.rests[index(uplink)].push(Rest { at, until: None });
            }
            Event::Closed { conn, sent, received, fault, .. } => {
                let seen = self.observed.get_mut(conn).expect("a known connection");
                assert!(seen.connected.is_some() && seen.closed.is_none(), "an end too many: {seen:?}");
                seen.closed = Some(Closed { at, sent: *sent, received: *received, fault: *fault });
            }
            Event::Refused { conn, .. } => {
                if let Some(seen) = self.observed.get_mut(conn) {
                    assert!(seen.connected.is_none(), "connected and refused: {seen:?}");
                    seen.refused += 1;
                    assert_eq!(seen.refused, 1, "refused twice: {seen:?}");
                }
            }
            Event::UplinkDown { uplink, why, rest } => {
                let uplink = usize::from(uplink.0);
                self.rests[uplink].push(Rest { at, until: Some(at + *rest) });
                let mut all = reference.conditions_until(at);
                let guilty = match why {
                    DownReason::Fault(Fault::NoDevice) => all.any(|w| w.uplinks[uplink].link == Link::Gone),
                    DownReason::Fault(_) => false,
                    // A target that was silent when this uplink asked, and not when the next did,
                    // looks the same.
                    _ => all.any(|w| w.uplinks[uplink].link == Link::Dead || w.modes.contains(&Mode::Silent)),
                };
                assert!(guilty, "uplink {uplink} was sent to rest for nothing: {why:?}, event {n}");
            }
            _ => {}
        }
    }

    // ---- uplinks ----

    /// Each way was open, untried and not at rest while another was well.
    fn ways(&self, lab: &Lab, reference: &Reference) {
        for asked in &lab.machine.asked {
            let (at, tried) = (asked.at, asked.assign.tried);
            let v6 = asked.assign.destination.is_some_and(|to| to.is_ipv6());
            let could = |uplink: usize| reference.conditions_at(at).any(|w| w.uplinks[uplink].carries(v6));
            let surely = |uplink: usize| reference.conditions_at(at).all(|w| w.uplinks[uplink].carries(v6));
            let untried = |uplink: &usize| !tried.contains(UplinkId(*uplink as u16));
            let others = (0..self.uplinks).filter(untried);
            let Some(uplink) = asked.answer.and_then(|answer| answer.uplink) else {
                let left: Vec<usize> = others.filter(|other| surely(*other)).collect();
                assert!(left.is_empty(), "no way at {at:?}, while {left:?} could: {asked:?}");
                continue;
            };
            let uplink = usize::from(uplink.0);
            assert!(untried(&uplink), "an uplink that was tried: {asked:?}");
            assert!(could(uplink), "an uplink without the family: {asked:?}");
            if self.rests_at(uplink, at) == Some(true) {
                let well = |other: &usize| surely(*other) && self.rests_at(*other, at) == Some(false);
                let better: Vec<usize> = others.filter(well).collect();
                assert!(better.is_empty(), "{uplink} rests at {at:?} while {better:?} are well: {asked:?}");
            }
        }
        for seen in self.observed.values() {
            for (failed_at, to, _, fault) in &seen.failed {
                let again = seen.attempts.iter().find(|other| other.to == *to && other.at >= *failed_at);
                let believed = *fault == Fault::Refused;
                assert!(!believed || again.is_none(), "asked again after a refusal: {again:?}");
            }
            let mut pairs: Vec<_> = seen.attempts.iter().map(|a| (a.to, a.uplink)).collect();
            pairs.sort_unstable();
            pairs.dedup();
            assert_eq!(pairs.len(), seen.attempts.len(), "the same way twice: {pairs:?}");
        }
        self.silent_ones_rest(lab);
    }

    /// Whether an uplink rests; `None` when that changed at that very moment.
    fn rests_at(&self, uplink: usize, at: Instant) -> Option<bool> {
        let changes = &self.rests[uplink];
        if changes.iter().any(|change| change.at == at) {
            return None;
        }
        let last = changes.iter().rfind(|change| change.at < at);
        Some(last.and_then(|change| change.until).is_some_and(|until| until > at))
    }

    /// Three times in a row outpaced: it rests.
    fn silent_ones_rest(&self, lab: &Lab) {
        let mut streak = vec![0u32; self.uplinks];
        for (at, event) in &lab.world.events {
            let Event::Connected { conn, uplink: Some(won), .. } = event else { continue };
            streak[usize::from(won.0)] = 0;
            for loser in self.observed[conn].outpaced() {
                streak[loser] += 1;
                // Of what changed at that very moment any may be the answer: it may be back
                // already.
                let known = self.rests[loser].iter().filter(|change| change.at <= *at);
                let since = known.clone().map(|change| change.at).max();
                let rests = known.filter(|change| Some(change.at) == since);
                let rests = rests.filter_map(|change| change.until).any(|until| until > *at);
                assert!(
                    streak[loser] < 3 || rests,
                    "uplink {loser} was outpaced often and does not rest at {at:?}"
                );
            }
        }
    }

    /// While all uplinks are in the round, each has its share: exactly from the start on, round by
    /// round, and never far from it later.
    fn weights(&self, lab: &Lab, reference: &Reference) {
        let total: u32 = reference.weights.iter().sum();
        let (mut first, mut count, mut counts) = (true, 0, vec![0u32; self.uplinks]);
        for asked in &lab.machine.asked {
            let v6 = asked.assign.destination.is_some_and(|to| to.is_ipv6());
            let fair = |uplink: usize| {
                let carries = reference.conditions_at(asked.at).all(|w| w.uplinks[uplink].carries(v6));
                carries && self.rests_at(uplink, asked.at) == Some(false)
            };
            let never =
                |uplink: usize| self.rests[uplink].iter().all(|r| r.at > asked.at || r.until.is_none());
            let all = 0..self.uplinks;
            let in_round = |uplink: usize| {
                fair(uplink)
                    || (never(uplink)
                        && reference.conditions_at(asked.at).all(|w| w.uplinks[uplink].carries(v6)))
            };
            if !asked.assign.tried.is_empty() || !all.clone().all(in_round) {
                (first, count) = (false, 0);
                counts.fill(0);
                continue;
            }
            let Some(uplink) = asked.answer.and_then(|answer| answer.uplink) else { continue };
            counts[usize::from(uplink.0)] += 1;
            count += 1;
            if first && count % total == 0 {
                let wanted: Vec<u32> = reference.weights.iter().map(|w| w * (count / total)).collect();
                assert_eq!(counts, wanted, "shares after {count} connections");
            }
            for (got, weight) in counts.iter().zip(&reference.weights) {
                let off = i64::from(got * total) - i64::from(count * weight);
                assert!(
                    off.abs() <= 2 * i64::from(total),
                    "shares {counts:?} after {count}, far from the weights"
                );
            }
        }
    }

    fn accounts(&self, lab: &Lab) {
        let observed = || self.observed.values();
        for (uplink, (label, account, _)) in lab.world.pool.accounts(lab.now()).enumerate() {
            let through = |seen: &&Observed| seen.connected.is_some_and(|(.., by)| by == uplink);
            let connected = observed().filter(through).count() as u64;
            let closed = observed().filter(through).filter(|seen| seen.closed.is_some()).count() as u64;
            let failed =
                observed().flat_map(|s| &s.failed).filter(|(_, _, by, _)| *by == uplink).count() as u64;
            let outpaced = observed().flat_map(Observed::outpaced).filter(|by| *by == uplink).count() as u64;
            assert_eq!(account.connected, connected, "connected through {label}");
            assert_eq!(account.open, connected - closed, "open through {label}");
            assert_eq!(account.failed, failed, "failed through {label}");
            assert_eq!(account.outpaced, outpaced, "outpaced at {label}");
        }
        let counters = lab.machine.counters();
        assert_eq!(counters.accepted, lab.world.accepted.len() as u64, "accepted");
        let relays = observed().filter(|s| s.connected.is_some() && s.closed.is_none()).count();
        assert!(counters.open >= relays, "{} open, and {relays} are", counters.open);
    }

    // ---- one client ----

    fn client(&self, lab: &Lab, reference: &Reference, at: usize, client: &Client) {
        let (sock, now) = (lab.sock(client.who), reference.now);
        if client.too_late {
            assert!(sock.got.bytes.is_empty(), "client {at} came too late and was served");
            return;
        }
        let who = format!("client {at} ({:?} to {:?})", client.protocol, client.destination);
        let ended = sock.got.end != End::Open;
        if !client.asked() {
            let owed: &[u8] = if client.protocol == Protocol::Socks5 { &[5, 0] } else { &[] };
            assert!(owed.starts_with(&sock.got.bytes), "{who}: an answer before the question");
            let left = ended || sock.stopped_reading || !client.reads;
            let by = (client.came + HANDSHAKE + SLACK).max(client.touched + QUIET);
            assert!(left || now <= by, "{who}: an endless handshake");
            return;
        }
        let said = said(client.protocol, &sock.got.bytes, &who);
        let vanished = reference.vanished.iter().any(|(gone, _)| *gone >= client.came);
        match said {
            Said::Nothing => {
                let allowed = reference.allowed(client, now);
                // A client that leaves its answer unread and goes on sending gets a reset instead.
                let excused = client.reset || vanished || !client.read_always;
                assert!(!ended || excused, "{who}: an end without an answer");
                let patient = ended || sock.stopped_reading || client.reset || !client.read_always;
                assert!(
                    patient || now <= client.came + allowed.by,
                    "{who}: no answer by {now:?}, {allowed:?}"
                );
                // A client that reads again gets it then.
                let late = client.reads && !sock.stopped_reading && !client.reset && !ended;
                let by = (client.came + CONNECT + SLACK).max(client.touched + QUIET);
                assert!(!late || now <= by, "{who}: no answer at all");
            }
            Said::Refused(len, code) => {
                let answered = sock.got.byte_at(len - 1).expect("it was received");
                let allowed = reference.allowed(client, answered);
                self.timely(&who, client, &allowed, answered);
                let code_of = |no: &No| match client.protocol {
                    Protocol::Socks5 => u16::from(no.socks5()),
                    Protocol::Socks4 => 91,
                    Protocol::Connect => no.http(),
                };
                let known = allowed.noes.iter().any(|no| code_of(no) == code);
                assert!(known, "{who}: refused with {code}, allowed is {allowed:?}");
                let due = answered + QUIET <= now && client.reads && !sock.stopped_reading;
                assert!(!due || sock.got.end == End::Fin, "{who}: refused, and no orderly end");
                assert!(self.seen(at).is_none_or(|seen| seen.connected.is_none()), "{who}: refused");
            }
            Said::Granted(len, bound) => {
                let answered = sock.got.byte_at(len - 1).expect("it was received");
                let allowed = reference.allowed(client, answered);
                self.timely(&who, client, &allowed, answered);
                let seen = self.seen(at).expect("who was granted has asked");
                let won = seen.won().unwrap_or_else(|| panic!("{who}: granted without a connection"));
                let place = PLACES.iter().position(|place| addr(place) == won.to).expect("a known place");
                let way = (place, won.uplink);
                assert!(allowed.grants.contains(&way), "{who}: granted by {way:?}, allowed {allowed:?}");
                if let Some(bound) = bound {
                    let told = SocketAddr::new(source(won.uplink, is_v6(place)), won.port);
                    assert_eq!(bound, told, "{who}: the address it was told");
                }
                self.relayed(lab, reference, &Relayed { who, client, seen, won, place, len, answered });
            }
        }
    }

    fn seen(&self, client: usize) -> Option<&Observed> {
        self.by_client.get(&client).map(|conn| &self.observed[conn])
    }

    fn timely(&self, who: &str, client: &Client, allowed: &Allowed, answered: Instant) {
        let took = answered.saturating_since(client.came);
        let late = client.read_always && took > allowed.by;
        assert!(!late, "{who}: the answer took {took:?}, {allowed:?}");
    }
}

/// The address this host has on an uplink.
fn source(uplink: usize, v6: bool) -> IpAddr {
    if v6 {
        Ipv6Addr::new(0xfd00, 0, 0, uplink as u16, 0, 0, 0, 2).into()
    } else {
        Ipv4Addr::new(10, 99, uplink as u8, 2).into()
    }
}
