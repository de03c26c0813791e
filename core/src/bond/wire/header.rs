//! The ten clear bytes in front of what is sealed. All are authenticated as the AEAD's additional
//! data.
//!
//! ```text
//!   0         version (2 bits, 1) | type (5 bits) | key phase (1 bit)
//!   1 .. 5    receiver index, as the receiver chose it in the handshake
//!   5         path id
//!   6 .. 10   the low 32 bits of the packet number
//! ```
//!
//! Messages of the handshake share byte 0 and nothing else (`handshake::message`).

use super::{HEADER, Malformed, PathId};

/// The version that is spoken here.
const VERSION: u8 = 1;

/// What a datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PacketType {
    /// The first message of a handshake.
    Init,
    /// The second message of a handshake.
    Response,
    /// A cookie instead of a response: prove that you receive at your address.
    Cookie,
    /// A sealed packet.
    Transport,
}

impl PacketType {
    /// What kind of datagram this is, by its first byte.
    pub(crate) const fn of(first: u8) -> Result<PacketType, Malformed> {
        if first >> 6 != VERSION {
            return Err(Malformed::Unknown { what: "version", got: first >> 6 });
        }
        match first >> 1 & 0x1f {
            1 => Ok(PacketType::Init),
            2 => Ok(PacketType::Response),
            3 => Ok(PacketType::Cookie),
            4 => Ok(PacketType::Transport),
            got => Err(Malformed::Unknown { what: "packet type", got }),
        }
    }

    /// The first byte of such a datagram.
    pub(crate) const fn byte(self, phase: Phase) -> u8 {
        let kind = match self {
            PacketType::Init => 1,
            PacketType::Response => 2,
            PacketType::Cookie => 3,
            PacketType::Transport => 4,
        };
        VERSION << 6 | kind << 1 | phase.0 as u8
    }
}

/// The parity of a session's generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Phase(pub(crate) bool);

impl Phase {
    /// The phase of the session with this generation.
    pub(crate) const fn of(generation: u32) -> Phase {
        Phase(generation & 1 == 1)
    }
}

/// The clear header of a sealed packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The parity of the session's generation.
    pub(crate) phase: Phase,
    /// The receiver's session: a random number that the receiver chose.
    pub(crate) receiver: u32,
    /// The path it takes.
    pub(crate) path: PathId,
    /// The low 32 bits of the packet number.
    pub(crate) number: u32,
}

impl Header {
    /// The header at the beginning of `packet`. What follows it is not looked at.
    pub(crate) fn parse(packet: &[u8]) -> Result<Header, Malformed> {
        let Some(bytes) = packet.first_chunk::<HEADER>() else {
            return Err(Malformed::Truncated { what: "header", needs: HEADER, left: packet.len() });
        };
        let [first, i0, i1, i2, i3, path, n0, n1, n2, n3] = *bytes;
        match PacketType::of(first)? {
            PacketType::Transport => {}
            PacketType::Init | PacketType::Response | PacketType::Cookie => {
                return Err(Malformed::Unknown { what: "sealed packet's type", got: first >> 1 & 0x1f });
            }
        }
        let Some(path) = PathId::new(path) else {
            return Err(Malformed::Value { what: "path id", got: path.into() });
        };
        Ok(Header {
            phase: Phase(first & 1 == 1),
            receiver: u32::from_be_bytes([i0, i1, i2, i3]),
            path,
            number: u32::from_be_bytes([n0, n1, n2, n3]),
        })
    }

    /// Writes the header.
    pub(crate) fn emit(&self, out: &mut [u8; HEADER]) {
        out[0] = PacketType::Transport.byte(self.phase);
        out[1..5].copy_from_slice(&self.receiver.to_be_bytes());
        out[5] = self.path.get();
        out[6..10].copy_from_slice(&self.number.to_be_bytes());
    }
}

/// The packet number whose low 32 bits are `truncated`, as near as possible to the one expected
/// next.
///
/// RFC 9000 appendix A.3, for 32 bits. `largest` is the largest number that was authenticated on
/// the path, `None` before the first.
pub(crate) const fn expand(truncated: u32, largest: Option<u64>) -> u64 {
    const WINDOW: u64 = 1 << 32;
    const HALF: u64 = WINDOW / 2;
    let expected = match largest {
        Some(largest) => largest.saturating_add(1),
        None => 0,
    };
    let candidate = expected & !(WINDOW - 1) | truncated as u64;
    if candidate.saturating_add(HALF) <= expected && candidate < u64::MAX - WINDOW {
        candidate + WINDOW
    } else if candidate > expected.saturating_add(HALF) && candidate >= WINDOW {
        candidate - WINDOW
    } else {
        candidate
    }
}
