//! An origin's response: where its body ends, and the head that goes to the client in its stead.
//!
//! ```text
//!   HTTP/1.1 200 OK                          HTTP/1.1 200 OK
//!   Connection: keep-alive, X-Hop        ->  Content-Length: 2
//!   Keep-Alive: timeout=5                    Via: 1.1 ropewalk
//!   X-Hop: 1                                 [Connection: close]   as ResponseHead::emit is told
//!   Content-Length: 2
//! ```
//!
//! Whatever is wrong with a response is answered with 502: the client is not to blame.
//!
//! Sources: RFC 9110 sections 7.6, 8.6 and 15, RFC 9112 sections 4, 6 and 9.

use alloc::vec::Vec;

use httparse::{EMPTY_HEADER, Response};

use super::fields::{self, BadFraming, BadHead, Room};
use super::{Framing, HttpError, Malformed, ResponseHead};

/// Reads a response's head; also how many bytes it took. `head_request` says that it answers a HEAD.
pub(crate) fn parse_response(bytes: &[u8], head_request: bool) -> Result<(ResponseHead, usize), HttpError> {
    let bad_gateway = |why| HttpError::refused(502, why);
    let window = fields::window(bytes);
    let mut room: Room<'_> = [EMPTY_HEADER; _];
    let mut response = Response::new(&mut room);
    let parsed = response.parse(window);
    let used = match fields::complete(window, parsed, |w| {
        Response::new(&mut [EMPTY_HEADER; _] as &mut Room<'_>).parse(w)
    }) {
        Ok(Some(used)) => used,
        Ok(None) => return Err(HttpError::Incomplete),
        Err(BadHead::TooLarge(why) | BadHead::Version(why) | BadHead::Syntax(why)) => {
            return Err(bad_gateway(why));
        }
    };
    let (Some(status), Some(reason), Some(version)) = (response.code, response.reason, response.version)
    else {
        unreachable!("httparse gives all three with a complete head");
    };
    let fields = &*response.headers;
    let version_10 = version == 0;
    // RFC 9110 section 15: a status is 100 or more. Upgrade was taken out of the request, so an origin that
    // switches protocols does so unasked (section 7.8), and what would follow is no HTTP.
    if status < 100 || status == 101 {
        let expected = "a status of 100 or more, and no change of protocol";
        return Err(bad_gateway(Malformed { expected, found: Some(status.into()), at: "HTTP/1.1 ".len() }));
    }
    let declared = fields::framing(window, fields, version_10)
        .map_err(|(BadFraming::Ambiguous(why) | BadFraming::Coding(why))| bad_gateway(why))?;
    let interim = status < 200;
    // RFC 9112 section 6.3: these end with their heads, whatever their fields say.
    let bodiless = interim || status == 204;
    let body = match declared {
        _ if bodiless || status == 304 || head_request => Framing::None,
        Framing::None => Framing::UntilClose,
        declared => declared,
    };
    // RFC 9112 section 9.3: HTTP/1.1 persists unless told otherwise. An HTTP/1.0 origin would have to ask for
    // it; it is not worth the doubt.
    let keep_alive =
        !version_10 && body != Framing::UntilClose && !fields::has_element(fields, "Connection", "close");

    let mut head = Vec::with_capacity(used + 64);
    // RFC 9112 section 2.3: a proxy sends its own version.
    head.extend_from_slice(alloc::format!("HTTP/1.1 {status} {reason}\r\n").as_bytes());
    // RFC 9110 section 8.6, RFC 9112 section 6.1: 1xx and 204 have neither of these; a client that believed
    // them would wait for a body.
    let framing = |name: &str| {
        name.eq_ignore_ascii_case("Content-Length") || name.eq_ignore_ascii_case("Transfer-Encoding")
    };
    fields::emit_end_to_end(fields, version_10, |name| !(bodiless && framing(name)), &mut head);
    Ok((ResponseHead { status, interim, head, body, keep_alive }, used))
}

impl ResponseHead {
    /// The head for the client, blank line and all. `close` says that its connection closes after this
    /// response; that is said, too, where only the close can end the body, and never in an interim response.
    pub(crate) fn emit(&self, close: bool) -> Vec<u8> {
        let mut out = self.head.clone();
        // RFC 9112 section 9.6: who will not read another request says so.
        if !self.interim && (close || self.body == Framing::UntilClose) {
            fields::emit_field("Connection", b"close", &mut out);
        }
        out.extend_from_slice(b"\r\n");
        out
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};
    use alloc::{format, vec};

    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> ResponseHead {
        let (head, used) = parse_response(text.as_bytes(), false).expect("a good response");
        assert_eq!(used, text.len());
        head
    }

    fn emitted(text: &str, close: bool) -> String {
        String::from_utf8(read(text).emit(close)).expect("text")
    }

    /// The status and the offset of the refusal.
    fn refused(text: &str) -> (u16, usize) {
        match parse_response(text.as_bytes(), false) {
            Err(HttpError::Refused { status, why }) => (status, why.at),
            other => panic!("{text:?} gave {other:?}"),
        }
    }

    #[test]
    fn a_response_loses_its_hop_by_hop_fields_and_nothing_else() {
        let text = "HTTP/1.1 200 All right\r\nConnection: keep-alive, X-Hop\r\nKeep-Alive: timeout=5\r\nX-Hop: 1\r\n\
                    Content-Length: 2\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\
                    \r\n";
        let rewritten = "HTTP/1.1 200 All right\r\nContent-Length: 2\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\
                         Via: 1.1 ropewalk\r\n";
        assert_eq!(emitted(text, false), [rewritten, "\r\n"].concat());
        assert_eq!(emitted(text, true), [rewritten, "Connection: close\r\n\r\n"].concat());
    }

    #[test]
    fn the_body_ends_where_rfc_9112_section_6_3_says() {
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n";
        let length = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n";
        let neither = "HTTP/1.1 200 OK\r\n\r\n";
        assert_eq!(read(chunked).body, Framing::Chunked);
        assert_eq!(read(length).body, Framing::Length(7));
        assert_eq!(read(neither).body, Framing::UntilClose);
        for text in [chunked, length, neither] {
            let (head, _) = parse_response(text.as_bytes(), true).expect("well formed");
            assert_eq!(head.body, Framing::None, "a HEAD has no body");
            assert!(head.keep_alive);
            assert!(!String::from_utf8(head.emit(false)).expect("text").contains("Connection"));
        }
        for status in [204, 304] {
            assert_eq!(read(&length.replace("200", &status.to_string())).body, Framing::None);
        }
        // A 304 tells the length of what it stands for; a 204 has none to tell.
        assert!(emitted(&length.replace("200", "304"), false).contains("Content-Length: 7\r\n"));
        assert!(!emitted(&length.replace("200", "204"), false).contains("Content-Length"));
        assert!(!emitted(&chunked.replace("200", "204"), false).contains("Transfer-Encoding"));
    }

    #[test]
    fn only_a_body_with_an_end_of_its_own_lets_the_connection_be_used_again() {
        let keeps = |text: &str| read(text).keep_alive;
        assert!(keeps("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
        assert!(!keeps("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: x, Close\r\n\r\n"));
        assert!(!keeps("HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n"));
        let until_close = "HTTP/1.1 200 OK\r\n\r\n";
        assert!(!keeps(until_close));
        assert!(
            emitted(until_close, false).ends_with("\r\nConnection: close\r\n\r\n"),
            "the client must know"
        );
    }

    #[test]
    fn an_interim_response_has_no_body_and_closes_nothing() {
        let head = read("HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n");
        assert!(head.interim && head.body == Framing::None && head.keep_alive);
        assert_eq!(head.emit(true), b"HTTP/1.1 100 Continue\r\nVia: 1.1 ropewalk\r\n\r\n");
        assert!(!read("HTTP/1.1 200 OK\r\n\r\n").interim);
    }

    #[test]
    fn a_change_of_protocol_nobody_asked_for_is_refused() {
        assert_eq!(refused("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"), (502, 9));
        assert_eq!(refused("HTTP/1.1 099 What\r\n\r\n"), (502, 9));
    }

    #[test]
    fn an_old_origin_is_named_in_via_and_answered_for_in_1_1() {
        let text = emitted("HTTP/1.0 200\r\nContent-Length: 1\r\n\r\n", false);
        assert_eq!(text, "HTTP/1.1 200 \r\nContent-Length: 1\r\nVia: 1.0 ropewalk\r\n\r\n");
    }

    #[test]
    fn a_response_whose_end_has_two_readings_is_refused() {
        for fields in [
            "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 3\r\nContent-Length: 4\r\n",
            "Content-Length: 3, 4\r\n",
            "Content-Length: -1\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        ] {
            assert_eq!(refused(&["HTTP/1.1 200 OK\r\n", fields, "\r\n"].concat()).0, 502, "{fields}");
        }
        assert_eq!(refused("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").0, 502);
    }

    #[test]
    fn what_is_no_http_is_refused_at_its_byte() {
        assert_eq!(refused("SSH-2.0-OpenSSH\r\n"), (502, 0));
        assert_eq!(refused("HTTP/2.0 200 OK\r\n\r\n"), (502, 5));
        assert_eq!(refused("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n"), (502, 23));
        assert_eq!(refused("HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n"), (502, 21));
        assert_eq!(refused("HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n"), (502, 22));
    }

    #[test]
    fn an_endless_head_is_given_up_at_its_bound() {
        let mut text = String::from("HTTP/1.1 200 OK\r\nA: ");
        text.push_str(&"a".repeat(super::super::MAX_HEAD - text.len() - 1));
        assert_eq!(parse_response(text.as_bytes(), false), Err(HttpError::Incomplete));
        text.push('a');
        assert_eq!(refused(&text), (502, super::super::MAX_HEAD));
    }

    fn response() -> impl Strategy<Value = String> {
        let field = prop::sample::select(vec![
            "Connection: close",
            "Connection: X-A",
            "X-A: 1",
            "Keep-Alive: 5",
            "Upgrade: h2c",
            "Server: a, b",
            "Trailer: X",
            "Via: 1.1 other",
            "X-Empty:",
        ]);
        let framing =
            prop::sample::select(vec!["", "Content-Length: 3\r\n", "Transfer-Encoding: chunked\r\n"]);
        let status = prop_oneof![Just(100u16), 200u16..600];
        (status, "[ -~]{0,9}", framing, prop::collection::vec(field, 0..8)).prop_map(
            |(status, reason, framing, fields)| {
                let fields: String = fields.into_iter().map(|field| [field, "\r\n"].concat()).collect();
                format!("HTTP/1.1 {status} {reason}\r\n{framing}{fields}\r\n")
            },
        )
    }

    proptest! {
        #[test]
        fn a_response_is_read_at_its_end_and_no_sooner(text in response(), junk: Vec<u8>, head_request: bool) {
            let mut bytes = text.into_bytes();
            let len = bytes.len();
            for end in 0..len {
                prop_assert_eq!(parse_response(&bytes[..end], head_request), Err(HttpError::Incomplete));
            }
            let whole = parse_response(&bytes, head_request);
            prop_assert_eq!(whole.as_ref().map(|(_, used)| *used), Ok(len));
            bytes.extend_from_slice(&junk);
            prop_assert_eq!(parse_response(&bytes, head_request), whole);
        }

        #[test]
        fn what_is_emitted_means_the_same_to_the_next_reader(text in response(), close: bool, head_request: bool) {
            let (first, _) = parse_response(text.as_bytes(), head_request).expect("well formed");
            let emitted = first.emit(close);
            let named = text.contains("\nConnection: X-A");
            let goes_on = text.contains("\nX-A:") && !named;
            let (second, used) = parse_response(&emitted, head_request).expect("our own head");
            prop_assert_eq!(used, emitted.len());
            prop_assert_eq!((second.status, second.body), (first.status, first.body));
            let stays = first.interim || !(close || first.body == Framing::UntilClose);
            prop_assert_eq!(second.keep_alive, stays);
            let text = String::from_utf8(emitted).expect("text");
            prop_assert_eq!(text.contains("\nX-A:"), goes_on, "{}", text);
            for gone in ["\nKeep-Alive:", "\nUpgrade:"] {
                prop_assert!(!text.contains(gone), "{} in {}", gone, text);
            }
        }

        #[test]
        fn no_bytes_panic_and_what_is_settled_stays_settled(
            text in response(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            head_request: bool,
        ) {
            let mut bytes = text.into_bytes();
            for (place, byte) in changes {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            let whole = parse_response(&bytes, head_request);
            for end in 0..bytes.len() {
                match parse_response(&bytes[..end], head_request) {
                    Err(HttpError::Incomplete) => {}
                    early => prop_assert_eq!(&early, &whole),
                }
            }
        }

        #[test]
        fn garbage_does_not_panic(bytes: Vec<u8>) {
            prop_assert!(parse_response(&bytes, false).is_err());
        }
    }
}
