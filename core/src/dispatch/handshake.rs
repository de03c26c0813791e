//! What does the client want? SOCKS5, SOCKS4, SOCKS4a and HTTP, distinguished by the first byte.
//!
//! ```text
//!  first byte 5 ─▶ greeting ─▶ [user and password] ─▶ request ─▶ Open
//!             4 ─▶ request ─▶ Open
//!        letter ─▶ HTTP head ─▶ Open
//! ```
//!
//! Bytes may come one at a time or all at once with payload behind; what is not of the handshake is
//! handed on.

use super::config::Config;
use super::reply::ReplyFormat;
use crate::machine::event::Refusal;
use crate::name::{Destination, Host};
use crate::time::Instant;
use crate::wire::http::{self, HeadEnd, HttpError, RequestKind};
use crate::wire::{Malformed, Unparsed, socks4, socks5};
use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::ops::ControlFlow;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    First,
    Socks5Auth,
    Socks5Request,
}

#[derive(Debug)]
pub(super) struct Handshake {
    /// The address that the client reached us at.
    pub(super) local: SocketAddr,
    /// When it is over, complete or not.
    pub(super) until: Instant,
    stage: Stage,
    seen: Vec<u8>,
    head_end: HeadEnd,
    /// The client is about to send a login although none is required.
    ignored_login: bool,
    /// The user whose password was right, until [`Handshake`] hands it on.
    user: Option<Box<[u8]>>,
    reply: Vec<u8>,
    sent: usize,
}

/// What a SOCKS5 request asks for.
enum Asked {
    /// A connection to there.
    Connection(Destination),
    /// A UDP association, perhaps from there.
    Udp(Option<SocketAddr>),
}

/// What is to be done next.
#[derive(Debug)]
pub(super) enum HandshakeStep {
    /// Read on.
    More,
    /// The client wants to go there.
    Open {
        /// The protocol in which the client is answered.
        format: ReplyFormat,
        /// There.
        destination: Destination,
        /// What it sent behind its request.
        early: Vec<u8>,
        /// What it is owed before the answer.
        unsent: Vec<u8>,
    },
    /// The client wants a UDP association.
    Associate {
        /// Where it says it will send from, where it says so.
        expected: Option<SocketAddr>,
        /// What it is owed before the answer.
        unsent: Vec<u8>,
    },
    /// The answer to a request that goes no further: write it, then close.
    Answer {
        /// All of it.
        reply: Vec<u8>,
    },
    /// Write this, then close.
    Refuse {
        /// The last bytes to the client.
        reply: Vec<u8>,
        /// Why.
        why: Refusal,
    },
}

impl Handshake {
    pub(super) fn new(local: SocketAddr, until: Instant) -> Self {
        Handshake {
            local,
            until,
            stage: Stage::First,
            seen: Vec::new(),
            head_end: HeadEnd::default(),
            ignored_login: false,
            user: None,
            reply: Vec::new(),
            sent: 0,
        }
    }

    pub(super) fn write_buf(&self) -> &[u8] {
        &self.reply[self.sent..]
    }

    pub(super) fn written(&mut self, len: usize) {
        self.sent = (self.sent + len).min(self.reply.len());
        if self.sent == self.reply.len() {
            self.reply.clear();
            self.sent = 0;
        }
    }

    /// The client offers a login and nothing else, though none is asked for: true once.
    pub(super) fn has_ignored_login(&mut self) -> bool {
        core::mem::take(&mut self.ignored_login)
    }

    /// The user whose password was right: told once.
    pub(super) fn take_user(&mut self) -> Option<Box<[u8]>> {
        self.user.take()
    }

    /// Bytes that wait for the rest of a request.
    pub(super) fn kept(&self) -> usize {
        self.seen.len()
    }

    /// Whether the client has said anything yet.
    pub(super) fn is_silent(&self) -> bool {
        self.stage == Stage::First && self.seen.is_empty()
    }

    /// Takes in what the client sent.
    pub(super) fn read(&mut self, config: &Config, bytes: &[u8]) -> HandshakeStep {
        self.seen.extend_from_slice(bytes);
        // RFC 9112 section 2.2: empty lines in front of a request are ignored. They may come in
        // front of the first one, too.
        let first = self.seen.get(http::empty_lines(&self.seen)).copied();
        let is_http = self.stage == Stage::First
            && first.is_none_or(|first| http::looks_like_http(first) || first == b'\r');
        // Reparse a long head only where it may have ended: else parsing is quadratic.
        if is_http && !self.head_end.is_worth_parsing(&self.seen, config.max_head) {
            return HandshakeStep::More;
        }
        loop {
            let step = match (self.stage, self.seen.first()) {
                (_, None) => return HandshakeStep::More,
                (Stage::First, Some(&socks5::VERSION)) => self.greeting(config),
                (Stage::First, Some(&socks4::VERSION)) => self.socks4(config),
                (Stage::First, Some(_)) if is_http => self.http(config),
                (Stage::First, Some(_)) => {
                    let expected = "SOCKS version 4 or 5, or an HTTP method";
                    let at = http::empty_lines(&self.seen);
                    self.refuse(Refusal::Malformed(Malformed { expected, found: first.map(u32::from), at }))
                }
                (Stage::Socks5Auth, Some(_)) => self.user_password(config),
                (Stage::Socks5Request, Some(_)) => self.socks5(config),
            };
            if let ControlFlow::Break(step) = step {
                return step;
            }
        }
    }

    /// RFC 1928 section 3.
    fn greeting(&mut self, config: &Config) -> ControlFlow<HandshakeStep> {
        let parsed = socks5::parse_greeting(&self.seen).map(|(greeting, used)| {
            let offers = |method| greeting.methods.contains(&method).then_some(method);
            let method = match config.credentials {
                Some(_) => offers(socks5::method::USER_PASSWORD),
                // A client with a login filled in may offer nothing else. Where no login is
                // required, any is accepted.
                None => offers(socks5::method::NONE).or(offers(socks5::method::USER_PASSWORD)),
            };
            (method, used)
        });
        let (method, used) = self.complete(parsed)?;
        self.seen.drain(..used);
        let Some(method) = method else {
            self.reply.extend(socks5::emit_method(socks5::method::UNACCEPTABLE));
            return self.refuse(Refusal::NoAuthMethod);
        };
        self.reply.extend(socks5::emit_method(method));
        self.stage = match method {
            socks5::method::USER_PASSWORD => Stage::Socks5Auth,
            _ => Stage::Socks5Request,
        };
        self.ignored_login = self.stage == Stage::Socks5Auth && config.credentials.is_none();
        ControlFlow::Continue(())
    }

    /// RFC 1929 section 2.
    fn user_password(&mut self, config: &Config) -> ControlFlow<HandshakeStep> {
        let parsed = socks5::parse_user_password(&self.seen).map(|(given, used)| {
            let known = config.credentials.as_ref();
            let ok = known.is_none_or(|known| known.check(given.user, given.password));
            (ok, known.filter(|_| ok).map(|_| given.user.into()), used)
        });
        let (ok, user, used) = self.complete(parsed)?;
        self.user = user;
        self.seen.drain(..used);
        self.reply.extend(socks5::emit_auth_status(ok));
        if !ok {
            // RFC 1929 section 2: after a failure status the connection MUST be closed.
            return self.refuse(Refusal::BadCredentials);
        }
        self.stage = Stage::Socks5Request;
        ControlFlow::Continue(())
    }

    /// RFC 1928 section 4.
    fn socks5(&mut self, config: &Config) -> ControlFlow<HandshakeStep> {
        let parsed = socks5::parse_request(&self.seen).map(|(request, used)| {
            let expected = match request.address {
                socks5::Address::Ip(ip) => Some(SocketAddr::new(ip, request.port)),
                socks5::Address::Name(_) | socks5::Address::Unknown(_) => None,
            };
            let serves_udp = config.max_associations > 0;
            let host = match request.address {
                socks5::Address::Ip(ip) => Ok(Host::Ip(ip)),
                socks5::Address::Name(name) => Host::parse(name).map_err(Refusal::BadHost),
                socks5::Address::Unknown(code) => Err(Refusal::AddressType(code)),
            };
            let host = match request.command {
                socks5::Command::Connect => host,
                // An unsupported command is reported before a fault of the address.
                socks5::Command::Bind => Err(Refusal::Command(2)),
                socks5::Command::UdpAssociate if !serves_udp => Err(Refusal::Command(3)),
                socks5::Command::UdpAssociate => match request.address {
                    socks5::Address::Unknown(code) => Err(Refusal::AddressType(code)),
                    // RFC 1928 section 4: where the client will send from, not where to.
                    socks5::Address::Ip(_) | socks5::Address::Name(_) => {
                        return (Ok(Asked::Udp(expected)), used);
                    }
                },
                socks5::Command::Other(code) => Err(Refusal::Command(code)),
            };
            (host.map(|host| Asked::Connection(Destination { host, port: request.port })), used)
        });
        let parsed = match parsed {
            // RFC 1928 section 6: a request that cannot be read is a general failure.
            Err(Unparsed::Malformed(why)) => {
                return ControlFlow::Break(self.refusal(&ReplyFormat::Socks5, Refusal::Malformed(why)));
            }
            other => other,
        };
        let (asked, used) = self.complete(parsed)?;
        self.seen.drain(..used);
        ControlFlow::Break(match asked {
            Ok(Asked::Connection(destination)) => self.open(ReplyFormat::Socks5, destination),
            Ok(Asked::Udp(expected)) => {
                HandshakeStep::Associate { expected, unsent: self.reply.split_off(self.sent) }
            }
            Err(why) => self.refusal(&ReplyFormat::Socks5, why),
        })
    }

    fn socks4(&mut self, config: &Config) -> ControlFlow<HandshakeStep> {
        let parsed = socks4::parse_request(&self.seen).map(|(request, used)| {
            let host = match (request.command, request.address) {
                _ if config.credentials.is_some() => Err(Refusal::Socks4WithAuth),
                (socks4::Command::Connect, socks4::Address::Ip(ip)) => Ok(Host::Ip(IpAddr::V4(ip))),
                (socks4::Command::Connect, socks4::Address::Name(name)) => {
                    Host::parse(name).map_err(Refusal::BadHost)
                }
                (socks4::Command::Bind, _) => Err(Refusal::Command(2)),
                (socks4::Command::Other(code), _) => Err(Refusal::Command(code)),
            };
            (host.map(|host| Destination { host, port: request.port }), used)
        });
        let parsed = match parsed {
            Err(Unparsed::Malformed(why)) => {
                return ControlFlow::Break(self.refusal(&ReplyFormat::Socks4, Refusal::Malformed(why)));
            }
            other => other,
        };
        let (destination, used) = self.complete(parsed)?;
        self.seen.drain(..used);
        ControlFlow::Break(match destination {
            Ok(destination) => self.open(ReplyFormat::Socks4, destination),
            Err(why) => self.refusal(&ReplyFormat::Socks4, why),
        })
    }

    fn http(&mut self, config: &Config) -> ControlFlow<HandshakeStep> {
        ControlFlow::Break(match http_request(config, &self.seen) {
            HttpStep::More => HandshakeStep::More,
            HttpStep::Open { format, destination, user, used } => {
                self.user = user;
                self.seen.drain(..used);
                self.open(format, destination)
            }
            HttpStep::Answer { reply } => HandshakeStep::Answer { reply },
            HttpStep::Refuse { reply, why } => HandshakeStep::Refuse { reply, why },
        })
    }

    /// The parsed value. It breaks off where bytes are missing, and refuses a malformed message
    /// without a reply: the client does not speak a protocol that has one.
    fn complete<T>(&mut self, parsed: Result<T, Unparsed>) -> ControlFlow<HandshakeStep, T> {
        match parsed {
            Ok(value) => ControlFlow::Continue(value),
            Err(Unparsed::Incomplete) => ControlFlow::Break(HandshakeStep::More),
            Err(Unparsed::Malformed(why)) => ControlFlow::Break(self.close(Refusal::Malformed(why))),
        }
    }

    fn open(&mut self, format: ReplyFormat, destination: Destination) -> HandshakeStep {
        let unsent = self.reply.split_off(self.sent);
        HandshakeStep::Open { format, destination, early: core::mem::take(&mut self.seen), unsent }
    }

    fn refuse(&mut self, why: Refusal) -> ControlFlow<HandshakeStep> {
        ControlFlow::Break(self.close(why))
    }

    /// Closes after what is owed already.
    fn close(&mut self, why: Refusal) -> HandshakeStep {
        HandshakeStep::Refuse { reply: self.reply.split_off(self.sent), why }
    }

    fn refusal(&mut self, format: &ReplyFormat, why: Refusal) -> HandshakeStep {
        let mut reply = self.reply.split_off(self.sent);
        format.refused(&why, &mut reply);
        HandshakeStep::Refuse { reply, why }
    }
}

/// What to do about an HTTP request.
#[derive(Debug)]
pub(super) enum HttpStep {
    /// Its head is not complete.
    More,
    /// The client wants to go there. `user`: by whose login, where one is asked for. `used`: how
    /// many bytes the head took.
    Open { format: ReplyFormat, destination: Destination, user: Option<Box<[u8]>>, used: usize },
    /// The answer to a request that goes no further: write it, then close.
    Answer { reply: Vec<u8> },
    /// Write this, then close.
    Refuse { reply: Vec<u8>, why: Refusal },
}

/// Reads the head of an HTTP request and checks its credentials, for each request anew.
pub(super) fn http_request(config: &Config, bytes: &[u8]) -> HttpStep {
    let refuse = |status: u16, why: Refusal| {
        let mut reply = Vec::new();
        http::emit_error(status, &why.to_string(), &mut reply);
        HttpStep::Refuse { reply, why }
    };
    let (head, used) = match http::parse_request(bytes, config.heads()) {
        Ok(parsed) => parsed,
        Err(HttpError::Incomplete) => return HttpStep::More,
        Err(HttpError::Refused { status, why }) => return refuse(status, Refusal::Malformed(why)),
        Err(HttpError::TooLarge(excess)) => return refuse(431, Refusal::RequestTooLarge(excess)),
    };
    let mut who: Option<Box<[u8]>> = None;
    if let Some(known) = &config.credentials {
        // RFC 9110 section 15.5.8.
        match &head.credentials {
            // Most clients send no credentials first: the refusal names the scheme.
            None => return refuse(407, Refusal::NoCredentials),
            Some((user, password)) if !known.check(user, password) => {
                return refuse(407, Refusal::BadCredentials);
            }
            Some((user, _)) => who = Some(user.as_slice().into()),
        }
    }
    match head.kind {
        RequestKind::Connect(destination) => {
            HttpStep::Open { format: ReplyFormat::Connect, destination, user: who, used }
        }
        RequestKind::Answered(reply) => HttpStep::Answer { reply },
        RequestKind::Forward(forward) => {
            let destination = forward.destination.clone();
            HttpStep::Open { format: ReplyFormat::Forward(Box::new(forward)), destination, user: who, used }
        }
    }
}
