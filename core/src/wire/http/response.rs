//! An origin's response: where its body ends, and the head that goes to the client in its stead.
//!
//! ```text
//!   HTTP/1.1 200 OK                          HTTP/1.1 200 OK
//!   Connection: keep-alive, X-Hop        ->  Content-Length: 2
//!   Keep-Alive: timeout=5                    Via: 1.1 ropewalk
//!   X-Hop: 1                                 [Connection: close]   as ResponseHead::emit is asked
//!   Content-Length: 2
//! ```
//!
//! Read as browsers read it, for that is what origins are tested with; what cannot be read even so
//! is answered with 502: the client is not to blame.
//!
//! Sources: RFC 9110 sections 7.6, 7.8, 8.6 and 15, RFC 9112 sections 4, 5, 6 and 9.

use alloc::vec::Vec;

use httparse::Header;

use super::status_line::StatusLine;
use super::{Excess, Framing, HeadLimits, HttpError, Malformed, Named, ResponseHead};
use super::{clean, fields, status_line, upgrade};

/// What was asked, as far as an answer depends on it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked<'a> {
    /// By HEAD: the answer has no body.
    pub(crate) head: bool,
    /// By a client of HTTP/1.0: chunks are taken apart for it.
    pub(crate) version_10: bool,
    /// The protocols offered.
    pub(crate) upgrade: &'a [u8],
}

/// Reads a response's head; also how many bytes it took.
pub(crate) fn parse_response(
    bytes: &[u8],
    asked: &Asked<'_>,
    limits: HeadLimits,
) -> Result<(ResponseHead, usize), HttpError> {
    let window = fields::window(bytes, limits);
    let line = match status_line::parse(window) {
        Err(HttpError::Incomplete) => return Err(fields::unfinished(window, limits)),
        other => other?,
    };
    let rest = &window[line.used..];
    // RFC 9110 section 15: a status is 100 or more.
    if line.status < 100 {
        let found = Some(line.status.into());
        let why = Malformed { expected: "a status of 100 or more", found, at: line.status_at };
        return Err(HttpError::refused(502, why));
    }
    let lines = rest.iter().filter(|byte| **byte == b'\n').count();
    let Some(clean) = clean::clean(rest) else {
        return Err(match lines > limits.fields {
            true => HttpError::TooLarge(Excess::Fields(limits.fields)),
            false => fields::unfinished(window, limits),
        });
    };
    let used = line.used + clean.used;
    let mut room = fields::room(&clean.text, limits);
    let told = |why: Malformed| Malformed { at: line.used + clean.origin(why.at), ..why };
    let count = match fields::parse(&clean.text, 0, &mut room, limits) {
        Ok(Some((_, count))) => count,
        Ok(None) => return Err(fields::unfinished(window, limits)),
        Err(HttpError::Refused { why, .. }) => return Err(HttpError::refused(502, told(why))),
        Err(other) => return Err(other),
    };
    let head = judge(&line, &clean.text, &room[..count], asked).map_err(|fault| match fault {
        Fault::InLine(why) => HttpError::refused(502, why),
        Fault::InFields(why) => HttpError::refused(502, told(why)),
    })?;
    Ok((head, used))
}

/// A fault, and where its offset counts from.
enum Fault {
    InLine(Malformed),
    InFields(Malformed),
}

fn judge(
    line: &StatusLine,
    text: &[u8],
    fields: &[Header<'_>],
    asked: &Asked<'_>,
) -> Result<ResponseHead, Fault> {
    let &StatusLine { status, version_10, .. } = line;
    let switched = match status {
        101 => upgrade::taken_up(fields, asked.upgrade).ok_or_else(|| {
            // RFC 9110 section 7.8: an origin must not change to what was not offered. What follows
            // would be no HTTP.
            let expected = "no change of protocol but to one that was offered";
            Fault::InLine(Malformed { expected, found: Some(101), at: line.status_at })
        })?,
        _ => Vec::new(),
    };
    let interim = status < 200 && status != 101;
    // RFC 9112 section 6.3: these end with their heads, whatever their fields say.
    let bodiless = status < 200 || status == 204;
    let ends_with_head = bodiless || status == 304 || asked.head;
    let (declared, doubt) = match fields::response_framing(text, fields, version_10) {
        Err(_) if ends_with_head => (Framing::None, status == 204),
        // A body that a 204 announces may follow all the same.
        Ok((declared, doubt)) if status == 204 => {
            (declared, doubt || !matches!(declared, Framing::None | Framing::Length(0)))
        }
        Ok((declared, _)) if ends_with_head => (declared, false),
        other => other.map_err(Fault::InFields)?,
    };
    let body = match declared {
        _ if ends_with_head => Framing::None,
        Framing::None => Framing::UntilClose,
        declared => declared,
    };
    // RFC 9112 section 9.3: HTTP/1.1 persists unless a field says otherwise. An HTTP/1.0 origin
    // would have to ask for it; it is not worth the doubt. Nor is one that says more than its
    // answers: what comes next may be the rest of another one.
    let keep_alive = !version_10
        && !line.behind_others
        && body != Framing::UntilClose
        && !doubt
        && !fields::has_element(fields, "Connection", "close");

    let mut head = Vec::with_capacity(text.len() + 64);
    // RFC 9112 section 2.3: a proxy sends its own version.
    head.extend_from_slice(alloc::format!("HTTP/1.1 {status} ").as_bytes());
    head.extend_from_slice(&line.reason);
    head.extend_from_slice(b"\r\n");
    // RFC 9110 section 8.6, RFC 9112 section 6.1: 1xx and 204 have neither of the fields that
    // frame; a client that believed them would wait for a body. One of HTTP/1.0 knows no chunks.
    let unframed = bodiless || (asked.version_10 && declared == Framing::Chunked);
    let framing = if unframed { Framing::None } else { declared };
    let named = Named::of(fields);
    fields::emit_end_to_end(fields, &named, version_10, framing, |_| true, &mut head);
    Ok(ResponseHead { status, interim, switched, named, head, body, keep_alive })
}

impl ResponseHead {
    /// The head for the client, blank line and all. `close` says that its connection closes after
    /// this response; that is said, too, where only the close can end the body, and never in an
    /// interim response.
    pub(crate) fn emit(&self, close: bool) -> Vec<u8> {
        let mut out = self.head.clone();
        if !self.switched.is_empty() {
            // RFC 9110 section 7.8: a 101 says what it changes to.
            fields::emit_field("Connection", b"upgrade", &mut out);
            fields::emit_field("Upgrade", &self.switched, &mut out);
        } else if !self.interim && (close || self.body == Framing::UntilClose) {
            // RFC 9112 section 9.6: a server that will not read another request says so.
            fields::emit_field("Connection", b"close", &mut out);
        }
        out.extend_from_slice(b"\r\n");
        out
    }
}
