//! What origins answer, well or badly, and what the client gets to see of it.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use alloc::{format, vec};

use proptest::prelude::*;

use super::*;

const LIMITS: HeadLimits = HeadLimits { bytes: 16 * 1024, fields: 64 };

fn parse(bytes: &[u8], head: bool) -> Result<(ResponseHead, usize), HttpError> {
    parse_response(bytes, &Asked { head, ..Asked::default() }, LIMITS)
}

fn read(text: &str) -> ResponseHead {
    let (head, used) = parse(text.as_bytes(), false).expect("a good response");
    assert_eq!(used, text.len());
    head
}

fn emitted(text: &str, close: bool) -> String {
    String::from_utf8(read(text).emit(close)).expect("text")
}

/// The status and the offset of the refusal.
fn refused(text: &str) -> (u16, usize) {
    match parse(text.as_bytes(), false) {
        Err(HttpError::Refused { status, why }) => (status, why.at),
        other => panic!("{text:?} gave {other:?}"),
    }
}

#[test]
fn a_response_loses_its_hop_by_hop_fields_and_nothing_else() {
    let text = "HTTP/1.1 200 All right\r\nConnection: keep-alive, X-Hop\r\nKeep-Alive: timeout=5\r\n\
                X-Hop: 1\r\nContent-Length: 2\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\n\
                Set-Cookie: a\r\nSet-Cookie: b\r\n\r\n";
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
        let (head, _) = parse(text.as_bytes(), true).expect("well formed");
        assert_eq!(head.body, Framing::None, "a HEAD has no body");
        assert!(head.keep_alive);
        assert!(!String::from_utf8(head.emit(false)).expect("text").contains("Connection"));
    }
    for status in [204, 304] {
        assert_eq!(read(&length.replace("200", &status.to_string())).body, Framing::None);
    }
    // A 304 has the length of the response it stands for; a 204 has none.
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
    assert!(emitted(until_close, false).ends_with("\r\nConnection: close\r\n\r\n"), "the client must know");
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
        "Content-Length: 3\r\nContent-Length: 4\r\n",
        "Content-Length: 3, 4\r\n",
        "Content-Length: 3, x\r\n",
        "Content-Length: -1\r\nContent-Length: 3\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: xchunked\r\n",
    ] {
        assert_eq!(refused(&["HTTP/1.1 200 OK\r\n", fields, "\r\n"].concat()).0, 502, "{fields}");
    }
}

#[test]
fn fields_are_read_as_browsers_read_them_and_leave_clean() {
    for (fields, wanted) in [
        ("Content-Type : text/html\r\n", "Content-Type: text/html\r\n"),
        ("A\t \t:b\r\n", "A: b\r\n"),
        ("PHP Warning:  no file in x\r\nA: b\r\n", "A: b\r\n"),
        ("no colon\r\nA: b\r\n", "A: b\r\n"),
        (": no name\r\nA: b\r\n", "A: b\r\n"),
        ("A: b\r\n c\r\n\t d \r\n", "A: b c d\r\n"),
        ("A:\r\n b\r\n", "A: b\r\n"),
        ("no colon\r\n folded to nothing\r\nA: b\r\n", "A: b\r\n"),
        (" before the first\r\nA: b\r\n", "A: b\r\n"),
        ("A: b\0c\r\nB: d\x7f\r\n", "A: b c\r\nB: d\r\n"),
        ("A: b\rc\r\n", "A: b c\r\n"),
        ("A: b\nB: c\n", "A: b\r\nB: c\r\n"),
        ("A: b\r\r\nB: c\r\r\n", "A: b\r\nB: c\r\n"),
        ("A: b\r\n \r\nB: c\r\n", "A: b\r\nB: c\r\n"),
        ("A\0: b\r\n\u{e4}: c\r\nB: \u{e4}\r\n", "B: \u{e4}\r\n"),
    ] {
        let text = ["HTTP/1.1 204 OK\r\n", fields, "\r\n"].concat();
        let wanted = ["HTTP/1.1 204 OK\r\n", wanted, "Via: 1.1 ropewalk\r\n\r\n"].concat();
        assert_eq!(emitted(&text, false), wanted, "{fields:?}");
        for end in 0..text.len() {
            assert_eq!(parse(&text.as_bytes()[..end], false), Err(HttpError::Incomplete), "{fields:?}");
        }
    }
}

#[test]
fn a_fault_of_a_cleaned_head_is_told_where_it_came() {
    let text = "HTTP/1.1 200 OK\r\nPHP Warning: x\r\nA  : b\r\nContent-Length: 1, x\r\n\r\n";
    assert_eq!(refused(text), (502, text.find("x\r\n\r\n").expect("there")));
}

#[test]
fn status_lines_are_read_as_browsers_read_them() {
    for (line, wanted) in [
        ("HTTP/1.1 200", "HTTP/1.1 200 "),
        ("HTTP/1.1 200 ", "HTTP/1.1 200 "),
        ("HTTP/1.1   200   Fine", "HTTP/1.1 200 Fine"),
        ("http/1.1 200 OK", "HTTP/1.1 200 OK"),
        ("HTTP/1.3 200 OK", "HTTP/1.1 200 OK"),
        ("HTTP/1.1 200 a\0b", "HTTP/1.1 200 a b"),
        ("HTTP/1.1 200 \u{e4}", "HTTP/1.1 200 \u{e4}"),
        ("HTTP/1.1 999 x", "HTTP/1.1 999 x"),
        // As Chromium and Firefox do, 200 where there is no status.
        ("HTTP/1.1", "HTTP/1.1 200 "),
        ("HTTP/1.1 ", "HTTP/1.1 200 "),
        ("HTTP/1.1 OK", "HTTP/1.1 200 OK"),
        ("HTTP/2.0 200 OK", "HTTP/1.1 200 OK"),
        ("HTTP/1.1 -1 OK", "HTTP/1.1 200 -1 OK"),
        ("HTTP/1.1: 200 OK", "HTTP/1.1 200 OK"),
        ("HTTP/1.10 200 OK", "HTTP/1.1 200 OK"),
        ("\r\n\r\nHTTP/1.1 200 OK", "HTTP/1.1 200 OK"),
        // As Chromium does, up to four bytes in front are passed over.
        ("\u{feff}HTTP/1.1 200 OK", "HTTP/1.1 200 OK"),
        ("  HTTP/1.1 200 OK", "HTTP/1.1 200 OK"),
        ("\r\nab\r\nHTTP/1.1 200 OK", "HTTP/1.1 200 OK"),
        ("HTHTHTTP/1.1 200 OK", "HTTP/1.1 200 OK"),
    ] {
        let text = [line, "\r\nContent-Length: 0\r\n\r\n"].concat();
        let wanted = [wanted, "\r\nContent-Length: 0\r\nVia: 1.1 ropewalk\r\n\r\n"].concat();
        assert_eq!(emitted(&text, false), wanted, "{line:?}");
    }
}

#[test]
fn a_version_that_is_none_or_half_of_one_is_an_old_one() {
    let odd = ["HTTP/1.x", "HTTP/x.y", "HTTP/11", "HTTPS/1.1", "HTTP/1."];
    for version in ["HTTP/1", "HTTP/2", "HTTP", "HTTP/", "HTTP/0.9", "HTTP/1.0"].into_iter().chain(odd) {
        let text = [version, " 200 OK\r\nContent-Length: 0\r\n\r\n"].concat();
        let wanted = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nVia: 1.0 ropewalk\r\n\r\n";
        assert_eq!((emitted(&text, false).as_str(), read(&text).keep_alive), (wanted, false), "{version}");
    }
}

#[test]
fn radio_goes_on_until_it_closes() {
    let head = read("ICY 200 OK\r\nicy-name: one\r\n\r\n");
    assert_eq!((head.body, head.keep_alive), (Framing::UntilClose, false));
    let text = String::from_utf8(head.emit(true)).expect("text");
    assert_eq!(text, "HTTP/1.1 200 OK\r\nicy-name: one\r\nVia: 1.0 ropewalk\r\nConnection: close\r\n\r\n");
    assert_eq!(refused("ICE 200 OK\r\n\r\n"), (502, 0));
}

#[test]
fn chunks_count_where_a_length_stands_beside_them() {
    let both = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n";
    for text in
        [both, &both.replace("1.1", "1.0"), &both.replace("Content-Length: 3", "Transfer-Encoding: chunked")]
    {
        let head = read(text);
        assert_eq!((head.body, head.keep_alive), (Framing::Chunked, false), "{text}");
        let text = String::from_utf8(head.emit(false)).expect("text");
        assert_eq!(text.matches("Transfer-Encoding: chunked\r\n").count(), 1, "{text}");
        assert!(!text.contains("Content-Length"), "{text}");
    }
    let (head, _) = parse(both.as_bytes(), true).expect("a HEAD has no body to doubt");
    assert_eq!((head.body, head.keep_alive), (Framing::None, true));
    let head = read(&both.replace("200", "304"));
    assert_eq!((head.body, head.keep_alive), (Framing::None, true));
    let identity = read("HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 3\r\n\r\n");
    assert_eq!((identity.body, identity.keep_alive), (Framing::Length(3), true));
}

#[test]
fn what_says_nothing_of_the_end_is_left_out() {
    for (fields, body) in [
        ("Content-Length:\r\n", Framing::UntilClose),
        ("Content-Length: 3,\r\n", Framing::Length(3)),
        ("Content-Length: 9223372036854775808\r\n", Framing::UntilClose),
        ("Content-Length: 18446744073709551616\r\n", Framing::UntilClose),
        ("Content-Length: -1\r\n", Framing::UntilClose),
        ("Content-Length: +3\r\n", Framing::UntilClose),
        ("Content-Length: 3 bytes\r\n", Framing::UntilClose),
        ("Content-Length: 3;\r\n", Framing::UntilClose),
        ("Content-Length: 0x3\r\n", Framing::UntilClose),
        ("Content-Length: \"3\"\r\n", Framing::UntilClose),
        ("Content-Length: 3\r\n 0\r\n", Framing::UntilClose),
        ("Content-Length: x\r\nContent-Length: x\r\n", Framing::UntilClose),
        ("Content-Length: 99999999999999999999, 99999999999999999999\r\n", Framing::UntilClose),
        ("Transfer-Encoding: binary\r\nContent-Length: 3\r\n", Framing::Length(3)),
        ("Transfer-Encoding: 8bit\r\n", Framing::UntilClose),
        ("Transfer-Encoding:\r\n", Framing::UntilClose),
        ("Transfer-Encoding: none, chunked\r\n", Framing::Chunked),
    ] {
        let head = read(&["HTTP/1.1 200 OK\r\n", fields, "\r\n"].concat());
        assert_eq!(head.body, body, "{fields}");
        assert_eq!(head.keep_alive, body != Framing::UntilClose, "{fields}");
        let text = String::from_utf8(head.emit(false)).expect("text");
        let length = (body == Framing::Length(3)).then_some("3");
        let told = text.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        assert_eq!(told, length, "{text}");
        assert_eq!(text.contains("Encoding"), body == Framing::Chunked, "{text}");
    }
    let other = "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999, 3\r\n\r\n";
    assert_eq!(refused(other), (502, 33), "two lengths");
}

#[test]
fn a_204_that_announces_a_body_is_the_last_of_its_connection() {
    let keeps = |fields: &str| read(&["HTTP/1.1 204 x\r\n", fields, "\r\n"].concat()).keep_alive;
    assert!(keeps("") && keeps("Content-Length: 0\r\n"));
    assert!(!keeps("Content-Length: 5\r\n") && !keeps("Transfer-Encoding: chunked\r\n"));
    for unreadable in
        ["Content-Length: 5 bytes\r\n", "Content-Length: 5, 6\r\n", "Transfer-Encoding: gzip\r\n"]
    {
        assert!(!keeps(unreadable), "{unreadable}");
    }
    assert!(keeps("Content-Length:\r\n"), "it announces nothing");
}

#[test]
fn an_origin_that_says_more_than_its_answers_is_asked_no_more() {
    let keeps = |text: &str| read(&[text, "HTTP/1.1 204 x\r\n\r\n"].concat()).keep_alive;
    assert!(keeps("") && keeps("\r\n"));
    assert!(!keeps("ab") && !keeps("\u{feff}"));
}

#[test]
fn what_frames_no_body_is_not_read() {
    for fields in
        ["Content-Length: x\r\n", "Content-Length: 1\r\nContent-Length: 2\r\n", "Transfer-Encoding: gzip\r\n"]
    {
        for status in ["204", "304", "103"] {
            let head = read(&["HTTP/1.1 ", status, " OK\r\n", fields, "\r\n"].concat());
            assert_eq!(head.body, Framing::None);
            let text = String::from_utf8(head.emit(false)).expect("text");
            assert!(!text.contains("Content-Length") && !text.contains("Encoding"), "{text}");
        }
    }
}

#[test]
fn a_client_of_1_0_is_told_nothing_of_chunks() {
    let asked = Asked { version_10: true, ..Asked::default() };
    let text = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (head, _) = parse_response(text, &asked, LIMITS).expect("well formed");
    assert_eq!(head.body, Framing::Chunked);
    let text = String::from_utf8(head.emit(true)).expect("text");
    assert_eq!(text, "HTTP/1.1 200 OK\r\nVia: 1.1 ropewalk\r\nConnection: close\r\n\r\n");
}

#[test]
fn an_origin_may_change_to_what_was_offered_and_to_nothing_else() {
    let with = |upgrade: &'static [u8], text: &str| {
        let asked = Asked { upgrade, ..Asked::default() };
        parse_response(text.as_bytes(), &asked, LIMITS).map(|(head, _)| head)
    };
    let text =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nX: 1\r\n\r\n";
    let head = with(b"websocket", text).expect("it was offered");
    assert!(!head.interim);
    assert_eq!(
        String::from_utf8(head.emit(true)).expect("text"),
        "HTTP/1.1 101 Switching Protocols\r\nX: 1\r\nVia: 1.1 ropewalk\r\nConnection: upgrade\r\n\
         Upgrade: WebSocket\r\n\r\n"
    );
    for (upgrade, text) in [
        (&b""[..], text),
        (b"chat", text),
        (b"websocket", "HTTP/1.1 101 Switching Protocols\r\n\r\n"),
        (b"websocket", &text.replace("WebSocket", "websocket, h2c")),
    ] {
        assert!(matches!(with(upgrade, text), Err(HttpError::Refused { status: 502, .. })), "{text}");
    }
}

#[test]
fn what_is_no_http_is_refused_at_its_byte() {
    assert_eq!(refused("SSH-2.0-OpenSSH\r\n"), (502, 0));
    assert_eq!(refused("abcdeHTTP/1.1 200 OK\r\n"), (502, 0));
    assert_eq!(refused("HTTP/1.1 20 OK\r\n"), (502, 11));
    assert_eq!(refused("HTTP/1.1 2000 OK\r\n"), (502, 13));
    assert_eq!(refused("<html>\r\n"), (502, 0));
    assert_eq!(refused("\0\0\0\0\0"), (502, 0));
}

#[test]
fn an_endless_head_is_given_up_at_its_bound() {
    let mut text = String::from("HTTP/1.1 200 OK\r\nA: ");
    text.push_str(&"a".repeat(LIMITS.bytes - text.len() - 1));
    assert_eq!(parse(text.as_bytes(), false), Err(HttpError::Incomplete));
    text.push('a');
    let too_long = Err(HttpError::TooLarge(Excess::Bytes(LIMITS.bytes)));
    assert_eq!(parse(text.as_bytes(), false), too_long);
    let lines = |n: usize| ["HTTP/1.1 200 OK\r\n", &"A: b\r\n".repeat(n)].concat();
    let whole = |n: usize| [&lines(n), "\r\n"].concat();
    assert!(parse(whole(LIMITS.fields).as_bytes(), false).is_ok());
    let too_many = Err(HttpError::TooLarge(Excess::Fields(LIMITS.fields)));
    assert_eq!(parse(whole(LIMITS.fields + 1).as_bytes(), false), too_many);
    assert_eq!(parse(lines(LIMITS.fields + 1).as_bytes(), false), too_many, "told before it ends");
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
    let framing = prop::sample::select(vec!["", "Content-Length: 3\r\n", "Transfer-Encoding: chunked\r\n"]);
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
            prop_assert_eq!(parse(&bytes[..end], head_request), Err(HttpError::Incomplete));
        }
        let whole = parse(&bytes, head_request);
        prop_assert_eq!(whole.as_ref().map(|(_, used)| *used), Ok(len));
        bytes.extend_from_slice(&junk);
        prop_assert_eq!(parse(&bytes, head_request), whole);
    }

    #[test]
    fn what_is_emitted_means_the_same_to_the_next_reader(text in response(), close: bool, head_request: bool) {
        let (first, _) = parse(text.as_bytes(), head_request).expect("well formed");
        let emitted = first.emit(close);
        let named = text.contains("\nConnection: X-A");
        let goes_on = text.contains("\nX-A:") && !named;
        let (second, used) = parse(&emitted, head_request).expect("our own head");
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
        let whole = parse(&bytes, head_request);
        for end in 0..bytes.len() {
            match parse(&bytes[..end], head_request) {
                Err(HttpError::Incomplete) => {}
                early => prop_assert_eq!(&early, &whole),
            }
        }
    }

    #[test]
    fn garbage_does_not_panic(bytes: Vec<u8>) {
        prop_assert!(parse(&bytes, false).is_err());
    }
}
