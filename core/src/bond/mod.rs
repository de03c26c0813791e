//! `bond`: one connection over many links, packet by packet.

#[allow(dead_code, unused_imports, reason = "the association that calls it is written next")]
mod inner;
