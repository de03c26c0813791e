//! Where a body ends, and what of it goes on.
//!
//! Bytes up to a length or up to the close go on as they are. Chunks are read and written anew: see
//! `chunks`.
//!
//! Sources: RFC 9112 sections 6 and 7.

use alloc::vec::Vec;

use super::chunks::{Chunks, Manner};
use super::{Malformed, Named};

/// How the end of a body is found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Framing {
    /// There is no body.
    None,
    /// After this many bytes.
    Length(u64),
    /// Chunks, the last of them empty.
    Chunked,
    /// The end of the connection; only in responses.
    UntilClose,
}

/// What goes on in place of some bytes that came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Out {
    /// The first this many of them: they are written as we would write them.
    Same(usize),
    /// These.
    Rewritten(Vec<u8>),
}

impl Out {
    /// The bytes that go on, given those that came.
    pub(crate) fn bytes<'o>(&'o self, came: &'o [u8]) -> &'o [u8] {
        match self {
            Out::Same(len) => &came[..*len],
            Out::Rewritten(bytes) => bytes,
        }
    }
}

/// A body in passing.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    Done,
    UntilClose,
    /// Bytes that are left.
    Length(u64),
    Chunks(Chunks),
}

impl Body {
    /// A request's body, of which no byte was seen. Chunks are read strictly; trailers that
    /// `Connection` named go no further.
    pub(crate) fn of_request(framing: Framing, named: &Named) -> Body {
        Body::new(framing, Manner::Strict, named)
    }

    /// A response's body. Chunks are read as browsers read them, and taken apart for a client that
    /// knows none.
    pub(crate) fn of_response(framing: Framing, named: &Named, take_apart: bool) -> Body {
        Body::new(framing, if take_apart { Manner::Apart } else { Manner::Loose }, named)
    }

    fn new(framing: Framing, manner: Manner, named: &Named) -> Body {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(len) => State::Length(len),
            Framing::Chunked => State::Chunks(Chunks::new(manner, named)),
            Framing::UntilClose => State::UntilClose,
        };
        Body { state }
    }

    /// Takes the next bytes of the connection and says how many of them, from the first on, belong
    /// to this body, and what goes on in their place.
    ///
    /// # Errors
    /// The chunks are malformed; `at` counts from the start of the body. Nothing after an error is
    /// to be trusted: the connection cannot be used any more.
    pub(crate) fn pass(&mut self, bytes: &[u8]) -> Result<(usize, Out), Malformed> {
        match self.pass_some(bytes) {
            (used, out, None) => Ok((used, out)),
            (_, _, Some(why)) => Err(why),
        }
    }

    /// The same; where the chunks are malformed, what goes on of those before the fault.
    pub(crate) fn pass_some(&mut self, bytes: &[u8]) -> (usize, Out, Option<Malformed>) {
        let used = match &mut self.state {
            State::Done => 0,
            State::UntilClose => bytes.len(),
            State::Length(left) => {
                let taken = take(left, bytes);
                if *left == 0 {
                    self.state = State::Done;
                }
                taken
            }
            State::Chunks(chunks) => return chunks.pass_some(bytes),
        };
        (used, Out::Same(used), None)
    }

    /// No further byte belongs to this body. Never so with [`Framing::UntilClose`].
    pub(crate) fn is_done(&self) -> bool {
        match &self.state {
            State::Done => true,
            State::Chunks(chunks) => chunks.is_done(),
            State::UntilClose | State::Length(_) => false,
        }
    }

    /// How many of the next bytes are data, from which nothing follows. 0: the next byte frames, or
    /// is no longer the body's.
    pub(crate) fn data_left(&self) -> u64 {
        match &self.state {
            State::Done => 0,
            State::UntilClose => u64::MAX,
            State::Length(left) => *left,
            State::Chunks(chunks) => chunks.data_left(),
        }
    }

    /// The next byte is an extension's or a trailer's value's: from text nothing follows.
    pub(crate) fn is_beside(&self) -> bool {
        matches!(&self.state, State::Chunks(chunks) if chunks.is_beside())
    }

    /// The next reader sees where it ends, or that a part is missing.
    pub(crate) fn tells_its_end(&self) -> bool {
        match &self.state {
            State::Done | State::Length(_) => true,
            State::Chunks(chunks) => chunks.tells_its_end(),
            State::UntilClose => false,
        }
    }

    /// The connection has ended: what is still to be said, or `None` where a part of the body is
    /// lost.
    pub(crate) fn end(&mut self) -> Option<&'static [u8]> {
        let rest = match &self.state {
            State::Done | State::UntilClose => &[],
            State::Chunks(chunks) => chunks.end()?,
            State::Length(_) => return None,
        };
        self.state = State::Done;
        Some(rest)
    }
}

/// Takes what there is of `left` bytes.
pub(super) fn take(left: &mut u64, rest: &[u8]) -> usize {
    let taken = usize::try_from(*left).map_or(rest.len(), |left| left.min(rest.len()));
    *left -= taken as u64;
    taken
}

/// What field values and extensions are made of (RFC 9110 section 5.5).
pub(crate) fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// RFC 9110 section 5.6.2.
pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_body_takes_nothing() {
        for framing in [Framing::None, Framing::Length(0)] {
            let mut body = Body::of_request(framing, &Named::default());
            assert!(body.is_done());
            assert_eq!(body.pass(b"GET"), Ok((0, Out::Same(0))));
            assert_eq!(body.end(), Some(&b""[..]));
        }
    }

    #[test]
    fn a_length_is_counted_down() {
        let mut body = Body::of_response(Framing::Length(5), &Named::default(), false);
        assert_eq!((body.pass(b"abc"), body.is_done()), (Ok((3, Out::Same(3))), false));
        assert_eq!(body.clone().end(), None, "a part is lost");
        assert_eq!((body.pass(b"defg"), body.is_done()), (Ok((2, Out::Same(2))), true));
        assert_eq!(body.pass(b"g"), Ok((0, Out::Same(0))));
        assert_eq!(body.end(), Some(&b""[..]));
    }

    #[test]
    fn until_close_takes_all_and_may_end_any_time() {
        let mut body = Body::of_response(Framing::UntilClose, &Named::default(), false);
        assert_eq!(body.clone().end(), Some(&b""[..]));
        assert_eq!((body.pass(b"abc"), body.is_done()), (Ok((3, Out::Same(3))), false));
        assert_eq!(body.end(), Some(&b""[..]));
        assert!(body.is_done());
    }
}
