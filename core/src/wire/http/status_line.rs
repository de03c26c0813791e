//! The first line of a response, as browsers read it.
//!
//! ```text
//!   HTTP/1.1 200 OK        status-line = HTTP-version SP status-code SP [ reason-phrase ]
//!   http/1.1  200          any case, any number of spaces, no reason
//!   HTTP/1.2 200 OK        a later version is answered as 1.1 (RFC 9110 section 2.5)
//!   HTTP/2 200 OK          one without a minor, or none at all, or what is none: as 1.0
//!   HTTP/1.1 OK            no status is 200, and what is no number is none
//!   ???HTTP/1.1 200 OK     up to four bytes in front are passed over: the mark of a text in UTF-8,
//!                          what was left of an answer before
//!   ICY 200 OK             radio servers; what follows goes on until the connection closes
//! ```
//!
//! Source: RFC 9112 section 4.

use alloc::vec::Vec;

use super::request_line::empty_lines;
use super::{HttpError, Malformed};

/// What is expected where there is no HTTP/1 at all.
const NAME: &str = "HTTP/1.1 or HTTP/1.0";

/// Whether that is what is wrong. A browser takes such an answer for one of HTTP/0.9, which is all
/// body, or refuses it; no reader finds a head in it.
pub(crate) fn is_nameless(why: &Malformed) -> bool {
    why.expected == NAME
}

/// A status line, and where the fields begin.
#[derive(Debug)]
pub(super) struct StatusLine {
    pub(super) status: u16,
    /// It says so; what says nothing means 200.
    pub(super) told: bool,
    /// Bytes of something else stood in front.
    pub(super) behind_others: bool,
    /// Where the status stands.
    pub(super) status_at: usize,
    /// Without controls.
    pub(super) reason: Vec<u8>,
    /// It speaks HTTP/1.0, or nothing with a number.
    pub(super) version_10: bool,
    /// Bytes before the fields.
    pub(super) used: usize,
}

/// Reads the line, or reports that it is incomplete. What cannot be HTTP is reported at once.
pub(super) fn parse(bytes: &[u8]) -> Result<StatusLine, HttpError> {
    let empty = empty_lines(bytes);
    let start = empty + passed_over(bytes.get(empty..).unwrap_or_default())?;
    let rest = bytes.get(start..).unwrap_or_default();
    let wrong = |expected: &'static str, at: usize| {
        let found = bytes.get(at).copied().map(u32::from);
        HttpError::refused(502, Malformed { expected, found, at })
    };
    let (version_10, mut at) = if is_prefix(rest, b"ICY ") {
        if rest.len() < 4 {
            return Err(HttpError::Incomplete);
        }
        (true, start + 3)
    } else {
        let name = b"HTTP";
        let common = rest.iter().zip(name).take_while(|(byte, name)| byte.eq_ignore_ascii_case(name)).count();
        if common < name.len() {
            return Err(wrong(NAME, start + common));
        }
        let version = rest.get(name.len()..).unwrap_or_default();
        let Some(len) = version.iter().position(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')) else {
            return Err(HttpError::Incomplete);
        };
        let version_10 = match &version[..len] {
            [b'/', major @ b'0'..=b'9', b'.', minor @ b'0'..=b'9', ..] => (*major, *minor) < (b'1', b'1'),
            _ => true,
        };
        (version_10, start + name.len() + len)
    };
    let blanks = bytes[at..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let digits = bytes[at + blanks..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let status_at = at + blanks;
    at = status_at + digits;
    // A wrong byte is reported now.
    if bytes.len() > at && !matches!(digits, 0 | 3) {
        return Err(wrong("a status of three digits", at));
    }
    let Some(line_feed) = bytes[at..].iter().position(|byte| *byte == b'\n') else {
        return Err(HttpError::Incomplete);
    };
    let status = match digits {
        0 => 200,
        _ => bytes[status_at..at].iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0')),
    };
    let reason = bytes[at..at + line_feed].trim_ascii();
    let reason = reason.iter().map(|byte| if byte.is_ascii_control() { b' ' } else { *byte }).collect();
    let (told, behind_others) = (digits > 0, start > empty);
    Ok(StatusLine { status, told, behind_others, status_at, reason, version_10, used: at + line_feed + 1 })
}

/// How many bytes are passed over in front of the line; 0 where there is none, too. More than four
/// are more than browsers look at.
pub(crate) fn passed_over(bytes: &[u8]) -> Result<usize, HttpError> {
    const MOST: usize = 4;
    if is_prefix(bytes, b"ICY ") {
        return Ok(0);
    }
    for skipped in 0..=MOST.min(bytes.len()) {
        let rest = &bytes[skipped..];
        if rest.is_empty() || is_prefix(rest, b"HTTP") {
            return if rest.len() < 4 { Err(HttpError::Incomplete) } else { Ok(skipped) };
        }
    }
    Ok(0)
}

/// Whether `bytes` begin so, or may once more of them are there.
fn is_prefix(bytes: &[u8], word: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().zip(word).all(|(byte, wanted)| byte.eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_malformed(bytes: &[u8]) -> bool {
        parse(bytes).is_err_and(|why| why != HttpError::Incomplete)
    }

    proptest! {
        #[test]
        fn what_is_malformed_stays_so_whatever_follows(
            line in "(HTTP|http|ICY|HTT|)[/ ]?[0-9x]?[. ]?[0-9x]?[ \t]{0,2}[0-9A-Zx\u{1}]{0,4}[ \r\n]{0,3}",
        ) {
            let bytes = line.as_bytes();
            let first = (0..=bytes.len()).find(|to| is_malformed(&bytes[..*to]));
            for to in first.unwrap_or(bytes.len() + 1)..=bytes.len() {
                prop_assert!(is_malformed(&bytes[..to]), "{:?} of {line:?}", &line[..to]);
            }
        }
    }
}
