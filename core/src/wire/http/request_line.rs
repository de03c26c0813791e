//! The first line of a request, byte for byte: `method SP request-target SP HTTP-version CRLF`.
//!
//! Strict, with one exception: bytes over 127 in the target are passed on as they are. No URI has
//! them (RFC 3986), but browsers send them, and the origin that gave the link knows what they mean.
//!
//! Source: RFC 9112 section 3.

use super::body::is_token;
use super::{HttpError, Malformed};

/// What was expected of a line that is none.
const LINE: &str = "a method, a target and HTTP/1.1, one space apart";

/// A request line, and where the fields begin.
#[derive(Debug)]
pub(super) struct RequestLine<'b> {
    pub(super) method: &'b str,
    pub(super) target: &'b [u8],
    pub(super) version_10: bool,
    /// Bytes before the fields.
    pub(super) used: usize,
}

/// How many bytes of `bytes` are empty lines: those in front of a request are ignored (RFC 9112
/// section 2.2).
pub(crate) fn empty_lines(bytes: &[u8]) -> usize {
    let mut at = 0;
    loop {
        match bytes.get(at..).unwrap_or_default() {
            [b'\n', ..] => at += 1,
            [b'\r', b'\n', ..] => at += 2,
            _ => return at,
        }
    }
}

/// Reads the line, or reports that it is incomplete. An error is reported at its byte, as soon as
/// that byte is there.
pub(super) fn parse(bytes: &[u8]) -> Result<RequestLine<'_>, HttpError> {
    let mut at = empty_lines(bytes);
    let method = word(bytes, &mut at, is_token)?;
    let target = word(bytes, &mut at, |byte| byte > b' ' && byte != 0x7f)?;
    let version_10 = version(bytes, &mut at)?;
    line_end(bytes, &mut at)?;
    let method = core::str::from_utf8(method).unwrap_or_default();
    Ok(RequestLine { method, target, version_10, used: at })
}

/// One or more bytes that `belongs`, and the space behind them.
fn word<'b>(bytes: &'b [u8], at: &mut usize, belongs: impl Fn(u8) -> bool) -> Result<&'b [u8], HttpError> {
    let rest = bytes.get(*at..).unwrap_or_default();
    let len = rest.iter().position(|byte| !belongs(*byte)).unwrap_or(rest.len());
    let word = &rest[..len];
    *at += len;
    match rest.get(len) {
        None => Err(HttpError::Incomplete),
        Some(b' ') if !word.is_empty() => {
            *at += 1;
            Ok(word)
        }
        // A cut line end in front of the line.
        Some(b'\r') if word.is_empty() && rest.len() == 1 => Err(HttpError::Incomplete),
        Some(byte) => Err(wrong(LINE, *byte, *at)),
    }
}

/// Whether it is HTTP/1.0, not 1.1.
fn version(bytes: &[u8], at: &mut usize) -> Result<bool, HttpError> {
    for (place, wanted) in b"HTTP/1.".iter().enumerate() {
        match bytes.get(*at) {
            None => return Err(HttpError::Incomplete),
            Some(byte) if byte == wanted => *at += 1,
            Some(byte) if place < b"HTTP/".len() => return Err(wrong(LINE, *byte, *at)),
            Some(byte) => return Err(other_version(*byte, *at)),
        }
    }
    let byte = *bytes.get(*at).ok_or(HttpError::Incomplete)?;
    *at += 1;
    match byte {
        b'0' => Ok(true),
        b'1' => Ok(false),
        _ => Err(other_version(byte, *at - 1)),
    }
}

fn line_end(bytes: &[u8], at: &mut usize) -> Result<(), HttpError> {
    match bytes.get(*at..).unwrap_or_default() {
        [] | [b'\r'] => Err(HttpError::Incomplete),
        [b'\n', ..] => {
            *at += 1;
            Ok(())
        }
        [b'\r', b'\n', ..] => {
            *at += 2;
            Ok(())
        }
        [b'\r', byte, ..] => Err(wrong("a line feed after a carriage return", *byte, *at + 1)),
        [byte, ..] => Err(wrong(LINE, *byte, *at)),
    }
}

fn wrong(expected: &'static str, byte: u8, at: usize) -> HttpError {
    HttpError::refused(400, Malformed { expected, found: Some(byte.into()), at })
}

fn other_version(byte: u8, at: usize) -> HttpError {
    let why = Malformed { expected: "HTTP/1.1 or HTTP/1.0", found: Some(byte.into()), at };
    HttpError::refused(505, why)
}
