//! Where a body ends. Its bytes are passed on as they are; this only counts them.
//!
//! ```text
//!   chunked-body = *chunk last-chunk trailers CRLF
//!
//!   5 ; ext=1 CRLF  h e l l o CRLF      0 CRLF         Digest: x CRLF     CRLF
//!   \__ Size .. __/ \_ Data _/          last-chunk     trailers           Done
//! ```
//!
//! The chunks are read strictly, since the next reader gets the same bytes and must find the same end in
//! them: line ends are CRLF and no bare LF or CR, sizes have 1 to 16 digits, so that none overflows.
//!
//! Sources: RFC 9112 sections 6 and 7.1.

use super::Malformed;

/// The most bytes between a chunk's size and its line's end. For each chunk, not in sum: the bytes are not
/// kept, so a stream that lives for long with a small extension on each chunk harms nobody.
const MAX_EXTENSION: u32 = 4 * 1024;

/// The most bytes of trailers, in sum.
const MAX_TRAILERS: u32 = 16 * 1024;

/// How the end of a body is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Framing {
    /// There is no body.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks, the last of them empty.
    Chunked,
    /// The end of the connection; only in responses.
    UntilClose,
}

/// A body in passing.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    state: State,
    /// Bytes of this body so far.
    seen: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Done,
    UntilClose,
    /// So many bytes are left.
    Length(u64),
    /// In a chunk's size after so many digits.
    Size {
        size: u64,
        digits: u8,
    },
    /// After white space that can only lead to an extension.
    BeforeExtension {
        size: u64,
        taken: u32,
    },
    /// In the extensions.
    Extension {
        size: u64,
        taken: u32,
    },
    /// After the CR of a size's line.
    SizeLf {
        size: u64,
    },
    /// So many bytes of the chunk are left.
    Data(u64),
    /// After a chunk's data.
    DataCr,
    /// After the CR that follows a chunk's data.
    DataLf,
    /// At the start of a line after the last chunk.
    Trailer {
        taken: u32,
    },
    /// In the name of a trailer field.
    TrailerName {
        taken: u32,
    },
    /// In the value of a trailer field.
    TrailerValue {
        taken: u32,
    },
    /// After the CR of a trailer's line.
    TrailerLf {
        taken: u32,
    },
    /// After the CR of the last line.
    LastLf,
}

impl Body {
    /// A body of which no byte was seen.
    pub(crate) fn new(framing: Framing) -> Body {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(len) => State::Length(len),
            Framing::Chunked => State::Size { size: 0, digits: 0 },
            Framing::UntilClose => State::UntilClose,
        };
        Body { state, seen: 0 }
    }

    /// Takes the next bytes of the connection and says how many of them, from the first on, belong to this
    /// body.
    ///
    /// # Errors
    /// The chunks are malformed; `at` counts from the start of the body. Nothing after an error is to be
    /// trusted: the connection cannot be used any more.
    pub(crate) fn advance(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut used = 0;
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            let taken = match &mut self.state {
                State::Done => break,
                State::UntilClose => rest.len(),
                State::Length(left) => {
                    let taken = take(left, rest);
                    if *left == 0 {
                        self.state = State::Done;
                    }
                    taken
                }
                State::Data(left) => {
                    let taken = take(left, rest);
                    if *left == 0 {
                        self.state = State::DataCr;
                    }
                    taken
                }
                state => {
                    let byte = rest[0];
                    *state = state.next(byte).map_err(|expected| Malformed {
                        expected,
                        found: Some(byte.into()),
                        at: self.seen,
                    })?;
                    1
                }
            };
            used += taken;
            self.seen = self.seen.saturating_add(taken);
        }
        Ok(used)
    }

    /// No further byte belongs to this body. Never so with [`Framing::UntilClose`].
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The end of the connection here is the end of the body, not the loss of a part of it.
    pub(crate) fn may_end_at_eof(&self) -> bool {
        matches!(self.state, State::Done | State::UntilClose)
    }
}

/// Takes what there is of `left` bytes.
fn take(left: &mut u64, rest: &[u8]) -> usize {
    let taken = usize::try_from(*left).map_or(rest.len(), |left| left.min(rest.len()));
    *left -= taken as u64;
    taken
}

impl State {
    /// The transitions on single bytes, or what was expected instead.
    fn next(self, byte: u8) -> Result<State, &'static str> {
        Ok(match (self, byte) {
            // RFC 9112 section 7.1: chunk = chunk-size [ chunk-ext ] CRLF chunk-data CRLF, and a recipient
            // takes care that the size does not overflow.
            (State::Size { size, digits }, _) if byte.is_ascii_hexdigit() => {
                if digits == 16 {
                    return Err("a chunk size of at most 16 digits");
                }
                let digit = match byte {
                    b'0'..=b'9' => byte - b'0',
                    _ => (byte | 0x20) - b'a' + 10,
                };
                State::Size { size: size << 4 | u64::from(digit), digits: digits + 1 }
            }
            (State::Size { digits: 0, .. }, _) => return Err("a chunk size in hexadecimal digits"),
            (State::Size { size, .. } | State::Extension { size, .. }, b'\r') => State::SizeLf { size },
            (State::Size { size, .. }, b';') => State::Extension { size, taken: 1 },
            // RFC 9112 section 7.1.1: white space before the semicolon is bad, but to be read.
            (State::Size { size, .. }, b' ' | b'\t') => State::BeforeExtension { size, taken: 1 },
            (State::Size { .. }, _) => return Err("a digit, an extension or CRLF in a chunk size"),
            (State::BeforeExtension { size, taken }, b' ' | b'\t') if taken < MAX_EXTENSION => {
                State::BeforeExtension { size, taken: taken + 1 }
            }
            (State::BeforeExtension { size, taken }, b';') if taken < MAX_EXTENSION => {
                State::Extension { size, taken: taken + 1 }
            }
            (State::BeforeExtension { .. }, _) => return Err("a chunk extension after white space"),
            (State::Extension { size, taken }, _) if is_text(byte) => {
                if taken == MAX_EXTENSION {
                    return Err("chunk extensions of at most 4096 bytes");
                }
                State::Extension { size, taken: taken + 1 }
            }
            (State::Extension { .. }, _) => return Err("a chunk extension without controls"),
            // RFC 9112 section 2.2 lets a recipient take a bare LF for a line's end in a head; not so in
            // chunks.
            (State::SizeLf { size: 0 }, b'\n') => State::Trailer { taken: 0 },
            (State::SizeLf { size }, b'\n') => State::Data(size),
            (
                State::SizeLf { .. } | State::DataLf | State::TrailerLf { .. } | State::LastLf,
                0..=9 | 11..,
            ) => {
                return Err("a line feed after a carriage return");
            }
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataCr, _) => return Err("CRLF after a chunk"),
            (State::DataLf, b'\n') => State::Size { size: 0, digits: 0 },
            // RFC 9112 section 7.1.2: trailers are field lines, the last line is empty.
            (State::Trailer { .. }, b'\r') => State::LastLf,
            (State::LastLf, b'\n') => State::Done,
            (State::TrailerValue { taken }, b'\r') => State::TrailerLf { taken: counted(taken)? },
            (State::TrailerLf { taken }, b'\n') => State::Trailer { taken: counted(taken)? },
            (State::Trailer { taken } | State::TrailerName { taken }, _) if is_token(byte) => {
                State::TrailerName { taken: counted(taken)? }
            }
            (State::TrailerName { taken }, b':') => State::TrailerValue { taken: counted(taken)? },
            (State::Trailer { .. } | State::TrailerName { .. }, _) => {
                return Err("a trailer field's name and a colon, or CRLF");
            }
            (State::TrailerValue { taken }, _) if is_text(byte) => {
                State::TrailerValue { taken: counted(taken)? }
            }
            (State::TrailerValue { .. }, _) => return Err("a trailer field's value without controls"),
            (State::Done | State::UntilClose | State::Length(_) | State::Data(_), _) => {
                unreachable!("advance keeps these to itself")
            }
        })
    }
}

fn counted(taken: u32) -> Result<u32, &'static str> {
    if taken == MAX_TRAILERS { Err("trailers of at most 16384 bytes") } else { Ok(taken + 1) }
}

/// What field values and extensions are made of (RFC 9110 section 5.5).
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;
    use alloc::{format, vec};

    use proptest::prelude::*;

    use super::*;

    /// All of `bytes` at once: how many belong to the body and whether it is done.
    fn whole(framing: Framing, bytes: &[u8]) -> Result<(usize, bool), Malformed> {
        let mut body = Body::new(framing);
        body.advance(bytes).map(|used| (used, body.is_done()))
    }

    /// The same in pieces of the given lengths, then the rest. What a body leaves it must go on leaving.
    fn in_pieces(framing: Framing, mut bytes: &[u8], cuts: &[usize]) -> Result<(usize, bool), Malformed> {
        let mut body = Body::new(framing);
        let mut total = 0;
        for cut in cuts.iter().copied().chain([usize::MAX]) {
            let (piece, rest) = bytes.split_at(cut.min(bytes.len()));
            let used = body.advance(piece)?;
            assert!(used == piece.len() || body.is_done(), "an unfinished body left bytes");
            total += used;
            bytes = rest;
        }
        Ok((total, body.is_done()))
    }

    fn refused_at(bytes: &[u8]) -> usize {
        match whole(Framing::Chunked, bytes) {
            Err(malformed) => malformed.at,
            Ok(passed) => panic!("{} passed: {passed:?}", bytes.escape_ascii()),
        }
    }

    #[test]
    fn no_body_takes_nothing() {
        for framing in [Framing::None, Framing::Length(0)] {
            let mut body = Body::new(framing);
            assert!(body.is_done() && body.may_end_at_eof());
            assert_eq!(body.advance(b"GET"), Ok(0));
        }
    }

    #[test]
    fn a_length_is_counted_down() {
        let mut body = Body::new(Framing::Length(5));
        assert_eq!((body.advance(b"abc"), body.is_done(), body.may_end_at_eof()), (Ok(3), false, false));
        assert_eq!((body.advance(b"defg"), body.is_done(), body.may_end_at_eof()), (Ok(2), true, true));
        assert_eq!(body.advance(b"g"), Ok(0));
    }

    #[test]
    fn until_close_takes_all_and_may_end_any_time() {
        let mut body = Body::new(Framing::UntilClose);
        assert!(body.may_end_at_eof());
        assert_eq!(body.advance(b"abc"), Ok(3));
        assert!(body.may_end_at_eof() && !body.is_done());
    }

    #[test]
    fn chunks_end_after_the_last_crlf() {
        for text in [
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "1a\r\nabcdefghijklmnopqrstuvwxyz\r\n00\r\n\r\n",
            "A;a=\"b c\";d\r\n0123456789\r\n0;z\r\n\r\n",
            "1 \t;a\r\n\r\r\n0\r\n\r\n",
            "0000000000000001\r\nx\r\n0000000000000000\r\n\r\n",
            "0\r\nX-Sum: 1\r\nEmpty:\r\n\r\n",
        ] {
            let with_next = [text.as_bytes(), b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(whole(Framing::Chunked, &with_next), Ok((text.len(), true)), "{text:?}");
            let mut body = Body::new(Framing::Chunked);
            for byte in text.as_bytes() {
                assert!(!body.is_done() && !body.may_end_at_eof());
                assert_eq!(body.advance(&[*byte]), Ok(1));
            }
            assert!(body.is_done() && body.may_end_at_eof());
        }
    }

    #[test]
    fn what_is_no_chunk_is_refused_at_its_byte() {
        for (text, at) in [
            ("\r\n", 0),
            ("g\r\n", 0),
            ("-1\r\n", 0),
            ("+1\r\n", 0),
            ("0x1\r\n", 1),
            (" 1\r\n", 0),
            ("1\nx", 1),
            ("1\rx", 2),
            ("1 \r\n", 2),
            ("1 2\r\n", 2),
            ("1;a\nx", 3),
            ("1;a\0", 3),
            ("1;a\rb", 4),
            ("1\r\nxy\r\n", 4),
            ("1\r\nx\n", 4),
            ("1\r\nx\r\r", 5),
            ("0\r\n\n", 3),
            ("0\r\n\rx", 4),
            ("0\r\n A: b\r\n", 3),
            ("0\r\n: b\r\n", 3),
            ("0\r\nA b\r\n", 4),
            ("0\r\nA\r\n", 4),
            ("0\r\nA: b\n", 7),
            ("0\r\nA: b\r\r", 8),
            ("0\r\nA: b\0", 7),
            ("0\r\nA: b\r\n c\r\n", 9),
            ("00000000000000000\r\n", 16),
        ] {
            assert_eq!(refused_at(text.as_bytes()), at, "{text:?}");
        }
    }

    #[test]
    fn the_largest_size_does_not_overflow() {
        let mut body = Body::new(Framing::Chunked);
        assert_eq!(body.advance(b"fFfFfFfFfFfFfFfF\r\n12345"), Ok(23));
        assert_eq!(body.state, State::Data(u64::MAX - 5));
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let extension = |len: usize| [b"1;".as_slice(), &vec![b'a'; len - 1], b"\r\nx\r\n"].concat();
        let most = MAX_EXTENSION as usize;
        let twice = [extension(most), extension(most), b"0\r\n\r\n".to_vec()].concat();
        assert_eq!(whole(Framing::Chunked, &twice), Ok((twice.len(), true)));
        assert_eq!(refused_at(&extension(most + 1)), 1 + most);
        assert_eq!(refused_at(&[b"1".as_slice(), &vec![b' '; most + 1]].concat()), 1 + most);

        let line = [b"A:".as_slice(), &[b'b'; 60], b"\r\n"].concat();
        let trailers = |lines: usize| [b"0\r\n".as_slice(), &line.repeat(lines)].concat();
        let most = MAX_TRAILERS as usize / line.len();
        let full = [&trailers(most)[..], b"\r\n"].concat();
        assert_eq!(whole(Framing::Chunked, &full), Ok((full.len(), true)));
        assert_eq!(refused_at(&trailers(most + 1)), 3 + MAX_TRAILERS as usize);
    }

    fn chunked() -> impl Strategy<Value = Vec<u8>> {
        let extension = "([ \t]{0,2};[ -~]{0,9})?";
        let chunk = (prop::collection::vec(any::<u8>(), 1..40), extension, any::<bool>());
        let trailers = prop::collection::vec("[A-Za-z-]{1,9}:[ -~]{0,9}", 0..3);
        (prop::collection::vec(chunk, 0..5), extension, trailers).prop_map(|(chunks, extension, trailers)| {
            let mut bytes = Vec::new();
            for (data, extension, upper) in chunks {
                let size = if upper { format!("{:X}", data.len()) } else { format!("{:03x}", data.len()) };
                bytes.extend_from_slice(format!("{size}{extension}\r\n").as_bytes());
                bytes.extend_from_slice(&data);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(format!("0{extension}\r\n").as_bytes());
            for trailer in trailers {
                bytes.extend_from_slice(format!("{trailer}\r\n").as_bytes());
            }
            bytes.extend_from_slice(b"\r\n");
            bytes
        })
    }

    fn cuts() -> impl Strategy<Value = Vec<usize>> {
        prop::collection::vec(0usize..12, 0..60)
    }

    proptest! {
        #[test]
        fn chunks_take_the_same_bytes_over_any_split(text in chunked(), junk: Vec<u8>, cuts in cuts()) {
            let bytes = [&text[..], &junk].concat();
            prop_assert_eq!(in_pieces(Framing::Chunked, &bytes, &cuts), Ok((text.len(), true)));
            for end in 0..text.len() {
                prop_assert_eq!(whole(Framing::Chunked, &text[..end]), Ok((end, false)));
            }
        }

        #[test]
        fn a_length_takes_the_same_bytes_over_any_split(bytes: Vec<u8>, len in 0u64..200, cuts in cuts()) {
            let has = bytes.len() as u64;
            let wanted = Ok((len.min(has) as usize, len <= has));
            prop_assert_eq!(in_pieces(Framing::Length(len), &bytes, &cuts), wanted);
        }

        #[test]
        fn no_bytes_panic_and_no_split_changes_the_verdict(
            text in chunked(),
            changes in prop::collection::vec(
                (any::<prop::sample::Index>(), prop_oneof![any::<u8>(), Just(b'\n'), Just(b'\r'), Just(b'f')]), 0..4),
            cuts in cuts(),
        ) {
            let mut bytes = text;
            for (place, byte) in changes {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            prop_assert_eq!(in_pieces(Framing::Chunked, &bytes, &cuts), whole(Framing::Chunked, &bytes));
        }

        #[test]
        fn garbage_does_not_panic(bytes: Vec<u8>, cuts in cuts()) {
            prop_assert_eq!(in_pieces(Framing::Chunked, &bytes, &cuts), whole(Framing::Chunked, &bytes));
        }
    }
}
