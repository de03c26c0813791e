//! HTTP/1.0 and 1.1 as a proxy speaks it: heads are read, checked and written anew, bodies are only
//! measured.
//!
//! ```text
//!   client                              proxy                              origin
//!     | CONNECT host:port HTTP/1.1  -->   |                                  |
//!     |    <--            emit_connected  |  then bytes, both ways           |
//!     |                                   |                                  |
//!     | GET http://host/path HTTP/1.1 --> |  parse_request                   |
//!     |                                   |  Forward::head               --> |  GET /path HTTP/1.1
//!     | body                          --> |  Body::pass                 -->  |  body
//!     |                                   |  parse_response             <--  |  HTTP/1.1 200 OK
//!     |    <--        ResponseHead::emit  |                                  |
//!     |    <-- body                       |  Body::pass                 <--  |  body
//! ```
//!
//! Requests are read strictly: a client that is misread smuggles. Responses are read as browsers
//! read them, for that is what origins are tested with. Both leave as a strict reader wants them.
//!
//! # What holds
//! - A message is never passed on as it came: its head, its chunk sizes and its trailers are
//!   written anew from what was understood, so that the next reader cannot understand them
//!   differently. A line that ends with a bare LF leaves with CRLF. One exception: an answer in
//!   which no reader finds a head goes on as it came, and the client's connection ends with it.
//! - Where a message ends has one reading or the message is refused (RFC 9112 section 6.3).
//! - Hop-by-hop fields and the proxy's credentials go no further (RFC 9110 sections 7.6.1 and
//!   11.7.2).
//! - Nothing is allocated before a head is complete, so that one that dribbles costs time only.
//!
//! # A client that speaks HTTP/1.0
//! [`Forward::version_10`] marks it. The forwarder keeps interim responses from it (RFC 9110
//! section 15.2). Chunks are taken apart for it (RFC 9112 section 6.1): what was in them goes on
//! until the connection closes.
//!
//! Sources: RFC 9110 (semantics), RFC 9112 (HTTP/1.1), RFC 7617 (Basic).
//!
//! | file | is |
//! | --- | --- |
//! | `request`, `request_line`, `target` | a client's request: its first line, the host it names |
//! | `response`, `status_line`, `clean` | an origin's response, written so that a strict reader reads the same |
//! | `fields` | framing, and the fields that go no further than the next hop |
//! | `named` | what `Connection` names |
//! | `head_end` | whether a head is complete |
//! | `body`, `chunks`, `trailers` | where a body ends |
//! | `upgrade` | 101: another protocol |
//! | `connect` | CONNECT as a client says it, to an upstream proxy |
//! | `base64` | credentials |

mod base64;
mod body;
mod chunks;
mod clean;
pub(crate) mod connect;
#[cfg(test)]
mod differential;
mod fields;
mod head_end;
mod named;
mod request;
mod request_line;
#[cfg(test)]
mod request_tests;
mod response;
#[cfg(test)]
mod response_tests;
mod status_line;
mod target;
mod trailers;
mod upgrade;

use alloc::vec::Vec;
use core::fmt;

use super::Malformed;
pub(crate) use crate::machine::event::Excess;
use crate::name::Destination;

#[cfg(feature = "unwrap")]
pub(crate) use base64::decode as base64_decode;
#[cfg(any(test, feature = "unwrap"))]
pub(crate) use base64::encode as base64_encode;
pub(crate) use body::{Body, Framing, Out};
#[cfg(feature = "unwrap")]
pub(crate) use body::{is_text, is_token};
pub(crate) use head_end::HeadEnd;
pub(crate) use named::Named;
pub(crate) use request::parse_request;
pub(crate) use request_line::empty_lines;
pub(crate) use response::{Asked, parse_response};
pub(crate) use status_line::is_nameless;
#[cfg(feature = "unwrap")]
pub(crate) use status_line::passed_over;

/// How large a head may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct HeadLimits {
    /// Bytes, with the empty lines before it and the one that ends it.
    pub(crate) bytes: usize,
    /// Lines of header fields.
    pub(crate) fields: usize,
}

/// What `Via` and the authentication realm call this proxy.
const PSEUDONYM: &str = "ropewalk";

/// Why there is no head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HttpError {
    /// The bytes are a true prefix: wait for more.
    Incomplete,
    /// No further byte can mend it: answer the client with this status, then close.
    Refused {
        /// The status: 4xx where the client is to blame, 501 or 505 where it asks too much, 502 for
        /// an origin.
        status: u16,
        /// What is wrong.
        why: Malformed,
    },
    /// It is larger than allowed: answer a client with 431, an origin with 502.
    TooLarge(Excess),
}

impl HttpError {
    fn refused(status: u16, why: Malformed) -> HttpError {
        HttpError::Refused { status, why }
    }
}

/// A client's request, all but its body.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RequestHead {
    /// What it asks for.
    pub(crate) kind: RequestKind,
    /// User and password as `Proxy-Authorization: Basic` has them. `None` where the field is
    /// absent, is there twice, has another scheme or cannot be decoded: each is answered with 407.
    pub(crate) credentials: Option<(Vec<u8>, Vec<u8>)>,
}

// By hand, so that no log line ever holds a password.
impl fmt::Debug for RequestHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHead").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// What a client asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum RequestKind {
    /// CONNECT: a tunnel.
    Connect(Destination),
    /// Any other method: a message to pass on.
    Forward(Forward),
    /// A message that says it goes no further than here (RFC 9110 section 7.6.2): the whole answer
    /// to it.
    Answered(Vec<u8>),
}

/// A request to pass on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Forward {
    /// The origin.
    pub(crate) destination: Destination,
    /// The head for the origin, blank line and all.
    pub(crate) head: Vec<u8>,
    /// How the body after it is framed, towards the proxy and towards the origin alike; never
    /// `UntilClose`.
    pub(crate) body: Framing,
    /// The client wants to keep its connection. Where it does not, `head` asks the origin to close,
    /// too.
    pub(crate) keep_alive: bool,
    /// The method is HEAD: the response has no body.
    pub(crate) head_request: bool,
    /// The client speaks HTTP/1.0: it knows neither chunks nor interim responses.
    pub(crate) version_10: bool,
    /// To ask twice does no more than to ask once (RFC 9110 section 9.2.2), and there is no body.
    pub(crate) repeatable: bool,
    /// The protocols that the origin may change to, as `Upgrade` lists them; empty: none.
    pub(crate) upgrade: Vec<u8>,
    /// What `Connection` named: trailers with these names go no further.
    pub(crate) named: Named,
    /// How many bytes the head took as it came: faults of the body are counted from there.
    pub(crate) came: usize,
}

/// An origin's response, all but its body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ResponseHead {
    /// The status, 100 to 999.
    pub(crate) status: u16,
    /// 1xx: another response to the same request follows.
    pub(crate) interim: bool,
    /// 101: what follows is of the protocol it names, in both directions.
    pub(crate) switched: Vec<u8>,
    /// What `Connection` named: trailers with these names go no further.
    pub(crate) named: Named,
    /// The head for the client up to where `Connection` and the blank line go: see
    /// [`ResponseHead::emit`].
    head: Vec<u8>,
    /// How the body after it is framed.
    pub(crate) body: Framing,
    /// The connection to the origin may be used again after the body.
    pub(crate) keep_alive: bool,
}

/// Whether a client that starts with this byte may be speaking HTTP. No method there is starts with
/// anything but a letter, though RFC 9110 section 5.6.2 lets a token do so.
pub(crate) fn looks_like_http(first_byte: u8) -> bool {
    first_byte.is_ascii_alphabetic()
}

/// Appends the answer to a CONNECT that was done.
pub(crate) fn emit_connected(out: &mut Vec<u8>) {
    // RFC 9110 section 9.3.6: no Content-Length and no Transfer-Encoding in a 2xx response to
    // CONNECT.
    out.extend_from_slice(b"HTTP/1.1 200 Connection established\r\n\r\n");
}

/// Appends a whole response that says what went wrong, in plain text; the connection is to be
/// closed after it.
pub(crate) fn emit_error(status: u16, text: &str, out: &mut Vec<u8>) {
    let reason = reason(status);
    let len = text.len();
    // RFC 9110 section 11.7.1: a 407 says which scheme would do.
    let challenge = match status {
        407 => alloc::format!("Proxy-Authenticate: Basic realm=\"{PSEUDONYM}\"\r\n"),
        _ => alloc::string::String::new(),
    };
    let head = alloc::format!(
        "HTTP/1.1 {status} {reason}\r\n{challenge}Content-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {len}\r\nConnection: close\r\n\r\n"
    );
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// The names of the statuses a proxy gives (RFC 9110 section 15, RFC 6585).
fn reason(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        413 => "Content Too Large",
        421 => "Misdirected Request",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        508 => "Loop Detected",
        // RFC 9112 section 4: the reason may be empty.
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn an_error_is_a_response_a_client_can_read_to_its_end() {
        let mut out = Vec::new();
        emit_error(502, "no uplink is left\n", &mut out);
        let limits = HeadLimits { bytes: 4096, fields: 64 };
        let (head, used) = parse_response(&out, &Asked::default(), limits).expect("our own response");
        assert_eq!((head.status, head.body, head.keep_alive), (502, Framing::Length(18), false));
        assert_eq!(&out[used..], b"no uplink is left\n");
        assert!(out.starts_with(b"HTTP/1.1 502 Bad Gateway\r\n"));
        assert!(!String::from_utf8(out).expect("text").contains("Authenticate"));
    }

    #[test]
    fn a_407_names_the_scheme() {
        let mut out = Vec::new();
        emit_error(407, "", &mut out);
        let text = String::from_utf8(out).expect("text");
        assert!(text.starts_with("HTTP/1.1 407 Proxy Authentication Required\r\n"));
        assert!(text.contains("\r\nProxy-Authenticate: Basic realm=\"ropewalk\"\r\n"), "{text}");
        assert!(text.contains("\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"), "{text}");
    }

    #[test]
    fn the_answer_to_connect_has_neither_fields_nor_body() {
        let mut out = Vec::new();
        emit_connected(&mut out);
        assert_eq!(out, b"HTTP/1.1 200 Connection established\r\n\r\n");
    }

    #[test]
    fn the_first_byte_tells_http_from_socks() {
        assert!([b'G', b'C', b'p', b'z'].into_iter().all(looks_like_http));
        assert!(![4, 5, 0, 0x16, b' ', b'\r', b'[', b'@', 0xff].into_iter().any(looks_like_http));
    }
}
