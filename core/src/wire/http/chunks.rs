//! Chunks in passing: read, and written anew.
//!
//! ```text
//!   chunked-body = *chunk last-chunk trailers CRLF
//!
//!   5 ; ext=1 CRLF  h e l l o CRLF      0 CRLF         Digest: x CRLF     CRLF
//!   \_____ size line ____/  data        last chunk     trailers           the end
//! ```
//!
//! A size line leaves as digits and CRLF: extensions are for the next hop only (RFC 9112 section
//! 7.1.1). Data is not copied where the bytes that came are those that leave.
//!
//! - From clients chunks are read strictly: line ends are CRLF, sizes have 1 to 16 digits.
//! - From origins they are read as browsers and curl read them: a bare LF ends a line, blanks may
//!   stand around a size, zeros in front of it, more CRs than one before an LF, and the connection
//!   may end after the last chunk.
//!
//! Source: RFC 9112 section 7.1.

use alloc::vec::Vec;

use super::body::{Out, is_text, is_token, take};
use super::{Malformed, Named, clean, trailers};

/// The most bytes between a chunk's size and its line's end. For each chunk, not in sum: the bytes
/// are not kept, so a long stream with a small extension on each chunk does no harm. Chromium takes
/// as many.
const MAX_EXTENSION: u32 = 16 * 1024;

/// The most bytes of trailers, in sum.
const MAX_TRAILERS: usize = 16 * 1024;

/// How chunks are read and written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Manner {
    /// A client's: strictly.
    Strict,
    /// An origin's: as browsers do.
    Loose,
    /// An origin's, for a client that knows no chunks: what is in them goes on.
    Apart,
}

/// Chunks of which some have passed.
#[derive(Clone, Debug)]
pub(super) struct Chunks {
    manner: Manner,
    state: State,
    /// Bytes so far.
    seen: usize,
    /// What `Connection` named.
    named: Named,
    /// The trailer line so far.
    line: Vec<u8>,
    /// Bytes of trailers before it.
    trailers: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// In a chunk's size: how many digits it has so far, and how many other bytes.
    Size {
        size: u64,
        digits: u8,
        beside: u32,
    },
    /// After white space that can only lead to an extension, or, read loosely, to the line's end.
    BeforeExtension {
        size: u64,
        taken: u32,
    },
    /// In the extensions.
    Extension {
        size: u64,
        taken: u32,
    },
    /// After a CR in a size's line: its end, or one more byte of an extension.
    SizeLf {
        size: u64,
        taken: u32,
    },
    /// Bytes of the chunk that are left.
    Data(u64),
    /// After a chunk's data.
    DataCr,
    /// After the CR that follows a chunk's data, and so many more.
    DataLf(u32),
    /// At the start of a line after the last chunk.
    Trailer,
    /// In the name of a trailer field.
    TrailerName,
    /// In the value of a trailer field.
    TrailerValue,
    /// After the CR of a trailer's line.
    TrailerLf,
    /// After the CR of the last line.
    LastLf,
    Done,
}

/// What a line's end has ended.
enum Ended {
    Nothing,
    /// A size line.
    Size(u64),
    /// A chunk's data.
    Data,
    /// A trailer.
    Trailer,
    /// The body.
    All,
}

/// The bytes that go on: those that came for as long as they are the same.
struct Writer<'b> {
    came: &'b [u8],
    out: Out,
}

impl Writer<'_> {
    /// `bytes` go on in place of what came, up to `upto`, since the last call.
    fn put(&mut self, bytes: &[u8], upto: usize) {
        match &mut self.out {
            Out::Same(len) => {
                if self.came.get(*len..upto).is_some_and(|came| came.eq_ignore_ascii_case(bytes)) {
                    *len = upto;
                } else {
                    let mut rewritten = Vec::with_capacity(self.came.len() + 32);
                    rewritten.extend_from_slice(&self.came[..*len]);
                    rewritten.extend_from_slice(bytes);
                    self.out = Out::Rewritten(rewritten);
                }
            }
            Out::Rewritten(out) => out.extend_from_slice(bytes),
        }
    }

    /// The bytes from `from` to `upto` go on as they are.
    fn keep(&mut self, from: usize, upto: usize) {
        match &mut self.out {
            Out::Same(len) if *len == from => *len = upto,
            _ => self.put(&self.came[from..upto], upto),
        }
    }
}

impl Chunks {
    pub(super) fn new(manner: Manner, named: &Named) -> Chunks {
        let state = State::Size { size: 0, digits: 0, beside: 0 };
        Chunks { manner, state, seen: 0, named: named.clone(), line: Vec::new(), trailers: 0 }
    }

    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// See [`Body::data_left`](super::Body::data_left).
    pub(super) fn data_left(&self) -> u64 {
        match self.state {
            State::Data(left) => left,
            _ => 0,
        }
    }

    /// See [`Body::is_beside`](super::Body::is_beside).
    pub(super) fn is_beside(&self) -> bool {
        matches!(self.state, State::Extension { .. } | State::TrailerValue)
    }

    /// See [`Body::tells_its_end`](super::Body::tells_its_end).
    pub(super) fn tells_its_end(&self) -> bool {
        self.manner != Manner::Apart
    }

    /// The connection has ended: what is left to say, or `None` where a part of the body is lost.
    pub(super) fn end(&self) -> Option<&'static [u8]> {
        let last_chunk = matches!(
            self.state,
            State::Trailer | State::TrailerName | State::TrailerValue | State::TrailerLf | State::LastLf
        );
        match self.manner {
            _ if self.is_done() => Some(b""),
            Manner::Loose if last_chunk => Some(b"\r\n"),
            Manner::Apart if last_chunk => Some(b""),
            Manner::Strict | Manner::Loose | Manner::Apart => None,
        }
    }

    /// See [`Body::pass_some`](super::Body::pass_some).
    pub(super) fn pass_some(&mut self, bytes: &[u8]) -> (usize, Out, Option<Malformed>) {
        let mut writer = Writer { came: bytes, out: Out::Same(0) };
        let mut used = 0;
        while let Some(&byte) = bytes.get(used) {
            if let State::Data(left) = &mut self.state {
                let taken = take(left, &bytes[used..]);
                if *left == 0 {
                    self.state = State::DataCr;
                }
                writer.keep(used, used + taken);
                used += taken;
                self.seen = self.seen.saturating_add(taken);
                continue;
            }
            if self.is_done() {
                break;
            }
            let ended = match self.next(byte) {
                Ok(ended) => ended,
                Err(expected) => {
                    let why = Malformed { expected, found: Some(byte.into()), at: self.seen };
                    return (used, writer.out, Some(why));
                }
            };
            used += 1;
            self.seen = self.seen.saturating_add(1);
            self.write(&ended, used, &mut writer);
        }
        (used, writer.out, None)
    }

    /// Writes what `ended` with the byte before `upto`.
    fn write(&mut self, ended: &Ended, upto: usize, writer: &mut Writer<'_>) {
        let apart = self.manner == Manner::Apart;
        match ended {
            Ended::Nothing => {}
            Ended::Size(size) if !apart => writer.put(alloc::format!("{size:x}\r\n").as_bytes(), upto),
            Ended::Data | Ended::All if !apart => writer.put(b"\r\n", upto),
            Ended::Trailer => {
                self.trailers += self.line.len();
                let line = core::mem::take(&mut self.line);
                // One that is no field is dropped, as in a head; read strictly, all of them are.
                if !apart
                    && let Some(line) = clean::line(&line)
                    && let Some(colon) = line.iter().position(|byte| *byte == b':')
                    && trailers::may_pass(&line[..colon], &self.named)
                {
                    writer.put(&line, upto);
                }
            }
            Ended::Size(_) | Ended::Data | Ended::All => {}
        }
    }

    fn next(&mut self, byte: u8) -> Result<Ended, &'static str> {
        match self.state {
            State::Trailer | State::TrailerName | State::TrailerValue | State::TrailerLf | State::LastLf => {
                self.trailer(byte)
            }
            _ => self.chunk(byte),
        }
    }

    /// The transitions on single bytes in front of the trailers, or what was expected instead.
    fn chunk(&mut self, byte: u8) -> Result<Ended, &'static str> {
        let loose = self.manner != Manner::Strict;
        let mut ended = Ended::Nothing;
        self.state = match (self.state, byte) {
            // RFC 9112 section 7.1: chunk = chunk-size [ chunk-ext ] CRLF chunk-data CRLF, and a
            // recipient takes care that the size does not overflow.
            (State::Size { size, digits, beside }, _) if byte.is_ascii_hexdigit() => {
                // Leading zeros do not count, but a sender might send them for ever.
                let zero = loose && size == 0 && digits > 0;
                if digits == 16 && !zero {
                    return Err("a chunk size of at most 16 digits");
                }
                let digit = match byte {
                    b'0'..=b'9' => byte - b'0',
                    _ => (byte | 0x20) - b'a' + 10,
                };
                let beside = counted(beside, u32::from(zero))?;
                let digits = if zero { digits } else { digits + 1 };
                if size >> 60 != 0 {
                    return Err("a chunk size of at most 16 digits");
                }
                State::Size { size: size << 4 | u64::from(digit), digits, beside }
            }
            (State::Size { size, digits: 0, beside }, b' ' | b'\t') if loose => {
                State::Size { size, digits: 0, beside: counted(beside, 1)? }
            }
            (State::Size { digits: 0, .. }, _) => return Err("a chunk size in hexadecimal digits"),
            (State::Size { size, beside: taken, .. } | State::Extension { size, taken }, b'\r') => {
                State::SizeLf { size, taken }
            }
            (State::BeforeExtension { size, taken }, b'\r') if loose => State::SizeLf { size, taken },
            (State::Size { size, .. }, b';') => State::Extension { size, taken: 1 },
            // RFC 9112 section 7.1.1: white space before the semicolon is bad, but to be read.
            (State::Size { size, .. }, b' ' | b'\t') => State::BeforeExtension { size, taken: 1 },
            (State::SizeLf { size, .. }, b'\n') => self.size_line(size, &mut ended),
            // To curl all up to the line feed is an extension, to Chrome all behind the semicolon.
            (State::SizeLf { size, taken }, b'\r') if loose => {
                State::SizeLf { size, taken: counted(taken, 1)? }
            }
            (State::SizeLf { size, taken }, _) if loose => {
                State::Extension { size, taken: counted(taken, 1)? }
            }
            // RFC 9112 section 2.2 lets a recipient take a bare LF for a line's end in a head; not
            // so in chunks. Browsers do it.
            (
                State::Size { size, .. }
                | State::BeforeExtension { size, .. }
                | State::Extension { size, .. },
                b'\n',
            ) if loose => self.size_line(size, &mut ended),
            (State::Size { .. }, _) => return Err("a digit, an extension or CRLF in a chunk size"),
            (State::BeforeExtension { size, taken }, b' ' | b'\t') => {
                State::BeforeExtension { size, taken: counted(taken, 1)? }
            }
            (State::BeforeExtension { size, taken }, b';') => {
                State::Extension { size, taken: counted(taken, 1)? }
            }
            (State::BeforeExtension { .. }, _) => return Err("a chunk extension after white space"),
            (State::Extension { size, taken }, _) if loose || is_text(byte) => {
                State::Extension { size, taken: counted(taken, 1)? }
            }
            (State::Extension { .. }, _) => return Err("a chunk extension without controls"),
            (State::DataCr, b'\r') => State::DataLf(0),
            (State::DataLf(_), b'\n') => {
                ended = Ended::Data;
                State::Size { size: 0, digits: 0, beside: 0 }
            }
            (State::DataLf(more), b'\r') if loose && more < MAX_EXTENSION => State::DataLf(more + 1),
            (State::DataCr, b'\n') if loose => {
                ended = Ended::Data;
                State::Size { size: 0, digits: 0, beside: 0 }
            }
            (State::DataCr, _) => return Err("CRLF after a chunk"),
            (State::SizeLf { .. } | State::DataLf(_), _) => {
                return Err("a line feed after a carriage return");
            }
            (
                State::Data(_)
                | State::Trailer
                | State::TrailerName
                | State::TrailerValue
                | State::TrailerLf
                | State::LastLf
                | State::Done,
                _,
            ) => unreachable!("pass and trailer keep these to themselves"),
        };
        Ok(ended)
    }

    fn size_line(&self, size: u64, ended: &mut Ended) -> State {
        *ended = Ended::Size(size);
        match size {
            0 => State::Trailer,
            _ => State::Data(size),
        }
    }

    /// RFC 9112 section 7.1.2: trailers are field lines, the last line is empty.
    fn trailer(&mut self, byte: u8) -> Result<Ended, &'static str> {
        let loose = self.manner != Manner::Strict;
        let (state, ended) = match (self.state, byte) {
            (State::Trailer, b'\r') => (State::LastLf, Ended::Nothing),
            (State::LastLf, b'\n') => (State::Done, Ended::All),
            (State::LastLf, b'\r') if loose && self.trailers < MAX_TRAILERS => {
                self.trailers += 1;
                (State::LastLf, Ended::Nothing)
            }
            (State::Trailer, b'\n') if loose => (State::Done, Ended::All),
            (State::TrailerValue, b'\r') => (State::TrailerLf, Ended::Nothing),
            (State::TrailerLf, b'\n') => (State::Trailer, Ended::Trailer),
            (State::TrailerName | State::TrailerValue, b'\n') if loose => (State::Trailer, Ended::Trailer),
            (State::TrailerLf, _) if loose => (State::TrailerValue, Ended::Nothing),
            (State::TrailerLf | State::LastLf, _) => return Err("a line feed after a carriage return"),
            (State::Trailer | State::TrailerName, b':') if loose || self.state == State::TrailerName => {
                (State::TrailerValue, Ended::Nothing)
            }
            (State::Trailer | State::TrailerName, _) if loose || is_token(byte) => {
                (State::TrailerName, Ended::Nothing)
            }
            (State::Trailer | State::TrailerName, _) => {
                return Err("a trailer field's name and a colon, or CRLF");
            }
            (State::TrailerValue, _) if loose || is_text(byte) => (State::TrailerValue, Ended::Nothing),
            (State::TrailerValue, _) => return Err("a trailer field's value without controls"),
            _ => unreachable!("chunk keeps these to itself"),
        };
        if !matches!(ended, Ended::All) && state != State::LastLf {
            if self.trailers + self.line.len() >= MAX_TRAILERS {
                return Err("trailers of at most 16384 bytes");
            }
            self.line.push(byte);
        }
        self.state = state;
        Ok(ended)
    }
}

/// `taken` and `more`, while that is no more than allowed.
fn counted(taken: u32, more: u32) -> Result<u32, &'static str> {
    match taken + more {
        sum if sum > MAX_EXTENSION => Err("chunk extensions of at most 16384 bytes"),
        sum => Ok(sum),
    }
}

#[cfg(test)]
mod tests;
