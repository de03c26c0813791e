//! The bond of the built binary in network namespaces that each test makes for itself: a client
//! with two links, a server, and what a person sees of both.
//!
//! Making namespaces needs root: without it each test says `SKIP` and its name.
//!
//! | file | is |
//! | --- | --- |
//! | `world` | the two hosts and their links |
//! | `capture` | what comes out of a link |
//! | `download` | a download that has no end |
//! | `light` | clients that are machines alone, many in one thread |
//! | `carry` | tests: what goes through, and by which link |
//! | `enrol` | tests: who comes in, who does not, and what is said of it |
//! | `names` | tests: the server's name, which comes late and moves |
//! | `change` | tests: links and modes that change while it runs |
//! | `uplinks` | tests: links that are pulled, come back and get another address under load |
//! | `crowd` | tests: many clients of one server, and what each reaches |
//! | `hostile` | tests: strangers, and whole sessions sent again |
//! | `endure` | tests: a long time of flapping links, and a long time of nothing |
//! | `privileges` | tests: what both ends may still do once they run |
//! | `host` | tests: what is changed on both hosts, what goes through then, and what is left |
//! | `killed` | tests: whatever is killed, and whenever, all comes back |
//! | `meddled` | tests: other programs that change device and filters, and a signal while it starts |
//! | `leaks` | tests: nothing passes the kill switch |
#![cfg(target_os = "linux")]

mod capture;
mod carry;
mod change;
#[path = "../common/mod.rs"]
mod common;
mod crowd;
mod download;
mod endure;
mod enrol;
mod host;
mod hostile;
mod killed;
mod leaks;
mod light;
mod meddled;
mod names;
mod privileges;
mod uplinks;
mod world;
