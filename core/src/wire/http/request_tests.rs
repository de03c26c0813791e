//! What clients ask of a proxy, well or badly, and what the origin gets to see of it. `properties`
//! has what holds for any of it.

mod properties;

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::name::Host;

const LIMITS: HeadLimits = HeadLimits { bytes: 16 * 1024, fields: 64 };

fn parse(bytes: &[u8]) -> Result<(RequestHead, usize), HttpError> {
    parse_request(bytes, LIMITS)
}

fn read(text: &str) -> RequestHead {
    let (head, used) = parse(text.as_bytes()).expect("a good request");
    assert_eq!(used, text.len());
    head
}

fn forward(text: &str) -> Forward {
    match read(text).kind {
        RequestKind::Forward(forward) => forward,
        other => panic!("{text:?} is {other:?}"),
    }
}

fn rewritten(text: &str) -> String {
    String::from_utf8(forward(text).head).expect("text")
}

/// The status and the offset of the refusal.
fn refused(text: &str) -> (u16, usize) {
    match parse(text.as_bytes()) {
        Err(HttpError::Refused { status, why }) => (status, why.at),
        Err(HttpError::TooLarge(Excess::Bytes(limit) | Excess::Fields(limit))) => (431, limit),
        other => panic!("{text:?} gave {other:?}"),
    }
}

fn to(host: &str, port: u16) -> Destination {
    Destination { host: Host::parse(host.as_bytes()).expect("literal"), port }
}

#[test]
fn connect_names_a_host_and_a_port() {
    let connect = |target: &str| read(&format!("CONNECT {target} HTTP/1.1\r\nHost: other\r\n\r\n")).kind;
    assert_eq!(connect("example.org:443"), RequestKind::Connect(to("example.org", 443)));
    assert_eq!(connect("[2001:db8::1]:8443"), RequestKind::Connect(to("2001:db8::1", 8443)));
    assert_eq!(connect("10.0.0.1:0"), RequestKind::Connect(to("10.0.0.1", 0)));
    assert_eq!(read("CONNECT a:1 HTTP/1.0\r\n\r\n").kind, RequestKind::Connect(to("a", 1)));
    assert_eq!(connect("::1:443"), RequestKind::Connect(to("::1", 443)));
    assert_eq!(connect("2001:db8::1:8443"), RequestKind::Connect(to("2001:db8::1", 8443)));
    assert_eq!(connect("1:2:3:4:5:6:7:8:443"), RequestKind::Connect(to("1:2:3:4:5:6:7:8", 443)));
}

#[test]
fn connect_without_host_or_port_is_refused() {
    for target in [
        "example.org",
        "example.org:",
        ":443",
        "[::1]",
        "::1:",
        "::1:99999",
        "::1:+1",
        "1:2:3:4:5:6:7:443",
        "a:65536",
        "a:+1",
        "a:1:2",
        "a:x",
        "[::1]443",
        "u@a:1",
        "u:p@a:1",
        "http://a:1/",
        "a:1/",
        "[a]:1",
        "[::1:1",
        "*",
        "/",
    ] {
        assert_eq!(refused(&format!("CONNECT {target} HTTP/1.1\r\n\r\n")).0, 400, "{target}");
    }
    assert_eq!(refused("CONNECT a:65536 HTTP/1.1\r\n\r\n"), (400, 10));
    assert_eq!(refused("CONNECT ::1:65536 HTTP/1.1\r\n\r\n"), (400, 12));
    assert_eq!(refused("\r\nCONNECT u@a:1 HTTP/1.1\r\n\r\n"), (400, 11));
}

#[test]
fn connect_without_a_port_is_told_that_the_port_is_missing() {
    for target in
        ["example.org", "example.org:", "10.0.0.1", "[::1]", "::1", "::1:", "2001:db8::1", "1:2:3:4:5:6:7:8"]
    {
        let text = format!("CONNECT {target} HTTP/1.1\r\n\r\n");
        let Err(HttpError::Refused { why, .. }) = parse(text.as_bytes()) else { panic!("{target}") };
        assert_eq!(
            (why.expected, why.at),
            ("a colon and a port after the host", 8 + target.len()),
            "{target}"
        );
    }
}

#[test]
fn connect_has_no_content() {
    let with = |field: &str| format!("CONNECT a:1 HTTP/1.1\r\n{field}\r\n\r\n");
    assert_eq!(read(&with("Content-Length: 0")).kind, RequestKind::Connect(to("a", 1)));
    assert_eq!(refused(&with("Content-Length: 1")).0, 400);
    assert_eq!(refused(&with("Transfer-Encoding: chunked")).0, 400);
}

#[test]
fn a_request_is_written_anew_for_the_origin() {
    let text = "GET http://example.org/a?b HTTP/1.1\r\nHost: whatever\r\nProxy-Authorization: Basic eDp5\r\n\
                Connection: X-Hop, keep-alive\r\nx-hop: 1\r\nAccept:  */* \r\nKeep-Alive: 5\r\nTE: trailers\r\n\
                Trailer: X-Sum\r\nUpgrade: h2c\r\nProxy-Connection: keep-alive\r\nVia: 1.0 before\r\n\r\n";
    assert_eq!(
        rewritten(text),
        "GET /a?b HTTP/1.1\r\nHost: example.org\r\nAccept: */*\r\nTrailer: X-Sum\r\nVia: 1.0 before\r\n\
         Via: 1.1 ropewalk\r\n\r\n"
    );
    let forward = forward(text);
    assert_eq!((&forward.destination, forward.body), (&to("example.org", 80), Framing::None));
    assert!(forward.keep_alive && !forward.head_request && !forward.version_10);
}

#[test]
fn the_target_becomes_path_query_and_host() {
    for (target, path, host, destination) in [
        ("http://a", "/", "a", to("a", 80)),
        ("HTTP://a/", "/", "a", to("a", 80)),
        ("http://a?q", "/?q", "a", to("a", 80)),
        ("http://a:8080/b://c?d", "/b://c?d", "a:8080", to("a", 8080)),
        ("http://a:/b@c", "/b@c", "a", to("a", 80)),
        ("http://[::1]:81/", "/", "[::1]:81", to("::1", 81)),
        ("http://[::1]", "/", "[::1]", to("::1", 80)),
        ("http://127.0.0.1//x", "//x", "127.0.0.1", to("127.0.0.1", 80)),
    ] {
        let text = format!("GET {target} HTTP/1.1\r\nHost: other\r\n\r\n");
        let wanted = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nVia: 1.1 ropewalk\r\n\r\n");
        assert_eq!(rewritten(&text), wanted, "{target}");
        assert_eq!(forward(&text).destination, destination, "{target}");
    }
}

#[test]
fn options_for_a_whole_host_asks_for_a_star() {
    assert!(rewritten("OPTIONS http://a HTTP/1.1\r\n\r\n").starts_with("OPTIONS * HTTP/1.1\r\nHost: a\r\n"));
    assert!(rewritten("OPTIONS http://a/ HTTP/1.1\r\n\r\n").starts_with("OPTIONS / HTTP/1.1\r\n"));
    assert!(rewritten("OPTIONS http://a?q HTTP/1.1\r\n\r\n").starts_with("OPTIONS /?q HTTP/1.1\r\n"));
    assert!(rewritten("GET http://a HTTP/1.1\r\n\r\n").starts_with("GET / HTTP/1.1\r\n"));
}

#[test]
fn a_target_that_is_not_absolute_http_is_refused() {
    for target in [
        "/",
        "*",
        "example.org:80",
        "https://a/",
        "ftp://a/",
        "://a/",
        "http:/a",
        "http:///",
        "http://",
        "http://:80/",
        "http://u@a/",
        "http://u:p@a/",
        "http://good\\@evil/",
        "http://a\\b/",
        "http://a%00/",
        "http://a/#f",
        "http://a#f",
        "http://a:b/",
        "http://::1/",
        "http://[::1]x/",
        "http://a:99999/",
    ] {
        assert_eq!(refused(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).0, 400, "{target}");
    }
    assert_eq!(refused("GET http://a/b#c HTTP/1.1\r\n\r\n"), (400, 14));
}

#[test]
fn connection_cannot_name_host_or_framing_away() {
    let text = "POST http://a/ HTTP/1.1\r\nHost: a\r\n\
                Connection: host, content-length, Transfer-Encoding, x\r\nContent-Length: 3\r\nX: 1\r\n\r\n";
    assert_eq!(
        rewritten(text),
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nVia: 1.1 ropewalk\r\n\r\n"
    );
    let chunked = text.replace("Content-Length: 3", "Transfer-Encoding: chunked");
    assert!(rewritten(&chunked).contains("\r\nTransfer-Encoding: chunked\r\n"));
}

#[test]
fn the_body_ends_at_one_place_or_the_request_is_refused() {
    let post = |fields: &str| format!("POST http://a/ HTTP/1.1\r\n{fields}\r\n\r\n");
    assert_eq!(forward(&post("Content-Length: 0")).body, Framing::Length(0));
    assert_eq!(forward(&post("content-length: 18446744073709551615")).body, Framing::Length(u64::MAX));
    assert_eq!(forward(&post("Transfer-Encoding: CHUNKED")).body, Framing::Chunked);
    let twice = post("Content-Length: 5 , 5\r\nContent-Length: 5");
    assert_eq!(forward(&twice).body, Framing::Length(5));
    assert_eq!(rewritten(&twice).matches("Content-Length: 5\r\n").count(), 1);
    assert_eq!(rewritten(&twice).matches('5').count(), 1);
    for fields in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 3",
        "Transfer-Encoding: gzip\r\nContent-Length: 3",
        "Transfer-Encoding:\r\nContent-Length: 3",
        "Content-Length: 3\r\nContent-Length: 4",
        "Content-Length: 3, 4",
        "Content-Length: 3,",
        "Content-Length:",
        "Content-Length: +3",
        "Content-Length: -3",
        "Content-Length: 0x3",
        "Content-Length: 3 3",
        "Content-Length: 18446744073709551616",
    ] {
        assert_eq!(refused(&post(fields)).0, 400, "{fields}");
    }
    for fields in [
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding:",
    ] {
        assert_eq!(refused(&post(fields)).0, 501, "{fields}");
    }
    assert_eq!(refused(&post("Transfer-Encoding: chunked").replace("1.1", "1.0")).0, 400);
}

#[test]
fn the_refusal_says_what_came_and_where() {
    let Err(HttpError::Refused { why, .. }) = parse(b"GET http://a HTTP/1.1\r\nContent-Length: 1x\r\n\r\n")
    else {
        panic!("a length with a letter passed")
    };
    assert_eq!((why.found, why.at), (Some(u32::from(b'x')), 40));
}

#[test]
fn a_client_keeps_its_connection_unless_it_says_otherwise_or_is_old() {
    for (head, kept) in [
        ("1.1\r\n", true),
        ("1.1\r\nConnection: close\r\n", false),
        ("1.1\r\nConnection: a, CLOSE\r\n", false),
        ("1.1\r\nConnection: a\r\nConnection: close\r\n", false),
        ("1.1\r\nProxy-Connection: close\r\n", false),
        ("1.1\r\nConnection: closed\r\n", true),
        ("1.0\r\n", false),
        ("1.0\r\nConnection: keep-alive\r\n", false),
    ] {
        let forward = forward(&format!("GET http://a/ HTTP/{head}\r\n"));
        assert_eq!(forward.keep_alive, kept, "{head}");
        let text = String::from_utf8(forward.head).expect("text");
        assert_eq!(text.ends_with("\r\nConnection: close\r\n\r\n"), !kept, "{text}");
        assert_eq!(text.matches("Connection").count(), usize::from(!kept), "{text}");
    }
}

#[test]
fn an_old_client_is_told_and_expects_nothing() {
    let text = "POST http://a/ HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n";
    assert!(forward(text).version_10);
    let wanted =
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nVia: 1.0 ropewalk\r\nConnection: close\r\n\r\n";
    assert_eq!(rewritten(text), wanted);
    assert!(rewritten(&text.replace("1.0", "1.1")).contains("Expect: 100-continue\r\n"));
}

#[test]
fn a_head_request_is_told() {
    assert!(forward("HEAD http://a/ HTTP/1.1\r\n\r\n").head_request);
    assert!(!forward("head http://a/ HTTP/1.1\r\n\r\n").head_request);
}

#[test]
fn bytes_that_are_no_uri_go_on_as_they_are() {
    let text = b"GET http://a/\xe4\xff?\x80|{}\" HTTP/1.1\r\n\r\n".as_slice();
    let Ok((RequestHead { kind: RequestKind::Forward(forward), .. }, _)) = parse(text) else {
        panic!("it is passed on")
    };
    assert!(forward.head.starts_with(b"GET /\xe4\xff?\x80|{}\" HTTP/1.1\r\nHost: a\r\n"));
    for (text, at) in
        [(&b"GET http://a/\x01 HTTP/1.1\r\n\r\n"[..], 13), (b"GET http://a\xff/ HTTP/1.1\r\n\r\n", 12)]
    {
        assert!(matches!(parse(text), Err(HttpError::Refused { status: 400, why }) if why.at == at));
    }
}

#[test]
fn an_offer_of_another_protocol_goes_on_without_h2c() {
    let text = |fields: &str| format!("GET http://a/ HTTP/1.1\r\n{fields}\r\n\r\n");
    let asks = |fields: &str| {
        let forward = forward(&text(fields));
        let head = String::from_utf8(forward.head).expect("text");
        let emitted = head.split_once("Via: 1.1 ropewalk\r\n").expect("there").1.replace("\r\n", "|");
        (String::from_utf8(forward.upgrade).expect("text"), emitted)
    };
    let socket = (String::from("websocket"), String::from("Connection: upgrade|Upgrade: websocket||"));
    for fields in [
        "Connection: Upgrade\r\nUpgrade: websocket",
        "Connection: keep-alive, upgrade\r\nUpgrade: websocket\r\nProxy-Connection: close",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c, websocket\r\nHTTP2-Settings: x",
    ] {
        assert_eq!(asks(fields), socket, "{fields}");
    }
    for fields in [
        "Upgrade: websocket",
        "Connection: Upgrade\r\nUpgrade: h2c",
        "Connection: Upgrade\r\nUpgrade: H2C/1",
        "Connection: Upgrade\r\nUpgrade: HTTP/2.0",
        "Connection: Upgrade\r\nUpgrade: a b",
        "Connection: Upgrade\r\nUpgrade: a/b/c",
        "Connection: Upgrade",
    ] {
        let (upgrade, emitted) = asks(fields);
        assert_eq!((upgrade.as_str(), emitted.as_str()), ("", "|"), "{fields}");
    }
    let socket = "Connection: upgrade\r\nUpgrade: websocket";
    assert!(forward(&text(socket).replace("1.1", "1.0")).upgrade.is_empty());
    let with_body = format!("{socket}\r\nContent-Length: 1");
    assert!(forward(&text(&with_body)).upgrade.is_empty());
    assert!(!rewritten(&text(&with_body)).contains("Upgrade"));
}

#[test]
fn max_forwards_is_counted_down_and_ends_here() {
    for (method, value, wanted) in [
        ("OPTIONS", "7", "6"),
        ("TRACE", "1", "0"),
        ("OPTIONS", "99999999999999999999", "18446744073709551614"),
    ] {
        let text = format!("{method} http://a/ HTTP/1.1\r\nMax-Forwards: {value}\r\n\r\n");
        let head = rewritten(&text);
        assert!(head.contains(&format!("\r\nMax-Forwards: {wanted}\r\n")), "{head}");
        assert_eq!(head.matches("Max-Forwards").count(), 1);
    }
    assert!(rewritten("GET http://a/ HTTP/1.1\r\nMax-Forwards: 0\r\n\r\n").contains("Max-Forwards: 0\r\n"));
    for value in ["x", "", "-1", "1\r\nMax-Forwards: 1"] {
        assert_eq!(refused(&format!("TRACE http://a/ HTTP/1.1\r\nMax-Forwards: {value}\r\n\r\n")).0, 400);
    }
    let trace = "TRACE http://a/b HTTP/1.1\r\nMax-Forwards: 0\r\nCookie: x\r\nAuthorization: y\r\n\
                 Proxy-Authorization: z\r\nX: 1\r\n\r\n";
    let RequestKind::Answered(answer) = read(trace).kind else { panic!("it goes no further") };
    let echo = "TRACE http://a/b HTTP/1.1\r\nMax-Forwards: 0\r\nX: 1\r\n\r\n";
    let len = echo.len();
    assert_eq!(
        String::from_utf8(answer).expect("text"),
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: message/http\r\nContent-Length: {len}\r\n\
             Connection: close\r\n\r\n{echo}"
        )
    );
    let options = read("OPTIONS http://a/ HTTP/1.1\r\nMax-Forwards: 00\r\n\r\n").kind;
    let wanted = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    assert_eq!(options, RequestKind::Answered(wanted.to_vec()));
}

#[test]
fn what_may_be_sent_again_is_told() {
    for (method, field, again) in [
        ("GET", "", true),
        ("DELETE", "Content-Length: 0\r\n", true),
        ("POST", "", false),
        ("PATCH", "", false),
        ("PUT", "Content-Length: 1\r\n", false),
        ("PUT", "Transfer-Encoding: chunked\r\n", false),
    ] {
        let text = format!("{method} http://a/ HTTP/1.1\r\n{field}\r\n");
        assert_eq!(forward(&text).repeatable, again, "{text}");
    }
}

#[test]
fn basic_credentials_are_decoded() {
    let with = |value: &str| read(&format!("CONNECT a:1 HTTP/1.1\r\n{value}\r\n\r\n")).credentials;
    let of = |user: &[u8], password: &[u8]| Some((user.to_vec(), password.to_vec()));
    assert_eq!(
        with("Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
        of(b"Aladdin", b"open sesame")
    );
    assert_eq!(with(&format!("proxy-authorization: bASIC   {}", base64_encode(b"u:p:q"))), of(b"u", b"p:q"));
    assert_eq!(with(&format!("Proxy-Authorization: Basic {}", base64_encode(b":"))), of(b"", b""));
    for value in [
        "Authorization: Basic dTpw",
        "Proxy-Authorization: Bearer dTpw",
        "Proxy-Authorization: Basic",
        "Proxy-Authorization: BasicdTpw",
        "Proxy-Authorization: Basic dTpw dTpw",
        "Proxy-Authorization: Basic dTp",
        "Proxy-Authorization: Basic dXA=",
        "Proxy-Authorization: Basic dTpw\r\nProxy-Authorization: Basic dTpx",
    ] {
        assert_eq!(with(value), None, "{value}");
    }
}

#[test]
fn credentials_are_never_printed() {
    let head = read("CONNECT a:1 HTTP/1.1\r\nProxy-Authorization: Basic dTpw\r\n\r\n");
    let shown = format!("{head:?}");
    assert!(shown.contains("Connect") && !shown.contains("112"), "{shown}");
}

#[test]
fn empty_lines_before_a_request_are_passed_over() {
    let text = "\r\n\r\nGET http://a/ HTTP/1.1\r\n\r\n";
    let alone = forward(&text[4..]);
    assert_eq!(forward(text), Forward { came: alone.came + 4, ..alone });
}

#[test]
fn a_bare_line_feed_leaves_as_crlf() {
    let text = "GET http://a/ HTTP/1.1\nX: 1\n\n";
    assert_eq!(rewritten(text), "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nVia: 1.1 ropewalk\r\n\r\n");
}

#[test]
fn what_is_no_field_is_refused_at_its_byte() {
    let line = "GET http://a/ HTTP/1.1\r\n";
    for (fields, at) in [
        ("A: b\r\n c\r\n", 6),
        ("A: b\r\n\tc\r\n", 6),
        (" A: b\r\n", 0),
        ("A : b\r\n", 1),
        ("A: b\0c\r\n", 4),
        ("A: b\rc\r\n", 5),
        ("A: b\r\r\n", 5),
        ("A\r\n", 1),
        (": b\r\n", 0),
        ("A: \x7f\r\n", 3),
    ] {
        assert_eq!(refused(&[line, fields, "\r\n"].concat()), (400, line.len() + at), "{fields:?}");
    }
    let two_hosts = [line, "Host: a\r\nHost: a\r\n\r\n"].concat();
    assert_eq!(refused(&two_hosts), (400, line.len() + 15));
}

#[test]
fn other_versions_are_told_from_other_mistakes() {
    assert_eq!(refused("GET http://a/ HTTP/2.0\r\n\r\n").0, 505);
    assert_eq!(refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").0, 505);
    assert_eq!(refused("GET http://a/ HTTP/1.2\r\n\r\n").0, 505);
    assert_eq!(refused("GET http://a/b c HTTP/1.1\r\n\r\n").0, 400);
    assert_eq!(refused("GET http://a/\r\n\r\n").0, 400);
    assert_eq!(refused("GET  http://a/ HTTP/1.1\r\n\r\n"), (400, 4));
    assert_eq!(refused("\x16\x03\x01"), (400, 0));
}

#[test]
fn too_large_a_head_is_refused_at_its_bound() {
    let fields = |n: usize| format!("GET http://a/ HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(n));
    assert!(forward(&fields(LIMITS.fields)).keep_alive);
    assert_eq!(refused(&fields(LIMITS.fields + 1)).0, 431);

    let start = "GET http://a/ HTTP/1.1\r\nA: ";
    let fits = format!("{start}{}\r\n\r\n", "a".repeat(LIMITS.bytes - start.len() - 4));
    assert_eq!(parse(fits.as_bytes()).map(|(_, used)| used), Ok(LIMITS.bytes));
    assert_eq!(parse(&fits.as_bytes()[..LIMITS.bytes - 1]), Err(HttpError::Incomplete));
    let too_long = fits.replace("\r\n\r\n", "a\r\n\r\n");
    assert_eq!(refused(&too_long), (431, LIMITS.bytes));
    assert_eq!(refused(&too_long[..LIMITS.bytes]), (431, LIMITS.bytes));
    assert_eq!(refused(&"\r\n".repeat(LIMITS.bytes)), (431, LIMITS.bytes));
}
