//! The handshake: how a client and a server come to the keys of a session.
//!
//! ```text
//!   client (Initiator)                                     server (Responder)
//!      INIT   215 bytes, the same on each path and retry ──►  mac wrong: silence
//!                                                             source too busy: COOKIE, 57 bytes
//!      ◄── COOKIE: the next INIT carries mac2                  key unknown: silence
//!                                                             the same INIT again: the same RESPONSE
//!      ◄── RESPONSE  86 bytes                                  a pending slot is filled, nothing else
//!      first packet under the new keys ──────────────────►    now the new session lives
//!      ◄── first packet: the client knows that it does
//! ```
//!
//! | file | is |
//! | --- | --- |
//! | `message` | the three messages, their macs and payloads |
//! | `initiator` | the client: retries with jitter on all its paths |
//! | `responder` | the server: many clients, a pending slot for each |
//! | `guard` | how many handshakes a source may ask for |
//! | `cookie` | proofs that a client receives at its address |
//! | `laws`, `testing` | what the fuzzer calls; clients and servers for tests |
//!
//! A client's life is its *incarnation*, 8 random bytes. A handshake of the same incarnation is a
//! rekey: packet numbers and path state stay. Another incarnation, of either side, is a restart:
//! everything begins anew. Within an incarnation the *generation* counts handshakes up, so that an
//! old first message is known.
//!
//! Invariants: whoever does not know the server's public key gets no answer; an answer is shorter
//! than what asked for it; a cookie moves no address; a replayed message changes no live session;
//! all tables have a size.

pub(crate) mod cookie;
pub(crate) mod guard;
mod initiator;
pub(crate) mod message;
mod responder;

pub(crate) use initiator::{Initiator, InitiatorConfig};
pub(crate) use message::Token;
#[cfg(test)]
pub(crate) use message::{COOKIE_LEN, INIT_LEN, RESPONSE_LEN};
#[cfg(any(test, feature = "laws"))]
pub(crate) use responder::Strangers;
pub(crate) use responder::{Admission, ClientId, Counters, Kind, Reaction, Responder};
#[cfg(any(test, feature = "laws"))]
pub(crate) mod laws;
#[cfg(any(test, feature = "laws"))]
mod testing;
#[cfg(test)]
mod tests;
