//! One end of a TCP flow by the model of the kernel's TCP.

use super::ip::Ends;
use super::tcp::{Role, Tcp};
use crate::scenario;
use crate::tcp::{Profile, Source, Tcp as Endpoint, TcpConfig};
use ropewalk_core::time::Instant;
use std::net::SocketAddrV4;

/// IPv4 and TCP without options.
const HEADERS: u16 = 40;

/// One end.
pub(super) struct Model(Endpoint);

impl Model {
    pub(super) fn new(
        start: Instant,
        stop: Option<Instant>,
        role: Role,
        ends: &Ends,
        mtu: u16,
        profile: scenario::Profile,
        seed: u64,
    ) -> Self {
        let local = SocketAddrV4::new(ends.from, ends.from_port);
        let remote = SocketAddrV4::new(ends.to, ends.to_port);
        let profile = match profile {
            scenario::Profile::Kernel => Profile::Kernel,
            scenario::Profile::Quic => Profile::Quic,
        };
        let bytes = Some(role.bytes()).filter(|bytes| *bytes < u64::MAX);
        let source = role.sends().then_some(Source { start, stop, bytes });
        let config = TcpConfig {
            mss: mtu - HEADERS,
            profile,
            open: start,
            source,
            isn: seed as u32,
            ..TcpConfig::new(local, remote)
        };
        Model(match role {
            Role::Client { .. } => Endpoint::client(config),
            Role::Server { .. } => Endpoint::server(config),
        })
    }
}

impl Tcp for Model {
    fn handle_packet(&mut self, now: Instant, packet: &[u8]) {
        self.0.handle_packet(now, packet);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.0.handle_timeout(now);
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.0.poll_packet(now)
    }

    fn poll_timeout(&mut self, _: Instant) -> Option<Instant> {
        self.0.poll_timeout()
    }

    /// It knows by itself when to stop.
    fn stop(&mut self) {}

    fn delivered(&self) -> u64 {
        self.0.stats().received
    }

    fn window(&self) -> Option<u64> {
        let stats = self.0.stats();
        (stats.established && stats.sent > 0).then_some(stats.cwnd)
    }
}
