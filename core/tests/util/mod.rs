//! An in-memory world around the machine: clients, targets, uplinks and names in virtual time.
//!
//! ```text
//!   person (client) ── sock ── World: drive::Io ── Drive ── Watched(Dispatch)
//!   person (target) ── sock ──┘        ▲
//!                                      └ one queue of events, one clock, one seed
//! ```
//!
//! - [`person`]: what a client or a target does, step by step; `acts` does it.
//! - [`place`]: targets, uplinks, names.
//! - [`sock`]: one TCP connection between a person and the proxy.
//! - [`world`]: the sockets, uplinks, names and the pool; it reports readiness as strictly as an
//!   edge-triggered queue does: an edge when something arrives, and when there is room again after
//!   a blocked write. No other.
//! - [`watched`]: the machine, with the contract checked at each call.
//! - [`lab`]: all of it, and the loop that steps it; around unwrap's machine by `unwrapped`.
//! - [`manual`]: unwrap's machine without a world, driven call by call.
//! - [`heard`]: what drivers were told, in few words.
//! - [`asking`]: SOCKS5 clients in a few words.
//! - [`bare`]: dispatch's machine and one client, without a world.
//! - [`incident`]: dispatch's machine, recorded as a live process records it, and replayed.
//! - [`desk`]: dispatch's machine and its pool, for UDP associations.
//! - `servers`: name servers of uplinks.
//! - [`say`]: bytes of the protocols.

// Each test file uses a part of it.
#![allow(dead_code, unused_imports)]

mod acts;
pub(crate) mod asking;
pub(crate) mod bare;
#[cfg(feature = "unwrap")]
pub(crate) mod desk;
pub(crate) mod heard;
pub(crate) mod http;
#[cfg(feature = "unwrap")]
pub(crate) mod incident;
pub(crate) mod lab;
#[cfg(feature = "unwrap")]
pub(crate) mod manual;
pub(crate) mod person;
pub(crate) mod place;
pub(crate) mod rng;
pub(crate) mod say;
#[cfg(feature = "names")]
pub(crate) mod servers;
pub(crate) mod sock;
#[cfg(feature = "unwrap")]
mod unwrapped;
pub(crate) mod watched;
pub(crate) mod world;

pub(crate) use lab::{Lab, Setup};
pub(crate) use person::{Act, End, Person, Reading};
pub(crate) use place::{Answer, Behave, Link, SpliceMode, Target};

use proptest::test_runner::{Config as ProptestConfig, FileFailurePersistence};
use ropewalk_core::time::Duration;
use std::net::SocketAddr;

/// Cases of a property; PROPTEST_CASES overrides the number for a long night. Failed cases are
/// kept.
pub(crate) fn cases(usual: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
    let persistence = FileFailurePersistence::WithSource("regressions");
    let cases = asked.unwrap_or(usual);
    ProptestConfig { failure_persistence: Some(Box::new(persistence)), ..ProptestConfig::with_cases(cases) }
}

/// Milliseconds.
pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Seconds.
pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// An address in text.
pub(crate) fn addr(text: &str) -> SocketAddr {
    text.parse().expect("the test wrote an address")
}

/// `len` bytes that show their position, so that a loss, a double or a swap is seen.
pub(crate) fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(31) ^ (i >> 8) ^ (i >> 16)) as u8 ^ seed).collect()
}

/// Fails with a short message where two long byte strings differ.
#[track_caller]
pub(crate) fn same_bytes(got: &[u8], wanted: &[u8], what: &str) {
    if got == wanted {
        return;
    }
    let at = got.iter().zip(wanted).take_while(|(a, b)| a == b).count();
    panic!(
        "{what}: got {} bytes, wanted {}, the first difference is at {at}: got {:?}, wanted {:?}",
        got.len(),
        wanted.len(),
        got[at..].iter().take(40).copied().collect::<Vec<u8>>().escape_ascii().to_string(),
        wanted[at..].iter().take(40).copied().collect::<Vec<u8>>().escape_ascii().to_string(),
    );
}
