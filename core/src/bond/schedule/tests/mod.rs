//! Tables of what is decided, properties of all strategies, and two links filled in virtual time.

mod decisions;
mod links;
mod properties;

use super::*;
use crate::bond::inner::testing::Build;
use crate::bond::inner::{Flow, FlowKey, Packet};
use crate::bond::rate::Rate;
use crate::time::{Duration, Instant};

fn milliseconds(count: u64) -> Instant {
    Instant::from_nanos(count * 1_000_000)
}

fn key(flow: u16) -> FlowKey {
    let packet = Build { ports: (flow, 443), ..Build::default() }.tcp(b"");
    Flow::of(&Packet::parse(&packet).expect("a packet")).key
}

/// A path that is measured and may send now.
fn path(path: u8, megabits: u64, delay: u64) -> PathView {
    PathView {
        path,
        usable: true,
        fresh: true,
        loaded: true,
        found: true,
        rate: Rate::from_bits_per_second(megabits * 1_000_000),
        delay: Duration::from_millis(delay),
        far: Duration::from_millis(delay),
        free_at: Instant::ZERO,
        weight: 1,
    }
}

/// A full packet of a bulk flow, with this many bytes waiting.
fn bulk(backlog: usize) -> Head {
    Head { flow: key(1), bytes: 1500, backlog, sparse: false }
}

fn sparse(bytes: usize) -> Head {
    Head { flow: key(2), bytes, backlog: bytes, sparse: true }
}
