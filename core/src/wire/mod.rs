//! What peers say, byte for byte: parse and emit, no state.
//!
//! A parser looks at the bytes seen so far and gives a value and how many bytes it used, or says
//! that more bytes are needed, or that no further byte can mend it. Nothing here allocates for
//! input that is malformed.
//!
//! | file | is |
//! | --- | --- |
//! | `socks4`, `socks5` | what clients of `dispatch` ask for; `socks5/datagram` the header of UDP |
//! | `http` | heads, bodies, fields |
//! | `proxy` | the header of a balancer: PROXY versions 1 and 2, Simple Proxy Protocol |

#[cfg(feature = "dispatch")]
pub(crate) mod http;
#[cfg(feature = "unwrap")]
pub(crate) mod proxy;
#[cfg(feature = "dispatch")]
pub(crate) mod socks4;
#[cfg(feature = "dispatch")]
pub(crate) mod socks5;

use core::fmt;

/// A value and the number of bytes it took.
pub(crate) type Parsed<T> = Result<(T, usize), Unparsed>;

/// Why there is no value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unparsed {
    /// The bytes are a true prefix: wait for more.
    Incomplete,
    /// No further byte can mend it.
    Malformed(Malformed),
}

impl From<Malformed> for Unparsed {
    fn from(malformed: Malformed) -> Self {
        Unparsed::Malformed(malformed)
    }
}

/// What was expected, what came and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed {
    /// What the specification asks for.
    pub expected: &'static str,
    /// The byte or number that came instead; `None` where there is no single one.
    pub found: Option<u32>,
    /// Its offset in the message, in bytes.
    pub at: usize,
}

impl Malformed {
    /// The same, counted from `before` bytes further in front.
    #[cfg(feature = "dispatch")]
    pub(crate) fn behind(self, before: usize) -> Self {
        Malformed { at: self.at.saturating_add(before), ..self }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {} at byte {}", self.expected, self.at)?;
        match self.found {
            Some(found) => write!(f, ", got {found} (0x{found:02x})"),
            None => Ok(()),
        }
    }
}
