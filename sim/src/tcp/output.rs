//! What the sender sends: what is lost, then new data, in bursts of about a millisecond (TSO
//! autosizing), and not in too small ones (TSO deferral), as Linux does.

use super::recovery::{Resend, State};
use super::sender::{INIT_CWND, News, Sender};

/// A burst is at most this many bytes, and at least this many segments.
const GSO_MAX: u64 = 65_536;
const MIN_SEGMENTS: u32 = 2;
/// What a burst of the shortest round trips may hold: `GSO_MAX` halved for each 512 µs.
const RTT_SHIFT: u32 = 9;
/// A third of the window may go at any time.
const WINDOW_DIVISOR: u64 = 3;

/// A segment to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Out {
    pub(super) seq: u64,
    pub(super) len: u32,
    pub(super) again: bool,
}

impl Sender {
    /// More bytes to send.
    pub(super) fn offer(&mut self, now: u64, bytes: u64) {
        if self.board.is_empty() && self.unsent == 0 {
            self.restart_after_idle(now);
        }
        self.unsent = self.unsent.saturating_add(bytes);
        self.push(now);
    }

    /// RFC 9293 section 3.8.6: nothing that was not sent yet is sent any more.
    pub(super) fn withdraw(&mut self) {
        self.unsent = 0;
    }

    /// RFC 2861 as Linux keeps it: the window halves with each time-out of silence.
    fn restart_after_idle(&mut self, now: u64) {
        let rto = self.rtt.rto();
        let mut idle = now.saturating_sub(self.last_sent);
        if idle <= rto || self.sent_segments == 0 {
            return;
        }
        self.ssthresh = self.current_ssthresh();
        let least = INIT_CWND.min(self.cwnd);
        while idle > rto && self.cwnd > least {
            idle -= rto;
            self.cwnd >>= 1;
        }
        self.cwnd = self.cwnd.max(least);
        self.used_at = now;
        self.used = 0;
    }

    /// Segments of one burst.
    fn burst(&self) -> u32 {
        let mut bytes = self.pacing_rate >> 10;
        if let Some(shift) = self.rtt.min().map(|min| min >> RTT_SHIFT).filter(|&shift| shift < 32) {
            bytes += GSO_MAX >> shift;
        }
        let bytes = bytes.min(GSO_MAX);
        u32::try_from(bytes / u64::from(self.mss)).unwrap_or(u32::MAX).max(MIN_SEGMENTS)
    }

    /// New data as far as the windows allow.
    pub(super) fn push(&mut self, now: u64) {
        if self.unsent > 0 {
            self.write(now, false);
        }
    }

    /// When the pace lets the next burst go.
    pub(super) fn pace(&self) -> Option<u64> {
        let waits = self.unsent > 0 || self.board.lost() > self.board.resent();
        (self.paced && waits && self.paced_until > 0).then_some(self.paced_until.div_ceil(1_000))
    }

    fn pace_holds(&self, now: u64) -> bool {
        self.paced && self.paced_until > now * 1_000
    }

    /// The pace allows more.
    pub(super) fn handle_pace(&mut self, now: u64) {
        if self.paced && self.paced_until > 0 && self.paced_until <= now * 1_000 {
            self.paced_until = 0;
            if matches!(self.state, State::Recovery | State::Loss | State::Cwr) {
                self.resend(now, Resend::Lost);
            }
            self.push(now);
        }
    }

    fn pay(&mut self, now: u64, bytes: u64) {
        if self.paced && self.sent_segments >= u64::from(INIT_CWND) && self.pacing_rate > 0 {
            self.paced_until = now * 1_000 + bytes * 1_000_000_000 / self.pacing_rate;
        }
    }

    /// `probe`: one segment whatever the window says.
    pub(super) fn write(&mut self, now: u64, probe: bool) {
        let (mut sent, mut limited) = (0, false);
        let burst = self.burst();
        while self.unsent > 0 && !self.pace_holds(now) {
            let room = self.edge.saturating_sub(self.next);
            let flying = self.board.in_flight();
            let mut quota = self.cwnd.saturating_sub(flying).min((self.cwnd >> 1).max(1));
            if quota == 0 {
                if !probe {
                    break;
                }
                quota = 1;
            }
            if room < self.unsent.min(u64::from(self.mss)) || self.next - self.una >= self.buffer {
                break;
            }
            if !probe && self.unsent > u64::from(self.mss) && self.defers(now, burst, &mut limited) {
                break;
            }
            let mut bytes = self.unsent.min(room);
            let whole = u64::from(if probe { 1 } else { quota.min(burst) }) * u64::from(self.mss);
            if bytes >= whole {
                bytes = whole;
            } else if bytes < self.unsent {
                bytes -= bytes % u64::from(self.mss);
            }
            sent += self.transmit(now, bytes);
            if probe {
                break;
            }
        }
        limited |= self.board.in_flight() >= self.cwnd;
        if sent > 0 || limited {
            self.validate(now, limited);
        }
        if sent > 0 {
            if matches!(self.state, State::Cwr | State::Recovery) {
                self.prr.sent(sent);
            }
            if !probe {
                self.schedule_probe(now, false);
            }
        }
    }

    fn transmit(&mut self, now: u64, bytes: u64) -> u32 {
        let idle = self.board.is_empty();
        if idle {
            self.cubic.resume(now, self.last_sent);
        }
        let (mut left, mut segments) = (bytes, 0);
        while left > 0 {
            let len = u32::try_from(left.min(u64::from(self.mss))).unwrap_or(self.mss);
            self.board.push(now, self.next, len, self.delivered);
            self.out.push_back(Out { seq: self.next, len, again: false });
            self.next += u64::from(len);
            left -= u64::from(len);
            segments += 1;
        }
        self.unsent -= bytes;
        self.sent_segments += u64::from(segments);
        self.last_sent = now;
        self.pay(now, bytes);
        if idle || self.timer.probes() {
            self.rearm_rto(now);
        }
        segments
    }

    /// Whether it is better to wait for the next ACK and send a longer burst.
    fn defers(&self, now: u64, burst: u32, limited: &mut bool) -> bool {
        // Only where a burst went within the last millisecond is another ACK near.
        if matches!(self.state, State::Recovery | State::Loss) || now > self.last_sent + 1_000 {
            return false;
        }
        let mss = u64::from(self.mss);
        let room = self.edge.saturating_sub(self.next);
        let window = u64::from(self.cwnd.saturating_sub(self.board.in_flight())) * mss;
        let limit = room.min(window);
        if limit >= u64::from(burst) * mss {
            return false;
        }
        let whole = (self.edge - self.una).min(u64::from(self.cwnd) * mss);
        if limit >= whole / WINDOW_DIVISOR {
            return false;
        }
        let Some(head) = self.board.head() else { return false };
        let srtt = self.rtt.srtt();
        let near = (srtt / 2).min(1_000);
        if head.at + srtt > now + near {
            return false;
        }
        *limited |= window < room && window <= self.unsent;
        true
    }

    /// Notes whether the window limits; where it does not for a time-out, it falls to what was used
    /// (RFC 2861).
    fn validate(&mut self, now: u64, limited: bool) {
        let out = self.board.len();
        if self.una >= self.usage || limited || (!self.limited && out > self.most_out) {
            self.limited = limited;
            self.most_out = out;
            self.usage = self.next;
        }
        if self.is_limited() {
            self.used = 0;
            self.used_at = now;
            return;
        }
        self.used = self.used.max(out);
        if now - self.used_at >= self.rtt.rto() {
            if self.state == State::Open && self.next - self.una < self.buffer {
                let used = self.used.max(INIT_CWND);
                if used < self.cwnd {
                    self.ssthresh = self.current_ssthresh();
                    self.cwnd = (self.cwnd + used) >> 1;
                }
                self.used = 0;
            }
            self.used_at = now;
        }
    }

    /// What is lost, as far as the window allows.
    pub(super) fn resend(&mut self, now: u64, what: Resend) {
        match what {
            Resend::Nothing => return,
            Resend::New => {
                self.write(now, false);
                if self.next > self.high {
                    return;
                }
                self.frto = false;
            }
            Resend::Lost => {}
        }
        let mut rearm = false;
        while self.board.in_flight() < self.cwnd && !self.pace_holds(now) {
            let Some(number) = self.board.next_lost() else { break };
            self.retransmit(now, number);
            if matches!(self.state, State::Cwr | State::Recovery) {
                self.prr.sent(1);
            }
            let head = self.board.numbers().start == number;
            rearm |= head && !self.timer.waits_for_reordering();
        }
        if rearm {
            self.restart_rto(now);
        }
    }

    pub(super) fn retransmit(&mut self, now: u64, number: u64) {
        self.board.resend(now, number, self.delivered);
        self.note_resent(now);
        self.emit_again(now, number);
    }

    /// RFC 8985 section 7.3: the last segment again. It begins no recovery and is no part of one.
    pub(super) fn probe_again(&mut self, now: u64, number: u64) {
        self.board.probe(now, number, self.delivered);
        self.emit_again(now, number);
    }

    fn emit_again(&mut self, now: u64, number: u64) {
        let segment = self.board.get(number).expect("it was sent again");
        let (seq, len) = (segment.seq, segment.len);
        self.out.push_back(Out { seq, len, again: true });
        self.sent_segments += 1;
        self.retransmits += 1;
        self.pay(now, u64::from(len));
        self.last_sent = now;
    }

    /// RFC 8985 section 7.4: what the ACK of a probe tells.
    pub(super) fn answer_probe(&mut self, ack: u64, news: &News, duplicate: bool) {
        let Some((high, resent)) = self.probe.filter(|&(high, _)| ack >= high) else { return };
        if !resent || news.dsack_probe {
            self.probe = None;
        } else if ack > high {
            // The probe repaired a loss: the window is reduced for it.
            self.begin_reduction();
            self.state = State::Cwr;
            self.end_reduction();
            self.try_keep_open();
        } else if duplicate && !news.advanced && !news.sacked {
            // Both arrived.
            self.probe = None;
        }
    }
}
