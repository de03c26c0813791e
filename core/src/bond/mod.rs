//! `bond`: one connection over many links, packet by packet.

#[allow(dead_code, unused_imports, reason = "the association that calls it is written next")]
pub mod crypto;
#[allow(dead_code, unused_imports, reason = "the association that calls it is written next")]
pub(crate) mod handshake;
#[allow(dead_code, unused_imports, reason = "the association that calls it is written next")]
mod ingress;
#[allow(dead_code, unused_imports, reason = "the association that calls it is written next")]
mod inner;
#[cfg(feature = "laws")]
#[doc(hidden)]
pub mod laws;
#[allow(dead_code, unused_imports, reason = "the association that calls it is written next")]
mod order;
#[allow(dead_code, unused_imports, reason = "the association that calls it is written next")]
pub(crate) mod path;
#[allow(dead_code, reason = "the association that calls it is written next")]
pub(crate) mod rate;
#[allow(dead_code, unused_imports, reason = "the association that calls it is written next")]
mod schedule;
#[allow(dead_code, unused_imports, reason = "the association that calls it is written next")]
pub(crate) mod session;
#[allow(dead_code, unused_imports, reason = "the association that calls it is written next")]
pub(crate) mod wire;

pub use schedule::Strategy;
