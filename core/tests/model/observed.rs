//! What the machine's events say happened to one connection.

use ropewalk_core::machine::Fault;
use ropewalk_core::time::Instant;
use std::net::SocketAddr;

/// An attempt at a target.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    pub(super) at: Instant,
    pub(super) to: SocketAddr,
    pub(super) uplink: usize,
    pub(super) port: u16,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Closed {
    pub(super) at: Instant,
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) fault: Option<Fault>,
}

/// What happened to one connection.
#[derive(Clone, Default, Debug)]
pub(super) struct Observed {
    pub(super) attempts: Vec<Attempt>,
    pub(super) failed: Vec<(Instant, SocketAddr, usize, Fault)>,
    pub(super) connected: Option<(Instant, SocketAddr, usize)>,
    pub(super) closed: Option<Closed>,
    pub(super) refused: u32,
}

impl Observed {
    pub(super) fn won(&self) -> Option<Attempt> {
        let (_, to, uplink) = self.connected?;
        self.attempts.iter().copied().find(|attempt| (attempt.to, attempt.uplink) == (to, uplink))
    }

    /// An uplink that got nowhere at an address that another uplink then reached.
    pub(super) fn outpaced(&self) -> Vec<usize> {
        let Some(won) = self.won() else { return Vec::new() };
        let rivals = self.attempts.iter().filter(|other| other.to == won.to && other.uplink != won.uplink);
        let silent = rivals.filter(|other| {
            let failed =
                self.failed.iter().any(|(_, to, uplink, _)| (*to, *uplink) == (other.to, other.uplink));
            other.at < won.at && !failed
        });
        silent.map(|other| other.uplink).collect()
    }
}
