//! The node of the way itself: what is serialised arrives after the delay, in order or not.

use super::config::Jitter;
use super::rng::Rng;
use ropewalk_core::time::{Duration, Instant};
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
pub(super) struct Flight<T> {
    delay: Duration,
    jitter: Jitter,
    grant: Option<Duration>,
    /// In order of arrival; of one instant, in order of departure.
    arrivals: BTreeMap<(Instant, u64), T>,
    departed: u64,
    last: Instant,
}

impl<T> Flight<T> {
    pub(super) fn new(delay: Duration, jitter: Jitter, grant: Option<Duration>) -> Self {
        let (arrivals, departed, last) = (BTreeMap::new(), 0, Instant::ZERO);
        Flight { delay, jitter, grant: grant.filter(|grant| !grant.is_zero()), arrivals, departed, last }
    }

    pub(super) fn delay(&mut self, delay: Duration) {
        self.delay = delay;
    }

    pub(super) fn jitter(&mut self, jitter: Jitter) {
        self.jitter = jitter;
    }

    pub(super) fn grant(&mut self, grant: Option<Duration>) {
        self.grant = grant.filter(|grant| !grant.is_zero());
    }

    /// The least time from the end of serialisation to arrival.
    pub(super) fn least(&self) -> Duration {
        self.delay.saturating_sub(self.jitter.spread)
    }

    /// A packet was serialised at `now`.
    pub(super) fn depart(&mut self, now: Instant, payload: T, rng: &mut Rng) {
        let leaves = match self.grant {
            None => now,
            // The grants fall on whole periods of the clock.
            Some(grant) => {
                let period = u64::try_from(grant.as_nanos()).unwrap_or(u64::MAX);
                Instant::from_nanos(now.as_nanos().div_ceil(period).saturating_mul(period))
            }
        };
        let mut arrives = leaves + self.least() + self.draw(rng);
        if !self.jitter.reorder {
            arrives = arrives.max(self.last);
        }
        self.last = self.last.max(arrives);
        self.arrivals.insert((arrives, self.departed), payload);
        self.departed += 1;
    }

    /// What this packet has over the least delay.
    fn draw(&self, rng: &mut Rng) -> Duration {
        let spread = u64::try_from(self.jitter.spread.as_nanos()).unwrap_or(u64::MAX / 2);
        if spread == 0 {
            return Duration::ZERO;
        }
        let drawn = Duration::from_nanos(rng.below(spread.saturating_mul(2).saturating_add(1)));
        // Where the spread is wider than the delay, the range is cut at zero, not moved.
        drawn.saturating_sub(self.jitter.spread.saturating_sub(self.delay))
    }

    /// When the first one arrives.
    pub(super) fn next(&self) -> Option<Instant> {
        self.arrivals.first_key_value().map(|(&(at, _), _)| at)
    }

    /// What arrives at or before `now`.
    pub(super) fn arrive(&mut self, now: Instant) -> Option<T> {
        let first = self.arrivals.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// How many are on the way.
    pub(super) fn len(&self) -> usize {
        self.arrivals.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// The arrivals, in milliseconds, of a packet each millisecond.
    fn arrivals(jitter: Jitter, grant: Option<Duration>) -> Vec<(u32, u128)> {
        let (mut flight, mut rng) = (Flight::new(20 * MS, jitter, grant), Rng::new(3));
        (0..1000).for_each(|n| flight.depart(Instant::ZERO + MS * n, n, &mut rng));
        let mut seen = Vec::new();
        while let Some(at) = flight.next() {
            let packet = flight.arrive(at).expect("it is due");
            seen.push((packet, (at - Instant::ZERO).as_millis()));
        }
        seen
    }

    #[test]
    fn jitter_in_order_waits_for_the_predecessor() {
        let seen = arrivals(Jitter { spread: 5 * MS, reorder: false }, None);
        assert!(seen.iter().map(|&(n, _)| n).eq(0..1000));
        assert!(seen.iter().all(|&(n, at)| (15..=25).contains(&(at - u128::from(n)))));
    }

    #[test]
    fn jitter_with_reordering_is_even_around_the_delay() {
        let seen = arrivals(Jitter { spread: 5 * MS, reorder: true }, None);
        let swapped = seen.windows(2).filter(|two| two[0].0 > two[1].0).count();
        assert!(swapped > 300, "{swapped} swapped");
        let sum: u128 = seen.iter().map(|&(n, at)| at - u128::from(n)).sum();
        assert!(
            (19_000..20_000).contains(&sum),
            "the mean delay is {sum} us less half a millisecond of rounding"
        );
    }

    #[test]
    fn grants_make_bursts_and_keep_the_order() {
        let seen = arrivals(Jitter::default(), Some(10 * MS));
        assert!(seen.iter().map(|&(n, _)| n).eq(0..1000));
        assert!(seen.iter().all(|&(n, at)| at == u128::from(n.div_ceil(10) * 10 + 20)));
    }

    #[test]
    fn a_spread_over_the_delay_is_cut_at_zero() {
        let mut rng = Rng::new(4);
        let flight = Flight::<()>::new(MS, Jitter { spread: 5 * MS, reorder: true }, None);
        let drawn: Vec<_> = (0..1000).map(|_| flight.least() + flight.draw(&mut rng)).collect();
        let zero = drawn.iter().filter(|delay| delay.is_zero()).count();
        assert!((350..450).contains(&zero), "40% of the range is under zero, {zero} of 1000 are");
        assert!(drawn.iter().all(|&delay| delay <= 6 * MS));
    }
}
