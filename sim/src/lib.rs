//! The machines of ropewalk in virtual time: a simulator is another runtime.
//!
//! | module | is |
//! | --- | --- |
//! | `stream` | the stream world (feature `stream`, on by default): turmoil hosts around the machines that move streams |
//! | `link` | one direction of a link: rate, queue, loss, delay, jitter, changes |
//! | `conformance` | the suite any runtime must pass (feature `conformance`, Unix): real sockets, a process for each case |
//!
//! No protocol decision is taken here. A world gives a machine sockets, a clock and trouble, and writes down
//! what the machine said.

#![forbid(unsafe_code)]

#[cfg(all(unix, feature = "conformance"))]
pub mod conformance;
pub mod link;
#[cfg(feature = "stream")]
pub mod stream;
