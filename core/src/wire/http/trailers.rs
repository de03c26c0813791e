//! Fields behind the last chunk: which of them go on.
//!
//! A recipient may merge them into the head. So what frames, routes or authenticates is dropped, as
//! it would be in the head, and so is what `Connection` named there.
//!
//! Source: RFC 9110 section 6.5.

use super::{Named, fields};

/// Never allowed behind a body (RFC 9110 section 6.5.1), in addition to the hop-by-hop fields.
const REFUSED: [&str; 23] = [
    // They frame.
    "Content-Length",
    "Transfer-Encoding",
    "Trailer",
    // They route.
    "Host",
    "Max-Forwards",
    "Via",
    "Forwarded",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Real-IP",
    // They authenticate.
    "Authorization",
    "WWW-Authenticate",
    "Authentication-Info",
    "Cookie",
    "Set-Cookie",
    // They say how the body is to be read, which is read already.
    "Content-Encoding",
    "Content-Type",
    "Content-Range",
    // They ask something before it comes.
    "Expect",
    "Range",
    "Cache-Control",
    "Location",
];

/// Whether the trailer `name` goes on; `named` is what `Connection` listed in the head.
pub(super) fn may_pass(name: &[u8], named: &Named) -> bool {
    let Ok(name) = core::str::from_utf8(name) else { return false };
    !fields::is_hop_by_hop(name)
        && !REFUSED.iter().any(|refused| refused.eq_ignore_ascii_case(name))
        && !named.has(name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_passes_and_what_frames_routes_or_authenticates_does_not() {
        let named = Named::from(&b"close, x-hop"[..]);
        for name in ["Digest", "X-Checksum", "Server-Timing", "Content-MD5", "ETag"] {
            assert!(may_pass(name.as_bytes(), &named), "{name}");
        }
        for name in REFUSED.into_iter().chain([
            "content-LENGTH",
            "Proxy-Authorization",
            "proxy-authenticate",
            "Connection",
            "TE",
            "upgrade",
            "Keep-Alive",
            "X-Hop",
            "CLOSE",
        ]) {
            assert!(!may_pass(name.as_bytes(), &named), "{name}");
        }
    }
}
