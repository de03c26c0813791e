//! `bond`: one connection over many links, packet by packet.

#[allow(dead_code, unused_imports, reason = "the association that calls it is written next")]
mod inner;
// Until the endpoints join the parts, most of them have no caller.
#[allow(dead_code, unused_imports)]
pub mod crypto;
#[allow(dead_code, unused_imports)]
pub(crate) mod session;
#[allow(dead_code, unused_imports)]
pub(crate) mod wire;
