//! The sender: what it knows of the connection, and what an ACK does to it, in the order of Linux.
//!
//! ```text
//!  ACK ─▶ SACK blocks ─▶ what is acknowledged ─▶ round trip ─▶ tail probe ─▶ states (recovery) ─▶ timer
//!      ─▶ window (PRR in a reduction, CUBIC else) ─▶ retransmissions ─▶ new data (output)
//! ```
//!
//! Times are microseconds, sequence numbers 64 bits. The window counts segments.

use super::config::TcpConfig;
use super::cubic::Cubic;
use super::hystart::Sample;
use super::output::Out;
use super::prr::Prr;
use super::rack::{Around, Rack};
use super::recovery::{Resend, State, Undo};
use super::rtt::Rtt;
use super::scoreboard::Scoreboard;
use super::timer::Timer;
use std::collections::VecDeque;

/// RFC 6928: the initial window.
pub(super) const INIT_CWND: u32 = 10;

#[derive(Clone, Debug)]
pub(super) struct Sender {
    pub(super) mss: u32,
    pub(super) paced: bool,
    pub(super) undoes: bool,
    pub(super) buffer: u64,
    pub(super) board: Scoreboard,
    pub(super) rack: Rack,
    pub(super) rtt: Rtt,
    pub(super) cubic: Cubic,
    pub(super) prr: Prr,
    pub(super) timer: Timer,
    /// The first sequence number of data.
    pub(super) first: u64,
    /// The first unacknowledged and the next new sequence number, and the right edge of the peer's
    /// window.
    pub(super) una: u64,
    pub(super) next: u64,
    pub(super) edge: u64,
    /// Bytes that wait to be sent for the first time.
    pub(super) unsent: u64,
    pub(super) cwnd: u32,
    pub(super) ssthresh: u32,
    /// What was acknowledged towards the next segment of growth.
    pub(super) credit: u32,
    pub(super) state: State,
    /// The state ends when this is acknowledged.
    pub(super) high: u64,
    pub(super) undo: Undo,
    /// A tail loss probe is out: what its ACK reaches, and whether it was a retransmission.
    pub(super) probe: Option<(u64, bool)>,
    /// F-RTO (RFC 5682): whether the time-out may have been spurious.
    pub(super) frto: bool,
    /// Time-outs in a row.
    pub(super) timeouts: u32,
    pub(super) delivered: u64,
    pub(super) lost: u64,
    pub(super) retransmits: u64,
    pub(super) sent_segments: u64,
    /// Segments that DSACKs reported.
    pub(super) duplicates: u64,
    /// Whether the window is what limits, and what was in flight at most (RFC 9438 section 4.2, RFC
    /// 7661).
    pub(super) limited: bool,
    pub(super) most_out: u32,
    pub(super) usage: u64,
    pub(super) used: u32,
    pub(super) used_at: u64,
    /// When data was sent last.
    pub(super) last_sent: u64,
    /// No segment leaves before this where the sender paces, in nanoseconds.
    pub(super) paced_until: u64,
    pub(super) pacing_rate: u64,
    /// The window's reduction was answered to marks and CWR is to be sent.
    pub(super) cwr: bool,
    pub(super) out: VecDeque<Out>,
    /// The blocks of the ACK before.
    pub(super) blocks: Vec<(u64, u64)>,
}

/// What an ACK says, on 64 bits.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    pub(super) now: u64,
    pub(super) ack: u64,
    /// The right edge of the window that it offers.
    pub(super) edge: u64,
    pub(super) blocks: Vec<(u64, u64)>,
    /// The timestamp that it echoes.
    pub(super) echo: Option<u32>,
    /// Whether it carries data too.
    pub(super) data: bool,
    pub(super) ece: bool,
}

/// What came to light with an ACK.
#[derive(Clone, Debug, Default)]
pub(super) struct News {
    pub(super) now: u64,
    pub(super) echo: Option<u32>,
    pub(super) ece: bool,
    /// `una` before it, and whether it advanced.
    pub(super) una: u64,
    pub(super) advanced: bool,
    pub(super) acked: bool,
    pub(super) sacked: bool,
    /// The first transmission of something arrived that was sent before the state began.
    pub(super) original: bool,
    pub(super) resent_acked: bool,
    pub(super) resent_lost: bool,
    pub(super) dsack: bool,
    pub(super) dsack_probe: bool,
    pub(super) dubious: bool,
    pub(super) duplicate: bool,
    pub(super) set_timer: bool,
    /// When the first and the last segment that was acknowledged, and sacked, were sent; only what
    /// was sent once.
    pub(super) acked_at: Option<(u64, u64)>,
    pub(super) sacked_at: Option<(u64, u64)>,
    /// The lowest segment that arrived after a higher one.
    pub(super) reordered: Option<u64>,
    /// Of the latest transmission that arrived: when it was sent, its end, and what was delivered
    /// then.
    pub(super) latest: Option<(u64, u64, u64)>,
}

impl Sender {
    /// Established at `now`; `next` is the first sequence number of data, `edge` the end of the
    /// peer's window.
    pub(super) fn new(config: &TcpConfig, now: u64, next: u64, edge: u64, mss: u32) -> Self {
        Sender {
            mss,
            paced: config.paced,
            undoes: config.profile == super::Profile::Kernel,
            buffer: config.send_buffer,
            board: Scoreboard::default(),
            rack: Rack::new(config.profile),
            rtt: Rtt::new(),
            cubic: Cubic::new(now, next),
            prr: Prr::default(),
            timer: Timer::default(),
            first: next,
            una: next,
            next,
            edge,
            unsent: 0,
            cwnd: INIT_CWND,
            ssthresh: u32::MAX,
            credit: 0,
            state: State::Open,
            high: next,
            undo: Undo::default(),
            probe: None,
            frto: false,
            timeouts: 0,
            delivered: 0,
            lost: 0,
            retransmits: 0,
            sent_segments: 0,
            duplicates: 0,
            limited: false,
            most_out: 0,
            usage: next,
            used: 0,
            used_at: now,
            last_sent: now,
            paced_until: 0,
            pacing_rate: 0,
            cwr: false,
            out: VecDeque::new(),
            blocks: Vec::new(),
        }
    }

    /// The round trip of the handshake.
    pub(super) fn handshake(&mut self, now: u64, rtt: u64) {
        self.rtt.sample_min(now, rtt);
        self.rtt.sample(rtt, self.una, self.next);
        self.update_pacing();
    }

    pub(super) fn slow_start(&self) -> bool {
        self.cwnd < self.ssthresh
    }

    pub(super) fn around(&self, now: u64) -> Around {
        let recovering = matches!(self.state, State::Recovery | State::Loss);
        Around { now, recovering, min_rtt: self.rtt.min(), srtt: self.rtt.srtt() }
    }

    /// An ACK came.
    pub(super) fn handle_ack(&mut self, heard: &Heard) {
        if heard.ack > self.next {
            return;
        }
        let mut news = News {
            now: heard.now,
            echo: heard.echo,
            ece: heard.ece,
            una: self.una,
            advanced: heard.ack > self.una,
            ..News::default()
        };
        let (delivered, lost, high_sacked) =
            (self.delivered, self.lost, self.board.high_sacked().unwrap_or(self.una));
        self.read_blocks(heard, &mut news);
        if heard.ack < self.una {
            // An old ACK: its blocks alone are news, and the window does not move by it.
            if !heard.blocks.is_empty() {
                news.dubious = true;
                let resend = self.judge(&mut news);
                self.resend(news.now, resend);
                self.push(news.now);
            }
            return;
        }
        let window = heard.edge > self.edge;
        self.edge = self.edge.max(heard.edge);
        if news.advanced {
            self.timeouts = 0;
        }
        self.acknowledge(heard.ack, high_sacked, &mut news);
        self.measure(&mut news, delivered);
        self.rack.adapt(news.latest.map(|(_, _, then)| then), self.delivered);
        let duplicate = !heard.data && !window && !news.acked;
        news.dubious = duplicate || news.sacked || news.ece || news.dsack || self.state != State::Open;
        news.duplicate = duplicate && !news.advanced && !news.dsack;
        self.answer_probe(heard.ack, &news, duplicate);
        let resend = if news.dubious { self.judge(&mut news) } else { Resend::Nothing };
        if news.set_timer {
            self.set_timer(news.now);
        }
        self.control(&news, delivered, lost);
        self.resend(news.now, resend);
        self.push(news.now);
    }

    /// Everything below `ack` arrived.
    fn acknowledge(&mut self, ack: u64, high_sacked: u64, news: &mut News) {
        let mut low: Option<u64> = None;
        while let Some(segment) = self.board.pop(ack) {
            news.acked = true;
            if segment.ever_resent {
                news.resent_acked = true;
            } else if !segment.sacked {
                let first = news.acked_at.map_or(segment.at, |(first, _)| first);
                news.acked_at = Some((first, segment.at));
                low.get_or_insert(segment.seq);
                news.original |= segment.end() <= self.high;
            }
            if !segment.sacked {
                self.delivered += 1;
                let early = news.echo.is_some_and(|echo| before(echo, stamp(segment.at)));
                if !(segment.ever_resent && early) {
                    self.rack.arrived(news.now, &segment, self.rtt.min());
                }
                news.note(&segment);
            }
        }
        self.una = self.una.max(ack);
        if news.acked {
            news.set_timer = true;
            if let Some(low) = low.filter(|&low| low < high_sacked) {
                self.check_reordering(low);
            }
        } else if let (Some((first, _)), Some(head)) = (news.sacked_at, self.board.head()) {
            // The timer is not put off by what was sent after the head was: else a head whose
            // retransmission is lost would wait for as long as anything arrives.
            news.set_timer = first < head.at;
        }
    }

    /// The round trip of what arrived (RFC 6298 with Karn's rule), for the time-out, the minimum,
    /// and CUBIC.
    fn measure(&mut self, news: &mut News, delivered: u64) {
        let now = news.now;
        let mut rtt = None;
        let mut newest = None;
        if let Some((first, last)) = news.acked_at.filter(|_| !news.resent_acked) {
            (rtt, newest) = (Some(now - first), Some(now - last));
        }
        if let Some((first, last)) = news.sacked_at {
            rtt = rtt.or(Some(now - first));
            newest = Some(now - last);
        }
        if rtt.is_none() && news.acked {
            // RFC 7323 section 4: timestamps measure retransmissions too, in milliseconds.
            let ms = news.echo.map(|echo| u64::from(stamp(now).wrapping_sub(echo)));
            rtt = ms.filter(|&ms| ms < 1 << 20).map(|ms| ms.max(1) * 1_000);
            newest = newest.or(rtt);
        }
        let Some(rtt) = rtt else { return };
        let newest = newest.unwrap_or(rtt);
        // The ACK of a single segment that is not full may have been delayed.
        let delayed = self.una - news.una < u64::from(self.mss)
            && news.acked_at.is_some_and(|(first, last)| first == last)
            && self.delivered == delivered + 1
            && news.latest.is_some_and(|(_, _, then)| then + 1 == self.delivered)
            && !news.sacked;
        if !(delayed && self.rtt.min().is_some_and(|min| newest > min)) {
            self.rtt.sample_min(now, newest);
        }
        self.rtt.sample(rtt, self.una, self.next);
        let cushion = (65_536u64 * 4_000_000).checked_div(self.pacing_rate).unwrap_or(0).min(1_000);
        let sample = Sample {
            now,
            rtt: newest,
            delay_min: 0,
            cushion,
            cwnd: self.cwnd,
            una: self.una,
            next: self.next,
        };
        if self.cubic.measured(sample, self.slow_start()) {
            self.ssthresh = self.cwnd;
        }
    }

    /// The window after an ACK, and the pace.
    fn control(&mut self, news: &News, delivered: u64, lost: u64) {
        let newly = u32::try_from(self.delivered - delivered).unwrap_or(u32::MAX);
        if matches!(self.state, State::Cwr | State::Recovery) {
            let safe = news.advanced && self.lost == lost;
            if let Some(cwnd) = self.prr.window(self.board.in_flight(), self.ssthresh, newly, safe) {
                self.cwnd = cwnd;
            }
        } else if news.acked || (self.rack.reorders_much() && news.sacked) {
            self.grow(news.now, newly);
        }
        self.update_pacing();
    }

    /// Whether the window limits, so that it may grow. Slow start grows ahead of what is used.
    pub(super) fn is_limited(&self) -> bool {
        self.limited || (self.slow_start() && self.cwnd < 2 * self.most_out)
    }

    /// Slow start and congestion avoidance.
    fn grow(&mut self, now: u64, mut acked: u32) {
        let slow = self.slow_start();
        if !self.is_limited() {
            return;
        }
        if slow {
            let cwnd = self.cwnd.saturating_add(acked).min(self.ssthresh);
            acked -= cwnd - self.cwnd;
            self.cwnd = cwnd;
            if acked == 0 {
                return;
            }
        }
        let count = self.cubic.update(now, self.cwnd, acked);
        if self.credit >= count {
            self.credit = 0;
            self.cwnd += 1;
        }
        self.credit += acked;
        if self.credit >= count {
            self.cwnd += self.credit / count;
            self.credit %= count;
        }
    }

    /// Linux: twice the window a round trip in slow start, 1.2 times after it.
    pub(super) fn update_pacing(&mut self) {
        let percent = if self.cwnd < self.ssthresh / 2 { 200 } else { 120 };
        let window = u64::from(self.cwnd.max(self.board.len()));
        let bytes = u128::from(self.mss) * u128::from(window) * percent * 10_000 * 8;
        self.pacing_rate = u64::try_from(bytes / u128::from(self.rtt.srtt8().max(1))).unwrap_or(u64::MAX);
    }
}

impl News {
    /// A segment came after one that was sent later.
    pub(super) fn late(&mut self, seq: u64) {
        self.reordered = Some(self.reordered.map_or(seq, |low| low.min(seq)));
    }

    /// Of what arrived, the transmission that was sent last.
    pub(super) fn note(&mut self, segment: &super::scoreboard::Sent) {
        let key = (segment.at, segment.end());
        if self.latest.is_none_or(|(at, end, _)| key > (at, end)) {
            self.latest = Some((segment.at, segment.end(), segment.delivered));
        }
    }
}

/// The timestamp option's clock: milliseconds, never zero at the beginning.
pub(super) fn stamp(now: u64) -> u32 {
    (now / 1_000) as u32 + 1
}

/// Whether one timestamp is earlier than another (RFC 7323 section 5.2).
pub(super) fn before(one: u32, other: u32) -> bool {
    (one.wrapping_sub(other) as i32) < 0
}
