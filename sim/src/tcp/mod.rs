//! A model of the Linux kernel's TCP on segments: real IPv4 and TCP headers, a payload of zeros, no
//! sockets. Sans-IO.
//!
//! ```text
//!                    ┌ scoreboard ┬ rack ┐
//!  packet ─ segment ─┤            │      ├ recovery ─ prr, cubic (hystart) ─ output ─▶ packet
//!                    └ rtt ───────┴ timer┘
//!                    └ receiver (window) ─────────────────────────────────▶ ACK
//! ```
//!
//! | file | is |
//! | --- | --- |
//! | `endpoint` | the machine: handshake, what comes in, what goes out |
//! | `sender`, `recovery`, `timer`, `output` | an ACK, the states and their undoing, the one timer, what is sent |
//! | `scoreboard`, `sack`, `rack` | what is in flight, what of it arrived, what of it is lost |
//! | `cubic`, `hystart`, `prr`, `rtt` | the window, the end of slow start, the window in a recovery, the round trips |
//! | `receiver`, `window` | what came and when it is acknowledged; the receive window |
//! | `segment` | headers as octets |
//! | `config`, `stats` | how an end behaves and what it has to send; what it counts |
//!
//! It is held to recordings of the kernel (`tests/kernel_tcp.rs`). Same calls, same packets: there
//! are only integers. What it leaves out: closing, urgent data, path MTU discovery, memory
//! pressure, the time that a CPU takes.

mod config;
mod cubic;
mod endpoint;
mod hystart;
mod output;
mod prr;
mod rack;
mod receiver;
mod recovery;
mod rtt;
mod sack;
mod scoreboard;
mod segment;
mod sender;
mod stats;
mod timer;
mod window;

#[cfg(test)]
mod tests;

pub use config::{Profile, Source, TcpConfig};
pub use endpoint::Tcp;
pub use stats::Stats;
