//! The target of a request: which host it names, which port, and what the origin is asked for.
//!
//! ```text
//!   CONNECT example.org:443                authority-form
//!   GET http://example.org:8080/a?b        absolute-form: scheme, authority, path and query
//! ```
//!
//! Sources: RFC 9112 section 3.2, RFC 9110 sections 4.2 and 9.3.6, RFC 3986 section 3.2.

use core::net::Ipv6Addr;

use super::Malformed;
use crate::name::{BadHost, Destination, Host};

/// The port of `http` (RFC 9110 section 4.2.1).
const DEFAULT_PORT: u16 = 80;

/// What is wrong, and where in the target.
type Bad = Malformed;

/// An absolute target.
pub(super) struct Absolute<'b> {
    pub(super) destination: Destination,
    /// As it was written, which is what `Host` is to say.
    pub(super) authority: &'b [u8],
    /// With the query; may be empty.
    pub(super) path: &'b [u8],
}

/// Reads the absolute-form.
pub(super) fn absolute(target: &[u8]) -> Result<Absolute<'_>, Bad> {
    // RFC 9112 section 3.2.2: requests to a proxy come in absolute-form. Origin-form would be for
    // us as a server, which we are not; to guess the origin from Host would let web pages reach
    // through us.
    let Some(colon) = target.windows(3).position(|three| three == b"://") else {
        return Err(bad("an absolute target such as http://host/path", target.first().copied(), 0));
    };
    let (scheme, rest) = (&target[..colon], &target[colon + 3..]);
    if !scheme.eq_ignore_ascii_case(b"http") {
        return Err(bad("an http target (https goes through CONNECT)", None, 0));
    }
    // RFC 9112 section 3.2.2: absolute-form is an absolute-URI, which has no fragment (RFC 3986
    // section 4.3).
    if let Some(at) = target.iter().position(|byte| *byte == b'#') {
        return Err(bad("a target without fragment", Some(b'#'), at));
    }
    let end = rest.iter().position(|byte| b"/?".contains(byte)).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (host, port) = parse_authority(authority).map_err(|bad| Bad { at: bad.at + colon + 3, ..bad })?;
    let destination = Destination { host, port: port.unwrap_or(DEFAULT_PORT) };
    Ok(Absolute { destination, authority: authority.strip_suffix(b":").unwrap_or(authority), path })
}

/// Reads the authority-form of CONNECT: host and port, neither may be missing.
pub(super) fn authority_form(target: &[u8]) -> Result<Destination, Bad> {
    let (host, port) = match without_brackets(target) {
        Some((host, at)) => (Host::Ip(host.into()), parse_port(&target[at..], at)?),
        None => parse_authority(target)?,
    };
    let port = port.ok_or_else(|| bad("a colon and a port after the host", None, target.len()))?;
    Ok(Destination { host, port })
}

/// An IPv6 address without brackets, as some clients write it, and where what follows it begins.
/// There must be a port, so the last colon is in front of it: an address that is one only with what
/// stands behind that colon has none.
fn without_brackets(target: &[u8]) -> Option<(Ipv6Addr, usize)> {
    let text = core::str::from_utf8(target).ok()?;
    let last = text.rfind(':')?;
    [last, text.len()].into_iter().find_map(|end| Some((text[..end].parse().ok()?, end)))
}

/// Host and port of an authority (RFC 3986 section 3.2); no port where there is none after the
/// colon, either.
fn parse_authority(text: &[u8]) -> Result<(Host, Option<u16>), Bad> {
    // RFC 9110 section 4.2.4: user information in an http target is an error; it mostly misleads
    // people.
    if let Some(at) = text.iter().position(|byte| *byte == b'@') {
        return Err(bad("an authority without user information", Some(b'@'), at));
    }
    // RFC 3986 section 3.2.2: IPv6 stands in brackets, so the first colon outside of them starts
    // the port.
    let place = |wanted: u8| text.iter().position(|byte| *byte == wanted);
    let in_brackets = text.starts_with(b"[").then(|| place(b']')).flatten();
    let host_len = match in_brackets {
        Some(bracket) => bracket + 1,
        None => place(b':').unwrap_or(text.len()),
    };
    let (host, port) = text.split_at(host_len);
    let parsed = Host::parse(host).map_err(|why| {
        let (expected, at) = match why {
            BadHost::Empty => ("a host", 0),
            BadHost::TooLong(_) => ("a host of at most 255 bytes", 255),
            BadHost::Byte { at, .. } => ("a host without this byte", at),
            BadHost::NotUtf8 { at } => ("a host in UTF-8", at),
            BadHost::Brackets => ("an IPv6 address in brackets", 0),
        };
        bad(expected, host.get(at).copied(), at)
    })?;
    Ok((parsed, parse_port(port, host_len)?))
}

/// A colon and a port, `at` bytes into the target; none where there is none after the colon,
/// either.
fn parse_port(port: &[u8], at: usize) -> Result<Option<u16>, Bad> {
    match port {
        [] | [b':'] => Ok(None),
        // `parse` alone would take a plus sign.
        [b':', digits @ ..] if digits.iter().all(u8::is_ascii_digit) => {
            let number = core::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
            number.map(Some).ok_or_else(|| bad("a port of at most 65535", None, at + 1))
        }
        [odd, ..] => Err(bad("a colon and a port after the host", Some(*odd), at)),
    }
}

fn bad(expected: &'static str, found: Option<u8>, at: usize) -> Bad {
    Malformed { expected, found: found.map(u32::from), at }
}
