//! Packets of the bond as they are on the network.
//!
//! ```text
//!   0 .. 10   clear     version, type, key phase | receiver index | path | packet number      [`header`]
//!  10 .. n    sealed    frames: one DATA, or a timestamp and control frames                   [`packet`]
//!   n .. n+16 tag       of the AEAD, over both
//! ```
//!
//! | file | is |
//! | --- | --- |
//! | `header` | the ten clear bytes |
//! | `packet` | the sealed plaintext: either DATA or a list of control frames |
//! | `frame` | one control frame |
//! | `ack`, `config` | the two frames that are more than a few numbers |
//! | `wish` | how a client wants packets to be spread |
//! | `timestamp` | 24 bits of the sender's clock |
//! | `cursor` | checked reading and writing |
//!
//! Invariants: a value parses to what it was emitted from; each truncation is refused; no bytes
//! panic. A packet is checked to its last byte before its first frame is handed on, so a malformed
//! packet changes nothing. Whoever parses has opened the packet before: what stands here comes from
//! a peer who holds the key, which makes it authentic and not at all trustworthy.

pub(crate) mod ack;
pub(crate) mod config;
mod cursor;
pub(crate) mod frame;
pub(crate) mod header;
pub(crate) mod packet;
#[cfg(test)]
mod tests;
pub(crate) mod timestamp;
pub(crate) mod wish;

pub(crate) use ack::{Ack, Nack};
pub(crate) use config::{Config, ConfigEntry, ConfigRequest, Purpose};
pub(crate) use cursor::{Full, Reader, Writer};
pub(crate) use frame::{CloseReason, Frame, PathStatus, PeerPathState};
pub(crate) use header::{Header, PacketType, Phase};
pub(crate) use packet::{Data, PacketWriter, Plaintext};
pub(crate) use timestamp::Timestamp;
pub(crate) use wish::Wish;

use core::fmt;

/// How many paths an association may have: path ids are below. It bounds replay windows, counters
/// and path state.
pub(crate) const MAX_PATHS: usize = 16;

/// Bytes of the clear header.
pub(crate) const HEADER: usize = 10;

/// Bytes between the clear header and the inner packet of a DATA packet.
pub(crate) const DATA_PREFIX: usize = 10;

/// Where the inner packet begins in a DATA packet.
pub(crate) const DATA_OFFSET: usize = HEADER + DATA_PREFIX;

/// Bytes of the AEAD's tag.
pub(crate) const TAG: usize = 16;

/// What a DATA packet adds to the inner packet, UDP and IP not counted.
pub(crate) const OVERHEAD: usize = DATA_OFFSET + TAG;

/// The least plaintext of a control packet. Shorter ones are padded, so that an acknowledgement and
/// a ping look alike.
pub(crate) const MIN_CONTROL: usize = 32;

/// Which path of an association a packet takes: given by the client, below [`MAX_PATHS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PathId(u8);

impl PathId {
    /// The path with this number, `None` from [`MAX_PATHS`] on.
    pub(crate) const fn new(id: u8) -> Option<PathId> {
        if (id as usize) < MAX_PATHS { Some(PathId(id)) } else { None }
    }

    /// The number on the wire.
    pub(crate) const fn get(self) -> u8 {
        self.0
    }

    /// The number as an index below [`MAX_PATHS`].
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Why bytes are no packet of the bond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// Bytes are missing.
    Truncated {
        /// What was read.
        what: &'static str,
        /// How many bytes it needs.
        needs: usize,
        /// How many were left.
        left: usize,
    },
    /// A type that this version does not know.
    Unknown {
        /// Of what.
        what: &'static str,
        /// The type that came.
        got: u8,
    },
    /// A value outside of its range.
    Value {
        /// Which value.
        what: &'static str,
        /// What came.
        got: u32,
    },
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Malformed::Truncated { what, needs, left } => {
                write!(f, "expected {needs} bytes of {what}, {left} are left")
            }
            Malformed::Unknown { what, got } => write!(f, "{got} is no {what} of this version"),
            Malformed::Value { what, got } => write!(f, "{got} is out of range for {what}"),
        }
    }
}

/// What the fuzzer calls: panics where a law of the codec does not hold for these bytes.
#[cfg(any(test, feature = "laws"))]
pub(crate) fn hold_for_input(bytes: &[u8]) {
    if let Ok(header) = Header::parse(bytes) {
        let mut again = [0; HEADER];
        header.emit(&mut again);
        assert_eq!(again[..], bytes[..HEADER], "a header is emitted as it was parsed");
    }
    match Plaintext::parse(bytes) {
        Ok(Plaintext::Data(data)) => {
            let mut again = [0; DATA_PREFIX];
            data.emit_prefix(&mut again);
            assert_eq!(again[..], bytes[..DATA_PREFIX], "a DATA prefix is emitted as it was parsed");
        }
        Ok(Plaintext::Control { timestamp, frames }) => {
            let mut again = alloc::vec![0; bytes.len()];
            let mut writer = PacketWriter::new(&mut again, timestamp).expect("as long as what was parsed");
            for frame in frames.clone() {
                writer.push(&frame).expect("as long as what was parsed");
            }
            let plain = writer.finish_at(bytes.len()).expect("as long as what was parsed");
            let Ok(Plaintext::Control { timestamp: again_at, frames: again }) =
                Plaintext::parse(&again[..plain])
            else {
                panic!("what was emitted does not parse");
            };
            assert_eq!(again_at, timestamp);
            assert!(again.eq(frames), "control frames are emitted as they were parsed");
        }
        Err(_) => {}
    }
}
