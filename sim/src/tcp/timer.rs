//! The one timer of a sender: retransmission time-out, tail loss probe (RFC 8985 section 7), or
//! RACK's wait for reordering.

use super::cubic::TICK;
use super::recovery::{Resend, State};
use super::rtt::{RTO_INIT, RTO_MIN};
use super::sender::Sender;

/// What a probe waits in addition to two round trips, and RACK in addition to the reordering
/// window.
const MARGIN: u64 = 2_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Rto,
    Probe,
    Reorder,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Timer {
    armed: Option<(Kind, u64)>,
}

impl Timer {
    fn set(&mut self, now: u64, kind: Kind, wait: u64) {
        self.armed = Some((kind, wheel(now, wait)));
    }

    pub(super) fn reorder(&mut self, now: u64, wait: u64) {
        self.set(now, Kind::Reorder, wait + MARGIN);
    }

    pub(super) fn stop(&mut self) {
        self.armed = None;
    }

    pub(super) fn probes(&self) -> bool {
        matches!(self.armed, Some((Kind::Probe, _)))
    }

    pub(super) fn due(&self) -> Option<u64> {
        self.armed.map(|(_, at)| at)
    }

    pub(super) fn waits_for_reordering(&self) -> bool {
        matches!(self.armed, Some((Kind::Reorder, _)))
    }
}

/// When Linux's wheel of ticks fires a timer: at a tick after the time, in steps of 8 ticks from 63
/// on and of 64 from 504 on.
fn wheel(now: u64, wait: u64) -> u64 {
    let tick = now / TICK;
    let ticks = wait.div_ceil(TICK);
    let step = match ticks {
        0..63 => 1,
        63..504 => 8,
        504..4032 => 64,
        _ => 512,
    };
    ((tick + ticks + step) / step * step) * TICK
}

impl Sender {
    /// After progress: a probe where the state allows one, else the time-out.
    pub(super) fn set_timer(&mut self, now: u64) {
        if !self.schedule_probe(now, true) {
            self.rearm_rto(now);
        }
    }

    /// How long until the time-out of the head.
    fn rto_left(&self, now: u64) -> Option<u64> {
        let head = self.board.head()?;
        (head.at + self.rtt.rto()).checked_sub(now).filter(|&left| left > 0)
    }

    pub(super) fn rearm_rto(&mut self, now: u64) {
        if self.board.is_empty() {
            self.timer.stop();
            return;
        }
        // What a probe or a wait took of the time-out is not given twice.
        let wait = match self.timer.armed {
            Some((Kind::Probe | Kind::Reorder, _)) => self.rto_left(now).unwrap_or(1),
            _ => self.rtt.rto(),
        };
        self.timer.set(now, Kind::Rto, wait);
    }

    pub(super) fn restart_rto(&mut self, now: u64) {
        self.timer.set(now, Kind::Rto, self.rtt.rto());
    }

    /// RFC 8985 section 7.2.
    pub(super) fn schedule_probe(&mut self, now: u64, advancing: bool) -> bool {
        if self.board.is_empty() || !matches!(self.state, State::Open | State::Cwr) {
            return false;
        }
        let mut wait = match self.rtt.srtt8() {
            0 => RTO_INIT,
            srtt8 if self.board.len() == 1 => (srtt8 >> 2) + RTO_MIN,
            srtt8 => (srtt8 >> 2) + MARGIN,
        };
        let rto = if advancing { Some(self.rtt.rto()) } else { self.rto_left(now) };
        wait = wait.min(rto.unwrap_or(u64::MAX));
        self.timer.set(now, Kind::Probe, wait);
        true
    }

    pub(super) fn handle_timer(&mut self, now: u64) {
        let Some((kind, _)) = self.timer.armed.filter(|&(_, at)| at <= now) else { return };
        match kind {
            _ if self.board.is_empty() => self.timer.stop(),
            Kind::Rto => self.time_out(now),
            Kind::Probe => self.send_probe(now),
            Kind::Reorder => self.end_wait(now),
        }
    }

    fn time_out(&mut self, now: u64) {
        self.enter_loss(now);
        self.timeouts += 1;
        if let Some(number) = self.board.next_lost() {
            self.retransmit(now, number);
        }
        self.rtt.back_off();
        self.restart_rto(now);
    }

    /// RFC 8985 section 7.3: new data where there is some, else the last segment again.
    fn send_probe(&mut self, now: u64) {
        let before = self.probe;
        if self.probe.is_none() {
            if self.unsent > 0 && self.next < self.edge {
                let out = self.board.len();
                self.write(now, true);
                if self.board.len() > out {
                    self.probe = Some((self.next, false));
                }
            } else if let Some(number) = self.board.last() {
                self.probe_again(now, number);
                self.probe = Some((self.next, true));
            }
        }
        // The time-out counts from the probe; without one, from the head.
        if self.probe != before { self.restart_rto(now) } else { self.rearm_rto(now) }
    }

    /// The reordering window passed.
    fn end_wait(&mut self, now: u64) {
        let before = self.board.in_flight();
        let _ = self.detect_losses(now);
        if self.board.in_flight() != before {
            if self.state != State::Recovery {
                self.enter_recovery(false);
                if let Some(cwnd) = self.prr.window(self.board.in_flight(), self.ssthresh, 1, false) {
                    self.cwnd = cwnd;
                }
            }
            self.resend(now, Resend::Lost);
        }
        if !matches!(self.timer.armed, Some((Kind::Rto, _))) {
            self.rearm_rto(now);
        }
    }
}
