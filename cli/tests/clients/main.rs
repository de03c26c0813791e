//! Real clients against the built binary, over loopback: what a user would try first.
//!
//! | file | is |
//! | --- | --- |
//! | `web` | a small HTTP server that reports what it saw |
//! | `curl` | curl, run |
//! | `protocols` | tests: curl by each protocol, with and without authentication |
//! | `forwarding` | tests: curl's requests in absolute form |
//! | `plain` | tests: plain HTTP as browsers and origins speak it, well or badly |
//! | `programs` | tests: proxychains, nc, git, Python |
//! | `browsers` | tests: aiohttp, Node, Chromium: pages with faults, WebSocket |
#![cfg(unix)]

mod browsers;
#[path = "../common/mod.rs"]
mod common;
mod curl;
mod forwarding;
mod plain;
mod programs;
mod protocols;
mod web;
