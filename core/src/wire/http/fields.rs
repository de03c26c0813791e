//! Header fields, of requests and responses alike: where a message ends, and which fields go no
//! further than the next hop.
//!
//! ```text
//!   fields --> request_framing, response_framing: None | Length | Chunked | refused
//!          \-> emit_end_to_end: the fields that go on, those that frame as they were understood
//! ```
//!
//! Sources: RFC 9110 sections 7.6.1 and 8.6, RFC 9112 sections 5 and 6.

use alloc::vec;
use alloc::vec::Vec;

use httparse::{EMPTY_HEADER, Header};

use super::{Excess, Framing, HeadLimits, HttpError, Malformed, Named, PSEUDONYM};

/// Fields for the next hop only, in addition to those that `Connection` names (RFC 9110 section
/// 7.6.1).
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

/// Fields that `Connection` cannot name away: without them the next reader would see other messages
/// than we do.
const KEPT: [&str; 3] = ["Host", "Content-Length", "Transfer-Encoding"];

/// The bytes that may be a head. Looking at no more than this makes the answer the same however the
/// bytes come in.
pub(super) fn window(bytes: &[u8], limits: HeadLimits) -> &[u8] {
    &bytes[..bytes.len().min(limits.bytes)]
}

/// Room for the fields in `bytes`: one for each line and for the one that goes on, no more than
/// allowed.
pub(super) fn room(bytes: &[u8], limits: HeadLimits) -> Vec<Header<'_>> {
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
    vec![EMPTY_HEADER; (lines + 1).min(limits.fields)]
}

/// What a head that is not complete is.
pub(super) fn unfinished(window: &[u8], limits: HeadLimits) -> HttpError {
    match window.len() < limits.bytes {
        true => HttpError::Incomplete,
        false => HttpError::TooLarge(Excess::Bytes(limits.bytes)),
    }
}

/// Reads the fields strictly into `room`: how many bytes they took, the empty line included, and
/// how many there are. `bytes` begin `before` bytes into the head, which is where faults are
/// counted from.
pub(super) fn parse<'b>(
    bytes: &'b [u8],
    before: usize,
    room: &mut [Header<'b>],
    limits: HeadLimits,
) -> Result<Option<(usize, usize)>, HttpError> {
    let error = match httparse::parse_headers(bytes, room) {
        Ok(httparse::Status::Complete((used, fields))) => return Ok(Some((used, fields.len()))),
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => error,
    };
    let expected = match error {
        httparse::Error::TooManyHeaders => return Err(HttpError::TooLarge(Excess::Fields(limits.fields))),
        httparse::Error::HeaderValue => "a header field value without controls",
        httparse::Error::NewLine => "a line feed after a carriage return",
        _ => "a header field name and a colon",
    };
    // httparse does not say where. A prefix without the wrong byte is merely unfinished, so halving
    // finds it.
    let (mut unfinished, mut wrong) = (0, bytes.len());
    while wrong - unfinished > 1 {
        let middle = usize::midpoint(unfinished, wrong);
        match httparse::parse_headers(&bytes[..middle], &mut vec![EMPTY_HEADER; room.len()]) {
            Err(_) => wrong = middle,
            Ok(_) => unfinished = middle,
        }
    }
    let at = wrong.saturating_sub(1);
    let found = bytes.get(at).copied().map(u32::from);
    Err(HttpError::refused(400, Malformed { expected, found, at: before + at }))
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

/// The elements of a comma-separated list (RFC 9110 section 5.6.1).
pub(super) fn split(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|b| *b == b',').map(<[u8]>::trim_ascii)
}

/// The elements of all comma-separated fields called `name`.
pub(super) fn elements<'f, 'b: 'f>(
    fields: &'f [Header<'b>],
    name: &'f str,
) -> impl Iterator<Item = &'b [u8]> + 'f {
    values(fields, name).flat_map(split)
}

/// Whether the list called `name` has this element.
pub(super) fn has_element(fields: &[Header<'_>], name: &str, wanted: &str) -> bool {
    elements(fields, name).any(|element| element.eq_ignore_ascii_case(wanted.as_bytes()))
}

/// Whether a field goes no further than the next hop.
pub(super) fn is_hop_by_hop(name: &str) -> bool {
    HOP_BY_HOP.iter().any(|hop| hop.eq_ignore_ascii_case(name))
}

/// The one length that these elements of `Content-Length` agree on.
fn length<'b>(whole: &[u8], elements: impl Iterator<Item = &'b [u8]>) -> Result<Option<u64>, Malformed> {
    let mut length: Option<u64> = None;
    for element in elements {
        // RFC 9112 section 6.3: a list is let through only if all of its elements are valid and the
        // same.
        let at = offset(whole, element);
        let odd = element.iter().position(|b| !b.is_ascii_digit());
        let value = match odd {
            // `parse` alone would take a plus sign.
            None => core::str::from_utf8(element).ok().and_then(|digits| digits.parse::<u64>().ok()),
            Some(_) => None,
        };
        let Some(value) = value else {
            let expected = "a Content-Length of digits only, below 2^64";
            let found = odd.map(|odd| element[odd].into());
            return Err(Malformed { expected, found, at: at + odd.unwrap_or(0) });
        };
        if length.is_some_and(|other| other != value) {
            return Err(Malformed { expected: "one Content-Length", found: None, at });
        }
        length = Some(value);
    }
    Ok(length)
}

/// Where a request ends, strictly; `Framing::None` where its fields say nothing.
pub(super) fn request_framing(
    whole: &[u8],
    fields: &[Header<'_>],
    version_10: bool,
) -> Result<Framing, HttpError> {
    let length =
        length(whole, elements(fields, "Content-Length")).map_err(|why| HttpError::refused(400, why))?;
    let mut codings = values(fields, "Transfer-Encoding");
    let Some(coding) = codings.next() else {
        return Ok(length.map_or(Framing::None, Framing::Length));
    };
    let refused = |status, expected, part| {
        HttpError::refused(status, Malformed { expected, found: None, at: offset(whole, part) })
    };
    // RFC 9112 section 6.3: both together ought to be handled as an error, for they smuggle
    // requests.
    if length.is_some() {
        return Err(refused(400, "Content-Length or Transfer-Encoding, not both", coding));
    }
    // RFC 9112 section 6.1: in HTTP/1.0 the framing is then to be taken as faulty.
    if version_10 {
        return Err(refused(400, "no Transfer-Encoding in HTTP/1.0", coding));
    }
    // RFC 9112 section 6.1: 501 for a coding that is not understood. "chunked" twice is none,
    // either.
    let another = codings.next();
    if !coding.eq_ignore_ascii_case(b"chunked") || another.is_some() {
        let part = another.unwrap_or(coding);
        return Err(refused(501, "the transfer coding chunked and no other", part));
    }
    Ok(Framing::Chunked)
}

/// The length that a response gives itself. One that gives none (`Content-Length:`, `-1`,
/// `5 bytes`, 2^63) goes on until the connection closes, as in browsers.
fn response_length(whole: &[u8], fields: &[Header<'_>]) -> Result<Option<u64>, Malformed> {
    // RFC 9110 section 5.6.1: empty elements of a list are ignored.
    let mut given = elements(fields, "Content-Length").filter(|element| !element.is_empty()).peekable();
    let unreadable = |element: &&[u8]| {
        // `parse` alone would take a plus sign.
        let digits = element.iter().all(u8::is_ascii_digit);
        !digits || core::str::from_utf8(element).is_ok_and(|text| text.parse::<i64>().is_err())
    };
    match given.peek().copied().filter(unreadable) {
        Some(first) if given.all(|element| element == first) => Ok(None),
        _ => length(whole, elements(fields, "Content-Length").filter(|element| !element.is_empty())),
    }
}

/// Whether this element of `Transfer-Encoding` says that the bytes of a response are others. RFC
/// 7230 had "identity" in its registry; "binary", "8bit" and such are of mail. They change nothing.
fn is_coding(element: &[u8]) -> bool {
    let changes = [&b"chunked"[..], b"gzip", b"compress", b"deflate", b"br", b"zstd"];
    changes.iter().any(|coding| element.windows(coding.len()).any(|part| part.eq_ignore_ascii_case(coding)))
}

/// Where a response ends, as browsers read it, and whether that leaves a doubt, so that the
/// connection is not to be used again. `Framing::None` where its fields say nothing.
pub(super) fn response_framing(
    whole: &[u8],
    fields: &[Header<'_>],
    version_10: bool,
) -> Result<(Framing, bool), Malformed> {
    let is = |element: &[u8], word: &str| element.eq_ignore_ascii_case(word.as_bytes());
    let mut codings = elements(fields, "Transfer-Encoding").filter(|element| is_coding(element));
    let Some(coding) = codings.next() else {
        let length = response_length(whole, fields)?;
        let unreadable = length.is_none() && elements(fields, "Content-Length").any(|one| !one.is_empty());
        return Ok((length.map_or(Framing::None, Framing::Length), unreadable));
    };
    // Said twice it is still done once.
    let another = codings.next();
    let other =
        core::iter::once(coding).chain(another).chain(codings).find(|element| !is(element, "chunked"));
    if let Some(other) = other {
        let expected = "the transfer coding chunked and no other";
        return Err(Malformed { expected, found: None, at: offset(whole, other) });
    }
    // RFC 9112 section 6.3: Transfer-Encoding overrides Content-Length, which is removed; section
    // 6.1: after both, or chunks in HTTP/1.0, the connection is closed.
    let has_length = values(fields, "Content-Length").next().is_some();
    Ok((Framing::Chunked, has_length || version_10 || another.is_some()))
}

/// Appends one field.
pub(super) fn emit_field(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends the fields that go on to the next hop and `wanted` lets through, and `Via` after them.
/// Of the fields that frame, what was understood of them goes on: `framing`.
pub(super) fn emit_end_to_end(
    fields: &[Header<'_>],
    named: &Named,
    version_10: bool,
    framing: Framing,
    wanted: impl Fn(&str) -> bool,
    out: &mut Vec<u8>,
) {
    let mut framed = false;
    for field in fields {
        let is = |name: &&str| field.name.eq_ignore_ascii_case(name);
        // RFC 9110 section 7.6.1: remove what Connection names (`named`), and Connection itself.
        let kept = KEPT.iter().any(is);
        let hop = is_hop_by_hop(field.name) || (!kept && named.has(field.name.as_bytes()));
        if hop || !wanted(field.name) {
            continue;
        }
        let (length, coding) = (is(&"Content-Length"), is(&"Transfer-Encoding"));
        if !length && !coding {
            emit_field(field.name, field.value, out);
            continue;
        }
        // RFC 9112 section 6.3: several that agree leave as one.
        match framing {
            Framing::Length(bytes) if length && !framed => {
                emit_field(field.name, alloc::format!("{bytes}").as_bytes(), out);
                framed = true;
            }
            Framing::Chunked if coding && !framed => {
                emit_field(field.name, b"chunked", out);
                framed = true;
            }
            Framing::None | Framing::UntilClose | Framing::Length(_) | Framing::Chunked => {}
        }
    }
    // RFC 9110 section 7.6.3: each proxy adds the version it received and its name, after those
    // before it.
    let via = if version_10 { alloc::format!("1.0 {PSEUDONYM}") } else { alloc::format!("1.1 {PSEUDONYM}") };
    emit_field("Via", via.as_bytes(), out);
}
