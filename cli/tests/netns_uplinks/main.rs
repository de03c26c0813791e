//! Uplinks of the built binary in network namespaces that each test makes for itself: `ropewalk`
//! runs as a user without any privilege in a client's namespace with several links, and the far
//! side shows by which link each connection came.
//!
//! Making namespaces needs root: without it each test says `SKIP` and its name.
//!
//! | file | is |
//! | --- | --- |
//! | `world` | the client, its uplinks, the far side, and a server there |
//! | `capture` | what tcpdump sees on a device |
//! | `caps` | tests: metered uplinks |
//! | `clients` | tests: programs that people use, with two uplinks |
//! | `policies` | tests: `--policy` |
//! | `rates` | tests: `--rate` |
//! | `shared` | tests: two uplinks in one network |
//! | `weights` | tests: the shares, by whatever the uplinks are written |
//! | `endure` | tests: thousands of connections for minutes, by a `crowd` of clients |
//! | `hung` | where the bytes of a tunnel stand that does not move |
//! | `faults` | tests: uplinks that do not work, destinations that do not |
//! | `sources` | tests: the addresses connections leave with |
//! | `changes` | tests: uplinks that go and come |
//! | `datagrams` | tests: UDP associations |
//! | `doctor` | tests: `ropewalk doctor dispatch` |
//! | `guests` | tests: clients from beyond the host |
//! | `names` | tests: names through the uplink that carries their connection |
//! | `translated` | tests: uplinks without IPv4 |
//! | `probes` | tests: probes and backups |
//! | `proxies` | tests: uplinks that are proxies |
//! | `records` | tests: recorded runs, and their replays |
//! | `ports` | tests: many connections from few ports |
#![cfg(target_os = "linux")]

mod caps;
mod capture;
mod changes;
mod clients;
#[path = "../common/mod.rs"]
mod common;
mod crowd;
mod datagrams;
mod doctor;
mod endure;
mod faults;
mod guests;
mod hung;
#[cfg(feature = "names")]
mod names;
mod policies;
mod ports;
mod probes;
mod proxies;
mod rates;
#[cfg(all(feature = "record", feature = "sim"))]
mod records;
mod shared;
mod sources;
#[cfg(feature = "names")]
mod translated;
mod weights;
mod world;
