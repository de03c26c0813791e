//! The sealed part of a packet: one DATA frame, or a timestamp and control frames.
//!
//! ```text
//!   DATA      1 | sequence 4 | distance 2 | timestamp 3 | the inner IP packet, to the end
//!   control   2 | timestamp 3 | frame | frame | ... | padding, at least 32 bytes in all
//! ```

use super::frame::{DATA, TIME};
use super::{DATA_PREFIX, Frame, Full, MIN_CONTROL, Malformed, Reader, Timestamp, Writer};

/// An inner packet and where it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Data<'a> {
    /// Its place among the DATA of the association and direction, modulo 2^32.
    pub(crate) sequence: u32,
    /// `sequence` less that of the previous packet of the same flow; zero where order does not
    /// matter.
    pub(crate) distance: u16,
    /// When it was sent.
    pub(crate) timestamp: Timestamp,
    /// The inner packet: never empty, otherwise unchecked.
    pub(crate) packet: &'a [u8],
}

impl Data<'_> {
    /// Writes what stands before the inner packet.
    pub(crate) fn emit_prefix(&self, out: &mut [u8; DATA_PREFIX]) {
        out[0] = DATA;
        out[1..5].copy_from_slice(&self.sequence.to_be_bytes());
        out[5..7].copy_from_slice(&self.distance.to_be_bytes());
        out[7..10].copy_from_slice(&self.timestamp.bits().to_be_bytes()[1..]);
    }
}

/// What an opened packet holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plaintext<'a> {
    /// One inner packet.
    Data(Data<'a>),
    /// Control frames, at least one.
    Control {
        /// When the packet was sent.
        timestamp: Timestamp,
        /// The frames, checked to the last.
        frames: Frames<'a>,
    },
}

impl<'a> Plaintext<'a> {
    /// Checks the whole plaintext.
    pub(crate) fn parse(plain: &'a [u8]) -> Result<Plaintext<'a>, Malformed> {
        let mut reader = Reader::new(plain);
        match reader.u8("frame type")? {
            DATA => {
                let sequence = reader.u32("DATA's sequence")?;
                let distance = reader.u16("DATA's distance")?;
                let timestamp = Timestamp::from_bits(reader.u24("DATA's timestamp")?);
                let packet = reader.left();
                if packet.is_empty() {
                    return Err(Malformed::Truncated { what: "DATA's packet", needs: 1, left: 0 });
                }
                Ok(Plaintext::Data(Data { sequence, distance, timestamp, packet }))
            }
            TIME => {
                if plain.len() < MIN_CONTROL {
                    return Err(Malformed::Truncated {
                        what: "control packet",
                        needs: MIN_CONTROL,
                        left: plain.len(),
                    });
                }
                let timestamp = Timestamp::from_bits(reader.u24("TIME")?);
                let frames = Frames { reader };
                let mut count = 0;
                while Frame::parse(&mut reader)?.is_some() {
                    count += 1;
                }
                if count == 0 {
                    return Err(Malformed::Truncated { what: "control frame", needs: 1, left: 0 });
                }
                Ok(Plaintext::Control { timestamp, frames })
            }
            got => Err(Malformed::Unknown { what: "first frame", got }),
        }
    }
}

/// The frames of a control packet that was checked.
#[derive(Clone, Debug)]
pub(crate) struct Frames<'a> {
    reader: Reader<'a>,
}

impl Iterator for Frames<'_> {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        // `Plaintext::parse` went through them all, so that there is no error left to meet.
        Frame::parse(&mut self.reader).ok().flatten()
    }
}

impl PartialEq for Frames<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.clone().eq(other.clone())
    }
}

impl Eq for Frames<'_> {}

/// The plaintext of a control packet, as it is written.
#[derive(Debug)]
pub(crate) struct PacketWriter<'a> {
    out: Writer<'a>,
    frames: usize,
    eliciting: bool,
}

/// Bytes that the timestamp takes.
const TIME_LEN: usize = 4;

impl<'a> PacketWriter<'a> {
    /// Begins a packet in `plain`, which has room for what may be written: `plain` ends where the
    /// tag would begin.
    pub(crate) fn new(plain: &'a mut [u8], timestamp: Timestamp) -> Result<PacketWriter<'a>, Full> {
        if plain.len() < MIN_CONTROL {
            return Err(Full);
        }
        let mut out = Writer::new(plain);
        out.u8(TIME)?;
        out.u24(timestamp.bits())?;
        Ok(PacketWriter { out, frames: 0, eliciting: false })
    }

    /// Appends a frame; on an error nothing is appended.
    pub(crate) fn push(&mut self, frame: &Frame) -> Result<(), Full> {
        let before = self.out.len();
        frame.emit(&mut self.out).inspect_err(|_| self.out.truncate(before))?;
        self.frames += 1;
        self.eliciting |= frame.is_ack_eliciting();
        Ok(())
    }

    /// Whether a frame asks for an acknowledgement.
    pub(crate) const fn is_ack_eliciting(&self) -> bool {
        self.eliciting
    }

    /// Pads to the least length and returns the plaintext's length. An error if there is no frame.
    pub(crate) fn finish(self) -> Result<usize, Full> {
        let wanted = self.out.len().max(MIN_CONTROL);
        self.finish_at(wanted)
    }

    /// Pads to `plain_len` bytes, as a probe for the MTU wants. An error if there is no frame, more
    /// was written already or the buffer is shorter.
    pub(crate) fn finish_at(mut self, plain_len: usize) -> Result<usize, Full> {
        if self.frames == 0 || plain_len < MIN_CONTROL {
            return Err(Full);
        }
        debug_assert!(self.out.len() >= TIME_LEN);
        let padding = plain_len.checked_sub(self.out.len()).ok_or(Full)?;
        self.out.zeros(padding)?;
        Ok(self.out.len())
    }
}
