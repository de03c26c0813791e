//! The client's real address, given back to the server: what is behind a PROXY protocol header is passed on from
//! the address in it.
//!
//! | module | is |
//! | --- | --- |
//! | [`header`] | headers as senders write them |

pub mod header;
