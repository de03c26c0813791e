//! The workloads by name: what each runs, and which figures it yields.

use crate::common::contest::{self, Ground};
use crate::common::figures::{self, Outcome};
use crate::common::link::Kind;
use crate::common::{connections, idle, load};
use crate::rivals::Rival;

/// Idle connections whose cost is measured.
const IDLE: usize = 3000;

/// One of the benchmark's workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workload {
    Check,
    Up1,
    Up50,
    Down50,
    Flood50,
    PingPong1,
    PingPong50,
    Connections,
    Idle,
}

impl contest::Workload for Workload {
    type Rival = Rival;

    const BENCH: &'static str = "dispatch";
    const OWN_NAMESPACE: bool = false;
    const ALL: &'static [Self] = &[
        Self::Check,
        Self::Up1,
        Self::Up50,
        Self::Down50,
        Self::Flood50,
        Self::PingPong1,
        Self::PingPong50,
        Self::Connections,
        Self::Idle,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Up1 => "up1",
            Self::Up50 => "up50",
            Self::Down50 => "down50",
            Self::Flood50 => "flood50",
            Self::PingPong1 => "pp1",
            Self::PingPong50 => "pp50",
            Self::Connections => "conn",
            Self::Idle => "idle",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Check => "half-close, 8 times: 8 MiB and the end, then 1 MiB back, compared byte for byte",
            Self::Up1 => "bulk to the server, 1 connection",
            Self::Up50 => "bulk to the server, 50 connections",
            Self::Down50 => "bulk to the client, 50 connections",
            Self::Flood50 => {
                "PING\\r\\n to an echo server as fast as it goes, 50 connections (s/GB: both ways)"
            }
            Self::PingPong1 => "round trips of 64 bytes, 1 connection",
            Self::PingPong50 => "round trips of 64 bytes, 50 connections, one in flight on each",
            Self::Connections => "connections, 64 at a time: handshake, one byte and back, close",
            Self::Idle => "memory: fresh, then 3000 connections idle after 64 KiB echoed on each",
        }
    }

    fn is_rate(self) -> bool {
        !matches!(self, Self::Check | Self::Idle)
    }

    fn is_check(self) -> bool {
        self == Self::Check
    }

    fn suits(self, rival: Rival) -> bool {
        self != Self::Idle || rival != Rival::Direct
    }

    fn measure(self, rival: Rival, ground: &Ground<'_>) -> Result<Outcome, String> {
        let running = rival.start(ground.server.targets(), ground.folder)?;
        let (route, pid) = (&running.route, running.pid());
        let load = |kind, connections| load::run(kind, connections, ground.window, route, ground.server, pid);
        let measured = match self {
            Self::Check => Ok(figures::half_close(route, ground.server, ground.round)),
            Self::Up1 => load(Kind::Up, 1).map(|measured| figures::bulk(&measured)),
            Self::Up50 => load(Kind::Up, 50).map(|measured| figures::bulk(&measured)),
            Self::Down50 => load(Kind::Down, 50).map(|measured| figures::bulk(&measured)),
            Self::Flood50 => load(Kind::Flood, 50).map(|measured| figures::flood(&measured)),
            Self::PingPong1 => load(Kind::RoundTrip, 1).map(|measured| figures::round_trips(&measured)),
            Self::PingPong50 => load(Kind::RoundTrip, 50).map(|measured| figures::round_trips(&measured)),
            Self::Connections => connections::run(ground.window, route, b"P", pid)
                .map(|measured| figures::connection_rate(&measured)),
            Self::Idle => {
                idle::measure(route, pid, IDLE).map(|measured| figures::memory(measured.as_ref(), IDLE))
            }
        };
        running.judge(measured)
    }
}
