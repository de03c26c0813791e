//! What the system keeps for the streams of a machine, measured when the runtime says so.
//!
//! That bytes move into a buffer says nothing of who reads: a stream is stuck when nothing of what
//! was written to it is acknowledged from one measurement to the next.

use super::{Drive, State};
use crate::drive::io::{Io, Memory};
use crate::machine::{Application, Input, Kept, StreamId};
use crate::time::{Duration, Instant};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// A stream for which the system keeps less is not reported. An idle one costs some hundred bytes.
const WORTH_TELLING: u32 = 16 * 1024;

/// What is remembered from one measurement to the next.
#[derive(Default)]
pub(super) struct Measured {
    /// The machine knows that the system keeps too much.
    told: bool,
    /// What was acknowledged of each stream for which much is kept, and since when.
    acknowledged: BTreeMap<StreamId, (u64, Instant)>,
}

impl Drive {
    /// Asks how much the system keeps for open streams, and tells the machine where that is above
    /// `limit`, and when it no longer is. It costs a call or two for each stream: for where there
    /// is reason to ask, and not more often than every tenth of a second.
    pub fn measure<M: Application, I: Io>(&mut self, machine: &mut M, io: &mut I, limit: u64) {
        let now = io.now();
        let mut used = 0;
        let mut streams = Vec::new();
        let before = core::mem::take(&mut self.measured.acknowledged);
        for (index, slot) in (0..).zip(&self.slots) {
            if slot.state != State::Open {
                continue;
            }
            let stream = StreamId::from_parts(index, slot.generation);
            let Memory { bytes, acknowledged } = io.memory(stream);
            used += u64::from(bytes);
            if bytes < WORTH_TELLING {
                continue;
            }
            let mut stuck = Duration::ZERO;
            if let Some(count) = acknowledged {
                let same = before.get(&stream).filter(|(earlier, _)| *earlier == count);
                let since = same.map_or(now, |(_, since)| *since);
                stuck = now - since;
                self.measured.acknowledged.insert(stream, (count, since));
            }
            streams.push(Kept { stream, bytes, stuck });
        }
        let is_over = used > limit;
        if !is_over {
            streams.clear();
            self.measured.acknowledged.clear();
        }
        if is_over || self.measured.told {
            self.measured.told = is_over;
            self.input(machine, io, Input::SocketMemory { used, limit, streams: &streams });
        }
    }
}
