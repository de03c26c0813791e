//! Health: what the outcome of attempts, and of probes, says about an uplink, as opposed to a
//! destination.
//!
//! A destination that refuses, or that no uplink reaches, counts against no uplink. What counts:
//!
//! | what happened | counts | the rest |
//! | --- | --- | --- |
//! | `broken`: a fault of this host (device gone, network down) | at once | `local_rest`, always as short |
//! | `outpaced`: an attempt got nowhere, and another uplink then reached the same address | after `silent_attempts` in a row; at once after a rest | `first_rest`, doubled each time up to `longest_rest` |
//! | `endpoint_failed`: the endpoint of `--tunnel` failed, which is all that is behind this uplink | at once | the same |
//! | `muted`: it carries nothing while others are answered (evidence: `mute`) | at once | the same |
//!
//! An uplink that rests comes back when it carries a connection; one that was mute when it carries
//! a byte: until then one connection tries it every [`TRIAL`].
//!
//! An uplink whose probes fail is left too, whatever connects through it: a captive portal lets all
//! connect. It comes back by probes that succeed, which also end a rest: what they reach is proof.

use crate::machine::Fault;
use crate::machine::event::DownReason;
use crate::time::{Duration, Instant};

/// When an uplink is left, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HealthConfig {
    /// Consecutive outpaced attempts before an uplink rests. At 0 the first one suffices. Default
    /// 3.
    pub silent_attempts: u32,
    /// The first rest after silence; it doubles each time. Default 5 s.
    pub first_rest: Duration,
    /// The longest rest. Default 60 s.
    pub longest_rest: Duration,
    /// The rest after a fault of this host (the device is gone): short, since finding out costs
    /// nothing. Default 1 s.
    pub local_rest: Duration,
    /// After this long a silent attempt is joined by one through another uplink or to another
    /// address (RFC 8305 section 5 recommends 250 ms). Default 250 ms; twice that after it was
    /// outpaced, and for an uplink whose connects are known to be slow three times what they took,
    /// up to `longest_patience`.
    pub patience: Duration,
    /// Default 1 s.
    pub longest_patience: Duration,
}

impl Default for HealthConfig {
    fn default() -> Self {
        HealthConfig {
            silent_attempts: 3,
            first_rest: Duration::from_secs(5),
            longest_rest: Duration::from_secs(60),
            local_rest: Duration::from_secs(1),
            patience: Duration::from_millis(250),
            longest_patience: Duration::from_secs(1),
        }
    }
}

/// What is thought of one uplink.
#[derive(Clone, Copy, Debug)]
pub(super) struct Health {
    outpaced: u32,
    /// Down: not before then. Kept until a connection succeeds.
    pub(super) resting_until: Option<Instant>,
    next_rest: Duration,
    /// How long an attempt may be silent before it gets company.
    pub(super) patience: Duration,
    /// Probes that failed, and that succeeded, in a row.
    probes_failed: u32,
    probes_passed: u32,
    /// Its probes fail.
    pub(super) failing: bool,
    /// It was left because it carried nothing: that a connection opens is no proof any more.
    mute: bool,
    /// When it was last tried since.
    trial: Option<Instant>,
}

/// One that carried nothing is tried by one connection at a time: after so long by the next.
const TRIAL: Duration = Duration::from_secs(10);

/// What a probe has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Probed {
    /// Nothing.
    Same,
    /// The uplink is left, after so many failures.
    Left(u32),
    /// The uplink is used again.
    Back,
}

impl Health {
    pub(super) const fn new(config: &HealthConfig) -> Self {
        Health {
            outpaced: 0,
            resting_until: None,
            next_rest: config.first_rest,
            patience: config.patience,
            probes_failed: 0,
            probes_passed: 0,
            failing: false,
            mute: false,
            trial: None,
        }
    }

    pub(super) fn usable(&self, now: Instant) -> bool {
        !self.failing
            && self.resting_until.is_none_or(|until| until <= now)
            && self.trial.is_none_or(|at| now >= at + TRIAL)
    }

    /// It takes a connection.
    pub(super) fn chosen(&mut self, now: Instant) {
        if self.mute {
            self.trial = Some(now);
        }
    }

    /// It carries nothing.
    pub(super) fn muted(
        &mut self,
        config: &HealthConfig,
        now: Instant,
        connections: u32,
    ) -> Option<(DownReason, Duration)> {
        if self.resting_until.is_some_and(|until| until > now) || self.failing {
            return None;
        }
        (self.mute, self.trial) = (true, None);
        Some((DownReason::Mute { connections }, self.rest(config, now)))
    }

    /// Whether it was left because it carried nothing, and was not heard of since.
    pub(super) fn is_mute(&self) -> bool {
        self.mute
    }

    /// It has carried a byte. True when it was left because it had not.
    pub(super) fn carried(&mut self, config: &HealthConfig) -> bool {
        if !self.mute {
            return false;
        }
        (self.mute, self.trial, self.resting_until) = (false, None, None);
        self.next_rest = config.first_rest;
        true
    }

    /// A probe has ended. `fall` failures in a row leave the uplink, `rise` successes use it again.
    pub(super) fn probed(&mut self, config: &HealthConfig, ok: bool, fall: u32, rise: u32) -> Probed {
        if !ok {
            self.probes_passed = 0;
            self.probes_failed = self.probes_failed.saturating_add(1);
            if self.failing || self.probes_failed < fall {
                return Probed::Same;
            }
            self.failing = true;
            return Probed::Left(self.probes_failed);
        }
        self.probes_failed = 0;
        self.probes_passed = self.probes_passed.saturating_add(1);
        if self.probes_passed < rise || !(self.failing || self.resting_until.is_some()) {
            return Probed::Same;
        }
        self.failing = false;
        (self.mute, self.trial) = (false, None);
        self.outpaced = 0;
        self.resting_until = None;
        self.next_rest = config.first_rest;
        self.patience = config.patience;
        Probed::Back
    }

    /// A connection is open. True when the uplink was down.
    pub(super) fn connected(&mut self, config: &HealthConfig, took: Duration) -> bool {
        self.outpaced = 0;
        if self.mute {
            return false;
        }
        self.next_rest = config.first_rest;
        self.patience = (took * 3).clamp(config.patience, config.longest_patience);
        self.resting_until.take().is_some()
    }

    /// This host says that the uplink cannot be used.
    pub(super) fn broken(
        &mut self,
        config: &HealthConfig,
        now: Instant,
        fault: Fault,
    ) -> Option<(DownReason, Duration)> {
        let news = self.resting_until.is_none();
        let until = now + config.local_rest;
        self.resting_until = Some(self.resting_until.map_or(until, |known| known.max(until)));
        news.then_some((DownReason::Fault(fault), config.local_rest))
    }

    /// Another uplink reached what this one had not.
    pub(super) fn outpaced(&mut self, config: &HealthConfig, now: Instant) -> Option<(DownReason, Duration)> {
        self.outpaced += 1;
        // Double at most once: every client that is sent to a dead uplink waits this long.
        self.patience = (self.patience * 2).min(config.patience * 2);
        // One that comes back from a rest has to prove itself: a single failure sends it back.
        let proven = self.resting_until.is_none();
        if (proven && self.outpaced < config.silent_attempts) || !self.usable(now) {
            return None;
        }
        Some((DownReason::Silent { attempts: self.outpaced }, self.rest(config, now)))
    }

    /// The endpoint behind this uplink failed (there is no other destination to blame).
    pub(super) fn endpoint_failed(
        &mut self,
        config: &HealthConfig,
        now: Instant,
        fault: Fault,
    ) -> Option<(DownReason, Duration)> {
        if !self.usable(now) {
            return None;
        }
        Some((DownReason::Fault(fault), self.rest(config, now)))
    }

    fn rest(&mut self, config: &HealthConfig, now: Instant) -> Duration {
        let rest = self.next_rest;
        self.resting_until = Some(now + rest);
        self.next_rest = (rest * 2).min(config.longest_rest);
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    /// What happens to an uplink, at which second, and how long it rests of it.
    fn rests(story: &[(u64, char)]) -> Vec<Option<u64>> {
        let config = HealthConfig::default();
        let mut health = Health::new(&config);
        let happens = |(second, what): &(u64, char)| {
            let now = Instant::ZERO + Duration::from_secs(*second);
            let rest = match what {
                'o' => health.outpaced(&config, now),
                'e' => health.endpoint_failed(&config, now, Fault::Refused),
                'b' => health.broken(&config, now, Fault::NetworkDown),
                _ => {
                    health.connected(&config, Duration::from_millis(10));
                    None
                }
            };
            rest.map(|(_, rest)| rest.as_secs())
        };
        story.iter().map(happens).collect()
    }

    #[test]
    fn rests_double_up_to_a_minute_and_begin_anew_after_a_success() {
        let doubled = [5, 10, 20, 40, 60, 60];
        let mut story = vec![(0, 'o'), (0, 'o')];
        let mut at = 0;
        for rest in doubled {
            story.push((at, 'o'));
            at += rest;
        }
        // It carries again: three strikes and the first rest, then one strike each.
        story.extend([(at, 'c'), (at, 'o'), (at, 'o'), (at, 'o'), (at + 5, 'o')]);
        let mut wanted = vec![None, None];
        wanted.extend(doubled.map(Some));
        wanted.extend([None, None, None, Some(5), Some(10)]);
        assert_eq!(rests(&story), wanted);
    }

    #[test]
    fn one_failure_right_after_a_rest_sends_it_back_and_none_during_it_counts() {
        assert_eq!(
            rests(&[(0, 'o'), (0, 'o'), (0, 'o'), (1, 'o'), (4, 'o'), (5, 'o'), (14, 'o'), (15, 'o')]),
            [None, None, Some(5), None, None, Some(10), None, Some(20)]
        );
        assert_eq!(
            rests(&[(0, 'o'), (0, 'o'), (0, 'c'), (0, 'o'), (0, 'o')]),
            [None; 5],
            "two in a row are none"
        );
    }

    /// Probes, `+` and `-`, and what each has changed.
    fn probes(story: &str, fall: u32, rise: u32) -> Vec<Probed> {
        let config = HealthConfig::default();
        let mut health = Health::new(&config);
        story.bytes().map(|b| health.probed(&config, b == b'+', fall, rise)).collect()
    }

    #[test]
    fn so_many_probes_in_a_row_leave_an_uplink_and_so_many_use_it_again() {
        use Probed::{Back, Left, Same};
        assert_eq!(probes("+-+--+", 2, 1), [Same, Same, Same, Same, Left(2), Back]);
        assert_eq!(probes("---++-++", 3, 2), [Same, Same, Left(3), Same, Back, Same, Same, Same]);
        assert_eq!(probes("--+-++", 2, 2), [Same, Left(2), Same, Same, Same, Back]);
    }

    #[test]
    fn while_its_probes_fail_no_connection_brings_an_uplink_back() {
        let config = HealthConfig::default();
        let mut health = Health::new(&config);
        health.probed(&config, false, 1, 1);
        health.connected(&config, Duration::from_millis(1));
        assert!(!health.usable(Instant::ZERO), "a captive portal lets all connect");
        assert_eq!(health.probed(&config, true, 1, 1), Probed::Back);
        assert!(health.usable(Instant::ZERO));
    }

    #[test]
    fn a_probe_that_succeeds_ends_a_rest() {
        let config = HealthConfig::default();
        let mut health = Health::new(&config);
        for _ in 0..3 {
            health.outpaced(&config, Instant::ZERO);
        }
        assert!(!health.usable(Instant::ZERO));
        assert_eq!(health.probed(&config, true, 2, 1), Probed::Back);
        assert!(health.usable(Instant::ZERO));
    }

    #[test]
    fn an_endpoint_rests_at_its_first_failure() {
        assert_eq!(
            rests(&[(0, 'e'), (4, 'e'), (5, 'e'), (15, 'c'), (15, 'e')]),
            [Some(5), None, Some(10), None, Some(5)]
        );
    }

    #[test]
    fn a_fault_of_this_host_rests_a_second_and_shortens_no_longer_rest() {
        let config = HealthConfig::default();
        let second = |n| Instant::ZERO + Duration::from_secs(n);
        assert_eq!(rests(&[(0, 'b'), (0, 'b')]), [Some(1), None], "told once");
        let mut health = Health::new(&config);
        let told = (0..3).filter(|_| health.outpaced(&config, second(0)).is_some()).count();
        assert_eq!(told, 1);
        health.broken(&config, second(0), Fault::NoDevice);
        assert!(!health.usable(second(4)) && health.usable(second(5)));
        health.broken(&config, second(5), Fault::NoDevice);
        assert!(!health.usable(second(5)) && health.usable(second(6)));
    }

    #[test]
    fn who_comes_back_from_any_rest_has_one_strike_and_who_carries_has_three() {
        // A rest that silence did not begin: its end is no proof either.
        assert_eq!(rests(&[(0, 'b'), (1, 'o'), (6, 'o')]), [Some(1), Some(5), Some(10)]);
        assert_eq!(
            rests(&[(0, 'b'), (1, 'c'), (1, 'o'), (1, 'o'), (1, 'o')]),
            [Some(1), None, None, None, Some(5)]
        );
    }

    #[test]
    fn patience_follows_what_connects_take_within_its_bounds() {
        let config = HealthConfig::default();
        let mut health = Health::new(&config);
        for (took, patience) in [(10, 250), (100, 300), (400, 1000), (83, 250), (84, 252)] {
            health.connected(&config, Duration::from_millis(took));
            assert_eq!(health.patience.as_millis(), patience, "after {took} ms");
        }
        health.outpaced(&config, Instant::ZERO);
        health.outpaced(&config, Instant::ZERO);
        assert_eq!(health.patience.as_millis(), 500, "twice the least, not more");
    }
}
