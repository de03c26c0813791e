//! The real thing in network namespaces: applied, stopped after each change, put back, compared.
//!
//! | file | is |
//! | --- | --- |
//! | `lab` | a namespace that has been lived in, and all that a bond could change there |
//! | `stopping` | a world that dies after so many changes |
//! | `undone` | tests: whatever is killed, and whenever, all comes back |
//! | `leaks` | tests: nothing passes the kill switch |
//! | `gateway` | tests: what clients of a server reach through it |
//!
//! They need root; without it each says `SKIP` and its name.

mod gateway;
mod lab;
mod leaks;
#[path = "../../../../tests/common/ns.rs"]
#[allow(dead_code, reason = "the tests of the binary need more of it")]
mod ns;
mod stopping;
mod undone;

pub(in crate::bond) use ns::Ns;
