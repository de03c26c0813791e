//! The workloads by name: what each runs, and which figures it yields.

use crate::common::contest::{self, Ground};
use crate::common::echo::Echo;
use crate::common::figures::{self, Outcome};
use crate::common::link::Kind;
use crate::common::{connections, datagrams, idle, load};
use crate::rivals::{Protocol, Rival};

/// Idle connections whose cost is measured.
const IDLE: usize = 5000;
/// What each connection of the connection rate sends and gets back.
const MESSAGE: [u8; 64] = [b'P'; 64];

/// One of the benchmark's workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workload {
    Check,
    CheckUdp,
    Up1,
    Up50,
    Flood50,
    PingPong50,
    Connections,
    Idle,
    Udp64,
    Udp1200,
}

impl contest::Workload for Workload {
    type Rival = Rival;

    const BENCH: &'static str = "unwrap";
    const OWN_NAMESPACE: bool = true;
    const ALL: &'static [Self] = &[
        Self::Check,
        Self::CheckUdp,
        Self::Up1,
        Self::Up50,
        Self::Flood50,
        Self::PingPong50,
        // Before the row that leaves the ports of thousands of connections waiting.
        Self::Idle,
        Self::Connections,
        Self::Udp64,
        Self::Udp1200,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::CheckUdp => "checkudp",
            Self::Up1 => "up1",
            Self::Up50 => "up50",
            Self::Flood50 => "flood50",
            Self::PingPong50 => "pp50",
            Self::Connections => "conn",
            Self::Idle => "idle",
            Self::Udp64 => "udp64",
            Self::Udp1200 => "udp1200",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Check => "half-close, 8 times: 8 MiB and the end, then 1 MiB back, compared byte for byte",
            Self::CheckUdp => "one datagram of each of 50 clients there and back, compared byte for byte",
            Self::Up1 => "bulk to the server, 1 connection",
            Self::Up50 => "bulk to the server, 50 connections",
            Self::Flood50 => {
                "PING\\r\\n to an echo server as fast as it goes, 50 connections, as tcpkali in \
                 go-mmproxy's README (s/GB: both ways)"
            }
            Self::PingPong50 => "round trips of 64 bytes, 50 connections, one in flight on each",
            Self::Connections => "connections, 64 at a time: header, 64 bytes and back, close",
            Self::Idle => "memory: fresh, then 5000 connections idle after 64 KiB echoed on each",
            Self::Udp64 => {
                "datagrams of 64 bytes behind a header there, and bare back, 50 clients, 128 under way"
            }
            Self::Udp1200 => {
                "datagrams of 1200 bytes behind a header there, and bare back, 50 clients, 128 under way"
            }
        }
    }

    fn is_rate(self) -> bool {
        !matches!(self, Self::Check | Self::CheckUdp | Self::Idle)
    }

    fn is_check(self) -> bool {
        matches!(self, Self::Check | Self::CheckUdp)
    }

    fn suits(self, rival: Rival) -> bool {
        match self.protocol() {
            // HAProxy has no UDP.
            Protocol::Udp => !matches!(rival, Rival::Haproxy | Rival::HaproxySplice),
            Protocol::Tcp => self != Self::Idle || rival != Rival::Direct,
        }
    }

    fn measure(self, rival: Rival, ground: &Ground<'_>) -> Result<Outcome, String> {
        let target = ground.server.targets()[0];
        let echo = match self.protocol() {
            Protocol::Tcp => None,
            Protocol::Udp => Some(Echo::start(target).map_err(|e| format!("starting the echo server: {e}"))?),
        };
        let running = rival.start(self.protocol(), target, ground.folder)?;
        let (route, pid) = (&running.route, running.pid());
        let load = |kind, connections| load::run(kind, connections, ground.window, route, ground.server, pid);
        let measured = match (self, &echo) {
            (Self::Up1, _) => load(Kind::Up, 1).map(|measured| figures::bulk(&measured)),
            (Self::Up50, _) => load(Kind::Up, 50).map(|measured| figures::bulk(&measured)),
            (Self::Flood50, _) => load(Kind::Flood, 50).map(|measured| figures::flood(&measured)),
            (Self::PingPong50, _) => {
                load(Kind::RoundTrip, 50).map(|measured| figures::round_trips(&measured))
            }
            (Self::Connections, _) => connections::run(ground.window, route, &MESSAGE, pid)
                .map(|measured| figures::connection_rate(&measured)),
            (Self::Idle, _) => {
                idle::measure(route, pid, IDLE).map(|measured| figures::memory(measured.as_ref(), IDLE))
            }
            (Self::Udp64, _) => datagrams::run(ground.window, route, 64, pid),
            (Self::Udp1200, _) => datagrams::run(ground.window, route, 1200, pid),
            (Self::CheckUdp, Some(echo)) => datagrams::check(route, echo),
            (Self::Check | Self::CheckUdp, _) => Ok(figures::half_close(route, ground.server, ground.round)),
        };
        running.judge(measured)
    }
}

impl Workload {
    fn protocol(self) -> Protocol {
        match self {
            Self::CheckUdp | Self::Udp64 | Self::Udp1200 => Protocol::Udp,
            _ => Protocol::Tcp,
        }
    }
}
