//! `ropewalk unwrap` itself: the built binary in network namespaces that each test makes for
//! itself.
//!
//! Making namespaces needs root: without it each test says `SKIP` and its name.
//!
//! | file | is |
//! | --- | --- |
//! | `host` | a host with a server to be found, and the balancer in front of it |
//! | `header` | tests: the header comes whole or in pieces, and the server sees its client |
//! | `hostile` | tests: malformed input, and peers that may not send headers |
//! | `nobody` | tests: headers that name no client |
//! | `endings` | tests: how all of it ends; many at once |
//! | `ports` | tests: clients whose own port is not available |
//! | `datagram` | a UDP balancer and a UDP server |
//! | `udp` | tests: each datagram reaches the server as its client's, and the answers reach the balancer |
//! | `flows` | tests: how UDP flows begin, how many there may be, how they end |
//! | `targets` | tests: where connections go |
//! | `start` | tests: what it refuses to start with |
//! | `privileges` | tests: what it may still do once it serves |
//! | `limits` | tests: connections, descriptors, one unwrap for each address |
//! | `container` | tests: servers in a container, and known by name |
//! | `records` | tests: a recording, replayed
//! | `programs` | real programs, run |
//! | `senders` | tests: HAProxy, nginx, curl in front; nginx and sshd behind |
#![cfg(target_os = "linux")]

#[path = "../common/mod.rs"]
mod common;
mod container;
mod datagram;
mod endings;
mod flows;
mod header;
mod host;
mod hostile;
mod limits;
mod nobody;
mod ports;
mod privileges;
mod programs;
#[cfg(all(feature = "record", feature = "sim"))]
mod records;
mod senders;
mod start;
mod targets;
mod udp;
