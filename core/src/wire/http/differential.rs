//! The line between what is taken and what is sent on: whatever the proxy understood of a message
//! is what a strict reader reads in what left. The reader here shares nothing with the code it
//! judges.

use alloc::string::String;
use alloc::vec::Vec;
use alloc::{format, vec};

use proptest::prelude::*;

use super::*;

const LIMITS: HeadLimits = HeadLimits { bytes: 8 * 1024, fields: 32 };

/// A message as a strict reader reads it.
#[derive(Debug)]
struct Message {
    start: String,
    fields: Vec<(String, String)>,
    framing: Framing,
    data: Vec<u8>,
    trailers: Vec<String>,
    used: usize,
}

impl Message {
    fn values(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(field, _)| field == name).map(|(_, value)| value.as_str()).collect()
    }
}

/// One line with CRLF, and neither of the two anywhere else in it.
fn line(bytes: &[u8], at: &mut usize) -> Result<Vec<u8>, String> {
    let rest = &bytes[*at..];
    let len = rest.windows(2).position(|two| two == b"\r\n").ok_or("no line end")?;
    *at += len + 2;
    if rest[..len].iter().any(|b| (*b < 32 && *b != 9) || *b == 127) {
        return Err(format!("a control in {:?}", rest[..len].escape_ascii()));
    }
    Ok(rest[..len].to_vec())
}

fn field(line: &[u8]) -> Result<(String, String), String> {
    let colon = line.iter().position(|b| *b == b':').ok_or("a field without a colon")?;
    let name: String = line[..colon].iter().map(|b| char::from(*b)).collect();
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)) {
        return Err(format!("the name {name:?}"));
    }
    let value: String = line[colon + 1..].iter().map(|b| char::from(*b)).collect();
    Ok((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).into()))
}

/// Reads one message. Nothing is forgiven; what frames may be said once.
fn strictly(bytes: &[u8], bodiless: bool) -> Result<Message, String> {
    let mut at = 0;
    let start = line(bytes, &mut at)?.iter().map(|b| char::from(*b)).collect();
    let mut fields = Vec::new();
    loop {
        match line(bytes, &mut at)? {
            empty if empty.is_empty() => break,
            text => fields.push(field(&text)?),
        }
    }
    let all =
        |name: &str| fields.iter().filter(|(n, _)| n == name).map(|(_, v)| v.clone()).collect::<Vec<_>>();
    let framing = match (&all("content-length")[..], &all("transfer-encoding")[..]) {
        ([], []) => Framing::None,
        ([length], []) if !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit()) => {
            Framing::Length(length.parse().map_err(|_| "a length too large")?)
        }
        ([], [coding]) if coding == "chunked" => Framing::Chunked,
        other => return Err(format!("framed by {other:?}")),
    };
    let (mut data, mut trailers) = (Vec::new(), Vec::new());
    match framing {
        _ if bodiless => {}
        Framing::None | Framing::UntilClose => {}
        Framing::Length(len) => {
            let end = at + usize::try_from(len).map_err(|_| "too long")?;
            data = bytes.get(at..end).ok_or("the body is cut short")?.to_vec();
            at = end;
        }
        Framing::Chunked => {
            loop {
                let size = line(bytes, &mut at)?;
                let digits = core::str::from_utf8(&size).map_err(|_| "a size")?;
                if digits.is_empty() || digits.len() > 16 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return Err(format!("the size {digits:?}"));
                }
                let size = usize::from_str_radix(digits, 16).map_err(|_| "a size too large")?;
                if size == 0 {
                    break;
                }
                data.extend_from_slice(bytes.get(at..at + size).ok_or("a chunk is cut short")?);
                at += size;
                if bytes.get(at..at + 2) != Some(b"\r\n") {
                    return Err("no line end behind a chunk".into());
                }
                at += 2;
            }
            loop {
                match line(bytes, &mut at)? {
                    empty if empty.is_empty() => break,
                    text => trailers.push(field(&text)?.0),
                }
            }
        }
    }
    Ok(Message { start, fields, framing, data, trailers, used: at })
}

/// What goes on of a body that came in pieces: the bytes, how many of those that came were of it,
/// and whether it is whole.
fn pass(mut body: Body, bytes: &[u8], step: usize) -> Option<(Vec<u8>, usize, bool)> {
    let (mut out, mut used) = (Vec::new(), 0);
    for piece in bytes.chunks(step.max(1)) {
        let (took, passed) = body.pass(piece).ok()?;
        out.extend_from_slice(passed.bytes(piece));
        used += took;
        if took < piece.len() {
            break;
        }
    }
    let rest = body.end();
    out.extend_from_slice(rest.unwrap_or_default());
    Some((out, used, rest.is_some()))
}

/// Lines of a head, good and bad.
fn field_line() -> impl Strategy<Value = String> {
    let known = vec![
        "Content-Length: 3",
        "Content-Length: 5",
        "content-length:3",
        "Content-Length : 3",
        "Content-Length: 3, 3",
        "Content-Length: +3",
        "Content-Length: 3\r\n 4",
        "Content-Length: 0x3",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding:\tchunked ",
        "Transfer-Encoding: Chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding\0: chunked",
        "Transfer-Encoding: chunked\r\nFoo",
        "Transfer_Encoding: chunked",
        "X: y\r\n\tTransfer-Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked",
        "X: y\nContent-Length: 5",
        "Host: b",
        "Connection: close, x-hop",
        "Connection: Content-Length",
        "X-Hop: 1",
        "no colon here",
        ": empty",
        "A b: c",
        "Set-Cookie: a\r\n b",
    ];
    prop_oneof![8 => prop::sample::select(known).prop_map(String::from), 1 => "[ -~\t\r\n\0]{0,20}"]
}

fn head(start: &'static [&'static str]) -> impl Strategy<Value = String> {
    let end = prop::sample::select(vec!["\r\n", "\r\n", "\n"]);
    (prop::sample::select(start), prop::collection::vec((field_line(), end), 0..5)).prop_map(
        |(start, fields)| {
            let fields: String = fields.into_iter().map(|(field, end)| format!("{field}{end}")).collect();
            format!("{start}\r\n{fields}\r\n")
        },
    )
}

/// Bodies, good and bad.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "3\r\nabc\r\n",
        "3\nabc\n",
        "3;x=y\r\nabc\r\n",
        "3;\nx\r\nabc\r\n",
        "003 \r\nabc\r\n",
        "3\r\nabcd\r\n",
        "0\r\n\r\n",
        "0\n\n",
        "0\r\nX: y\r\n\r\n",
        "0\r\nContent-Length: 5\r\nX-Hop: 1\r\nHost: c\r\n\r\n",
        "abc",
        "GET / HTTP/1.1\r\n\r\n",
    ]);
    prop::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat().into_bytes())
}

const REQUESTS: &[&str] = &[
    "POST http://a/x HTTP/1.1",
    "GET http://a:81/\u{e4} HTTP/1.1",
    "PUT http://a HTTP/1.0",
    "OPTIONS http://a HTTP/1.1",
];

const RESPONSES: &[&str] = &[
    "HTTP/1.1 200 OK",
    "HTTP/1.0 200 OK",
    "http/1.1  404",
    "ICY 200 OK",
    "HTTP/1.1 304 Not\0Modified",
    "HTTP/1.1 204 x",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn a_request_that_passes_is_one_request_to_a_strict_reader(
        head in head(REQUESTS), body in body(), step in 1usize..40,
    ) {
        let came = [head.as_bytes(), &body].concat();
        let Ok((RequestHead { kind: RequestKind::Forward(request), .. }, used)) = parse_request(&came, LIMITS)
        else { return Ok(()) };
        let rest = &came[used..];
        let Some((body, _, whole)) = pass(Body::of_request(request.body, &request.named), rest, step)
        else { return Ok(()) };
        if !whole { return Ok(()) }
        let sent = [&request.head[..], &body].concat();
        let read = strictly(&sent, false).map_err(TestCaseError::fail)?;
        prop_assert_eq!(read.used, sent.len(), "one message and no more");
        prop_assert_eq!(read.framing, request.body);
        let destination = format!("{}", request.destination);
        let host = read.values("host");
        prop_assert_eq!(host.len(), 1);
        prop_assert!(destination.starts_with(host[0]));
        prop_assert_eq!(read.start.matches(' ').count(), 2);
        prop_assert!(read.start.ends_with(" HTTP/1.1"));
        prop_assert_eq!(read.values("connection").contains(&"close"), !request.keep_alive);
        // What stands behind the head's end is another message.
        let named = came[..used].to_ascii_lowercase().windows(6).any(|part| part == b"x-hop\r");
        prop_assert!(read.values("x-hop").is_empty() || !named);
        let bad = ["content-length", "host", "transfer-encoding"];
        prop_assert!(!read.trailers.iter().any(|name| bad.contains(&name.as_str())));
    }

    #[test]
    fn a_response_that_passes_is_one_response_to_a_strict_reader(
        head in head(RESPONSES), body in body(), step in 1usize..40, version_10: bool, head_request: bool,
    ) {
        let came = [head.as_bytes(), &body].concat();
        let asked = Asked { head: head_request, version_10, upgrade: b"" };
        let Ok((response, used)) = parse_response(&came, &asked, LIMITS) else { return Ok(()) };
        let rest = &came[used..];
        let understood = Body::of_response(response.body, &response.named, true);
        let Some((data, ..)) = pass(understood, rest, step) else { return Ok(()) };
        let passing = Body::of_response(response.body, &response.named, version_10);
        let Some((body, _, whole)) = pass(passing, rest, step) else { return Ok(()) };
        if !whole { return Ok(()) }
        let sent = [&response.emit(true)[..], &body].concat();
        let bodiless = head_request || [204, 304].contains(&response.status);
        let read = strictly(&sent, bodiless).map_err(TestCaseError::fail)?;
        prop_assert!(read.start.starts_with(&format!("HTTP/1.1 {} ", response.status)), "{}", read.start);
        prop_assert_eq!(read.values("connection"), ["close"]);
        let until_close = !bodiless && read.framing == Framing::None;
        let no_length = version_10 && response.body == Framing::Chunked;
        prop_assert_eq!(until_close, response.body == Framing::UntilClose || no_length);
        let end = if until_close { sent.len() } else { read.used };
        prop_assert_eq!(end, sent.len(), "one message and no more");
        let data_read = if until_close { &sent[read.used..] } else { &read.data };
        prop_assert_eq!(data_read, &data);
    }
}
