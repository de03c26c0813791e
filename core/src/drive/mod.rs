//! One bounded turn of a driver, written once for all runtimes.
//!
//! A runtime implements [`Io`] (what its sockets can do without waiting) and tells [`Drive::ready`]
//! what may have become possible; [`Drive::turn`] then lets machine and sockets talk until nothing
//! moves any more or the fuel is used up. No protocol is known here, and no policy: which bytes go
//! where is the machine's affair.
//!
//! ```text
//!  events ──▶ ready() ──▶ queue ──▶ pump: accept / connect / read / splice
//!                                      │ handle_input
//!                                      ▼
//!                         settle: outputs, then writes of dirty streams, sockets, TUN devices
//! ```
//!
//! Invariants
//! - Readiness is a hint: it is believed until an operation would block, and only then forgotten.
//! - What was read is offered to its other side before anything else is read, so that one hot
//!   buffer serves all.
//! - A turn ends after `fuel` operations; sockets come before timers, and each input gets a fresh
//!   `now`.
//!
//! | file | is |
//! | --- | --- |
//! | `turn` | what a driver remembers, and one turn; `turn/perform` does what a machine asks for, `turn/pump` moves the bytes of a stream |
//! | `io` | [`Io`]: what a runtime implements |
//! | `datagram`, `tun` | the same for datagrams and for packets |

mod datagram;
mod io;
mod tun;
mod turn;

pub use io::{Incoming, Io, Memory, Moved, Received, SpliceError, SpliceMoved, TransmitError, TryError};
pub use turn::{Drive, Turn};
