//! What connections of one machine ask each other for: names that are looked up by the machine
//! itself, in a connection of its own.
//!
//! ```text
//!  connection ─▶ `query` ─▶ its client's turn ─┬─▶ `Resolve`, the driver, `Resolved` ─▶ connection
//!                                              └─▶ [`Mail::Ask`] ─▶ the machine ─▶ [`Mail::Answer`] ─▶ connection
//! ```

use crate::machine::{Fault, QueryId, UplinkId};
use crate::name::Name;
use alloc::vec::Vec;
use core::net::IpAddr;

/// A name, and who is to look it up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Wanted {
    pub(crate) name: Name,
    /// Through this uplink; `None`: by the system.
    pub(crate) by: Option<UplinkId>,
}

/// One letter. They are read in their order.
#[derive(Debug)]
#[cfg_attr(not(feature = "names"), expect(dead_code, reason = "only names are asked for so"))]
pub(crate) enum Mail {
    /// Look this up.
    Ask { query: QueryId, name: Name, uplink: UplinkId },
    /// Nobody waits for this any more.
    Cancel { query: QueryId },
    /// Addresses, at least one, or why there are none.
    Answer { query: QueryId, answer: Result<Vec<IpAddr>, Fault> },
}
