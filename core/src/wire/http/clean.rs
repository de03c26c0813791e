//! The fields of a response as browsers read them, written so that a strict reader reads the same.
//!
//! ```text
//!   Content-Type : text/html        Content-Type: text/html      white space before the colon goes
//!   PHP Warning: no such file                                    a name with a space is none: the line goes
//!   no colon here                                                likewise
//!   Set-Cookie: a=b;                Set-Cookie: a=b; c=d         a folded value is joined
//!     c=d
//!   X: 1<NUL>2                      X: 1 2                       controls become blanks
//! ```
//!
//! Sources: RFC 9112 sections 5.1 and 5.2, RFC 9110 section 5.5.

use alloc::vec::Vec;

use super::body::{is_text, is_token};

/// Fields written anew, and where their lines were.
#[derive(Debug, Default)]
pub(super) struct Clean {
    /// Lines with CRLF, the empty one included.
    pub(super) text: Vec<u8>,
    /// Where lines begin, there and here.
    places: Vec<(usize, usize)>,
    /// Bytes that were read.
    pub(super) used: usize,
}

impl Clean {
    /// Where byte `at` of the clean text was.
    pub(super) fn origin(&self, at: usize) -> usize {
        let line = self.places.partition_point(|(clean, _)| *clean <= at).checked_sub(1);
        line.and_then(|line| self.places.get(line)).map_or(at, |(clean, was)| was + (at - clean))
    }
}

/// Cleans the fields at the start of `bytes`, up to the empty line; `None` where that is not there.
pub(super) fn clean(bytes: &[u8]) -> Option<Clean> {
    let mut clean = Clean::default();
    let mut at = 0;
    // Whether a line that is folded goes to one that was kept.
    let mut kept = false;
    loop {
        let len = bytes.get(at..)?.iter().position(|byte| *byte == b'\n')?;
        let line = trim_end(&bytes[at..at + len]);
        let begins = at;
        at += len + 1;
        match line {
            // Some servers write CR CR LF, as `HeadEnd` knows.
            [] if matches!(&bytes[begins..begins + len], [] | [b'\r'] | [b'\r', b'\r']) => break,
            // A line of blanks alone does not end a head.
            [] => {}
            [b' ' | b'\t', ..] => {
                let more = line.trim_ascii();
                if kept && !more.is_empty() {
                    // RFC 9112 section 5.2: a proxy replaces a folded line's beginning with spaces.
                    clean.text.truncate(clean.text.len() - 2);
                    clean.text.push(b' ');
                    emit_text(more, &mut clean.text);
                }
            }
            _ => {
                let colon = line.iter().position(|byte| *byte == b':');
                // RFC 9112 section 5.1: a proxy removes white space in front of the colon.
                let name = colon.map(|colon| trim_end(&line[..colon])).unwrap_or_default();
                kept = !name.is_empty() && name.iter().all(|byte| is_token(*byte));
                if let (Some(colon), true) = (colon, kept) {
                    clean.places.push((clean.text.len(), begins));
                    clean.text.extend_from_slice(name);
                    clean.text.extend_from_slice(b": ");
                    emit_text(line[colon + 1..].trim_ascii(), &mut clean.text);
                }
            }
        }
    }
    clean.text.extend_from_slice(b"\r\n");
    clean.used = at;
    Some(clean)
}

/// One line, its end included, as a field written anew; `None` where it is none.
pub(super) fn line(bytes: &[u8]) -> Option<Vec<u8>> {
    let whole = [trim_end(bytes.strip_suffix(b"\n")?), b"\r\n\r\n"].concat();
    let text = clean(&whole)?.text;
    text.strip_suffix(b"\r\n").filter(|line| !line.is_empty()).map(Vec::from)
}

fn emit_text(value: &[u8], out: &mut Vec<u8>) {
    out.extend(value.iter().map(|byte| if is_text(*byte) { *byte } else { b' ' }));
    // A control at the end has become a blank there.
    while out.ends_with(b" ") && !out.ends_with(b": ") {
        out.pop();
    }
    out.extend_from_slice(b"\r\n");
}

fn trim_end(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|byte| !matches!(byte, b' ' | b'\t' | b'\r'));
    &line[..end.map_or(0, |end| end + 1)]
}
