//! What the links could carry of TCP payload: the figure that goodput is measured against.

use super::{Change, Direction, LinkSpec, Scenario, Shape, Share, State, Tunnel};
use std::time::Duration;

/// Bytes that the bond adds to each packet: IPv4 20, UDP 8, clear header 10, sealed header 10, tag
/// 16.
pub(super) const HEADER: u64 = 64;
/// IPv4 20, TCP 20, timestamps 12.
const TCP_IP: u64 = 52;

impl Scenario {
    /// Bytes of tunnel around each inner packet.
    pub fn header(&self) -> u64 {
        match self.tunnel {
            Tunnel::Bond | Tunnel::Toy => HEADER,
            Tunnel::None => 0,
        }
    }

    /// The largest packet inside.
    pub fn inner_mtu(&self) -> u16 {
        let least = self.links.iter().map(|link| link.mtu).min().unwrap_or(1500).min(1500);
        least - self.header() as u16
    }

    /// Bits of TCP payload that the links of `of` (by place; all, where it is empty) could carry
    /// from `from` to `to`, per second: their rates, less what they lose, less headers. A link that
    /// is gone or silent carries nothing. Without a tunnel, the first link is all there is.
    pub fn ceiling(&self, direction: Direction, of: &[usize], from: Duration, to: Duration) -> u64 {
        let packet = u64::from(self.inner_mtu()) + self.header();
        let payload = u64::from(self.inner_mtu()) - TCP_IP;
        let wanted = |index: usize| match self.tunnel {
            Tunnel::Bond => of.is_empty() || of.contains(&index),
            Tunnel::Toy | Tunnel::None => index == 0,
        };
        let bits: u128 = self
            .links
            .iter()
            .enumerate()
            .filter(|(index, _)| wanted(*index))
            .map(|(index, link)| self.carried(index, link, direction, from, to))
            .sum();
        let seconds = (to - from).as_nanos().max(1);
        (bits * u128::from(payload) / u128::from(packet) * 1_000_000_000 / seconds) as u64
    }

    /// Bits that one link could carry in the window.
    fn carried(
        &self,
        index: usize,
        link: &LinkSpec,
        direction: Direction,
        from: Duration,
        to: Duration,
    ) -> u128 {
        let mut shape = *link.shape(direction);
        let mut works = link.present;
        let mut since = Duration::ZERO;
        let mut bits = 0;
        let mut add = |shape: &Shape, works: bool, begin: Duration, end: Duration| {
            let (begin, end) = (begin.clamp(from, to), end.clamp(from, to));
            if works && end > begin {
                bits += u128::from(delivered(shape)) * (end - begin).as_nanos() / 1_000_000_000;
            }
        };
        for event in self.events.iter().filter(|event| event.link == index && event.which.covers(direction)) {
            add(&shape, works, since, event.at);
            since = event.at;
            match event.change {
                Change::State(State::Silent | State::Gone) => works = false,
                Change::State(State::Up | State::Back) => works = true,
                Change::Rate(rate) => shape.rate = rate,
                Change::Loss(loss) => shape.loss = loss,
                Change::Burst(burst) => shape.burst = Some(burst),
                Change::Delay(_) | Change::Jitter(_) | Change::Rebind => {}
            }
        }
        add(&shape, works, since, to);
        bits
    }

    /// The round trip of a small packet when nothing else is sent: the best of the links, at the
    /// start. For a grant it waits half of the time.
    pub fn idle_rtt(&self) -> Duration {
        let rtt = |link: &LinkSpec| link.down.delay + link.up.delay + (link.down.grants + link.up.grants) / 2;
        let links = match self.tunnel {
            Tunnel::Bond => &self.links[..],
            Tunnel::Toy | Tunnel::None => &self.links[..1],
        };
        links.iter().map(rtt).min().unwrap_or_default()
    }
}

/// Bits per second that come out at the other end.
fn delivered(shape: &Shape) -> u64 {
    let kept = |rate: u64, lost: Share| rate - lost.of(rate);
    let rate = kept(shape.rate, shape.loss);
    match shape.burst {
        // In the long run it is in the bad state for start / (start + end) of the packets.
        Some(burst) if burst.start.0 > 0 => {
            let (start, end) = (u64::from(burst.start.0), u64::from(burst.end.0));
            rate - (u128::from(rate) * u128::from(start) / u128::from(start + end)) as u64
        }
        _ => rate,
    }
}
