//! The rate of a path: what it is believed to be, how fast to send, how much may be in flight. What
//! an acknowledgement means in each phase is in `phases`.
//!
//! ```text
//!           found                    queue gone
//! Startup ---------> Drain ------------------------> Cruise <-----------+
//!    ^                                              |      ^            | queue gone, or its time over
//!    | resume (after death, after a long idle)      | cycle|            |
//!                                                   v      | delivered: |
//!                        any but Startup           Up -----+--------> Ease
//!                           | fall                         again
//!                           v
//!                         Fall -- in flight fits, and then: no queue -> Cruise
//!                                                           still delay -> the way is longer: new base, old rate
//! ```
//!
//! Invariants: the cap is never under two packets; no phase lasts without a bound once
//! acknowledgements come.

mod phases;

use super::super::rate::Rate;
use super::delivery::Sample;
use super::fall;
use super::probe_up::ProbeUp;
use super::startup::Startup;
use super::window::Highest;
use crate::time::{Duration, Instant};

/// | constant | reason |
/// | --- | --- |
/// | `CRUISE` 99/100 | the pace stays under the rate, so that a queue shrinks by itself. With 98/100 one link of 50 Mbit/s carried 0.8% less, and the ping inside was the same within what can be measured |
/// | `CALM` 95/100 | the pace while a queue stands: the rate was over-estimated, and this drains it |
/// | `STANDING` 2 ms, `STANDING_CAP` 50 ms | delay that lasts a whole round and is longer than this is a standing queue. On a slow link two packets take longer than 2 ms: their time counts then, at most 50 ms |
/// | `EASE` 3/4 | as BBR: undoes a pulse of 1.25 in its own time |
/// | `DRAIN` 1/2 | undoes start-up's 2 in as long as it lasted |
/// | `DRAIN_FLIGHTS` 4 | at half the pace a queue is gone in twice its own time; twice that, then it is no queue of ours |
/// | `PATIENCE` 4 rounds | so long after a pulse delay may last before it is no queue of ours |
/// | `WINDOW` 250 ms, `ROUNDS` 8 | the rate is the largest sample of max(8 RTT, 250 ms) |
/// | `QUEUED` 2 rounds | a queue that stood so long under a pace of 0.95 is drained; twice its time, then it is none |
/// | `QUEUED_LITTLE` 8 | the same for one that is no fall, but keeps us from probing |
/// | `LOSS_CAP` 1/8 | what is lost was carried: paced on top of the delivered rate, but no policer is run over |
/// | `SHORTEST` 20 ms | the least pace is two packets in a round trip, of at least this |
/// | `PACKET` 1,500 B | one packet is always in the hands of a link |
const CRUISE: (u64, u64) = (99, 100);
const CALM: (u64, u64) = (95, 100);
const STANDING: Duration = Duration::from_millis(2);
const STANDING_CAP: Duration = Duration::from_millis(50);
const EASE: (u64, u64) = (3, 4);
const DRAIN: (u64, u64) = (1, 2);
const DRAIN_FLIGHTS: u32 = 4;
const PATIENCE: u32 = 4;
const QUEUED: u32 = 2;
const QUEUED_LITTLE: u32 = 8;
const WINDOW: Duration = Duration::from_millis(250);
const ROUNDS: u32 = 8;
const LOSS_CAP: u64 = super::loss::WHOLE / 8;
const PACKET: u64 = 1500;
const SHORTEST: Duration = Duration::from_millis(20);

/// What is known after an acknowledgement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signal {
    pub(crate) sample: Option<Sample>,
    /// Bytes newly delivered, and newly lost.
    pub(crate) delivered: u64,
    pub(crate) lost: u64,
    pub(crate) was_in_flight: u64,
    pub(crate) in_flight: u64,
    /// The largest number acknowledged, and the next one to be sent.
    pub(crate) largest: u64,
    pub(crate) next: u64,
    /// The source left the path without work since the last signal.
    pub(crate) limited: bool,
    pub(crate) view: View,
}

/// What the estimators say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    /// The RTT without what the forward queue adds.
    pub(crate) unloaded: Duration,
    /// Excess delay: the smallest of the last milliseconds, and of the last round.
    pub(crate) recent: Duration,
    pub(crate) standing: Duration,
    pub(crate) jitter: Duration,
    /// For how long acknowledgements gather to come at once.
    pub(crate) aggregated: Duration,
    /// Share of packets lost, of `loss::WHOLE`.
    pub(crate) loss: u64,
    /// Over how much time a sample reaches.
    pub(crate) span: Duration,
}

/// What happened to the rate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    /// Start-up is over.
    Found,
    /// The path gives less: samples must not reach back before now.
    Fell,
    /// The delay is no queue: its base must be forgotten.
    Longer,
}

#[allow(clippy::large_enum_variant, reason = "a path has one, for life; no allocation is worth 200 bytes")]
#[derive(Clone, Copy, Debug)]
enum Phase {
    Startup(Startup),
    /// `target`: excess delay beyond that is a queue still.
    Drain {
        until: Instant,
        target: Duration,
    },
    /// `queued`: since when a queue stands that nothing else explains.
    Cruise {
        until: Instant,
        queued: Option<Instant>,
    },
    Up {
        until: Instant,
        before: Rate,
    },
    /// `answered`: the first number sent after the pulse, until it is acknowledged; `before`: the
    /// rate before. `eased`: as long as the pulse has passed at 0.75.
    Ease {
        until: Instant,
        answered: Option<u64>,
        before: Rate,
        eased: bool,
    },
    /// `peak`: the longest delay that was taken for a queue. `resumed`: the first number sent since
    /// in flight fits again.
    Fall {
        before: Rate,
        peak: Duration,
        resumed: Option<u64>,
    },
}

/// The rate of one path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Control {
    phase: Phase,
    highest: Highest,
    probe: ProbeUp,
    /// A round ends when this number is acknowledged.
    round_end: u64,
    /// Bytes delivered and lost in the round so far, and whether the source was the limit in it.
    round: (u64, u64, bool),
    /// The source was the limit in the round before.
    limited: bool,
}

impl Control {
    pub(crate) fn new() -> Self {
        Control {
            phase: Phase::Startup(Startup::new(0)),
            highest: Highest::default(),
            probe: ProbeUp::default(),
            round_end: 0,
            round: (0, 0, false),
            limited: true,
        }
    }

    /// Starts again from half of what is remembered, and finds what is there now.
    pub(crate) fn resume(&mut self, now: Instant, unloaded: Duration) {
        let half = self.rate().scaled(1, 2);
        *self = Control { round_end: self.round_end, ..Control::new() };
        self.set(now, half);
        self.phase = Phase::Startup(Startup::new(half.bytes_in(unloaded)));
    }

    /// Learns from an acknowledgement.
    pub(crate) fn feed(&mut self, now: Instant, signal: &Signal) -> Option<Change> {
        let view = &signal.view;
        if let Some(sample) = signal.sample {
            self.feed_sample(now, sample, view);
        }
        let round = self.feed_round(signal);
        let limit = fall::limit(view.jitter, view.aggregated, self.rate());
        if self.found()
            && let Some(change) = self.falls(now, signal, limit)
        {
            return Some(change);
        }
        match self.phase {
            Phase::Startup(_) => return self.feed_startup(now, signal, limit, round),
            Phase::Drain { .. } => return self.feed_drain(now, signal),
            Phase::Cruise { .. } => self.feed_cruise(now, signal, limit),
            Phase::Up { .. } => {
                self.tick(now, signal.next, view);
            }
            Phase::Ease { .. } => return self.feed_ease(now, signal, limit),
            Phase::Fall { .. } => return self.feed_fall(now, signal),
        }
        None
    }

    /// The bytes delivered and lost in the round that ends now, and whether the source was the
    /// limit in it.
    fn feed_round(&mut self, signal: &Signal) -> Option<(u64, u64, bool)> {
        self.round.0 += signal.delivered;
        self.round.1 += signal.lost;
        self.round.2 |= signal.limited || signal.sample.is_some_and(|sample| sample.limited);
        if signal.largest < self.round_end {
            return None;
        }
        let round = core::mem::take(&mut self.round);
        self.round_end = signal.next;
        self.limited = round.2;
        Some(round)
    }

    /// Ends a pulse, and what follows it, on time also where no acknowledgement comes. Whether the
    /// pace is another now.
    pub(crate) fn tick(&mut self, now: Instant, next: u64, view: &View) -> bool {
        let mut changed = false;
        if let Phase::Up { until, before } = self.phase
            && until <= now
        {
            let until = now + ProbeUp::pulse(view.span);
            self.phase = Phase::Ease { until, answered: Some(next), before, eased: false };
            changed = true;
        }
        if let Phase::Ease { until, eased, .. } = &mut self.phase {
            changed |= !*eased && *until <= now;
            *eased |= *until <= now;
        }
        changed
    }

    /// The rate the path is believed to have. Before the first sample: none.
    pub(crate) fn rate(&self) -> Rate {
        Rate::from_bytes_per_second(self.highest.ask().map_or(0, i64::unsigned_abs))
    }

    /// False during start-up: the rate is a lower bound.
    pub(crate) fn found(&self) -> bool {
        !matches!(self.phase, Phase::Startup(_))
    }

    /// True while the rate is believed and used.
    pub(crate) fn cruising(&self) -> bool {
        matches!(self.phase, Phase::Cruise { .. })
    }

    /// True while the source gives the path less than it may send.
    pub(crate) fn limited(&self) -> bool {
        self.limited
    }

    /// True while a queue that a fall left behind drains.
    pub(crate) fn falling(&self) -> bool {
        matches!(self.phase, Phase::Fall { .. })
    }

    /// True while more is sent than the path is believed to carry.
    pub(crate) fn probing(&self) -> bool {
        matches!(self.phase, Phase::Startup(_) | Phase::Up { .. })
    }

    /// How fast to send: never so slowly that nothing could show that the link carries more. The
    /// cap of two packets in flight holds on a link that does not.
    pub(crate) fn pace(&self, view: &View) -> Rate {
        let least = Rate::measured(2 * PACKET, view.unloaded.max(SHORTEST));
        self.wanted(view).max(least)
    }

    fn wanted(&self, view: &View) -> Rate {
        let rate = self.rate();
        let carried = if view.standing > self.standing() { rate } else { self.carried(view) };
        match &self.phase {
            Phase::Startup(startup) => startup.pace(view.unloaded),
            Phase::Drain { .. } => rate.scaled(DRAIN.0, DRAIN.1),
            Phase::Cruise { .. } => {
                let queued = view.standing > self.standing();
                let gain = if queued { CALM } else { CRUISE };
                carried.scaled(gain.0, gain.1)
            }
            Phase::Up { .. } => {
                let gain = self.probe.gain();
                carried.scaled(gain.0, gain.1)
            }
            // What the pulse added is gone by then; the acknowledgements that show it are a round
            // trip old, and to wait for them leaves the link without work.
            Phase::Ease { eased: true, .. } => carried.scaled(CRUISE.0, CRUISE.1),
            Phase::Ease { .. } => carried.scaled(EASE.0, EASE.1),
            Phase::Fall { .. } => rate,
        }
    }

    /// What may be in flight: one BDP + max(5 ms, 2 x jitter, aggregation), in a pulse its gain
    /// more.
    pub(crate) fn cap(&self, view: &View) -> u64 {
        let rate = self.carried(view);
        let cap = match &self.phase {
            Phase::Startup(startup) => return startup.window(),
            Phase::Up { .. } => {
                let gain = self.probe.gain();
                super::cap::ask(rate.scaled(gain.0, gain.1), view.unloaded, view.jitter, view.aggregated)
            }
            Phase::Fall { resumed: None, .. } => rate.bytes_in(view.unloaded),
            Phase::Drain { .. } | Phase::Cruise { .. } | Phase::Ease { .. } | Phase::Fall { .. } => {
                super::cap::ask(rate, view.unloaded, view.jitter, view.aggregated)
            }
        };
        cap.max(2 * PACKET)
    }

    /// Excess delay up to this is no queue to speak of. A link that slowed down takes longer for
    /// each packet.
    fn standing(&self) -> Duration {
        STANDING.max((self.rate().time_for(PACKET) * 2).min(STANDING_CAP))
    }

    /// The rate before random loss: it was carried, and lost then.
    fn carried(&self, view: &View) -> Rate {
        let loss = view.loss.min(LOSS_CAP);
        self.rate().scaled(super::loss::WHOLE, super::loss::WHOLE - loss)
    }

    fn falls(&mut self, now: Instant, signal: &Signal, limit: Duration) -> Option<Change> {
        let (rate, sample) =
            (self.rate(), signal.sample.filter(|sample| sample.stretched && !sample.stalled)?);
        let view = &signal.view;
        // In a fall already, a queue is known to stand; otherwise for a round.
        let (stands, before) = match self.phase {
            Phase::Fall { before, resumed: None, .. } => (view.recent, before),
            Phase::Up { before, .. } | Phase::Ease { before, .. } => (view.standing, before),
            _ => (view.standing, rate),
        };
        let fallen = fall::ask(rate, sample.arrived, stands.min(view.recent), limit)?;
        self.set(now, fallen);
        self.probe = ProbeUp::default();
        let peak = match self.phase {
            Phase::Fall { peak, .. } => peak.max(stands),
            _ => stands,
        };
        self.phase = Phase::Fall { before, peak, resumed: None };
        Some(Change::Fell)
    }

    fn feed_sample(&mut self, now: Instant, sample: Sample, view: &View) {
        let value = i64::try_from(sample.rate.bytes_per_second()).unwrap_or(i64::MAX);
        // What the source limited, or our own pace where no queue stands, is a lower bound: it
        // raises the rate, it never ends what was known.
        let bound = sample.limited || sample.stalled || view.recent <= self.standing();
        if !bound || self.highest.ask().is_none_or(|highest| value > highest) {
            self.highest.feed(now, WINDOW.max(view.unloaded * ROUNDS), value);
        }
    }

    fn set(&mut self, now: Instant, rate: Rate) {
        self.highest.clear();
        self.highest.feed(now, WINDOW, i64::try_from(rate.bytes_per_second()).unwrap_or(i64::MAX));
    }

    fn cruise(&mut self, now: Instant, view: &View) {
        let until = now + ProbeUp::cycle(view.unloaded.max(view.span));
        self.phase = Phase::Cruise { until, queued: None };
    }

    fn pulse(&mut self, now: Instant, view: &View) {
        self.phase = Phase::Up { until: now + ProbeUp::pulse(view.span), before: self.rate() };
    }
}
