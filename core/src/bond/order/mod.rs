//! The order of packets, flow by flow: given by the sender, kept by the receiver.
//!
//! ```text
//!   sender                             receiver
//!   Sequencer ── sequence, distance ──▶ Reorder ──▶ TUN
//!                 over many paths        │ delivered before?            drop
//!                                        │ predecessor delivered?       hand on
//!                                        └ predecessor missing?         wait for it, not for long
//! ```
//!
//! All packets of a direction are numbered together, and each says how far back the packet before
//! it OF ITS FLOW is (RFC 2890's sequence is one for all: there one loss stalls everything). A
//! packet waits for that one only:
//!
//! - until it is delivered;
//! - or until all live paths have passed it, and the time in which a repair would come is over;
//! - while a path is silent: until its sender would have found out, and sent the missing one
//!   elsewhere;
//! - never longer than the hold, and never beyond the memory.
//!
//! A path has passed a sequence when it brought a later one: sequences are given as packets leave,
//! so on each path they only grow.
//!
//! Invariants
//! - A packet is delivered at most once, however often it arrives and however late.
//! - A packet whose flow has no hole is delivered at once, whatever the other flows wait for.
//! - Time and bytes held are capped, whatever sequences and distances a peer makes up.
//!
//! | file | is |
//! | --- | --- |
//! | `sequencer` | the sender: a sequence for each packet, and the distance to the one before it |
//! | `reorder` | the receiver: what waits, and for how long |
//! | `seen` | which sequences have come |
//! | `paths` | how far each path has come |

mod paths;
mod reorder;
mod seen;
mod sequencer;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use reorder::Counters;
pub(crate) use reorder::{Config, Refused, Reorder};
pub(crate) use sequencer::Sequencer;
