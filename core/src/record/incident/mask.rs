//! What is secret in a message, blanked so that the message reads the same.
//!
//! ```text
//!   GET http://example.org/a?token=7 HTTP/1.1     GET http://example.org/xxxxxxxxxx HTTP/1.1
//!   Host: example.org                             Host: xxxxxxxxxxx
//!   Proxy-Authorization: Basic YW5uOnNl...        Proxy-Authorization: Basic QUFBOkFB...
//!   Content-Length: 3                             Content-Length: 3
//! ```
//!
//! Of a head these stay: method, status, scheme, host and port, the names of fields, and the values
//! of those that frame or that are for the next hop. All else becomes filler of the same length,
//! controls apart: they make a head wrong, and it stays wrong.

use super::FILLER;
use super::secrets::Secrets;
use crate::wire::http::{self, base64_decode, base64_encode, is_token};
use crate::wire::{socks4, socks5};
use alloc::vec;
use alloc::vec::Vec;

/// Fields whose values decide something, and tell nothing.
const READ: [&str; 11] = [
    "Connection",
    "Proxy-Connection",
    "Keep-Alive",
    "TE",
    "Transfer-Encoding",
    "Content-Length",
    "Upgrade",
    "Max-Forwards",
    "Trailer",
    "Expect",
    "Proxy-Authenticate",
];

/// Blanks text. Blanks and controls stay.
fn blank(text: &mut [u8]) {
    text.iter_mut().filter(|byte| **byte > b' ' && **byte != 0x7f).for_each(|byte| *byte = FILLER);
}

/// A login of SOCKS5 (RFC 1929).
pub(super) fn login(user: &[u8], password: &[u8]) -> Vec<u8> {
    let mut out = vec![socks5::AUTH_VERSION];
    for part in [user, password] {
        out.push(part.len() as u8);
        out.extend_from_slice(part);
    }
    out
}

/// The beginning of one: its lengths stay.
pub(super) fn partial_login(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![FILLER; bytes.len()];
    let mut length_at = 1;
    out[..bytes.len().min(1)].copy_from_slice(&bytes[..bytes.len().min(1)]);
    for _ in 0..2 {
        let Some(length) = bytes.get(length_at) else { break };
        out[length_at] = *length;
        length_at += 1 + usize::from(*length);
    }
    out
}

/// A request of SOCKS4: the user is blanked.
pub(super) fn socks4(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let user = out.get_mut(socks4::USER_AT..).unwrap_or_default();
    let len = user.iter().position(|byte| *byte == 0).unwrap_or(user.len());
    // A user that is too long is refused at this byte, which is told.
    let (user, beyond) = user.split_at_mut(len.min(socks4::MAX_USER));
    user.fill(FILLER);
    if let Some(beyond) = beyond.get_mut(1..).filter(|_| len > socks4::MAX_USER) {
        beyond.fill(FILLER);
    }
    out
}

/// A request's head, whole or not.
pub(super) fn request(bytes: &[u8], secrets: &Secrets) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let begins = http::empty_lines(&out).min(out.len());
    let line = line_end(&out, begins);
    request_line(&mut out[begins..line]);
    fields(&mut out[line..], Some(secrets));
    out
}

/// A response's head, or several, whole or not.
pub(super) fn response(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < out.len() {
        // What stands in front of the line and is passed over.
        at += http::passed_over(&out[at..]).unwrap_or(0);
        let line = line_end(&out, at);
        let first = &mut out[at..line];
        if first.trim_ascii().is_empty() {
            at = line;
            continue;
        }
        status_line(first);
        at = line + fields(&mut out[line..], None);
    }
    out
}

/// `HTTP/1.1 200 OK`: the reason tells what the origin likes, and so may a version that is none. Of
/// what is no status line the first bytes are read.
fn status_line(line: &mut [u8]) {
    const READ: usize = 8;
    let is = |word: &[u8]| line.get(..word.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(word));
    let end = line.iter().position(|byte| b" \t\r\n".contains(byte)).filter(|_| is(b"HTTP") || is(b"ICY"));
    let (version, rest) = line.split_at_mut(end.unwrap_or(line.len()));
    if let Some(odd) = version.get_mut(READ..) {
        blank(odd);
    }
    let blanks = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let digits = rest[blanks..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    blank(&mut rest[blanks + digits..]);
}

/// Where the line ends that begins at `at`: behind its line feed.
fn line_end(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |end| end + 1)
}

fn request_line(line: &mut [u8]) {
    let Some(method) = line.iter().position(|byte| !is_token(*byte)) else { return };
    let begins = method + 1;
    let Some(rest) = line.get_mut(begins..) else { return };
    // What is no part of a target stands behind it.
    let len = rest.iter().position(|byte| *byte <= b' ' || *byte == 0x7f).unwrap_or(rest.len());
    if &line[..method] == b"CONNECT" {
        user_information(&mut line[begins..begins + len]);
    } else {
        target(&mut line[begins..begins + len]);
    }
    let behind = line.get_mut(begins + len..).unwrap_or_default();
    version(behind);
}

/// ` HTTP/1.1`, or what came instead, up to its first wrong byte.
fn version(behind: &mut [u8]) {
    let same = behind.iter().zip(b" HTTP/1.").take_while(|(came, want)| came == want).count();
    // The byte behind is read as well.
    if let Some(rest) = behind.get_mut(same + 1..) {
        blank(rest);
    }
}

/// The absolute form: scheme and authority stay. Of any other only the first byte is read.
fn target(target: &mut [u8]) {
    let Some(colon) = target.windows(3).position(|three| three == b"://") else {
        if let Some(rest) = target.get_mut(1..) {
            keep_marks(rest);
        }
        return;
    };
    // A scheme has no secret, but what is no scheme may have one.
    if !target[..colon].iter().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte)) {
        target[..colon].fill(FILLER);
    }
    let rest = &mut target[colon + 3..];
    let end = rest.iter().position(|byte| b"/?".contains(byte)).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_mut(end);
    user_information(authority);
    if let Some(path) = path.get_mut(1..) {
        keep_marks(path);
    }
}

/// Blanks all but what makes a target wrong: a fragment.
fn keep_marks(text: &mut [u8]) {
    text.iter_mut().filter(|byte| **byte != b'#').for_each(|byte| *byte = FILLER);
}

/// Blanks what is in front of an `@`, which is refused. (`name:password@host`.)
fn user_information(authority: &mut [u8]) {
    if let Some(at) = authority.iter().position(|byte| *byte == b'@') {
        authority[..at].fill(FILLER);
        // A password may have one, too.
        if let Some(last) = authority.iter().rposition(|byte| *byte == b'@') {
            authority[at + 1..last.max(at + 1)].fill(FILLER);
        }
    }
}

/// Lines of fields, up to the empty one. Returns how many bytes they are.
fn fields(bytes: &mut [u8], secrets: Option<&Secrets>) -> usize {
    let mut at = 0;
    // Whether the value of the field before may be read: a folded line belongs to it.
    let mut read = false;
    while at < bytes.len() {
        let end = line_end(bytes, at);
        let line = &mut bytes[at..end];
        at = end;
        if matches!(line, [b'\n'] | [b'\r', b'\n']) {
            break;
        }
        if let [b' ' | b'\t', rest @ ..] = line {
            if !read {
                blank(rest);
            }
            continue;
        }
        let name_end = line.iter().position(|byte| !is_token(*byte)).unwrap_or(line.len());
        let (name, rest) = line.split_at_mut(name_end);
        let name = core::str::from_utf8(name).unwrap_or_default();
        let has_colon = rest.iter().find(|byte| !matches!(byte, b' ' | b'\t')) == Some(&b':');
        read = has_colon && READ.iter().any(|read| read.eq_ignore_ascii_case(name));
        if read || rest.is_empty() {
            continue;
        }
        let colon = rest.iter().position(|byte| *byte == b':').unwrap_or(0);
        // The first byte that is no name's is read, and so is all up to the colon.
        let Some(value) = rest.get_mut(colon + 1..) else { continue };
        match secrets.filter(|_| name.eq_ignore_ascii_case("Proxy-Authorization")) {
            Some(secrets) => authorization(value, secrets),
            None => blank(value),
        }
    }
    at
}

/// A login of HTTP (RFC 7617), under pseudonyms.
fn authorization(value: &mut [u8], secrets: &Secrets) {
    let told = basic(value).and_then(|(at, user, password)| {
        let (_, user, password) = secrets.pseudonym(&user, &password);
        let text = base64_encode(&[&user[..], b":", &password].concat());
        // The same length in, the same length out.
        value.get(at..at + text.len()).is_some().then_some((at, text))
    });
    match told {
        Some((at, text)) => value[at..at + text.len()].copy_from_slice(text.as_bytes()),
        None => blank(value),
    }
}

/// Where the text of a `Basic` value begins, and what it spells.
fn basic(value: &[u8]) -> Option<(usize, Vec<u8>, Vec<u8>)> {
    let text = value.trim_ascii();
    let (scheme, rest) = text.split_at_checked(b"Basic".len())?;
    if !scheme.eq_ignore_ascii_case(b"Basic") || !rest.starts_with(b" ") {
        return None;
    }
    let text = rest.trim_ascii_start();
    let at = value.trim_ascii_end().len() - text.len();
    let decoded = base64_decode(text)?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    Some((at, decoded[..colon].to_vec(), decoded[colon + 1..].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::Credentials;
    use alloc::string::String;
    use proptest::prelude::*;

    fn secrets() -> Secrets {
        let mut secrets = Secrets::default();
        secrets.set(Some(&Credentials::parse(b"ann:hunter22\n").expect("valid")));
        secrets
    }

    fn masked(text: &str) -> String {
        String::from_utf8(request(text.as_bytes(), &secrets())).expect("text")
    }

    #[test]
    fn a_request_keeps_what_is_read_and_nothing_else() {
        let text = masked(
            "GET http://example.org:81/a?token=7 HTTP/1.1\r\nHost: secret.example\r\nCookie: id=9\r\n\
             Content-Length: 3\r\nAuthorization: Bearer abc\r\n\r\n",
        );
        assert_eq!(
            text,
            "GET http://example.org:81/xxxxxxxxx HTTP/1.1\r\nHost: xxxxxxxxxxxxxx\r\nCookie: xxxx\r\n\
             Content-Length: 3\r\nAuthorization: xxxxxx xxx\r\n\r\n"
        );
    }

    #[test]
    fn a_login_becomes_its_pseudonym_and_a_wrong_one_nobodys() {
        let head = |login: &str| {
            let login = base64_encode(login.as_bytes());
            masked(&alloc::format!("CONNECT a:1 HTTP/1.1\r\nProxy-Authorization: Basic {login}\r\n\r\n"))
        };
        let told = secrets().credentials().expect("has some");
        let spelled = |head: &str| {
            let value = head.split("Basic ").nth(1).expect("a value").split('\r').next().expect("one");
            let both = base64_decode(value.as_bytes()).expect("base64");
            let colon = both.iter().position(|byte| *byte == b':').expect("a colon");
            (both[..colon].to_vec(), both[colon + 1..].to_vec())
        };
        let (user, password) = spelled(&head("ann:hunter22"));
        assert!(told.check(&user, &password));
        assert_ne!((&user[..], &password[..]), (&b"ann"[..], &b"hunter22"[..]));
        let (user, password) = spelled(&head("ann:hunter23"));
        assert!(!told.check(&user, &password));
        assert_eq!((user.len(), password.len()), (3, 8));
        assert!(head("nocolon").contains("xxxxx xxxxxxxxxxxx"), "{}", head("nocolon"));
    }

    #[test]
    fn a_status_line_reads_the_same_wherever_it_begins_and_whatever_its_version_is() {
        use crate::wire::http::{Asked, HeadLimits, parse_response};
        let limits = HeadLimits { bytes: 4096, fields: 8 };
        for line in [
            "HTTP/1.1 404 secret",
            "\u{feff}HTTP/1.1 404 secret",
            "ab\r\nHTTP/1.1 404 secret",
            "HTTP/1.1 103 x\r\n\r\nabHTTP/1.1 404 secret",
            "HTTP 404 secret",
            "HTTPS/1.1 404 secret",
            "HTTP/1.1secret 404 secret",
            "HTTP/1.0secret\t404 secret",
            "HTTP/1.1 secret",
            "ICY 404 secret",
        ] {
            let whole = [line, "\r\nX: secret\r\nContent-Length: 3\r\n\r\n"].concat();
            let mut masked = &response(whole.as_bytes())[..];
            assert!(!masked.windows(6).any(|part| part == b"secret"), "{line:?}");
            let mut bytes = whole.as_bytes();
            while !bytes.is_empty() {
                let told = [bytes, masked].map(|bytes| {
                    let (head, used) = parse_response(bytes, &Asked::default(), limits).expect("a head");
                    (used, head.status, head.body, head.keep_alive)
                });
                assert_eq!(told[0], told[1], "{line:?}");
                (bytes, masked) = (&bytes[told[0].0..], &masked[told[0].0..]);
            }
        }
    }

    #[test]
    fn user_information_is_blanked_with_all_its_ats() {
        assert_eq!(
            masked("GET http://ann:hun@ter@host/ HTTP/1.1\r\n\r\n"),
            "GET http://xxxxxxx@xxx@host/ HTTP/1.1\r\n\r\n"
        );
    }

    proptest! {
        #[test]
        fn a_masked_head_is_as_long_and_ends_where_it_ended(
            bytes in prop::collection::vec(any::<u8>(), 0..300)
        ) {
            let out = request(&bytes, &secrets());
            prop_assert_eq!(out.len(), bytes.len());
            prop_assert_eq!(response(&bytes).len(), bytes.len());
            prop_assert_eq!(socks4(&bytes).len(), bytes.len());
            prop_assert_eq!(partial_login(&bytes).len(), bytes.len());
            let lines = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count();
            prop_assert_eq!(lines(&out), lines(&bytes));
        }
    }

    #[test]
    fn what_stands_in_place_of_a_version_is_blanked_behind_its_first_wrong_byte() {
        let filler = alloc::string::String::from(char::from(FILLER));
        let cases = [
            ("GET /a HTTP/1.1\r\n\r\n", "GET /- HTTP/1.1\r\n\r\n"),
            ("GET /a HTTP/1.0\r\n\r\n", "GET /- HTTP/1.0\r\n\r\n"),
            ("GET /a secret HTTP/1.1\r\n\r\n", "GET /- s----- --------\r\n\r\n"),
            ("GET /a HTTP/1.1 secret\r\n\r\n", "GET /- HTTP/1.1 ------\r\n\r\n"),
            ("GET /a HTTP/2secret\r\n\r\n", "GET /- HTTP/2------\r\n\r\n"),
            ("GET /a HTTP/1.1", "GET /- HTTP/1.1"),
            ("GET /a", "GET /-"),
        ];
        for (head, expected) in cases {
            assert_eq!(masked(head), expected.replace('-', &filler), "{head:?}");
        }
    }
}
