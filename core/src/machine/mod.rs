//! The contract all machines share: what a driver may report to a machine, and what a machine may
//! ask of a driver.
//!
//! ```text
//!              handle_input, handle_timeout
//!   driver  ─────────────────────────────────▶  machine
//!  sockets, ◀─────────────────────────────────  decisions,
//!   clock      poll_output, poll_timeout,        protocol
//!              poll_dirty, read_buf, write_buf, splice
//! ```
//!
//! Invariants
//! - After any input the driver drains [`Machine::poll_output`] before it waits.
//! - `now` is an argument and never goes back.
//! - The machine hands out ids; they carry a generation, so that a late completion misses.
//! - Commands ([`Output`]) are said once. Byte movement is level-triggered: as long as `read_buf`
//!   is not empty the machine wants bytes, as long as `write_buf` is not empty it has some to give.
//! - Only constructors return errors. What a peer does wrong becomes outputs.
//!
//! The manual, with a toy machine and two toy drivers, is [`crate::docs::contract`].
//!
//! | file | is |
//! | --- | --- |
//! | `input`, `output` | what a driver says, what a machine asks for |
//! | `stream`, `datagram`, `tun` | the half of the contract that moves bytes, datagrams, packets |
//! | `ids` | what streams, sockets, queries and uplinks are named by |
//! | `pool` | what a machine and the uplink pool say to each other |
//! | `via` | how traffic leaves this host |
//! | `fault` | why a socket operation failed |
//! | `event` | what a person may want to see; `bond_news` those of a bond |
//! | `mention` | which ids an input or output names, for whoever checks the contract |
//! | `layer` | a machine around another: a recorder, an auditor |

mod bond_news;
mod datagram;
pub mod event;
mod fault;
mod ids;
mod input;
mod layer;
mod mention;
mod output;
mod pool;
mod stream;
mod tun;
mod via;

pub use datagram::{DatagramMachine, MAX_SEGMENTS, Rx, Transmit};
pub use event::Event;
pub use fault::Fault;
pub use ids::{ConnId, ListenerId, QueryId, SocketId, StreamId, TunId, UplinkId};
pub use input::{Input, Kept};
pub use layer::Layer;
pub use mention::{Id, Mention};
pub use output::{Close, Output};
pub use pool::{Assign, Assignment, HostKey, Report, UplinkSet};
pub use stream::{Splice, StreamMachine};
pub use tun::{Offload, TunConfiguration, TunMachine};
pub use via::{Device, LocalPath, Target, Via};

use crate::time::Instant;

/// What every machine does.
pub trait Machine {
    /// Takes in what happened. Infallible: what a peer did wrong becomes outputs.
    fn handle_input(&mut self, now: Instant, input: Input<'_>);

    /// Takes in that time has passed; called when [`Machine::poll_timeout`] is not after `now`.
    fn handle_timeout(&mut self, now: Instant);

    /// The next command, oldest first.
    fn poll_output(&mut self) -> Option<Output>;

    /// When [`Machine::handle_timeout`] wants to be called next. It may be early; it is never late.
    fn poll_timeout(&self) -> Option<Instant>;

    /// Whether a recording must not hold what [`Input::Entropy`] gave: keys come from it. A machine
    /// that says no makes numbers of it that others see anyway, and replays with them.
    fn entropy_is_secret(&self) -> bool {
        true
    }
}

/// What a driver drives: a machine of streams, datagrams and packets of TUN devices.
pub trait Application: StreamMachine + DatagramMachine + TunMachine {}

impl<M: StreamMachine + DatagramMachine + TunMachine> Application for M {}
