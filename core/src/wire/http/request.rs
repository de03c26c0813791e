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
//! `Host` is not read, because the target has everything. A missing one is accepted, two are
//! refused.
//!
//! Sources: RFC 9110 sections 4.2, 7.6 and 9, RFC 9112 sections 2, 3 and 9.

use alloc::vec::Vec;

use httparse::Header;

use super::target::{self, Absolute};
use super::{
    Forward, Framing, HeadLimits, HttpError, Malformed, Named, RequestHead, RequestKind, base64, fields,
    request_line, upgrade,
};

/// Reads a request's head; also how many bytes it took, empty lines before it included.
pub(crate) fn parse_request(bytes: &[u8], limits: HeadLimits) -> Result<(RequestHead, usize), HttpError> {
    let window = fields::window(bytes, limits);
    let line = match request_line::parse(window) {
        Err(HttpError::Incomplete) => return Err(fields::unfinished(window, limits)),
        other => other?,
    };
    let rest = &window[line.used..];
    let mut room = fields::room(rest, limits);
    let Some((used, count)) = fields::parse(rest, line.used, &mut room, limits)? else {
        return Err(fields::unfinished(window, limits));
    };
    let seen = Seen {
        bytes: window,
        method: line.method,
        target: line.target,
        version_10: line.version_10,
        fields: &room[..count],
    };
    let came = line.used + used;
    let mut kind = seen.kind()?;
    if let RequestKind::Forward(forward) = &mut kind {
        forward.came = came;
    }
    Ok((RequestHead { kind, credentials: credentials(seen.fields) }, came))
}

/// A complete head, not yet judged.
struct Seen<'s, 'b> {
    bytes: &'b [u8],
    method: &'b str,
    target: &'b [u8],
    version_10: bool,
    fields: &'s [Header<'b>],
}

impl Seen<'_, '_> {
    fn kind(&self) -> Result<RequestKind, HttpError> {
        // RFC 9112 section 3.2: more than one Host is answered with 400.
        if let Some(second) = fields::values(self.fields, "Host").nth(1) {
            return Err(self.bad("one Host field", second));
        }
        let body = fields::request_framing(self.bytes, self.fields, self.version_10)?;
        // RFC 9110 section 9.1: methods are case-sensitive.
        if self.method != "CONNECT" {
            return self.pass_on(body);
        }
        // RFC 9110 section 9.3.6: CONNECT has no content. Were some announced, it could be taken
        // for the start of the tunnel or be left out of it.
        if !matches!(body, Framing::None | Framing::Length(0)) {
            return Err(self.bad("a CONNECT without content", self.target));
        }
        // RFC 9112 section 3.2.3: authority-form, host and port, only for CONNECT and nothing else
        // for it.
        let destination = target::authority_form(self.target).map_err(|why| self.bad_target(why))?;
        Ok(RequestKind::Connect(destination))
    }

    fn pass_on(&self, body: Framing) -> Result<RequestKind, HttpError> {
        let Absolute { destination, authority, path } =
            target::absolute(self.target).map_err(|why| self.bad_target(why))?;
        let hops = self.hops_left()?;
        if hops == Some(0) {
            return Ok(RequestKind::Answered(self.answer()));
        }
        // RFC 9112 section 9.3: a proxy does not keep the connection of an HTTP/1.0 client.
        let close = |field| fields::has_element(self.fields, field, "close");
        let keep_alive = !self.version_10 && !close("Connection") && !close("Proxy-Connection");
        let bodiless = matches!(body, Framing::None | Framing::Length(0));
        // Where a body had to come before the change of protocol, neither side would know when.
        let upgrade = match self.version_10 || !bodiless {
            true => Vec::new(),
            false => upgrade::offered(self.fields),
        };

        let mut head = Vec::with_capacity(self.target.len() + 256);
        head.extend_from_slice(self.method.as_bytes());
        head.push(b' ');
        match path.first() {
            // RFC 9112 section 3.2.4: OPTIONS for the host as a whole.
            None if self.method == "OPTIONS" => head.push(b'*'),
            // RFC 9112 section 3.2.1: an empty path is sent as "/".
            None | Some(b'?') => head.push(b'/'),
            Some(_) => {}
        }
        head.extend_from_slice(path);
        head.extend_from_slice(b" HTTP/1.1\r\n");
        // RFC 9112 section 3.2.2: the received Host is ignored, the one sent comes from the target.
        fields::emit_field("Host", authority, &mut head);
        // RFC 9110 section 10.1.1: an expectation in HTTP/1.0 is ignored. Passed on as 1.1 it would
        // be answered with an interim response, of which the client knows nothing.
        let wanted = |name: &str| {
            let is = |other| name.eq_ignore_ascii_case(other);
            let ours =
                is("Host") || (self.version_10 && is("Expect")) || (hops.is_some() && is("Max-Forwards"));
            !ours
        };
        let named = Named::of(self.fields);
        fields::emit_end_to_end(self.fields, &named, self.version_10, body, wanted, &mut head);
        if let Some(hops) = hops {
            fields::emit_field("Max-Forwards", alloc::format!("{}", hops - 1).as_bytes(), &mut head);
        }
        if !upgrade.is_empty() {
            fields::emit_field("Connection", b"upgrade", &mut head);
            fields::emit_field("Upgrade", &upgrade, &mut head);
        } else if !keep_alive {
            fields::emit_field("Connection", b"close", &mut head);
        }
        head.extend_from_slice(b"\r\n");
        // RFC 9110 section 9.2.2.
        let idempotent = ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"].contains(&self.method);
        Ok(RequestKind::Forward(Forward {
            destination,
            head,
            body,
            keep_alive,
            head_request: self.method == "HEAD",
            version_10: self.version_10,
            repeatable: idempotent && bodiless,
            upgrade,
            named,
            came: 0,
        }))
    }

    /// RFC 9110 section 7.6.2: how many more proxies OPTIONS or TRACE may pass. Other methods have
    /// no such field.
    fn hops_left(&self) -> Result<Option<u64>, HttpError> {
        if self.method != "OPTIONS" && self.method != "TRACE" {
            return Ok(None);
        }
        let mut values = fields::values(self.fields, "Max-Forwards");
        let Some(value) = values.next() else { return Ok(None) };
        if let Some(second) = values.next() {
            return Err(self.bad("one Max-Forwards field", second));
        }
        if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
            return Err(self.bad("a Max-Forwards of digits only", value));
        }
        // More than there are proxies in the world.
        Ok(Some(core::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok()).unwrap_or(u64::MAX)))
    }

    /// The answer of the last one on the way, which we are.
    fn answer(&self) -> Vec<u8> {
        let mut seen = Vec::new();
        let mut out = Vec::from(&b"HTTP/1.1 200 OK\r\n"[..]);
        if self.method == "TRACE" {
            // RFC 9110 section 9.3.8: the request as it came, without what is secret in it.
            for part in [self.method.as_bytes(), b" ", self.target, b" HTTP/1."] {
                seen.extend_from_slice(part);
            }
            seen.extend_from_slice(if self.version_10 { b"0\r\n" } else { b"1\r\n" });
            for field in self.fields {
                let secret = ["Proxy-Authorization", "Authorization", "Cookie"];
                if !secret.iter().any(|name| name.eq_ignore_ascii_case(field.name)) {
                    fields::emit_field(field.name, field.value, &mut seen);
                }
            }
            seen.extend_from_slice(b"\r\n");
            fields::emit_field("Content-Type", b"message/http", &mut out);
        }
        fields::emit_field("Content-Length", alloc::format!("{}", seen.len()).as_bytes(), &mut out);
        fields::emit_field("Connection", b"close", &mut out);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&seen);
        out
    }

    fn bad_target(&self, why: Malformed) -> HttpError {
        let at = fields::offset(self.bytes, self.target) + why.at;
        HttpError::refused(400, Malformed { at, ..why })
    }

    fn bad(&self, expected: &'static str, part: &[u8]) -> HttpError {
        let at = fields::offset(self.bytes, part);
        HttpError::refused(400, Malformed { expected, found: None, at })
    }
}

/// User and password, if they come the one way we can read.
fn credentials(fields: &[Header<'_>]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut values = fields::values(fields, "Proxy-Authorization");
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    // RFC 9110 section 11.1: the scheme is case-insensitive; section 11.4: one or more spaces
    // follow it.
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
