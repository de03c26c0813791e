//! What the system keeps for streams: buffers of ours that nobody reads or acknowledges.
//!
//! A client that has asked for much and reads nothing leaves some megabytes in the system, which
//! has an end of its memory for all sockets of the host and then breaks whichever wants more. So
//! the driver tells what is kept, and the connections that keep most and stand still end first.

use super::Service;
use crate::machine::event::Event;
use crate::machine::{ConnId, Kept};
use crate::service::Connection;
use crate::time::Duration;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// A connection that keeps much is left alone while its bytes move: a moment without one is no
/// stall.
const STALLED: Duration = Duration::from_secs(1);

/// What one connection keeps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Holding {
    bytes: u64,
    /// One of its sides takes nothing.
    is_stuck: bool,
}

impl<C: Connection> Service<C> {
    /// So many bytes are kept of so many that may be, and for these streams. Ends stalled
    /// connections, the largest first, until an eighth of the limit is free; where that is not
    /// enough no connection is taken until it is.
    pub(super) fn socket_memory(&mut self, used: u64, limit: u64, streams: &[Kept]) {
        let (mut left, mut ended) = (used, 0);
        if used > limit {
            for (Holding { bytes, is_stuck }, id) in self.largest(streams) {
                if left <= limit - limit / 8 {
                    break;
                }
                let stalled = if is_stuck { Duration::ZERO } else { STALLED };
                let mut has_ended = false;
                self.with(id, |conn, cx| has_ended = conn.relieve(stalled, cx));
                if has_ended {
                    left = left.saturating_sub(bytes);
                    ended += 1;
                }
            }
            self.cx.event(Event::SocketMemory { used, limit, ended });
        }
        self.short = left > limit;
        match self.short {
            true => self.take_back(),
            false => self.ask_all(),
        }
    }

    /// What connections keep, the largest first.
    fn largest(&self, streams: &[Kept]) -> Vec<(Holding, ConnId)> {
        let mut all: BTreeMap<ConnId, Holding> = BTreeMap::new();
        for Kept { stream, bytes, stuck } in streams {
            if let Some((id, _)) = self.side(*stream) {
                let holding = all.entry(id).or_default();
                holding.bytes += u64::from(*bytes);
                holding.is_stuck |= *stuck >= STALLED;
            }
        }
        let mut all: Vec<(Holding, ConnId)> = all.into_iter().map(|(id, holding)| (holding, id)).collect();
        all.sort_unstable_by(|a, b| b.cmp(a));
        all
    }
}
