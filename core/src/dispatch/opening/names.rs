//! Names of destinations: who looks them up, and when another is asked too.
//!
//! ```text
//!  name ─▶ ask the pool ─┬─▶ a proxy: connect, tell it the name        (`upstream`)
//!                        ├─▶ an uplink with name servers: ask those through it
//!                        │      └─ silent for a while, or failed: the next uplink's
//!                        └─▶ any other uplink: ask the system, once
//! ```
//!
//! The name is the first candidate. Whoever is first to answer, the addresses are tried through the
//! uplink that was chosen first: a name server's fault is not its uplink's. One whose servers were
//! silent gets less patience.

use super::parts::{Asking, Candidate, Sought};
use super::{Opening, interleave};
use crate::dispatch::config::Config;
use crate::dispatch::{Cx, guard};
use crate::machine::event::Refusal;
use crate::machine::{Assignment, ConnId, Fault, QueryId, UplinkId, UplinkSet};
use crate::name::{Destination, Host, Name};
use crate::time::{Duration, Instant};
use core::net::{IpAddr, SocketAddr};

/// Look-ups of one name at the same time.
const MOST_SOUGHT: usize = 3;
/// How long an uplink's name servers may be silent before those of another are asked too. With the
/// patience for the attempt that follows through a black-holed uplink it is less than half a
/// second.
const PATIENCE: Duration = Duration::from_millis(200);

impl Opening {
    /// Begins with the name itself: the pool says first who carries the connection.
    ///
    /// What it leads to behind a proxy is not known here: it is the proxy's to guard. (An address
    /// that the client gives is guarded as ever.)
    pub(super) fn start_by_name(
        &mut self,
        conn: ConnId,
        destination: &Destination,
        cx: &mut Cx,
    ) -> Result<(), Refusal> {
        // As the guard has it for addresses.
        if destination.port == 0 {
            return Err(Refusal::Unreachable(Fault::Refused));
        }
        self.by_name = Some(destination.clone());
        self.candidates.push(Candidate::new(None, UplinkSet::EMPTY));
        self.ask(conn, false, cx)
    }

    /// Begins with the system's answer.
    pub(super) fn start_by_system(&mut self, conn: ConnId, name: &Name, cx: &mut Cx) {
        self.seek(conn, name, None, cx);
    }

    fn seek(&mut self, conn: ConnId, name: &Name, by: Option<UplinkId>, cx: &mut Cx) {
        let query = cx.query(conn, self.client_ip, name, by);
        self.sought.push(Sought { query, began: cx.now, by });
    }

    /// The pool has chosen an uplink that is no proxy: addresses are needed.
    pub(super) fn look_up(
        &mut self,
        conn: ConnId,
        candidate: usize,
        assignment: Assignment,
        cx: &mut Cx,
    ) -> Result<(), Refusal> {
        let Some(Host::Name(name)) = self.by_name.as_ref().map(|destination| destination.host.clone()) else {
            return self.ask(conn, false, cx);
        };
        let by = cx.config.asks(assignment.uplink, &name);
        let tried = &mut self.candidates[candidate].tried;
        match by {
            Some(uplink) => tried.insert(uplink),
            // No other uplink is asked to take the name but proxies and those with name servers.
            None => {
                let others = UplinkSet::from_bits(!cx.config.naming_set(&name).to_bits());
                *tried = UplinkSet::from_bits(tried.to_bits() | others.to_bits());
                if let Some(uplink) = assignment.uplink {
                    tried.insert(uplink);
                }
            }
        }
        let is_first = self.sought.is_empty() && self.name_fault.is_none();
        let system = |sought: &Sought| sought.by.is_none();
        if by.is_none() && (self.system_failed || self.sought.iter().any(system)) {
            return self.ask(conn, false, cx);
        }
        if is_first {
            self.chosen = assignment.uplink;
        }
        self.seek(conn, &name, by, cx);
        let company = (by.is_some() || !self.attempts.is_empty()) && self.sought.len() < MOST_SOUGHT;
        let patience = if by.is_some() { PATIENCE } else { assignment.patience };
        self.next_attempt_at = company.then(|| cx.now + patience);
        Ok(())
    }

    /// A look-up has ended.
    pub(in crate::dispatch) fn looked_up(
        &mut self,
        conn: ConnId,
        query: QueryId,
        answer: Result<&[IpAddr], Fault>,
        cx: &mut Cx,
    ) -> Result<(), Refusal> {
        let Some(at) = self.sought.iter().position(|sought| sought.query == query) else { return Ok(()) };
        let ended = self.sought.remove(at);
        match answer {
            Ok(addresses) => {
                let silent = self.sought.iter().any(|sought| sought.by.is_some() && sought.by == self.chosen);
                self.doubted = self.chosen.filter(|_| silent);
                self.give_up_names(cx);
                self.no_more_by_name(cx);
                self.resolved(conn, addresses, cx)
            }
            Err(fault) => self.name_failed(conn, ended, fault, cx),
        }
    }

    /// Only proxies take the name from now on.
    fn no_more_by_name(&mut self, cx: &Cx) {
        if self.by_name.is_none() {
            return;
        }
        let proxies = cx.config.upstream_set();
        if let Some(candidate) = self.candidates.first_mut() {
            candidate.tried = UplinkSet::from_bits(candidate.tried.to_bits() | !proxies.to_bits());
            candidate.dead |= proxies.is_empty();
        }
    }

    fn give_up_names(&mut self, cx: &mut Cx) {
        self.sought.drain(..).for_each(|sought| cx.cancel(sought.query));
    }

    /// Takes in addresses: of a name, or the one that the client has asked for.
    pub(super) fn resolved(
        &mut self,
        conn: ConnId,
        addresses: &[IpAddr],
        cx: &mut Cx,
    ) -> Result<(), Refusal> {
        // A proxy was, or will be, told the name instead.
        let tried = self.by_name.as_ref().map_or(UplinkSet::EMPTY, |_| cx.config.upstream_set());
        let first = self.candidates.len();
        let mut refusal = None;
        for ip in interleave(addresses) {
            // IPv4-mapped addresses are dialled over IPv4.
            let to = SocketAddr::new(ip.to_canonical(), self.port);
            match guard::allowed(&cx.config, self.client_ip, to) {
                Ok(()) => self.candidates.push(Candidate::new(Some(to), tried)),
                Err(why) => refusal = refusal.or(Some(why)),
            }
        }
        if self.candidates.len() == first {
            return Err(refusal.unwrap_or(Refusal::Name(Fault::NameNotFound)));
        }
        self.exhausted = false;
        if let Some(only) = self.chosen.filter(|_| self.asking.is_none()) {
            self.question(conn, Asking { candidate: first, fresh_uplink: false, only: Some(only) }, cx);
            return Ok(());
        }
        self.ask(conn, false, cx)
    }

    /// The uplink that was chosen for the name does not carry this address: perhaps it carries the
    /// next. Else others may.
    pub(super) fn not_by_chosen(&mut self, conn: ConnId, asking: Asking, cx: &mut Cx) {
        let live = |at: &usize| !self.candidates[*at].dead && self.candidates[*at].to.is_some();
        let asking = match (asking.candidate + 1..self.candidates.len()).find(live) {
            Some(candidate) => Asking { candidate, ..asking },
            None => {
                let first = (0..self.candidates.len()).find(live).unwrap_or(asking.candidate);
                Asking { candidate: first, fresh_uplink: false, only: None }
            }
        };
        self.question(conn, asking, cx);
    }

    fn name_failed(&mut self, conn: ConnId, ended: Sought, fault: Fault, cx: &mut Cx) -> Result<(), Refusal> {
        if self.by_name.is_none() {
            return Err(Refusal::Name(fault));
        }
        // That there is no such name is an answer, and another would say the same.
        if fault == Fault::NameNotFound {
            self.give_up_names(cx);
            self.no_more_by_name(cx);
        }
        self.system_failed |= ended.by.is_none();
        self.name_fault = Some(fault);
        self.ask(conn, true, cx)
    }

    /// When a look-up is late.
    pub(super) fn lookup_deadline(&self, config: &Config) -> Option<Instant> {
        self.sought.iter().map(|sought| sought.began + config.lookup_timeout).min()
    }

    /// A look-up whose time is over is given up.
    pub(super) fn lookups_late(&mut self, conn: ConnId, cx: &mut Cx) -> Result<(), Refusal> {
        let (now, timeout, deadline) = (cx.now, cx.config.lookup_timeout, self.deadline);
        let late = |sought: &Sought| (sought.began + timeout).min(deadline) <= now;
        while let Some(at) = self.sought.iter().position(late) {
            let ended = self.sought.remove(at);
            cx.cancel(ended.query);
            self.name_failed(conn, ended, Fault::TimedOut, cx)?;
        }
        Ok(())
    }
}
