//! Where a replay is not what was recorded.

use crate::machine::{SocketId, StreamId, TunId};
use alloc::string::String;
use core::fmt;

/// The first difference between a replay and its recording.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Divergence {
    /// The bytes are no recording, or are damaged at this offset.
    Damaged {
        /// The offset, in bytes.
        at: usize,
    },
    /// The machine said something else, or nothing.
    Output {
        /// The number of the entry, from 0.
        entry: usize,
        /// What it said now.
        got: Option<String>,
    },
    /// The machine said more than was recorded before this entry.
    Extra {
        /// The number of the entry, from 0.
        entry: usize,
        /// What it said.
        got: String,
    },
    /// The machine would have written other bytes, or fewer.
    Written {
        /// The number of the entry, from 0.
        entry: usize,
        /// Where to.
        stream: StreamId,
    },
    /// The machine would have sent another datagram, or none.
    Sent {
        /// The number of the entry, from 0.
        entry: usize,
        /// On which socket.
        socket: SocketId,
    },
    /// The machine would have given another packet to a TUN device, or none.
    Given {
        /// The number of the entry, from 0.
        entry: usize,
        /// To which device.
        tun: TunId,
    },
    /// The machine would not have taken that packet out of a TUN device.
    Taken {
        /// The number of the entry, from 0.
        entry: usize,
        /// Out of which device.
        tun: TunId,
    },
    /// The machine did not take a configuration that was recorded.
    Configuration {
        /// The number of the entry, from 0.
        entry: usize,
    },
    /// The machine would not have read that much.
    Read {
        /// The number of the entry, from 0.
        entry: usize,
        /// Where from.
        stream: StreamId,
    },
    /// The machine would keep more bytes than a replay gives it.
    TooMuch {
        /// The number of the entry, from 0.
        entry: usize,
        /// How many bytes it keeps.
        held: usize,
        /// The most that it may.
        most: usize,
    },
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Divergence::Damaged { at } => {
                write!(f, "not a recording of this version, or damaged at byte {at}")
            }
            Divergence::Output { entry, got: Some(got) } => {
                write!(f, "entry {entry}: another output was recorded than {got}")
            }
            Divergence::Output { entry, got: None } => {
                write!(f, "entry {entry}: an output was recorded, none came")
            }
            Divergence::Extra { entry, got } => write!(f, "before entry {entry}: {got} was not recorded"),
            Divergence::Written { entry, stream } => {
                write!(f, "entry {entry}: other bytes were written to {stream:?}")
            }
            Divergence::Sent { entry, socket } => {
                write!(f, "entry {entry}: another datagram was sent on {socket:?}")
            }
            Divergence::Given { entry, tun } => {
                write!(f, "entry {entry}: another packet was given to {tun:?}")
            }
            Divergence::Taken { entry, tun } => {
                write!(f, "entry {entry}: no packet of that length would be taken out of {tun:?}")
            }
            Divergence::Configuration { entry } => {
                write!(f, "entry {entry}: the recorded configuration was not taken")
            }
            Divergence::Read { entry, stream } => {
                write!(f, "entry {entry}: {stream:?} would not be read that far")
            }
            Divergence::TooMuch { entry, held, most } => {
                write!(f, "entry {entry}: expected at most {most} bytes that wait to be sent, got {held}")
            }
        }
    }
}

impl core::error::Error for Divergence {}
