//! The queue in front of the scheduler: FQ-CoDel (RFC 8290), each flow by itself, short by dropping
//! or marking.
//!
//! ```text
//!              push                 peek, pop
//!   packets ────────▶ flow ┐
//!                     flow ├─ new, then old, by ─▶ CoDel ─▶ head ─▶ scheduler
//!                     flow ┘  deficit of bytes
//! ```
//!
//! A flow that has just begun to send (or sends little) is served before the others: it is sparse.
//! Sequences are given when a packet leaves, so what is dropped here leaves no hole at the
//! receiver.
//!
//! An [`Item`] may be many packets, a superpacket from the TUN: it is one entry and leaves packet
//! by packet. CoDel judges each packet of it; a whole superpacket lost would be 45 losses where one
//! says enough.
//!
//! Invariants
//! - Bytes and flows are bounded. At the limit the head of the longest queue is dropped, not what
//!   comes in.
//! - The packets of a flow leave in the order in which they came.
//! - Each item that came in comes out of [`FqCodel::poll_spent`] once, whatever became of its
//!   packets.
//!
//! | file | is |
//! | --- | --- |
//! | `fq` | the queues of the flows, and whose turn it is |
//! | `codel` | when a packet has waited too long |
//! | `entry` | a packet or superpacket in the queue |

mod codel;
mod entry;
mod fq;
#[cfg(test)]
mod tests;

pub(crate) use codel::Delays;
pub(crate) use entry::{Entry, Piece};
#[cfg(test)]
pub(crate) use fq::Counters;
pub(crate) use fq::{Config, FqCodel};

/// One or more packets of one flow.
pub(crate) trait Item {
    /// Bytes of the next packet. Zero: none is left.
    fn next_len(&self) -> usize;

    /// Bytes of the next packet and all behind it.
    fn bytes_left(&self) -> usize;

    /// Moves on to the packet behind the next.
    fn advance(&mut self);

    /// Marks the next packet with "congestion experienced"; `false` where its transport does not
    /// know ECN.
    fn mark(&mut self) -> bool;
}
