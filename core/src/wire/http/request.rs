//! A client's request: what it asks for, and the head that goes to the origin in its stead.
//!
//! ```text
//!   GET http://example.org/a?b HTTP/1.1      GET /a?b HTTP/1.1
//!   Host: whatever                       ->  Host: example.org
//!   Proxy-Authorization: Basic eDp5          Accept: */*
//!   Connection: close, X-Hop                 Via: 1.1 ropewalk
//!   X-Hop: 1                                 Connection: close
//!   Accept: */*
//! ```
//!
//! `Host` is not read, for the target says all; that it is missing harms nobody here, but two of them are
//! refused.
//!
//! Sources: RFC 9110 sections 4.2, 7.6 and 9.3.6, RFC 9112 sections 2, 3 and 9.

use alloc::vec::Vec;

use httparse::{EMPTY_HEADER, Header, Request};

use super::fields::{self, BadFraming, BadHead, Room};
use super::{Forward, Framing, HttpError, Malformed, RequestHead, RequestKind, base64};
use crate::name::{BadHost, Destination, Host};

/// The port of `http` (RFC 9110 section 4.2.1).
const DEFAULT_PORT: u16 = 80;

/// Reads a request's head; also how many bytes it took, empty lines before it included.
pub(crate) fn parse_request(bytes: &[u8]) -> Result<(RequestHead, usize), HttpError> {
    let window = fields::window(bytes);
    let mut room: Room<'_> = [EMPTY_HEADER; _];
    let mut request = Request::new(&mut room);
    let parsed = request.parse(window);
    // RFC 9112 section 2.2: empty lines before the request line are ignored; httparse does so.
    let used = match fields::complete(window, parsed, |w| {
        Request::new(&mut [EMPTY_HEADER; _] as &mut Room<'_>).parse(w)
    }) {
        Ok(Some(used)) => used,
        Ok(None) => return Err(HttpError::Incomplete),
        Err(BadHead::TooLarge(why)) => return Err(HttpError::refused(431, why)),
        Err(BadHead::Version(why)) => return Err(HttpError::refused(505, why)),
        Err(BadHead::Syntax(why)) => return Err(HttpError::refused(400, why)),
    };
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        unreachable!("httparse gives all three with a complete head");
    };
    let seen = Seen { bytes: window, method, target, version_10: version == 0, fields: request.headers };
    let kind = seen.kind()?;
    Ok((RequestHead { kind, credentials: credentials(seen.fields) }, used))
}

/// A complete head, not yet judged.
struct Seen<'s, 'b> {
    bytes: &'b [u8],
    method: &'b str,
    target: &'b str,
    version_10: bool,
    fields: &'s [Header<'b>],
}

impl Seen<'_, '_> {
    fn kind(&self) -> Result<RequestKind, HttpError> {
        // RFC 9112 section 3.2: more than one Host is answered with 400.
        if let Some(second) = fields::values(self.fields, "Host").nth(1) {
            return Err(self.bad("one Host field", None, second));
        }
        let body = fields::framing(self.bytes, self.fields, self.version_10).map_err(|bad| match bad {
            BadFraming::Ambiguous(why) => HttpError::refused(400, why),
            BadFraming::Coding(why) => HttpError::refused(501, why),
        })?;
        // RFC 9110 section 9.1: methods are case-sensitive.
        if self.method != "CONNECT" {
            return self.forward(body).map(RequestKind::Forward);
        }
        // RFC 9110 section 9.3.6: CONNECT has no content. Were some announced, it could be taken for the
        // start of the tunnel or be left out of it.
        if !matches!(body, Framing::None | Framing::Length(0)) {
            return Err(self.bad("a CONNECT without content", None, self.target.as_bytes()));
        }
        // RFC 9112 section 3.2.3: authority-form, host and port, only for CONNECT and nothing else for it.
        match self.authority(self.target)? {
            (host, Some(port)) => Ok(RequestKind::Connect(Destination { host, port })),
            (_, None) => Err(self.bad("a host and a port after CONNECT", None, self.target.as_bytes())),
        }
    }

    fn forward(&self, body: Framing) -> Result<Forward, HttpError> {
        // RFC 9112 section 3.2.2: requests to a proxy come in absolute-form. Origin-form would be for us as a
        // server, which we are not; to guess the origin from Host would let web pages reach through us.
        let Some((scheme, rest)) = self.target.split_once("://") else {
            let expected = "an absolute target such as http://host/path";
            return Err(self.bad(expected, self.target.bytes().next(), self.target.as_bytes()));
        };
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(self.bad("an http target (https goes through CONNECT)", None, scheme.as_bytes()));
        }
        // RFC 9112 section 3.2.2: absolute-form is an absolute-URI, which has no fragment (RFC 3986 section
        // 4.3).
        if let Some(fragment) = self.target.find('#') {
            return Err(self.bad(
                "a target without fragment",
                Some(b'#'),
                &self.target.as_bytes()[fragment..],
            ));
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (host, port) = self.authority(authority)?;
        // RFC 9112 section 9.3: a proxy does not keep the connection of an HTTP/1.0 client.
        let close = |field| fields::has_element(self.fields, field, "close");
        let keep_alive = !self.version_10 && !close("Connection") && !close("Proxy-Connection");

        let mut head = Vec::with_capacity(self.target.len() + 256);
        head.extend_from_slice(self.method.as_bytes());
        head.push(b' ');
        match path.as_bytes().first() {
            // RFC 9112 section 3.2.4: OPTIONS for the host as a whole.
            None if self.method == "OPTIONS" => head.push(b'*'),
            // RFC 9112 section 3.2.1: an empty path is sent as "/".
            None | Some(b'?') => head.push(b'/'),
            Some(_) => {}
        }
        head.extend_from_slice(path.as_bytes());
        head.extend_from_slice(b" HTTP/1.1\r\n");
        // RFC 9112 section 3.2.2: the received Host is ignored, the one sent comes from the target.
        fields::emit_field("Host", authority.strip_suffix(':').unwrap_or(authority).as_bytes(), &mut head);
        // RFC 9110 section 10.1.1: an expectation in HTTP/1.0 is ignored. Passed on as 1.1 it would be
        // answered with an interim response, of which the client knows nothing.
        let wanted = |name: &str| {
            let is = |other| name.eq_ignore_ascii_case(other);
            !is("Host") && (!self.version_10 || !is("Expect"))
        };
        fields::emit_end_to_end(self.fields, self.version_10, wanted, &mut head);
        if !keep_alive {
            fields::emit_field("Connection", b"close", &mut head);
        }
        head.extend_from_slice(b"\r\n");
        Ok(Forward {
            destination: Destination { host, port: port.unwrap_or(DEFAULT_PORT) },
            head,
            body,
            keep_alive,
            head_request: self.method == "HEAD",
            version_10: self.version_10,
        })
    }

    /// Host and port of an authority (RFC 3986 section 3.2); no port where there is none after the colon,
    /// either.
    fn authority(&self, text: &str) -> Result<(Host, Option<u16>), HttpError> {
        // RFC 9110 section 4.2.4: user information in an http target is an error; it mostly misleads people.
        if let Some(at) = text.find('@') {
            return Err(self.bad(
                "an authority without user information",
                Some(b'@'),
                &text.as_bytes()[at..],
            ));
        }
        // RFC 3986 section 3.2.2: IPv6 stands in brackets, so the first colon outside of them starts the
        // port.
        let in_brackets = text.starts_with('[').then(|| text.find(']')).flatten();
        let host_len = match in_brackets {
            Some(bracket) => bracket + 1,
            None => text.find(':').unwrap_or(text.len()),
        };
        let (host, port) = text.split_at(host_len);
        let parsed = Host::parse(host.as_bytes()).map_err(|bad| {
            let (expected, part) = match bad {
                BadHost::Empty => ("a host", 0),
                BadHost::TooLong(_) => ("a host of at most 255 bytes", 255),
                BadHost::Byte { at, .. } => ("a host without this byte", at),
                BadHost::NotUtf8 { at } => ("a host in UTF-8", at),
                BadHost::Brackets => ("an IPv6 address in brackets", 0),
            };
            let rest = &host.as_bytes()[part..];
            self.bad(expected, rest.first().copied(), rest)
        })?;
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => None,
            Some("") => None,
            // `parse` alone would take a plus sign.
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                let number = digits.parse().ok();
                Some(number.ok_or_else(|| self.bad("a port of at most 65535", None, digits.as_bytes()))?)
            }
            Some(_) | None => {
                let odd = port.as_bytes().first().copied();
                return Err(self.bad("a colon and a port after the host", odd, port.as_bytes()));
            }
        };
        Ok((parsed, port))
    }

    fn bad(&self, expected: &'static str, found: Option<u8>, part: &[u8]) -> HttpError {
        let at = fields::offset(self.bytes, part);
        HttpError::refused(400, Malformed { expected, found: found.map(u32::from), at })
    }
}

/// User and password, if they come the one way we can read.
fn credentials(fields: &[Header<'_>]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut values = fields::values(fields, "Proxy-Authorization");
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    // RFC 9110 section 11.1: the scheme is case-insensitive; section 11.4: one or more spaces follow it.
    let (scheme, rest) = value.split_at_checked(b"Basic".len())?;
    if !scheme.eq_ignore_ascii_case(b"Basic") || !rest.starts_with(b" ") {
        return None;
    }
    // RFC 7617 section 2: the user has no colon, the password may.
    let mut decoded = base64::decode(rest.trim_ascii_start())?;
    let colon = decoded.iter().position(|b| *b == b':')?;
    let password = decoded.split_off(colon + 1);
    decoded.truncate(colon);
    Some((decoded, password))
}
