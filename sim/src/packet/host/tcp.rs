//! What a TCP endpoint must be to stand in a host.

use ropewalk_core::time::Instant;

/// Which end of a connection, and what it sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    /// It connects.
    Client {
        /// A number of bytes; `None`: nothing.
        sends: Option<u64>,
    },
    /// It is connected to.
    Server {
        /// A number of bytes; `None`: nothing.
        sends: Option<u64>,
    },
}

impl Role {
    pub(super) fn sends(self) -> bool {
        self.bytes() > 0
    }

    pub(super) fn bytes(self) -> u64 {
        let (Role::Client { sends } | Role::Server { sends }) = self;
        sends.unwrap_or(0)
    }
}

/// One end of a connection: packets and time in, packets out.
pub(super) trait Tcp {
    fn handle_packet(&mut self, now: Instant, packet: &[u8]);
    fn handle_timeout(&mut self, now: Instant);
    /// The next packet to send now.
    fn poll_transmit(&mut self, now: Instant) -> Option<Vec<u8>>;
    /// When [`Tcp::handle_timeout`] is wanted.
    fn poll_timeout(&mut self, now: Instant) -> Option<Instant>;
    /// Nothing new is sent from now on.
    fn stop(&mut self);
    /// Payload that the application has received so far, in order.
    fn delivered(&self) -> u64;
    /// The congestion window in bytes, where this end sends and tells.
    fn window(&self) -> Option<u64>;
}
