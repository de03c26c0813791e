//! The states of a recovery, and how they are undone (RFC 6675, RFC 8985, RFC 5682, RFC 3522, RFC
//! 3708), as Linux has them.
//!
//! ```text
//!            SACKs            a loss                        all acknowledged
//!   Open ─────────▶ Disorder ────────▶ Recovery ──────────────────────────────▶ Open
//!    │  ▲                                 │ undone: nothing was lost            ▲
//!    │  └──── all acknowledged ── Cwr ◀── │ ECE, a probe that told of a loss    │
//!    └───────────── time-out ──────────▶ Loss ──────────────────────────────────┘
//! ```

use super::prr::Prr;
use super::sender::{News, Sender, before, stamp};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    #[default]
    Open,
    Disorder,
    Cwr,
    Recovery,
    Loss,
}

/// What it takes to go back.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Undo {
    /// `una` when the recovery began; none where there is nothing to undo.
    pub(super) marker: Option<u64>,
    /// Retransmissions without a DSACK; -1 before the first one.
    pub(super) resent: i64,
    /// The threshold before; zero where undoing is forbidden.
    pub(super) ssthresh: u32,
    /// The timestamp of the first retransmission.
    pub(super) stamp: Option<u32>,
}

/// What is to be sent after an ACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resend {
    Nothing,
    Lost,
    /// F-RTO: new data first, to learn whether the time-out was spurious.
    New,
}

impl Sender {
    /// The states after an ACK that is no plain progress.
    pub(super) fn judge(&mut self, news: &mut News) -> Resend {
        if news.ece {
            self.undo.ssthresh = 0;
        }
        // The states that end when all that was in flight at their beginning is acknowledged.
        if self.state == State::Open {
            self.undo.stamp = None;
        } else if self.una >= self.high {
            match self.state {
                State::Cwr if self.una != self.high => {
                    self.end_reduction();
                    self.state = State::Open;
                }
                State::Recovery => {
                    self.try_undo_recovery(news);
                    self.end_reduction();
                }
                _ => {}
            }
        }
        match self.state {
            State::Recovery => {
                if news.advanced && self.try_undo_partial(news) {
                    return Resend::Nothing;
                }
                if self.try_undo_dsack() {
                    self.try_to_open(news);
                }
                self.find_losses(news);
                if self.state != State::Recovery {
                    if self.board.lost() == 0 {
                        return Resend::Nothing;
                    }
                    self.enter_recovery(news.ece);
                }
                Resend::Lost
            }
            State::Loss => {
                let resend = self.process_loss(news);
                self.find_losses(news);
                if self.state != State::Open && !news.resent_lost {
                    return resend;
                }
                self.open_or_recover(news, resend)
            }
            _ => self.open_or_recover(news, Resend::Nothing),
        }
    }

    fn open_or_recover(&mut self, news: &mut News, resend: Resend) -> Resend {
        if self.state <= State::Disorder {
            self.try_undo_dsack();
        }
        self.find_losses(news);
        if self.board.lost() == 0 {
            self.try_to_open(news);
            return resend;
        }
        self.enter_recovery(news.ece);
        Resend::Lost
    }

    /// RACK's say. Where it waits it has set the timer itself.
    fn find_losses(&mut self, news: &mut News) {
        if self.board.is_empty() || !self.rack.advanced {
            return;
        }
        self.rack.advanced = false;
        let resent = self.board.resent();
        if let Some(wait) = self.detect_losses(news.now) {
            self.timer.reorder(news.now, wait);
            news.set_timer = false;
        }
        news.resent_lost |= self.board.resent() < resent;
    }

    /// How long until more may be lost.
    pub(super) fn detect_losses(&mut self, now: u64) -> Option<u64> {
        let around = self.around(now);
        let (any, wait) = self.rack.detect(&mut self.board, &around);
        self.lost += u64::from(any);
        wait
    }

    fn process_loss(&mut self, news: &mut News) -> Resend {
        let recovered = self.una >= self.high;
        if news.advanced && self.try_undo_loss(news, false) {
            return Resend::Nothing;
        }
        if self.frto {
            // RFC 5682 section 3.1, step 3.b: what was sent before the time-out arrives.
            if news.original && self.try_undo_loss(news, true) {
                return Resend::Nothing;
            }
            if self.next > self.high {
                if news.sacked || news.duplicate {
                    self.frto = false;
                }
            } else if news.advanced && !recovered {
                self.high = self.next;
                if self.unsent > 0 && self.edge > self.next {
                    return Resend::New;
                }
                self.frto = false;
            }
        }
        if recovered {
            self.try_undo_recovery(news);
            return Resend::Nothing;
        }
        Resend::Lost
    }

    pub(super) fn enter_recovery(&mut self, ece: bool) {
        // What was sent again in a recovery that has ended does not date this one.
        if !self.any_resent() {
            self.undo.stamp = None;
        }
        self.undo.ssthresh = 0;
        self.begin_undo();
        if self.state < State::Cwr {
            if !ece {
                self.undo.ssthresh = self.current_ssthresh();
            }
            self.begin_reduction();
        }
        self.state = State::Recovery;
    }

    pub(super) fn begin_undo(&mut self) {
        self.undo.marker = Some(self.una);
        let probe = self.probe.is_some_and(|(_, resent)| resent);
        self.undo.resent = i64::from(self.board.resent()) + i64::from(probe);
        // Zero would mean that it can be undone now.
        if self.undo.resent == 0 {
            self.undo.resent = -1;
        }
    }

    pub(super) fn begin_reduction(&mut self) {
        self.high = self.next;
        self.probe = None;
        self.credit = 0;
        self.prr = Prr::begin(self.cwnd);
        self.ssthresh = self.cubic.reduce(self.cwnd);
        self.cwr = true;
    }

    pub(super) fn end_reduction(&mut self) {
        if self.ssthresh < u32::MAX && (self.state == State::Cwr || self.undo.marker.is_some()) {
            self.cwnd = self.ssthresh;
        }
    }

    pub(super) fn enter_cwr(&mut self) {
        self.undo.ssthresh = 0;
        if self.state < State::Cwr {
            self.undo.marker = None;
            self.begin_reduction();
            self.state = State::Cwr;
        }
    }

    /// The time-out ran out: what is not recently sent is lost.
    pub(super) fn enter_loss(&mut self, now: u64) {
        let fresh = self.state < State::Recovery;
        for number in self.board.numbers() {
            let segment = *self.board.get(number).expect("on the board");
            let head = segment.seq == self.una;
            if (head || self.rack.remaining(now, &segment).is_none()) && self.board.mark_lost(number) {
                self.lost += 1;
            }
        }
        if self.state <= State::Disorder
            || self.high <= self.una
            || (self.state == State::Loss && self.timeouts == 0)
        {
            self.undo.ssthresh = self.current_ssthresh();
            self.prr = Prr::begin(self.cwnd);
            self.ssthresh = self.cubic.reduce(self.cwnd);
            self.begin_undo();
        }
        self.cwnd = self.board.in_flight() + 1;
        self.credit = 0;
        if self.state <= State::Disorder {
            self.rack.calm(self.board.sacked());
        }
        self.cubic.forget(now, self.next);
        self.state = State::Loss;
        self.high = self.next;
        self.probe = None;
        self.cwr = true;
        self.frto = self.undoes && (fresh || self.timeouts > 0);
    }

    /// What the threshold would be without a loss.
    pub(super) fn current_ssthresh(&self) -> u32 {
        if matches!(self.state, State::Cwr | State::Recovery) {
            return self.ssthresh;
        }
        self.ssthresh.max((self.cwnd >> 1) + (self.cwnd >> 2))
    }

    /// Whether a retransmission of this episode is still out.
    fn any_resent(&self) -> bool {
        self.board.resent() > 0 || self.board.head().is_some_and(|head| head.ever_resent)
    }

    fn try_to_open(&mut self, news: &News) {
        if !self.any_resent() {
            self.undo.stamp = None;
        }
        if news.ece {
            self.enter_cwr();
        }
        if self.state != State::Cwr {
            self.try_keep_open();
        }
    }

    pub(super) fn try_keep_open(&mut self) {
        let disorder = self.board.sacked() + self.board.lost() > 0 || self.any_resent();
        let state = if disorder { State::Disorder } else { State::Open };
        if state != self.state {
            self.state = state;
            self.high = self.next;
        }
    }

    /// RFC 3522: the ACK echoes a time before the first retransmission, so the original arrived.
    fn packet_delayed(&self, news: &News) -> bool {
        match self.undo.stamp {
            Some(stamp) => news.echo.is_some_and(|echo| before(echo, stamp)),
            None => true,
        }
    }

    fn may_undo(&self, news: &News) -> bool {
        self.undoes && self.undo.marker.is_some() && (self.undo.resent == 0 || self.packet_delayed(news))
    }

    fn try_undo_recovery(&mut self, news: &News) {
        if self.may_undo(news) {
            self.take_back(false);
        } else {
            self.rack.recovered();
        }
        self.state = State::Open;
    }

    fn try_undo_partial(&mut self, news: &News) -> bool {
        if !self.undoes || self.undo.marker.is_none() || !self.packet_delayed(news) {
            return false;
        }
        // The hole was filled by what was late, not by what was sent again.
        self.check_reordering(news.una);
        if self.board.resent() > 0 {
            return true;
        }
        if !self.any_resent() {
            self.undo.stamp = None;
        }
        self.take_back(true);
        self.try_keep_open();
        false
    }

    /// RFC 3708: every retransmission was for nothing.
    fn try_undo_dsack(&mut self) -> bool {
        if !self.undoes || self.undo.marker.is_none() || self.undo.resent != 0 {
            return false;
        }
        self.rack.undone();
        self.take_back(false);
        true
    }

    fn try_undo_loss(&mut self, news: &News, frto: bool) -> bool {
        if !(frto || self.may_undo(news)) {
            return false;
        }
        self.take_back(true);
        self.timeouts = 0;
        self.state = State::Open;
        true
    }

    /// Gives the window back.
    fn take_back(&mut self, unmark: bool) {
        if unmark {
            self.board.unmark_lost();
        }
        if self.undo.ssthresh > 0 {
            self.cwnd = self.cwnd.max(self.prr.prior());
            if self.undo.ssthresh > self.ssthresh {
                self.ssthresh = self.undo.ssthresh;
                self.cwr = false;
            }
        }
        self.undo.marker = None;
        self.rack.advanced = true;
    }

    /// A segment was sent again.
    pub(super) fn note_resent(&mut self, now: u64) {
        self.undo.stamp.get_or_insert(stamp(now));
        self.undo.resent = self.undo.resent.max(0) + 1;
    }
}
