//! `Upgrade`: a request that offers another protocol, and the 101 that takes it up (WebSocket, RFC
//! 6455). `h2c` is kept back: what follows a change to it is HTTP/2, whose requests this proxy does
//! not read.
//!
//! Source: RFC 9110 section 7.8.

use alloc::vec::Vec;

use httparse::Header;

use super::body::is_token;
use super::fields;

/// The protocols a request offers and that may go on, as a list; empty where there are none.
pub(super) fn offered(fields: &[Header<'_>]) -> Vec<u8> {
    // A sender of Upgrade names it in Connection, too.
    if !fields::has_element(fields, "Connection", "upgrade") {
        return Vec::new();
    }
    let offered: Vec<&[u8]> = fields::elements(fields, "Upgrade").filter(|name| may_go_on(name)).collect();
    offered.join(&b", "[..])
}

/// The protocols that a 101 changes to, as a list; `None` where it names one that was not offered,
/// or none at all.
pub(super) fn taken_up(fields: &[Header<'_>], offered: &[u8]) -> Option<Vec<u8>> {
    let taken: Vec<&[u8]> = fields::elements(fields, "Upgrade").collect();
    let known = |name: &&[u8]| fields::split(offered).any(|offer| offer.eq_ignore_ascii_case(name));
    (!taken.is_empty() && !offered.is_empty() && taken.iter().all(known)).then(|| taken.join(&b", "[..]))
}

/// A protocol's name, with or without a version, that is not another HTTP.
fn may_go_on(protocol: &[u8]) -> bool {
    let mut parts = protocol.split(|byte| *byte == b'/');
    let well_formed =
        parts.by_ref().take(2).all(|part| !part.is_empty() && part.iter().all(|b| is_token(*b)))
            && parts.next().is_none();
    let name = protocol.split(|byte| *byte == b'/').next().unwrap_or_default();
    let http = [&b"h2c"[..], b"h2", b"h3", b"http"].iter().any(|http| name.eq_ignore_ascii_case(http));
    well_formed && !http
}
