//! From a destination to a connection: names, addresses, uplinks, and the race between attempts.
//!
//! ```text
//!  name ─▶ addresses ─▶ [guard] ─▶ ask the pool ─▶ attempt ─┬─▶ connected: the first wins, the others go
//!                                     ▲                     ├─▶ failed: the next address or uplink, at once
//!                                     └─────────────────────┴─▶ silent: one more, after its patience
//! ```
//!
//! Where uplinks are proxies or have name servers of their own, a name asks the pool first: one
//! that is a proxy takes the name as it is, and has connected once the proxy says so; any other one
//! has the name looked up (`names`), and is the first that its addresses are tried through.
//!
//! This is RFC 8305 over address x uplink. A destination's refusal is believed: the same address is
//! not asked again through another uplink. All attempts together have a limit and a deadline, so
//! there is no storm.
//!
//! `addresses` says which address, and which family, comes first; `upstream` has the attempts
//! through uplinks that are proxies, `parts` what an opening is made of.

mod addresses;
mod names;
mod parts;
mod upstream;

use super::Cx;
use super::config::Config;
use super::guard;
use super::reply::ReplyFormat;
use crate::machine::event::{Event, FixedLimit, Refusal};
use crate::machine::{
    Assign, Assignment, Close, ConnId, Fault, HostKey, Output, Report, StreamId, UplinkId, UplinkSet,
};
use crate::name::{Destination, Host};
use crate::time::Instant;
use addresses::interleave;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use parts::{Asking, Attempt, Candidate, Sought, Talk, weight};
pub(super) use parts::{Reached, Winner};

/// Attempts for one connection, one after another.
const MAX_ATTEMPTS: u32 = 12;
/// Attempts for one connection at the same time.
const MAX_PENDING: usize = 4;
/// Bytes buffered from the client while connecting, at most.
const MAX_EARLY: usize = 16 * 1024;
/// What every name of loopback stands for.
const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

#[derive(Debug)]
pub(super) struct Opening {
    pub(super) format: ReplyFormat,
    pub(super) early: Vec<u8>,
    /// The client has ended its half.
    pub(super) client_ended: bool,
    unsent: Vec<u8>,
    client_ip: IpAddr,
    host: HostKey,
    port: u16,
    began: Instant,
    deadline: Instant,
    /// Look-ups under way.
    sought: Vec<Sought>,
    /// The name, where the pool is asked for it before its addresses are known. Its candidate is
    /// the first.
    by_name: Option<Destination>,
    /// The name was looked up for this uplink.
    chosen: Option<UplinkId>,
    /// Its name servers were silent when another's had answered.
    doubted: Option<UplinkId>,
    /// The system could not look the name up.
    system_failed: bool,
    /// The name could not be looked up.
    name_fault: Option<Fault>,
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
            // Endpoints have no destination to stick to: there each client does.
            host: HostKey::of_ip(client_ip),
            port,
            began: cx.now,
            deadline: cx.now + cx.config.connect_timeout,
            sought: Vec::new(),
            by_name: None,
            chosen: None,
            doubted: None,
            system_failed: false,
            name_fault: None,
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
        self.host = HostKey::of_host(&destination.host);
        match &destination.host {
            Host::Ip(ip) => self.resolved(conn, &[*ip], cx),
            // RFC 6761 section 6.3: these names mean loopback; no resolver is asked.
            Host::Name(name) if name.is_localhost() => self.resolved(conn, &LOOPBACK, cx),
            Host::Name(name) if !cx.config.upstream_set().is_empty() || cx.config.may_ask(name) => {
                self.start_by_name(conn, destination, cx)
            }
            Host::Name(name) => {
                self.start_by_system(conn, name, cx);
                Ok(())
            }
        }
    }

    /// Begins with the pool's own endpoints as the destination.
    pub(super) fn start_tunnel(&mut self, conn: ConnId, cx: &mut Cx) -> Result<(), Refusal> {
        self.candidates.push(Candidate::new(None, UplinkSet::EMPTY));
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
        [self.lookup_deadline(config), self.next_attempt_at]
            .into_iter()
            .flatten()
            .fold(self.deadline, Instant::min)
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
            // Its addresses will be more to try.
            if !self.sought.is_empty() {
                self.next_attempt_at = None;
                return Ok(());
            }
            self.exhausted = true;
            self.next_attempt_at = None;
            return self.judge();
        };
        self.question(conn, Asking { candidate, fresh_uplink, only: None }, cx);
        Ok(())
    }

    fn question(&mut self, conn: ConnId, asking: Asking, cx: &mut Cx) {
        let Candidate { to, tried, .. } = self.candidates[asking.candidate];
        let mut only = UplinkSet::EMPTY;
        asking.only.into_iter().for_each(|uplink| only.insert(uplink));
        let tried = match asking.fresh_uplink {
            _ if asking.only.is_some() => UplinkSet::from_bits(!only.to_bits() | tried.to_bits()),
            true => UplinkSet::from_bits(tried.to_bits() | self.uplinks_tried.to_bits()),
            false => tried,
        };
        self.asking = Some(asking);
        cx.push_output(Output::Assign(Assign { conn, destination: to, tried, host: self.host }));
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
            if asking.only.is_some() {
                self.not_by_chosen(conn, asking, cx);
                return Ok(());
            }
            if asking.fresh_uplink {
                self.question(conn, Asking { fresh_uplink: false, ..asking }, cx);
                return Ok(());
            }
            candidate.dead = true;
            return self.ask(conn, false, cx);
        };
        let upstream = assignment.uplink.and_then(|uplink| cx.config.upstream(uplink).cloned());
        if self.by_name.is_some() && candidate.to.is_none() && upstream.is_none() {
            return self.look_up(conn, asking.candidate, assignment, cx);
        }
        // A proxy of a reload that has not reached this worker yet.
        if let Some(uplink) = assignment.uplink
            && (!cx.config.tunnel && upstream.is_none() && assignment.endpoint.is_some())
        {
            candidate.leave_out(uplink);
            return self.ask(conn, false, cx);
        }
        let to = assignment.endpoint.or(candidate.to.map(|to| assignment.translated(to)));
        let again = assignment.uplink.is_none() && candidate.tried_unbound;
        // An endpoint that is this proxy would have it talk to itself until nothing is left. (Other
        // destinations were judged before.)
        let again = again || assignment.endpoint.is_some_and(|to| guard::is_itself(&cx.config, to));
        let (Some(to), false) = (to, again) else {
            // Another uplink may be no such circle.
            match assignment.uplink.filter(|_| upstream.is_some()) {
                Some(uplink) => candidate.leave_out(uplink),
                None => candidate.dead = true,
            }
            return self.ask(conn, false, cx);
        };
        match assignment.uplink {
            Some(uplink) => {
                candidate.tried.insert(uplink);
                self.uplinks_tried.insert(uplink);
                cx.report(Report::Attempting { uplink });
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
            upstream: upstream.map(Box::new),
            talk: None,
        });
        self.attempts_made += 1;
        // At most `MAX_PENDING` at a time: give up the oldest, which has been silent longest.
        if self.attempts.len() > MAX_PENDING {
            let Attempt { stream, uplink, candidate, .. } = self.attempts.remove(0);
            over(uplink, cx);
            cx.close(stream, Close::Reset);
            self.suspects.extend(uplink.map(|uplink| (uplink, candidate)));
        }
        let doubted = assignment.uplink.is_some() && assignment.uplink == self.doubted;
        let patience = if doubted { assignment.patience / 2 } else { assignment.patience };
        self.next_attempt_at = Some(cx.now + patience);
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
        self.failed(conn, stream, fault, false, cx)
    }

    /// The same. `told`: a proxy says so of the destination.
    fn failed(
        &mut self,
        conn: ConnId,
        stream: StreamId,
        fault: Fault,
        told: bool,
        cx: &mut Cx,
    ) -> Result<(), Refusal> {
        let Some(at) = self.attempts.iter().position(|attempt| attempt.stream == stream) else {
            return Ok(());
        };
        let Attempt { candidate, to, uplink, upstream, .. } = self.attempts.remove(at);
        over(uplink, cx);
        if let Some(uplink) = uplink.filter(|_| !told) {
            cx.report(Report::Failed { uplink, fault });
        }
        cx.event(Event::AttemptFailed { conn, to, uplink, fault });
        if self.fault.is_none_or(|known| weight(fault) > weight(known)) {
            self.fault = Some(fault);
        }
        let tunnel = self.candidates[candidate].to.is_none() || upstream.is_some();
        match fault {
            // The destination has spoken; another uplink would hear the same.
            Fault::Refused | Fault::Reset if told || !tunnel => {
                self.candidates[candidate].refuse();
                if self.by_name.is_some() {
                    self.refused_by_name(candidate);
                }
            }
            // Out of descriptors or memory: another attempt would fail too.
            Fault::NoDescriptors | Fault::NoMemory => {
                self.candidates.iter_mut().for_each(|candidate| candidate.dead = true);
            }
            Fault::TimedOut | Fault::HostUnreachable | Fault::NetworkUnreachable | Fault::ProxyFailed => {
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
        local: SocketAddr,
        conn: ConnId,
        cx: &mut Cx,
    ) -> Reached {
        let Some(at) = self.attempts.iter().position(|attempt| attempt.stream == stream) else {
            return Reached::Unwanted;
        };
        match self.introduce(at, local, cx) {
            true => Reached::Proxy,
            false => Reached::Target(self.win(at, local, Vec::new(), conn, cx)),
        }
    }

    fn win(&mut self, at: usize, local: SocketAddr, heard: Vec<u8>, conn: ConnId, cx: &mut Cx) -> Winner {
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
        Winner { stream: won.stream, uplink: won.uplink, local, heard, to: won.to.ip() }
    }

    /// Time has passed.
    pub(super) fn timeout(&mut self, conn: ConnId, cx: &mut Cx) -> Result<(), Refusal> {
        self.lookups_late(conn, cx)?;
        if cx.now >= self.deadline {
            self.blame_mute_proxies(cx);
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
        self.sought.drain(..).for_each(|sought| cx.cancel(sought.query));
        for attempt in self.attempts.drain(..) {
            over(attempt.uplink, cx);
            cx.close(attempt.stream, Close::Reset);
        }
    }

    fn judge(&self) -> Result<(), Refusal> {
        // A refusal of every address is the answer, whatever else is still awaited.
        let refused = self.candidates.iter().all(|candidate| candidate.refused);
        if !self.attempts.is_empty() && !refused {
            return Ok(());
        }
        let unnamed = self.name_fault.map_or(Refusal::NoUplink, Refusal::Name);
        Err(self.fault.map_or(unnamed, Refusal::Unreachable))
    }
}

/// An attempt did not become a connection.
fn over(uplink: Option<UplinkId>, cx: &mut Cx) {
    if let Some(uplink) = uplink {
        cx.report(Report::AttemptOver { uplink });
    }
}
