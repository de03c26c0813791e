//! How a client wants packets to be spread, of both directions.
//!
//! ```text
//!   MODE   serial 4 | strategy 1 | parameter 4 | max skew 4, microseconds
//! ```
//!
//! The parameter is the strategy's: microseconds for `active-backup`, copies for `redundant`, zero
//! for the others.

use super::{Full, Malformed, Reader, Writer};
use crate::bond::schedule::Strategy;
use crate::time::Duration;

/// A client's wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    /// Counts up with each wish and each status of the association: a late one is known by a
    /// smaller serial.
    pub(crate) serial: u32,
    /// How packets are spread.
    pub(crate) strategy: Strategy,
    /// A path whose delay is longer than the shortest by more carries nothing but what must; whole
    /// microseconds.
    pub(crate) max_skew: Duration,
}

impl Wish {
    pub(super) fn parse(reader: &mut Reader<'_>) -> Result<Wish, Malformed> {
        let serial = reader.u32("MODE's serial")?;
        let number = reader.u8("MODE's strategy")?;
        let parameter = reader.u32("MODE's parameter")?;
        let max_skew = Duration::from_micros(reader.u32("MODE's skew")?.into());
        let strategy = match (number, parameter) {
            (0, 0) => Strategy::Aggregate,
            (1, 0) => Strategy::Weighted,
            (2, 0) => Strategy::LowestLatency,
            (3, above) => Strategy::ActiveBackup { switch_above: Duration::from_micros(above.into()) },
            (4, copies @ 1..=255) => Strategy::Redundant { copies: copies as u8 },
            (5, 0) => Strategy::Adaptive,
            (6, 0) => Strategy::Flow,
            (0..=6, got) => return Err(Malformed::Value { what: "strategy's parameter", got }),
            (got, _) => return Err(Malformed::Unknown { what: "strategy", got }),
        };
        Ok(Wish { serial, strategy, max_skew })
    }

    pub(super) fn emit(&self, out: &mut Writer<'_>) -> Result<(), Full> {
        let (number, parameter) = match self.strategy {
            Strategy::Aggregate => (0, 0),
            Strategy::Weighted => (1, 0),
            Strategy::LowestLatency => (2, 0),
            Strategy::ActiveBackup { switch_above } => (3, micros(switch_above)),
            Strategy::Redundant { copies } => (4, u32::from(copies.max(1))),
            Strategy::Adaptive => (5, 0),
            Strategy::Flow => (6, 0),
        };
        out.u32(self.serial)?;
        out.u8(number)?;
        out.u32(parameter)?;
        out.u32(micros(self.max_skew))
    }
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}
