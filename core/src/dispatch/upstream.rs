//! Another proxy as an uplink: what it is told, and what its answer means.
//!
//! ```text
//!   SOCKS5:  Greeting ──▶ [Login] ──▶ Request ──▶ established, refused or broken
//!   HTTP:                             Request ──▶ the same
//! ```
//!
//! [`Introduction`] is the client's side of the handshake, without a socket: bytes in, bytes out.
//! What is bounded: SOCKS answers by their format, an HTTP head by [`MAX_ANSWER`], the time by the
//! deadline of the connection.
//!
//! Invariants: bytes behind the answer are the tunnel's and are handed on. A refusal of the
//! destination is not a failure of the proxy: only the latter counts against the uplink.

use super::config::Config;
use crate::machine::{Fault, UplinkId, UplinkSet};
use crate::name::Destination;
use crate::record::Reading;
use crate::wire::http::connect::{self, MAX_ANSWER};
use crate::wire::http::{HeadEnd, HttpError};
use crate::wire::socks5::{client, method};
use crate::wire::{Parsed, Unparsed};
use alloc::vec::Vec;
use core::fmt;

/// What an upstream proxy speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UpstreamProtocol {
    /// SOCKS5 (RFC 1928, RFC 1929).
    Socks5,
    /// CONNECT of HTTP/1.1 (RFC 9110 section 9.3.6), Basic authentication (RFC 7617).
    Http,
}

/// Another proxy that stands behind an uplink. Its address is the uplink's
/// [`endpoint`](crate::uplink::UplinkConfig::endpoint).
#[derive(Clone, PartialEq, Eq)]
pub struct Upstream {
    /// What it speaks.
    pub protocol: UpstreamProtocol,
    /// User and password, if it asks for them; for SOCKS5 at most 255 bytes each.
    pub login: Option<(Vec<u8>, Vec<u8>)>,
}

/// Passwords do not belong in logs.
impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").field("protocol", &self.protocol).finish_non_exhaustive()
    }
}

impl Config {
    /// The proxy behind this uplink, if there is one.
    pub(super) fn upstream(&self, uplink: UplinkId) -> Option<&Upstream> {
        self.upstreams.get(usize::from(uplink.0)).and_then(Option::as_ref)
    }

    /// The uplinks that are proxies.
    pub(super) fn upstream_set(&self) -> UplinkSet {
        let mut set = UplinkSet::EMPTY;
        let proxies = (0..).map(UplinkId).zip(&self.upstreams).filter(|(_, upstream)| upstream.is_some());
        proxies.for_each(|(uplink, _)| set.insert(uplink));
        set
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Greeting,
    Login,
    Socks5Request,
    HttpRequest,
}

/// The handshake with an upstream proxy.
pub(super) struct Introduction {
    stage: Stage,
    login: Option<(Vec<u8>, Vec<u8>)>,
    destination: Destination,
    unsent: Vec<u8>,
    seen: Vec<u8>,
    head_end: HeadEnd,
}

/// The destination is a client's and the login a secret: neither belongs in a debug print.
impl fmt::Debug for Introduction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Introduction").field("stage", &self.stage).finish_non_exhaustive()
    }
}

/// What has come of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Introduced {
    /// Nothing yet: read on, write what there is.
    More,
    /// The destination is reached; these bytes of it came behind the answer.
    Done(Vec<u8>),
    /// The proxy says that it does not reach the destination, or will not.
    Refused(Fault),
    /// The proxy itself failed.
    Broken(Fault),
}

impl Introduction {
    pub(super) fn new(upstream: &Upstream, destination: Destination) -> Self {
        let mut unsent = Vec::new();
        let login = upstream.login.clone();
        let stage = match (upstream.protocol, &login) {
            (UpstreamProtocol::Socks5, login) => {
                let methods = [method::NONE, method::USER_PASSWORD];
                client::emit_greeting(if login.is_some() { &methods } else { &methods[..1] }, &mut unsent);
                Stage::Greeting
            }
            (UpstreamProtocol::Http, login) => {
                let login = login.as_ref().map(|(user, password)| (&user[..], &password[..]));
                connect::emit_connect(&destination, login, &mut unsent);
                Stage::HttpRequest
            }
        };
        Introduction { stage, login, destination, unsent, seen: Vec::new(), head_end: HeadEnd::default() }
    }

    /// Bytes for the proxy.
    pub(super) fn write_buf(&self) -> &[u8] {
        &self.unsent
    }

    /// The first `len` of them have left.
    pub(super) fn written(&mut self, len: usize) {
        self.unsent.drain(..len.min(self.unsent.len()));
    }

    /// What is made of the bytes that come next.
    pub(super) fn reading(&self) -> Reading {
        match self.stage {
            Stage::Greeting | Stage::Login | Stage::Socks5Request => {
                Reading::Answer(UpstreamProtocol::Socks5)
            }
            Stage::HttpRequest => Reading::Answer(UpstreamProtocol::Http),
        }
    }

    /// How many bytes may be read at once.
    pub(super) fn wants(&self) -> usize {
        MAX_ANSWER.saturating_sub(self.seen.len())
    }

    /// The proxy knows the destination: a failure from here on may be the destination's.
    pub(super) fn is_asked(&self) -> bool {
        matches!(self.stage, Stage::Socks5Request | Stage::HttpRequest)
    }

    /// The proxy ended or reset the connection instead of an answer. Many do so when they do not
    /// reach the destination. What was no answer is judged now at the latest.
    pub(super) fn ended(&self) -> Introduced {
        let answer = || connect::parse_answer(&self.seen).err();
        match self.stage {
            Stage::HttpRequest if answer().is_some_and(|why| why != HttpError::Incomplete) => {
                Introduced::Broken(Fault::Malformed)
            }
            _ if self.is_asked() => Introduced::Refused(Fault::ProxyFailed),
            _ => Introduced::Broken(Fault::Reset),
        }
    }

    /// Takes in what the proxy sent.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Introduced {
        self.seen.extend_from_slice(bytes);
        loop {
            let step = match self.stage {
                Stage::Greeting => self.method(),
                Stage::Login => self.logged_in(),
                Stage::Socks5Request => return self.socks5(),
                Stage::HttpRequest => return self.http(),
            };
            if let Err(outcome) = step {
                return outcome;
            }
        }
    }

    fn method(&mut self) -> Result<(), Introduced> {
        match (self.taken(client::parse_method)?, &self.login) {
            (method::NONE, _) => self.request(),
            (method::USER_PASSWORD, Some((user, password))) => {
                client::emit_user_password(user, password, &mut self.unsent);
                self.stage = Stage::Login;
            }
            // RFC 1928 section 3: X'FF', none of the methods offered is acceptable.
            _ => return Err(Introduced::Broken(Fault::ProxyLogin)),
        }
        Ok(())
    }

    fn logged_in(&mut self) -> Result<(), Introduced> {
        if !self.taken(client::parse_auth_status)? {
            return Err(Introduced::Broken(Fault::ProxyLogin));
        }
        self.request();
        Ok(())
    }

    fn request(&mut self) {
        client::emit_connect(&self.destination, &mut self.unsent);
        self.stage = Stage::Socks5Request;
    }

    fn socks5(&mut self) -> Introduced {
        match self.taken(client::parse_answer) {
            Err(outcome) => outcome,
            Ok(0) => Introduced::Done(core::mem::take(&mut self.seen)),
            Ok(code) => socks5_meaning(code),
        }
    }

    fn http(&mut self) -> Introduced {
        if !self.head_end.is_worth_parsing(&self.seen, MAX_ANSWER) {
            return Introduced::More;
        }
        match connect::parse_answer(&self.seen) {
            Err(HttpError::Incomplete) => Introduced::More,
            Err(_) => Introduced::Broken(Fault::Malformed),
            Ok((200..=299, used)) => {
                self.seen.drain(..used);
                Introduced::Done(core::mem::take(&mut self.seen))
            }
            Ok((status, _)) => http_meaning(status),
        }
    }

    /// A parsed value, taken off what was seen.
    fn taken<T>(&mut self, parse: impl FnOnce(&[u8]) -> Parsed<T>) -> Result<T, Introduced> {
        match parse(&self.seen) {
            Ok((value, used)) => {
                self.seen.drain(..used);
                Ok(value)
            }
            Err(Unparsed::Incomplete) => Err(Introduced::More),
            Err(Unparsed::Malformed(_)) => Err(Introduced::Broken(Fault::Malformed)),
        }
    }
}

/// RFC 1928 section 6.
fn socks5_meaning(code: u8) -> Introduced {
    match code {
        2 => Introduced::Refused(Fault::ProxyForbids),
        3 => Introduced::Refused(Fault::NetworkUnreachable),
        4 => Introduced::Refused(Fault::HostUnreachable),
        5 => Introduced::Refused(Fault::Refused),
        // "TTL expired": proxies answer a time-out with it.
        6 => Introduced::Refused(Fault::TimedOut),
        // It does not serve CONNECT: no destination will do better.
        7 => Introduced::Broken(Fault::Unsupported),
        _ => Introduced::Refused(Fault::ProxyFailed),
    }
}

/// RFC 9110 section 15: a status has no place for more than this.
fn http_meaning(status: u16) -> Introduced {
    match status {
        407 => Introduced::Broken(Fault::ProxyLogin),
        // It is no proxy, or serves no CONNECT.
        400 | 404 | 405 | 501 => Introduced::Broken(Fault::Unsupported),
        // It has too much to do at the moment.
        429 => Introduced::Broken(Fault::ProxyFailed),
        504 => Introduced::Refused(Fault::TimedOut),
        500.. => Introduced::Refused(Fault::ProxyFailed),
        _ => Introduced::Refused(Fault::ProxyForbids),
    }
}

#[cfg(test)]
#[path = "upstream_tests.rs"]
mod tests;
