//! The machines of ropewalk in virtual time: a simulator is another runtime.
//!
//! | module | is |
//! | --- | --- |
//! | `stream` | the stream world (feature `stream`, on by default): turmoil hosts around the machines that move streams |
//! | `link` | one direction of a link: rate, queue, loss, delay, jitter, changes |
//! | `tcp` | a model of the kernel's TCP on segments |
//! | `packet`, `scenario`, `report` | the packet world (feature `packet`, on by default): links and hosts around the bond, scenarios, figures |
//! | `lab` | the same links and scenarios in real time, between network namespaces (feature `lab`, Linux) |
//! | `fnv` | the hash of a trace |
//!
//! No protocol decision is taken here. A world gives a machine sockets, a clock and trouble, and
//! writes down what the machine said. The suite that every runtime must pass works on real sockets
//! in real time: it is a package of its own, `ropewalk-conformance`, in the folder `conformance`.

#![forbid(unsafe_code)]

#[cfg(any(feature = "stream", feature = "packet"))]
mod fnv;
#[cfg(all(feature = "lab", target_os = "linux"))]
pub mod lab;
pub mod link;
#[cfg(feature = "packet")]
pub mod packet;
#[cfg(feature = "packet")]
pub mod report;
#[cfg(feature = "packet")]
pub mod scenario;
#[cfg(feature = "stream")]
pub mod stream;
pub mod tcp;
