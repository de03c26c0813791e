//! What this host has to leave by: its interfaces, their addresses and default routes, and what the
//! command line makes of them.
//!
//! ```text
//!  rtnetlink ─┐                     ┌─▶ select   which interfaces `auto` takes, and why not the others
//!             ├─▶ links: Vec<Link> ─┼─▶ matching `wlan0@3` to an UplinkSpec, with warnings
//!  if-addrs ──┘                     ├─▶ monitor  passes changes to pool and workers
//!                                   └─▶ obstacles  settings that keep an uplink from working
//!  files of resolved, networkd, leases ─▶ name_servers  who is asked for names by a link
//!  rtnetlink ◀──▶ policy: rules and routes that services add and remove
//! ```
//!
//! | file | is |
//! | --- | --- |
//! | `uplink`, `upstream` | how an uplink, and one that is a proxy, is written |
//! | `netlink`, `rules` | a snapshot over rtnetlink; which tables a bound socket gets to |
//! | `portable` | the snapshot where there is no rtnetlink |
//! | `rtnetlink` | requests and dumps, and what the kernel answers |
//! | `prefix` | arithmetic on address prefixes |
//! | `port` | which process holds a TCP port |
//!
//! Invariants
//! - Only [`links::snapshot`], [`port::who_listens`], [`obstacles::NOW`] and `name_servers` look
//!   at the machine, and `policy` where a service asks it to; all else is a function of a snapshot,
//!   so that it can be asked again whenever the links have changed.
//! - What the system does not report is `None`, never a guess.

#[cfg(test)]
pub(crate) mod fixtures;
pub(crate) mod links;
pub(crate) mod matching;
pub(crate) mod monitor;
#[cfg(feature = "names")]
pub(crate) mod name_servers;
#[cfg(target_os = "linux")]
mod netlink;
pub(crate) mod obstacles;
#[cfg(target_os = "linux")]
pub(crate) mod policy;
pub(crate) mod port;
#[cfg(not(target_os = "linux"))]
mod portable;
pub(crate) mod prefix;
#[cfg(target_os = "linux")]
pub(crate) mod rtnetlink;
#[cfg(target_os = "linux")]
mod rules;
pub(crate) mod select;
pub(crate) mod uplink;
pub(crate) mod upstream;
