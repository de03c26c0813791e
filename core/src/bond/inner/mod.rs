//! The packets inside the bond: IPv4 and IPv6 as hosts and the TUN give them.
//!
//! ```text
//!   from the TUN                                        to the TUN
//!   packet or superpacket                               packet or superpacket
//!     │ Packet::parse    safe to look at                  ▲ Run        consecutive segments, one superpacket
//!     │ prepare          its checksum, in a known state   │ offload    what the kernel has still to sum
//!     │ Flow::of         flow key, ordered or not         │ ecn        what the links marked (RFC 6040)
//!     │ clamp_mss        SYNs promise what fits           │
//!     │ TooBig           the others are told              │
//!     ▼ Segments         segment k, when it leaves ──────▶│
//! ```
//!
//! Nothing here keeps a packet: every function works on bytes that others own.
//!
//! Invariants
//! - Any bytes are safe. A view only exists of a packet whose headers lie within it.
//! - A header that we change keeps a checksum as right, or as wrong, as it was (RFC 1624).
//! - A segment is written straight from its superpacket into the packet that leaves: one copy.
//!
//! | file | is |
//! | --- | --- |
//! | `packet`, `addresses` | views of a packet: where its parts lie; its addresses alone |
//! | `prepare`, `checksum` | sums that the kernel left open |
//! | `flow` | which flow a packet is of, and whether that wants order |
//! | `mss`, `too_big` | how senders learn what fits: lowered in SYNs; told by ICMP |
//! | `segment`, `merge` | superpackets cut, and joined |
//! | `ecn` | marks of congestion |
//! | `trim` | a segment without its payload: congestion told to who knows no marks |

mod addresses;
mod checksum;
mod ecn;
mod flow;
mod merge;
mod mss;
mod packet;
mod prepare;
mod segment;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod too_big;
mod trim;

pub(crate) use addresses::{destination, ends, source};
pub(crate) use ecn::{Ecn, decapsulate, mark_ce};
pub(crate) use flow::{Flow, FlowKey};
pub(crate) use merge::Run;
pub(crate) use mss::clamp_mss;
pub(crate) use packet::{Malformed, Packet};
pub(crate) use prepare::{complete, prepare};
pub(crate) use segment::{Segments, Sums};
pub(crate) use too_big::TooBig;
pub(crate) use trim::trim;
