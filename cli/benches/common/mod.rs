//! What the benchmarks share: a client, a server, rivals as processes, rounds and tables.
//!
//! ```text
//!   client thread ──> proxy process ──> server thread        and, in the same round,
//!   client thread ────────────────────> server thread
//! ```
//!
//! Client and server are one thread each, in this process. For each workload and each round every
//! rival takes its turn, in an order that rotates; what counts is the median of the ratios to the
//! direct way of the same round, and the proxy's own processor time, which both carry over to other
//! machines as absolute rates do not. A round whose direct figure is off the median by more than a
//! quarter is listed apart. Before all figures comes the half-close check. Rates are payload,
//! counted where it is received.
//!
//! A benchmark says with the traits in `contest` what it compares, and by what.

pub(crate) mod arguments;
pub(crate) mod batch;
pub(crate) mod binaries;
pub(crate) mod check;
pub(crate) mod connections;
pub(crate) mod contest;
pub(crate) mod datagrams;
pub(crate) mod echo;
pub(crate) mod figures;
pub(crate) mod host;
pub(crate) mod idle;
pub(crate) mod link;
pub(crate) mod load;
pub(crate) mod median;
pub(crate) mod pattern;
pub(crate) mod proc;
pub(crate) mod process;
pub(crate) mod report;
pub(crate) mod rounds;
pub(crate) mod route;
pub(crate) mod server;
pub(crate) mod session;
pub(crate) mod stats;
