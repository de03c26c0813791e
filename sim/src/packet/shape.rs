//! From what a scenario says of a direction to what a link is made of.

use crate::link::{Chance, Jitter, LinkChange, LinkConfig, Loss, Queue, Rate};
use crate::scenario::{Change, Shape, State};
use std::time::Duration;

/// RFC 8289 sections 4.3 and 4.4.
const CODEL: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));

fn loss(shape: &Shape) -> Loss {
    match shape.burst {
        None if shape.loss.0 == 0 => Loss::None,
        None => Loss::Independent(Chance::ppm(shape.loss.0)),
        Some(burst) => Loss::GilbertElliott {
            enter: Chance::ppm(burst.start.0),
            leave: Chance::ppm(burst.end.0),
            good: Chance::ppm(shape.loss.0),
            bad: Chance::ALWAYS,
        },
    }
}

fn jitter(shape: &Shape) -> Jitter {
    Jitter { spread: shape.jitter, reorder: shape.reorder }
}

/// One direction of a link, as the scenario says.
pub(crate) fn config(shape: &Shape) -> LinkConfig {
    let limit = shape.queue.limit;
    let (target, interval) = CODEL;
    LinkConfig {
        rate: Rate::bits(shape.rate),
        delay: shape.delay,
        jitter: jitter(shape),
        loss: loss(shape),
        queue: if shape.queue.codel {
            Queue::CoDel { limit, target, interval }
        } else {
            Queue::TailDrop { limit }
        },
        grant: (!shape.grants.is_zero()).then_some(shape.grants),
        ..LinkConfig::default()
    }
}

/// What an event changes on a direction that is like `shape` now; none where it changes none.
pub(crate) fn changed(shape: &mut Shape, change: Change) -> Option<LinkChange> {
    Some(match change {
        Change::State(State::Silent | State::Gone) => LinkChange::Down,
        Change::State(State::Up | State::Back) => LinkChange::Up,
        Change::Rate(rate) => LinkChange::Rate(Rate::bits(rate)),
        Change::Delay(delay) => LinkChange::Delay(delay),
        Change::Jitter(spread) => {
            shape.jitter = spread;
            LinkChange::Jitter(jitter(shape))
        }
        Change::Loss(share) => {
            shape.loss = share;
            LinkChange::Loss(loss(shape))
        }
        Change::Burst(burst) => {
            shape.burst = Some(burst);
            LinkChange::Loss(loss(shape))
        }
        Change::Rebind => return None,
    })
}
