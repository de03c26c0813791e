//! What the pool learns: what became of attempts, connections and probes.
//!
//! ```text
//! Report ─▶ report ─┬─▶ the account
//!                   ├─▶ health, mute: is it well?  ──▶ UplinkDown, UplinkUp, ProbesFailed
//!                   └─▶ outage: since when is it down ──▶ UplinkStillDown, now and then
//! ```

use super::{Account, Pool};
use crate::machine::event::{DownReason, Event};
use crate::machine::{Fault, Report, UplinkId};
use crate::time::{Duration, Instant};
use crate::uplink::config::UplinkConfig;
use crate::uplink::health::Probed;
use crate::uplink::outage::Outage;
use crate::uplink::prefix64::Prefix64;
use core::net::IpAddr;

impl Account {
    fn attempt_is_over(&mut self) {
        self.attempts = self.attempts.saturating_sub(1);
    }
}

impl Pool {
    /// Learns what became of an attempt or a connection.
    pub fn report(&mut self, now: Instant, report: &Report) {
        let index = usize::from(report.uplink().0);
        let Some(entry) = self.uplinks.get_mut(index) else { return };
        match *report {
            Report::Attempting { .. } => entry.account.attempts += 1,
            Report::AttemptOver { .. } => entry.account.attempt_is_over(),
            Report::Connected { took, .. } => self.connected(now, index, took),
            Report::Failed { fault, .. } => self.failed(now, index, fault),
            Report::Outpaced { .. } => self.outpaced(now, index),
            Report::Traffic { sent, received, over, .. } => self.carried(now, index, (sent, received), over),
            Report::Mute { to, .. } => self.unanswered(now, index, to),
            Report::Probed { result, answered, .. } => self.probed(index, result, answered),
            Report::Prefix64 { prefix, .. } => self.translates(index, prefix),
            Report::Ended { .. } => entry.account.open = entry.account.open.saturating_sub(1),
        }
    }

    /// A connection has opened.
    fn connected(&mut self, now: Instant, index: usize, took: Duration) {
        let entry = &mut self.uplinks[index];
        entry.account.connected += 1;
        entry.account.open += 1;
        entry.account.attempt_is_over();
        self.chooser.connected(now, index, took);
        // To one that carries nothing connections open too.
        if !entry.health.is_mute() {
            entry.outage = None;
        }
        if entry.health.connected(&self.health, took) {
            self.events.push_back(Event::UplinkUp { uplink: UplinkId(index as u16) });
        }
    }

    /// An attempt has failed.
    fn failed(&mut self, now: Instant, index: usize, fault: Fault) {
        let entry = &mut self.uplinks[index];
        entry.account.failed += 1;
        if let Some(outage) = &mut entry.outage {
            outage.tried.failed += 1;
            outage.tried.fault = Some(fault);
        }
        let down = match fault {
            Fault::NoDevice | Fault::NetworkDown | Fault::AddressNotAvailable => {
                entry.health.broken(&self.health, now, fault)
            }
            // Lack of descriptors or ports speaks of this process, not of an endpoint.
            Fault::NoDescriptors | Fault::NoMemory | Fault::AddressInUse => None,
            _ if entry.config.endpoint.is_some() => entry.health.endpoint_failed(&self.health, now, fault),
            _ => None,
        };
        self.rests(now, index, down);
        self.remind(now, index);
    }

    /// Another uplink reached an address before this one did.
    fn outpaced(&mut self, now: Instant, index: usize) {
        let entry = &mut self.uplinks[index];
        entry.account.outpaced += 1;
        if let Some(outage) = &mut entry.outage {
            outage.tried.outpaced += 1;
        }
        let down = entry.health.outpaced(&self.health, now);
        self.rests(now, index, down);
        self.remind(now, index);
    }

    /// A connection to `to` was not answered.
    fn unanswered(&mut self, now: Instant, index: usize, to: IpAddr) {
        let entry = &mut self.uplinks[index];
        let evidence = match entry.health.is_mute() {
            // Its trial has failed.
            true => Some(1),
            false => entry.mute.unanswered(to),
        };
        let down = evidence.and_then(|connections| entry.health.muted(&self.health, now, connections));
        self.rests(now, index, down);
    }

    /// A probe has ended.
    fn probed(&mut self, index: usize, result: Result<Duration, Fault>, answered: bool) {
        let uplink = UplinkId(index as u16);
        let entry = &mut self.uplinks[index];
        let UplinkConfig { fall, rise, .. } = entry.config;
        match result {
            Ok(_) => entry.account.probes_passed += 1,
            Err(_) => entry.account.probes_failed += 1,
        }
        // One that carries nothing lets probes connect too.
        if entry.health.is_mute() && result.is_ok() && !answered {
            return;
        }
        match (entry.health.probed(&self.health, result.is_ok(), fall, rise), result) {
            (Probed::Back, _) => {
                entry.outage = None;
                self.events.push_back(Event::UplinkUp { uplink });
            }
            (Probed::Left(failed), Err(fault)) => {
                self.events.push_back(Event::ProbesFailed { uplink, failed, fault });
            }
            (Probed::Left(_), Ok(_)) | (Probed::Same, _) => {}
        }
    }

    /// Its network translates IPv4 destinations in this way now.
    fn translates(&mut self, index: usize, prefix: Option<Prefix64>) {
        if core::mem::replace(&mut self.uplinks[index].prefix64, prefix) != prefix {
            self.events.push_back(Event::Translates { uplink: UplinkId(index as u16), prefix });
        }
    }

    /// Says that the uplink rests, if it does from now on.
    fn rests(&mut self, now: Instant, index: usize, down: Option<(DownReason, Duration)>) {
        let Some((why, rest)) = down else { return };
        self.uplinks[index].outage.get_or_insert_with(|| Outage::new(now));
        self.events.push_back(Event::UplinkDown { uplink: UplinkId(index as u16), why, rest });
    }

    /// Says again, now and then, that the uplink is down.
    fn remind(&mut self, now: Instant, index: usize) {
        let Some(outage) = &mut self.uplinks[index].outage else { return };
        if let Some(lasts) = outage.tell(now) {
            let tried = outage.tried;
            self.events.push_back(Event::UplinkStillDown { uplink: UplinkId(index as u16), lasts, tried });
        }
    }

    /// Bytes have moved by an uplink.
    fn carried(&mut self, now: Instant, index: usize, (sent, received): (u64, u64), over: Duration) {
        let uplink = UplinkId(index as u16);
        self.chooser.moved(now, index, sent.saturating_add(received), over);
        let entry = &mut self.uplinks[index];
        let account = &mut entry.account;
        account.sent = account.sent.saturating_add(sent);
        account.received = account.received.saturating_add(received);
        let spent = account.is_spent();
        account.used = account.used.saturating_add(sent).saturating_add(received);
        if let (false, true, Some(cap)) = (spent, account.is_spent(), account.cap) {
            self.events.push_back(Event::CapReached { uplink, cap });
        }
        if received == 0 {
            return;
        }
        entry.mute.answered();
        if entry.health.carried(&self.health) {
            entry.outage = None;
            self.events.push_back(Event::UplinkUp { uplink });
        }
        let others = self.uplinks.iter_mut().enumerate().filter(|(other, _)| *other != index);
        others.for_each(|(_, other)| other.mute.other_answered());
    }
}
