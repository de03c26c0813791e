//! `bond`: one connection over many links, packet by packet.
