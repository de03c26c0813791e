//! The workloads by name: what each runs, and which figures it yields.

use crate::common::contest::{self, Ground};
use crate::common::echo::Echo;
use crate::common::figures::{self, Outcome};
use crate::common::link::Kind;
use crate::common::{connections, datagrams, idle, load};
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
    CheckUdp,
    Udp64,
    Udp1200,
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
        Self::CheckUdp,
        Self::Udp64,
        Self::Udp1200,
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
            Self::CheckUdp => "checkudp",
            Self::Udp64 => "udp64",
            Self::Udp1200 => "udp1200",
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
            Self::CheckUdp => "50 datagrams by UDP ASSOCIATE there and back, compared byte for byte",
            Self::Udp64 => "datagrams of 64 bytes by UDP ASSOCIATE there and back, 128 under way",
            Self::Udp1200 => "datagrams of 1200 bytes by UDP ASSOCIATE there and back, 128 under way",
        }
    }

    fn is_rate(self) -> bool {
        !matches!(self, Self::Check | Self::CheckUdp | Self::Idle)
    }

    fn is_check(self) -> bool {
        matches!(self, Self::Check | Self::CheckUdp)
    }

    fn suits(self, rival: Rival) -> bool {
        match self {
            // microsocks and HAProxy have no UDP.
            Self::CheckUdp | Self::Udp64 | Self::Udp1200 => {
                !matches!(rival, Rival::Microsocks | Rival::Haproxy)
            }
            Self::Idle => rival != Rival::Direct,
            _ => true,
        }
    }

    fn measure(self, rival: Rival, ground: &Ground<'_>) -> Result<Outcome, String> {
        // Datagrams have one server, at the first of its ports.
        let udp = matches!(self, Self::CheckUdp | Self::Udp64 | Self::Udp1200);
        let targets = if udp { &ground.server.targets()[..1] } else { ground.server.targets() };
        let echo = udp.then(|| Echo::start(targets[0])).transpose();
        let echo = echo.map_err(|e| format!("starting the echo server: {e}"))?;
        let running = rival.start(targets, ground.folder)?;
        let (route, pid) = (&running.route, running.pid());
        let load = |kind, connections| load::run(kind, connections, ground.window, route, ground.server, pid);
        let measured = match self {
            Self::CheckUdp => match &echo {
                Some(echo) => datagrams::check(route, echo),
                None => Err("there is no echo server".into()),
            },
            Self::Udp64 => datagrams::run(ground.window, route, 64, pid),
            Self::Udp1200 => datagrams::run(ground.window, route, 1200, pid),
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
