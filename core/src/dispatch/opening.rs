//! From a destination to a connection: names, addresses, uplinks, and the race between attempts.
//!
//! ```text
//!  name ─▶ addresses ─▶ [guard] ─▶ ask the pool ─▶ attempt ─┬─▶ connected: the first wins, the others go
//!                                     ▲                     ├─▶ failed: the next address or uplink, at once
//!                                     └─────────────────────┴─▶ silent: one more, after its patience
//! ```
//!
//! This is RFC 8305 over address x uplink. A destination's refusal is believed: the same address is
//! not asked again through another uplink. All attempts together have a limit and a deadline, so
//! there is no storm. Which address, and which family, comes first: `addresses`.

mod addresses;

use super::Cx;
use super::config::Config;
use super::guard;
use super::reply::ReplyFormat;
use crate::machine::event::{Event, FixedLimit, Refusal};
use crate::machine::{
    Assign, Assignment, Close, ConnId, Fault, Output, QueryId, Report, StreamId, UplinkId, UplinkSet,
};
use crate::name::{Destination, Host};
use crate::time::Instant;
use addresses::interleave;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Attempts for one connection, one after another.
const MAX_ATTEMPTS: u32 = 12;
/// Attempts for one connection at the same time.
const MAX_PENDING: usize = 4;
/// Bytes buffered from the client while connecting, at most.
const MAX_EARLY: usize = 16 * 1024;
/// What every name of loopback stands for.
const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

#[derive(Debug)]
struct Candidate {
    /// `None`: the pool's endpoint is the destination.
    to: Option<SocketAddr>,
    tried: UplinkSet,
    tried_unbound: bool,
    /// Not to be tried again.
    dead: bool,
    /// The destination itself has said no.
    refused: bool,
}

#[derive(Debug)]
struct Attempt {
    stream: StreamId,
    candidate: usize,
    to: SocketAddr,
    uplink: Option<UplinkId>,
    began: Instant,
}

/// A question to the pool that is under way.
#[derive(Debug, Clone, Copy)]
struct Asking {
    candidate: usize,
    /// Leaving out every uplink this connection has tried, whatever the address.
    fresh_uplink: bool,
}

#[derive(Debug)]
pub(super) struct Opening {
    pub(super) format: ReplyFormat,
    pub(super) early: Vec<u8>,
    /// The client has ended its half.
    pub(super) client_ended: bool,
    unsent: Vec<u8>,
    client_ip: IpAddr,
    port: u16,
    began: Instant,
    deadline: Instant,
    query: Option<QueryId>,
    candidates: Vec<Candidate>,
    attempts: Vec<Attempt>,
    asking: Option<Asking>,
    uplinks_tried: UplinkSet,
    /// Attempts that got nowhere for a reason that may be the uplink's.
    suspects: Vec<(UplinkId, usize)>,
    next_attempt_at: Option<Instant>,
    attempts_made: u32,
    exhausted: bool,
    fault: Option<Fault>,
}

/// The attempt that won.
#[derive(Debug)]
pub(super) struct Winner {
    pub(super) stream: StreamId,
    pub(super) uplink: Option<UplinkId>,
}

impl Opening {
    pub(super) fn new(
        format: ReplyFormat,
        port: u16,
        early: Vec<u8>,
        unsent: Vec<u8>,
        client_ip: IpAddr,
        cx: &Cx,
    ) -> Self {
        Opening {
            format,
            early,
            client_ended: false,
            unsent,
            client_ip,
            port,
            began: cx.now,
            deadline: cx.now + cx.config.connect_timeout,
            query: None,
            candidates: Vec::new(),
            attempts: Vec::new(),
            asking: None,
            uplinks_tried: UplinkSet::EMPTY,
            suspects: Vec::new(),
            next_attempt_at: None,
            attempts_made: 0,
            exhausted: false,
            fault: None,
        }
    }

    /// Begins: looks the name up, or goes on with the address.
    pub(super) fn start(
        &mut self,
        conn: ConnId,
        destination: &Destination,
        cx: &mut Cx,
    ) -> Result<(), Refusal> {
        match &destination.host {
            Host::Ip(ip) => self.resolved(conn, &[*ip], cx),
            // RFC 6761 section 6.3: these names mean loopback; no resolver is asked.
            Host::Name(name) if name.is_localhost() => self.resolved(conn, &LOOPBACK, cx),
            Host::Name(name) => {
                self.query = Some(cx.query(conn, self.client_ip, name));
                Ok(())
            }
        }
    }

    /// Begins with the pool's own endpoints as the destination.
    pub(super) fn start_tunnel(&mut self, conn: ConnId, cx: &mut Cx) -> Result<(), Refusal> {
        self.candidates.push(Candidate {
            to: None,
            tried: UplinkSet::EMPTY,
            tried_unbound: false,
            dead: false,
            refused: false,
        });
        self.ask(conn, false, cx)
    }

    /// Keeps reading while connecting, to notice a client's reset. (A client that ended its half
    /// may still wait for the answer.)
    pub(super) fn wants(&self) -> usize {
        if self.client_ended { 0 } else { MAX_EARLY.saturating_sub(self.early.len()) }
    }

    pub(super) fn read(&mut self, bytes: &[u8]) {
        self.early.extend_from_slice(bytes);
    }

    pub(super) fn write_buf(&self) -> &[u8] {
        &self.unsent
    }

    pub(super) fn written(&mut self, len: usize) {
        self.unsent.drain(..len.min(self.unsent.len()));
    }

    pub(super) fn take_unsent(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.unsent)
    }

    pub(super) fn next_deadline(&self, config: &Config) -> Instant {
        let at = match self.query {
            Some(_) => Some(self.began + config.lookup_timeout),
            None => self.next_attempt_at,
        };
        at.map_or(self.deadline, |at| at.min(self.deadline))
    }

    /// Takes in the addresses of the name.
    pub(super) fn resolved(
        &mut self,
        conn: ConnId,
        addresses: &[IpAddr],
        cx: &mut Cx,
    ) -> Result<(), Refusal> {
        self.query = None;
        let mut refusal = None;
        for ip in interleave(addresses) {
            // IPv4-mapped addresses are dialled over IPv4.
            let to = SocketAddr::new(ip.to_canonical(), self.port);
            match guard::allowed(&cx.config, self.client_ip, to) {
                Ok(()) => self.candidates.push(Candidate {
                    to: Some(to),
                    tried: UplinkSet::EMPTY,
                    tried_unbound: false,
                    dead: false,
                    refused: false,
                }),
                Err(why) => refusal = refusal.or(Some(why)),
            }
        }
        if self.candidates.is_empty() {
            return Err(refusal.unwrap_or(Refusal::Name(Fault::NameNotFound)));
        }
        self.ask(conn, false, cx)
    }

    pub(super) fn resolve_failed(&mut self, fault: Fault) -> Result<(), Refusal> {
        self.query = None;
        Err(Refusal::Name(fault))
    }

    /// Asks the pool for the next way, if there may be one.
    fn ask(&mut self, conn: ConnId, fresh_uplink: bool, cx: &mut Cx) -> Result<(), Refusal> {
        if self.asking.is_some() {
            return Ok(());
        }
        // Two attempts at an address, then the next one: the second shows whether the uplink or the
        // address is at fault.
        let count = self.candidates.len();
        let first = (self.attempts_made / 2) as usize;
        let next = (0..count).map(|i| (first + i) % count).find(|i| !self.candidates[*i].dead);
        if next.is_some() && self.attempts_made >= MAX_ATTEMPTS && !self.exhausted {
            let limit = MAX_ATTEMPTS as usize;
            cx.event(Event::FixedLimit { which: FixedLimit::Attempts, limit });
        }
        let Some(candidate) = next.filter(|_| self.attempts_made < MAX_ATTEMPTS) else {
            self.exhausted = true;
            self.next_attempt_at = None;
            return self.judge();
        };
        self.question(conn, Asking { candidate, fresh_uplink }, cx);
        Ok(())
    }

    fn question(&mut self, conn: ConnId, asking: Asking, cx: &mut Cx) {
        let Candidate { to, tried, .. } = self.candidates[asking.candidate];
        let tried = match asking.fresh_uplink {
            true => UplinkSet::from_bits(tried.to_bits() | self.uplinks_tried.to_bits()),
            false => tried,
        };
        self.asking = Some(asking);
        cx.push_output(Output::Assign(Assign { conn, destination: to, tried }));
    }

    /// Takes in the pool's answer.
    pub(super) fn assigned(
        &mut self,
        conn: ConnId,
        assignment: Option<Assignment>,
        cx: &mut Cx,
    ) -> Result<(), Refusal> {
        let Some(asking) = self.asking.take() else { return Ok(()) };
        let candidate = &mut self.candidates[asking.candidate];
        let Some(assignment) = assignment else {
            if asking.fresh_uplink {
                self.question(conn, Asking { fresh_uplink: false, ..asking }, cx);
                return Ok(());
            }
            candidate.dead = true;
            return self.ask(conn, false, cx);
        };
        let to = assignment.endpoint.or(candidate.to);
        let again = assignment.uplink.is_none() && candidate.tried_unbound;
        // An endpoint that is this proxy would have it talk to itself until nothing is left. (Other
        // destinations were judged before.)
        let again = again || assignment.endpoint.is_some_and(|to| guard::is_itself(&cx.config, to));
        let (Some(to), false) = (to, again) else {
            candidate.dead = true;
            return self.ask(conn, false, cx);
        };
        match assignment.uplink {
            Some(uplink) => {
                candidate.tried.insert(uplink);
                self.uplinks_tried.insert(uplink);
            }
            None => candidate.tried_unbound = true,
        }
        let stream = cx.open_target(conn);
        cx.push_output(Output::Connect { stream, to, via: assignment.via });
        self.attempts.push(Attempt {
            stream,
            candidate: asking.candidate,
            to,
            uplink: assignment.uplink,
            began: cx.now,
        });
        self.attempts_made += 1;
        // At most `MAX_PENDING` at a time: give up the oldest, which has been silent longest.
        if self.attempts.len() > MAX_PENDING {
            let Attempt { stream, uplink, candidate, .. } = self.attempts.remove(0);
            cx.close(stream, Close::Reset);
            self.suspects.extend(uplink.map(|uplink| (uplink, candidate)));
        }
        self.next_attempt_at = Some(cx.now + assignment.patience);
        Ok(())
    }

    /// An attempt that goes on through `uplink`.
    pub(super) fn attempt_through(&self, uplink: UplinkId) -> Option<StreamId> {
        self.attempts.iter().find(|attempt| attempt.uplink == Some(uplink)).map(|attempt| attempt.stream)
    }

    /// An attempt failed; its id is dead already.
    pub(super) fn attempt_failed(
        &mut self,
        conn: ConnId,
        stream: StreamId,
        fault: Fault,
        cx: &mut Cx,
    ) -> Result<(), Refusal> {
        let Some(at) = self.attempts.iter().position(|attempt| attempt.stream == stream) else {
            return Ok(());
        };
        let Attempt { candidate, to, uplink, .. } = self.attempts.remove(at);
        if let Some(uplink) = uplink {
            cx.report(Report::Failed { uplink, fault });
        }
        cx.event(Event::AttemptFailed { conn, to, uplink, fault });
        if self.fault.is_none_or(|known| weight(fault) > weight(known)) {
            self.fault = Some(fault);
        }
        let tunnel = self.candidates[candidate].to.is_none();
        match fault {
            // The destination has spoken; another uplink would hear the same.
            Fault::Refused | Fault::Reset if !tunnel => {
                self.candidates[candidate].dead = true;
                self.candidates[candidate].refused = true;
            }
            // Out of descriptors or memory: another attempt would fail too.
            Fault::NoDescriptors | Fault::NoMemory => {
                self.candidates.iter_mut().for_each(|candidate| candidate.dead = true);
            }
            Fault::TimedOut | Fault::HostUnreachable | Fault::NetworkUnreachable => {
                self.suspects.extend(uplink.map(|uplink| (uplink, candidate)));
            }
            _ => {}
        }
        if self.exhausted {
            return self.judge();
        }
        self.ask(conn, !matches!(fault, Fault::Refused | Fault::Reset), cx)
    }

    /// An attempt succeeded: the others are given up.
    pub(super) fn attempt_connected(
        &mut self,
        stream: StreamId,
        conn: ConnId,
        cx: &mut Cx,
    ) -> Option<Winner> {
        let at = self.attempts.iter().position(|attempt| attempt.stream == stream)?;
        let won = self.attempts.remove(at);
        if let Some(uplink) = won.uplink {
            let took = cx.now - won.began;
            cx.report(Report::Connected { uplink, took });
        }
        let took = cx.now - self.began;
        cx.event(Event::Connected { conn, to: won.to, uplink: won.uplink, took });
        let silent = self.attempts.iter().filter(|other| other.began < won.began);
        let silent = silent.filter_map(|other| other.uplink.map(|uplink| (uplink, other.candidate)));
        self.suspects.extend(silent);
        for (uplink, candidate) in core::mem::take(&mut self.suspects) {
            if candidate == won.candidate && Some(uplink) != won.uplink {
                cx.report(Report::Outpaced { uplink });
            }
        }
        self.give_up(cx);
        Some(Winner { stream: won.stream, uplink: won.uplink })
    }

    /// Time has passed.
    pub(super) fn timeout(&mut self, conn: ConnId, cx: &mut Cx) -> Result<(), Refusal> {
        if self.query.is_some() && cx.now >= self.next_deadline(&cx.config) {
            return Err(Refusal::Name(Fault::TimedOut));
        }
        if cx.now >= self.deadline {
            let known = self.fault.filter(|known| weight(*known) > weight(Fault::TimedOut));
            return Err(Refusal::Unreachable(known.unwrap_or(Fault::TimedOut)));
        }
        if self.next_attempt_at.is_some_and(|at| at <= cx.now) {
            self.next_attempt_at = None;
            return self.ask(conn, true, cx);
        }
        Ok(())
    }

    /// Gives up the query and all attempts.
    pub(super) fn give_up(&mut self, cx: &mut Cx) {
        if let Some(query) = self.query.take() {
            cx.cancel(query);
        }
        for attempt in self.attempts.drain(..) {
            cx.close(attempt.stream, Close::Reset);
        }
    }

    fn judge(&self) -> Result<(), Refusal> {
        // A refusal of every address is the answer, whatever else is still awaited.
        let refused = self.candidates.iter().all(|candidate| candidate.refused);
        if !self.attempts.is_empty() && !refused {
            return Ok(());
        }
        Err(self.fault.map_or(Refusal::NoUplink, Refusal::Unreachable))
    }
}

/// Ranks faults: a destination's answer is more useful to the client than what this host lacks.
fn weight(fault: Fault) -> u8 {
    match fault {
        Fault::Refused | Fault::Reset => 5,
        Fault::TimedOut => 4,
        Fault::HostUnreachable => 3,
        Fault::NetworkUnreachable => 2,
        Fault::NoDescriptors | Fault::NoMemory | Fault::AddressInUse => 1,
        _ => 0,
    }
}
