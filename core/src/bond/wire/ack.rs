//! What came and what did not: ACK for the packets of one path, NACK for the data that a flow waits
//! for.
//!
//! ```text
//!   ACK    path 1 | largest 4 | delay 2 | echo 3 | one-way 3 | CE 2 | bytes 4 | count 1 | first 2 | count x (gap 2, len 2)
//!   NACK   count 1 | count x (sequence 4, len 2)
//! ```
//!
//! Packet numbers of an ACK, from the largest down:
//!
//! ```text
//!   largest, and `first` below it     acknowledged
//!   the next `gap`                    missing
//!   the next `len`                    acknowledged        and so on, at most three times
//! ```

use super::{Full, Malformed, PathId, Reader, Timestamp, Writer};

/// Most ranges below the first: four in all, as the path keeps them.
pub(crate) const MAX_RANGES: usize = 3;

/// Most runs of missing sequences in a NACK.
pub(crate) const MAX_NACK_RUNS: usize = 16;

/// Packets of one path that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ack {
    /// The path of these packets. The frame itself may take another.
    pub(crate) path: PathId,
    /// The low 32 bits of the largest packet number that arrived.
    pub(crate) largest: u32,
    /// How long the receiver waited before it acknowledged the largest, in units of 16 us,
    /// saturated.
    pub(crate) delay: u16,
    /// The timestamp of the largest, by its sender's clock.
    pub(crate) echo: Timestamp,
    /// What the receiver measured for the largest: its clock at arrival less `echo`, in us modulo
    /// 2^24.
    pub(crate) one_way: u32,
    /// Packets that arrived with CE on this path, modulo 2^16.
    pub(crate) ce: u16,
    /// Bytes that arrived on this path, modulo 2^32.
    pub(crate) bytes: u32,
    /// How many directly below the largest arrived too.
    pub(crate) first: u16,
    ranges: [AckRange; MAX_RANGES],
    count: u8,
}

/// Missing packets and the arrived ones below them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AckRange {
    /// How many are missing, at least one.
    pub(crate) gap: u16,
    /// How many below them arrived, at least one.
    pub(crate) len: u16,
}

impl Ack {
    /// Bytes of the frame without ranges, its type included.
    #[cfg(test)]
    pub(crate) const MIN_LEN: usize = 23;

    /// An acknowledgement of `largest` alone, with every measure zero.
    pub(crate) const fn new(path: PathId, largest: u32) -> Ack {
        Ack {
            path,
            largest,
            delay: 0,
            echo: Timestamp::from_bits(0),
            one_way: 0,
            ce: 0,
            bytes: 0,
            first: 0,
            ranges: [AckRange { gap: 1, len: 1 }; MAX_RANGES],
            count: 0,
        }
    }

    /// Appends a range below the others. False if there are [`MAX_RANGES`] or a length is zero;
    /// nothing changes then.
    pub(crate) fn push_range(&mut self, gap: u16, len: u16) -> bool {
        if gap == 0 || len == 0 {
            return false;
        }
        let Some(slot) = self.ranges.get_mut(usize::from(self.count)) else { return false };
        *slot = AckRange { gap, len };
        self.count += 1;
        true
    }

    /// The ranges below the first, from high numbers to low.
    pub(crate) fn ranges(&self) -> &[AckRange] {
        &self.ranges[..usize::from(self.count)]
    }

    pub(super) fn parse(reader: &mut Reader<'_>) -> Result<Ack, Malformed> {
        let path = path(reader)?;
        let mut ack = Ack::new(path, reader.u32("ACK's largest")?);
        ack.delay = reader.u16("ACK's delay")?;
        ack.echo = Timestamp::from_bits(reader.u24("ACK's echo")?);
        ack.one_way = reader.u24("ACK's one-way delay")?;
        ack.ce = reader.u16("ACK's CE count")?;
        ack.bytes = reader.u32("ACK's bytes")?;
        let count = reader.u8("ACK's range count")?;
        if usize::from(count) > MAX_RANGES {
            return Err(Malformed::Value { what: "ACK's range count", got: count.into() });
        }
        ack.first = reader.u16("ACK's first range")?;
        for _ in 0..count {
            let gap = reader.u16("ACK's gap")?;
            let len = reader.u16("ACK's range")?;
            if !ack.push_range(gap, len) {
                return Err(Malformed::Value { what: "ACK's gap or range", got: 0 });
            }
        }
        Ok(ack)
    }

    pub(super) fn emit(&self, out: &mut Writer<'_>) -> Result<(), Full> {
        out.u8(self.path.get())?;
        out.u32(self.largest)?;
        out.u16(self.delay)?;
        out.u24(self.echo.bits())?;
        out.u24(self.one_way)?;
        out.u16(self.ce)?;
        out.u32(self.bytes)?;
        out.u8(self.count)?;
        out.u16(self.first)?;
        for range in self.ranges() {
            out.u16(range.gap)?;
            out.u16(range.len)?;
        }
        Ok(())
    }
}

/// Data that the receiver waits for, in runs of sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Nack {
    runs: [MissingRun; MAX_NACK_RUNS],
    count: u8,
}

/// Sequences that are missing one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MissingRun {
    /// The first.
    pub(crate) sequence: u32,
    /// How many, at least one.
    pub(crate) len: u16,
}

impl Nack {
    /// A NACK of nothing, which cannot be sent yet.
    pub(crate) const fn new() -> Nack {
        Nack { runs: [MissingRun { sequence: 0, len: 1 }; MAX_NACK_RUNS], count: 0 }
    }

    /// Appends a run. False if there are [`MAX_NACK_RUNS`] or `len` is zero; nothing changes then.
    pub(crate) fn push(&mut self, sequence: u32, len: u16) -> bool {
        if len == 0 {
            return false;
        }
        let Some(slot) = self.runs.get_mut(usize::from(self.count)) else { return false };
        *slot = MissingRun { sequence, len };
        self.count += 1;
        true
    }

    /// The runs, in the order in which they were pushed.
    pub(crate) fn runs(&self) -> &[MissingRun] {
        &self.runs[..usize::from(self.count)]
    }

    pub(super) fn parse(reader: &mut Reader<'_>) -> Result<Nack, Malformed> {
        let count = reader.u8("NACK's count")?;
        if count == 0 || usize::from(count) > MAX_NACK_RUNS {
            return Err(Malformed::Value { what: "NACK's count", got: count.into() });
        }
        let mut nack = Nack::new();
        for _ in 0..count {
            let sequence = reader.u32("NACK's sequence")?;
            let len = reader.u16("NACK's length")?;
            if !nack.push(sequence, len) {
                return Err(Malformed::Value { what: "NACK's length", got: len.into() });
            }
        }
        Ok(nack)
    }

    pub(super) fn emit(&self, out: &mut Writer<'_>) -> Result<(), Full> {
        out.u8(self.count)?;
        for run in self.runs() {
            out.u32(run.sequence)?;
            out.u16(run.len)?;
        }
        Ok(())
    }
}

/// A path id that is in range.
pub(super) fn path(reader: &mut Reader<'_>) -> Result<PathId, Malformed> {
    let id = reader.u8("path id")?;
    PathId::new(id).ok_or(Malformed::Value { what: "path id", got: id.into() })
}
