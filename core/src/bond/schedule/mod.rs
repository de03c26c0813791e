//! Which path takes the head of the queue: a decision for each packet, made when a path may send.
//!
//! ```text
//!   head of the queue ─┐
//!                      ├─▶ Scheduler::decide ─▶ Send(path) │ Copies(paths) │ Wait(until)
//!   views of all paths ┘          ▲
//!                       Strategy ─┘    handle_sent: what was really sent
//! ```
//!
//! Nothing is queued behind the scheduler: a packet that no path may take yet stays at the head,
//! and what is known when it leaves is newer than what was known when it came. So the decision is
//! not only where, but whether to wait for a better path (ECF, CoNEXT 2017).
//!
//! | file | is |
//! | --- | --- |
//! | `view` | what the scheduler sees: paths, the head; what it answers |
//! | `strategy` | the strategies by name |
//! | `scheduler` | the decision, one match over the strategies |
//! | `completion` | when a path would deliver a packet, and whether faster ones would deliver everything before |
//! | `admission` | which paths are near enough to each other to share a flow (`max-skew`) |
//! | `shares` | bytes by weight |
//! | `active` | one path at a time: lowest latency, active and backup |
//! | `sticky` | a path for each flow |
//!
//! Invariants
//! - A path that is not usable, or may not send now, is never chosen.
//! - What was not measured of late never outranks what was.
//! - No path goes in and out of use faster than its hysteresis.
//! - Weights hold within a quantum of [`QUANTUM`] bytes; copies stay within their budget.

mod active;
mod admission;
mod completion;
mod scheduler;
mod shares;
mod sticky;
mod strategy;
#[cfg(test)]
mod tests;
mod view;

pub(crate) use scheduler::Scheduler;
pub use strategy::Strategy;
pub(crate) use view::{Decision, Head, PathSet, PathView};

/// 16 packets of full size, in bytes: by so much shares may be off, and by such a load latencies
/// are compared.
pub(crate) const QUANTUM: u64 = 16 * 1500;
