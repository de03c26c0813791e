//! Keys of an association: what one handshake gave, and how one follows the other.
//!
//! ```text
//!   handshake ──► Session ──► Keyring: next ──► current ──► previous ──► forgotten
//!                             a responder's      first valid      next rekey    180 s after its
//!                             new keys wait      packet                         handshake
//! ```
//!
//! | file | is |
//! | --- | --- |
//! | `transport` | one session: seal, open, limits |
//! | `replay` | which packet numbers came already |
//! | `keyring` | previous, current and next session; packet numbers, which outlive them |
//!
//! Invariants: no (key, path, number) is sealed twice, because a number is only ever counted up and
//! each session checks it again; a packet is opened once; nothing that did not open changes
//! anything but a count of forgeries.

mod keyring;
mod replay;
mod transport;

pub(crate) use keyring::{Keyring, Opened, Role};
#[cfg(test)]
pub(crate) use transport::SealError;
pub(crate) use transport::{OpenError, Secrets, Session};

use crate::time::Duration;

/// A session is replaced when it is this old, if there is something to send. WireGuard, section
/// 6.1.
pub(crate) const REKEY_AFTER: Duration = Duration::from_secs(120);

/// The server asks for a new session when the client is ten seconds late to do so.
pub(crate) const REKEY_ASKED_AFTER: Duration = Duration::from_secs(130);

/// Nothing is sealed or opened by a session that is this old. WireGuard, section 6.1.
pub(crate) const EXPIRES_AFTER: Duration = Duration::from_secs(180);

/// An idle association renews its keys with the first keepalive within this time before they
/// expire: more than its keepalives are apart.
pub(crate) const ENDING: Duration = Duration::from_secs(30);

/// And this long before at the latest: four rounds of a handshake have room in it.
const LATEST: Duration = Duration::from_secs(10);

/// A session is replaced when it sealed this many packets.
pub(crate) const REKEY_AFTER_PACKETS: u64 = 1 << 26;

/// A session seals no more packets than this. RFC 9001 appendix B.1.1 allows AES-GCM 2^28 packets
/// of up to 2 KiB; longer ones count as many.
pub(crate) const MOST_PACKETS: u64 = 1 << 27;

/// What counts as one packet, in bytes.
const PACKET_UNIT: usize = 2048;

/// A session is given up after so many forged packets. RFC 9001 section 6.6: ChaCha20-Poly1305
/// allows 2^36.
pub(crate) const MOST_FORGERIES: u64 = 1 << 35;

/// Packet numbers have 56 bits: the nonce's top byte is the path.
pub(crate) const MAX_NUMBER: u64 = (1 << 56) - 1;

#[cfg(test)]
mod tests;
