//! CONNECT as a client says it, to an upstream proxy, and the answer to it.
//!
//! ```text
//!   CONNECT host:port HTTP/1.1            -->
//!   Host: host:port
//!   [Proxy-Authorization: Basic ...]
//!                                         <--   HTTP/1.1 200 Connection established
//!                                               (fields are read past), then bytes, both ways
//! ```
//!
//! Sources: RFC 9110 sections 9.3.6 and 15.2, RFC 9112 section 3.2.3, RFC 7617.

use super::{HttpError, Malformed, base64, status_line};
use crate::machine::event::Excess;
use crate::name::Destination;
use alloc::vec::Vec;

/// The most that is read of an answer's heads, interim ones included, in bytes.
pub(crate) const MAX_ANSWER: usize = 16 * 1024;

/// Appends a CONNECT request. `login`: user and password.
pub(crate) fn emit_connect(destination: &Destination, login: Option<(&[u8], &[u8])>, out: &mut Vec<u8>) {
    // RFC 9112 section 3.2.3: authority-form; an IPv6 address stands in brackets.
    let head = alloc::format!("CONNECT {destination} HTTP/1.1\r\nHost: {destination}\r\n");
    out.extend_from_slice(head.as_bytes());
    if let Some((user, password)) = login {
        // RFC 7617 section 2: user, colon, password.
        let both = [user, b":", password].concat();
        out.extend_from_slice(b"Proxy-Authorization: Basic ");
        out.extend_from_slice(base64::encode(&both).as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Reads the answer: its status, and how many bytes it took. 200 to 299: what follows is the
/// tunnel's. Interim answers before it are read past.
pub(crate) fn parse_answer(bytes: &[u8]) -> Result<(u16, usize), HttpError> {
    let mut at = 0;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let unfinished = || match bytes.len() >= MAX_ANSWER {
            true => HttpError::TooLarge(Excess::Bytes(MAX_ANSWER)),
            false => HttpError::Incomplete,
        };
        let line = match status_line::parse(rest) {
            Err(HttpError::Incomplete) => return Err(unfinished()),
            other => other?,
        };
        // What an origin may leave out a proxy says: without a status nobody knows that there is a
        // tunnel, and the client's bytes would go to whatever is there.
        if !line.told || line.status < 100 || line.status == 101 {
            let found = line.told.then(|| line.status.into());
            let why = Malformed { expected: "an answer to CONNECT", found, at: at + line.status_at };
            return Err(HttpError::refused(502, why));
        }
        let end = end_of_fields(rest.get(line.used..).unwrap_or_default()).ok_or_else(unfinished)?;
        at += line.used + end;
        // RFC 9110 section 15.2: an interim answer may come before the final one.
        if line.status >= 200 {
            // RFC 9110 section 9.3.6: a success has no body, whatever its fields say.
            return Ok((line.status, at));
        }
    }
}

/// How many bytes the fields take, with the empty line that ends them.
fn end_of_fields(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let rest = &bytes[at..];
        let line = rest.iter().position(|byte| *byte == b'\n')?;
        at += line + 1;
        if matches!(&rest[..line], b"" | b"\r") {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Host;
    use crate::wire::http::{HeadLimits, RequestKind, parse_request};
    use alloc::vec;
    use proptest::prelude::*;

    #[test]
    fn an_answer_ends_at_its_empty_line_and_what_follows_is_not_its() {
        for whole in [
            &b"HTTP/1.1 200 Connection established\r\n\r\n"[..],
            b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\nVia: x\r\n\r\n",
            b"HTTP/1.1 200\n\n",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 \r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        ] {
            for cut in 0..whole.len() {
                assert_eq!(parse_answer(&whole[..cut]), Err(HttpError::Incomplete), "{cut} of {whole:?}");
            }
            assert_eq!(parse_answer(&[whole, b"SSH-2.0-x\r\n\r\n"].concat()), Ok((200, whole.len())));
        }
    }

    #[test]
    fn what_is_no_answer_is_told_and_what_never_ends_is_too_large() {
        assert!(matches!(parse_answer(b"SSH-2.0-OpenSSH"), Err(HttpError::Refused { .. })));
        assert!(matches!(parse_answer(b"HTTP/1.1 101 Switching\r\n\r\n"), Err(HttpError::Refused { .. })));
        assert!(matches!(parse_answer(b"HTTP/1.1 099 x\r\n\r\n"), Err(HttpError::Refused { .. })));
        for odd in ["HTTP/1.1407 Login", "HTTP/1.1 -407 Login", "HTTP/1.1 No", "HTTP/1.1", "HTTP"] {
            let whole = [odd, "\r\n\r\n"].concat();
            let Err(HttpError::Refused { why, .. }) = parse_answer(whole.as_bytes()) else {
                panic!("{odd} opens a tunnel")
            };
            assert!(why.at <= odd.len() && why.found.is_none(), "{odd}: {why}");
        }
        let endless = [&b"HTTP/1.1 200 OK\r\n"[..], &vec![b'a'; 64 * 1024]].concat();
        assert!(matches!(parse_answer(&endless), Err(HttpError::TooLarge(_))));
        let interim = b"HTTP/1.1 100 x\r\n\r\n".repeat(5000);
        assert!(matches!(parse_answer(&interim), Err(HttpError::TooLarge(_))));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), head in any::<bool>()) {
            let head: &[u8] = if head { b"HTTP/1.1 200 " } else { b"" };
            let _ = parse_answer(&[head, &bytes].concat());
        }

        #[test]
        fn the_proxys_own_parser_reads_what_is_emitted(
            host in prop_oneof![Just("::1"), Just("192.0.2.1"), Just("host.example")], port in 1u16..,
            user in prop::collection::vec(any::<u8>().prop_filter("no colon", |b| *b != b':'), 0..40),
            password in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let destination = Destination { host: Host::parse(host.as_bytes()).expect("a host"), port };
            let mut out = Vec::new();
            emit_connect(&destination, Some((&user, &password)), &mut out);
            let limits = HeadLimits { bytes: 1 << 16, fields: 100 };
            let (head, used) = parse_request(&out, limits).expect("a request");
            prop_assert_eq!(used, out.len());
            prop_assert_eq!(head.credentials, Some((user, password)));
            let RequestKind::Connect(to) = head.kind else { panic!("no CONNECT") };
            prop_assert_eq!(to, destination);
        }
    }
}
