//! Header fields, of requests and responses alike: reading a head with httparse, where a message ends, and
//! which fields go no further than the next hop.
//!
//! ```text
//!   a head --> complete --> framing: None | Length | Chunked | refused
//!                       \-> emit_end_to_end: the fields that go on, Content-Length in one line
//! ```
//!
//! Sources: RFC 9110 sections 7.6.1 and 8.6, RFC 9112 sections 5 and 6.

use alloc::vec::Vec;

use httparse::Header;

use super::{Framing, MAX_FIELDS, MAX_HEAD, Malformed, PSEUDONYM};

/// Room for the fields of a head.
pub(super) type Room<'b> = [Header<'b>; MAX_FIELDS];

/// Fields for the next hop only, beside those that `Connection` names (RFC 9110 section 7.6.1).
const HOP_BY_HOP: [&str; 8] = [
    "Connection",
    "Proxy-Connection",
    "Keep-Alive",
    "TE",
    "Upgrade",
    // RFC 9110 section 11.7: meant for this proxy, or said by it.
    "Proxy-Authorization",
    "Proxy-Authenticate",
    "Proxy-Authentication-Info",
];

/// Fields that `Connection` cannot name away: without them the next reader would see other messages than we
/// do.
const KEPT: [&str; 3] = ["Host", "Content-Length", "Transfer-Encoding"];

/// Why a head is not one.
pub(super) enum BadHead {
    /// Too many bytes or too many fields.
    TooLarge(Malformed),
    /// A version of HTTP that is not spoken here.
    Version(Malformed),
    /// Anything else.
    Syntax(Malformed),
}

/// The bytes that may be a head. Looking at no more than this makes the answer the same however the bytes
/// come in.
pub(super) fn window(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(MAX_HEAD)]
}

/// How long the head is that httparse made of `window`, `None` if more bytes are needed. `parse` is httparse
/// again, asked only to find the byte that is wrong.
pub(super) fn complete(
    window: &[u8],
    parsed: httparse::Result<usize>,
    parse: impl Fn(&[u8]) -> httparse::Result<usize>,
) -> Result<Option<usize>, BadHead> {
    let error = match parsed {
        Ok(httparse::Status::Complete(used)) => return Ok(Some(used)),
        Ok(httparse::Status::Partial) if window.len() < MAX_HEAD => return Ok(None),
        Ok(httparse::Status::Partial) => {
            let expected = "a head of at most 16384 bytes";
            return Err(BadHead::TooLarge(Malformed { expected, found: None, at: MAX_HEAD }));
        }
        Err(error) => error,
    };
    // httparse does not say where. A prefix without the wrong byte is merely unfinished, so halving finds it.
    let (mut unfinished, mut wrong) = (0, window.len());
    while wrong - unfinished > 1 {
        let middle = usize::midpoint(unfinished, wrong);
        match parse(&window[..middle]) {
            Err(_) => wrong = middle,
            Ok(_) => unfinished = middle,
        }
    }
    let at = wrong.saturating_sub(1);
    let malformed = |expected| Malformed { expected, found: window.get(at).copied().map(u32::from), at };
    Err(match error {
        httparse::Error::TooManyHeaders => BadHead::TooLarge(malformed("at most 64 header fields")),
        httparse::Error::HeaderName => BadHead::Syntax(malformed("a header field name and a colon")),
        httparse::Error::HeaderValue => BadHead::Syntax(malformed("a header field value without controls")),
        httparse::Error::NewLine => BadHead::Syntax(malformed("a line feed after a carriage return")),
        httparse::Error::Status => BadHead::Syntax(malformed("a status of three digits and a reason")),
        httparse::Error::Token => {
            BadHead::Syntax(malformed("a method, a target and HTTP/1.1, one space apart"))
        }
        httparse::Error::Version => {
            let word = window[..at].iter().rposition(|b| b" \r\n".contains(b)).map_or(0, |space| space + 1);
            match window[word..].starts_with(b"HTTP/") {
                true => BadHead::Version(malformed("HTTP/1.1 or HTTP/1.0")),
                // A space in the target, most often.
                false => BadHead::Syntax(malformed("a method, a target and HTTP/1.1, one space apart")),
            }
        }
    })
}

/// Where `part` of `whole` starts.
pub(super) fn offset(whole: &[u8], part: &[u8]) -> usize {
    // An empty part may lie anywhere.
    let at = part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr());
    if at <= whole.len() { at } else { 0 }
}

/// The values of all fields called `name`.
pub(super) fn values<'f, 'b>(fields: &'f [Header<'b>], name: &'f str) -> impl Iterator<Item = &'b [u8]> + 'f {
    fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
}

/// The elements of all comma-separated fields called `name` (RFC 9110 section 5.6.1).
fn elements<'f, 'b: 'f>(fields: &'f [Header<'b>], name: &'f str) -> impl Iterator<Item = &'b [u8]> + 'f {
    values(fields, name).flat_map(|value| value.split(|b| *b == b',')).map(<[u8]>::trim_ascii)
}

/// Whether the list called `name` has this element.
pub(super) fn has_element(fields: &[Header<'_>], name: &str, wanted: &str) -> bool {
    elements(fields, name).any(|element| element.eq_ignore_ascii_case(wanted.as_bytes()))
}

/// Why a message has no one end.
pub(super) enum BadFraming {
    /// It has two readings or none.
    Ambiguous(Malformed),
    /// A transfer coding that is not spoken here.
    Coding(Malformed),
}

/// Where the fields say that a message ends; `Framing::None` where they say nothing.
pub(super) fn framing(whole: &[u8], fields: &[Header<'_>], version_10: bool) -> Result<Framing, BadFraming> {
    let malformed = |expected, part| Malformed { expected, found: None, at: offset(whole, part) };
    let mut length: Option<u64> = None;
    for element in elements(fields, "Content-Length") {
        // RFC 9112 section 6.3: a list is let through only if all of its elements are valid and the same.
        let expected = "a Content-Length of digits only, below 2^64";
        let odd = element.iter().find(|b| !b.is_ascii_digit()).copied().map(u32::from);
        let value = match odd {
            // `parse` alone would take a plus sign.
            None => core::str::from_utf8(element).ok().and_then(|digits| digits.parse::<u64>().ok()),
            Some(_) => None,
        };
        let Some(value) = value else {
            return Err(BadFraming::Ambiguous(Malformed { found: odd, ..malformed(expected, element) }));
        };
        if length.is_some_and(|other| other != value) {
            return Err(BadFraming::Ambiguous(malformed("one Content-Length", element)));
        }
        length = Some(value);
    }
    let mut codings = values(fields, "Transfer-Encoding");
    let Some(coding) = codings.next() else {
        return Ok(length.map_or(Framing::None, Framing::Length));
    };
    // RFC 9112 section 6.3: both together ought to be handled as an error, for they smuggle requests.
    if length.is_some() {
        return Err(BadFraming::Ambiguous(malformed(
            "Content-Length or Transfer-Encoding, not both",
            coding,
        )));
    }
    // RFC 9112 section 6.1: in HTTP/1.0 the framing is then to be taken as faulty.
    if version_10 {
        return Err(BadFraming::Ambiguous(malformed("no Transfer-Encoding in HTTP/1.0", coding)));
    }
    // RFC 9112 section 6.1: 501 for a coding that is not understood. "chunked" twice is none, either.
    let another = codings.next();
    if !coding.eq_ignore_ascii_case(b"chunked") || another.is_some() {
        let part = another.unwrap_or(coding);
        return Err(BadFraming::Coding(malformed("the transfer coding chunked and no other", part)));
    }
    Ok(Framing::Chunked)
}

/// Appends one field.
pub(super) fn emit_field(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends the fields that go on to the next hop and `wanted` lets through, and `Via` after them.
pub(super) fn emit_end_to_end(
    fields: &[Header<'_>],
    version_10: bool,
    wanted: impl Fn(&str) -> bool,
    out: &mut Vec<u8>,
) {
    let mut length_seen = false;
    for field in fields {
        let is = |name: &&str| field.name.eq_ignore_ascii_case(name);
        // RFC 9110 section 7.6.1: remove what Connection names, and Connection itself.
        let kept = KEPT.iter().any(is);
        let hop = HOP_BY_HOP.iter().any(is) || (!kept && has_element(fields, "Connection", field.name));
        if hop || !wanted(field.name) {
            continue;
        }
        if is(&"Content-Length") {
            // RFC 9112 section 6.3: several that agree leave as one.
            if core::mem::replace(&mut length_seen, true) {
                continue;
            }
            let first = field.value.split(|b| *b == b',').next().unwrap_or_default();
            emit_field(field.name, first.trim_ascii(), out);
        } else {
            emit_field(field.name, field.value, out);
        }
    }
    // RFC 9110 section 7.6.3: each proxy adds the version it received and its name, after those before it.
    let via = if version_10 { alloc::format!("1.0 {PSEUDONYM}") } else { alloc::format!("1.1 {PSEUDONYM}") };
    emit_field("Via", via.as_bytes(), out);
}
