//! Host names as they come from clients: what is let through to a resolver, and what is an address
//! in disguise.

use alloc::boxed::Box;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A host name: 1 to 255 visible ASCII bytes or UTF-8, without controls, white space and characters
/// that a reader would not see or that would turn the text around them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<str>);

impl Name {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is `localhost` or ends so, in any case, with or without a dot at the end (RFC
    /// 6761 section 6.3).
    pub fn is_localhost(&self) -> bool {
        let name = self.0.strip_suffix('.').unwrap_or(&self.0);
        let last = name.rsplit('.').next().unwrap_or(name);
        last.eq_ignore_ascii_case("localhost")
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why some bytes are no host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BadHost {
    /// No byte at all.
    Empty,
    /// Longer than 255 bytes (RFC 1035 section 2.3.4).
    TooLong(usize),
    /// A byte that no name has, and where.
    Byte {
        /// The byte.
        byte: u8,
        /// Its offset.
        at: usize,
    },
    /// Not UTF-8 from this offset on.
    NotUtf8 {
        /// The offset.
        at: usize,
    },
    /// Brackets around what is no IPv6 address.
    Brackets,
}

impl fmt::Display for BadHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadHost::Empty => write!(f, "expected a host name, got nothing"),
            BadHost::TooLong(len) => write!(f, "expected a host name of at most 255 bytes, got {len}"),
            BadHost::Byte { byte, at } => {
                write!(f, "expected a host name, got byte 0x{byte:02x} at offset {at} of it")
            }
            BadHost::NotUtf8 { at } => {
                write!(f, "expected a host name, got bytes that are not UTF-8 at offset {at}")
            }
            BadHost::Brackets => write!(f, "expected an IPv6 address between the brackets"),
        }
    }
}

/// Where a client wants to go.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub enum Host {
    /// An address.
    Ip(IpAddr),
    /// A name to look up.
    Name(Name),
}

impl Host {
    /// Reads a host as clients send it: a name, or an IPv4 or IPv6 address in text (also in
    /// brackets), which must not go to a resolver.
    ///
    /// # Errors
    /// [`BadHost`] says what is wrong and where.
    pub fn parse(bytes: &[u8]) -> Result<Host, BadHost> {
        if bytes.is_empty() {
            return Err(BadHost::Empty);
        }
        if bytes.len() > 255 {
            return Err(BadHost::TooLong(bytes.len()));
        }
        let bad = |b: &u8| b.is_ascii_control() || b.is_ascii_whitespace() || b"/@#?\\\"<>%".contains(b);
        if let Some(at) = bytes.iter().position(bad) {
            return Err(BadHost::Byte { byte: bytes[at], at });
        }
        let text = core::str::from_utf8(bytes).map_err(|e| BadHost::NotUtf8 { at: e.valid_up_to() })?;
        if let Some((at, _)) = text.char_indices().find(|(_, c)| is_invisible(*c)) {
            return Err(BadHost::Byte { byte: bytes[at], at });
        }
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or(BadHost::Brackets)?;
            return inner.parse::<Ipv6Addr>().map(|a| Host::Ip(IpAddr::V6(a))).map_err(|_| BadHost::Brackets);
        }
        if let Ok(v4) = text.parse::<Ipv4Addr>() {
            return Ok(Host::Ip(IpAddr::V4(v4)));
        }
        if let Ok(v6) = text.parse::<Ipv6Addr>() {
            return Ok(Host::Ip(IpAddr::V6(v6)));
        }
        if let Some(at) = bytes.iter().position(|b| b":[]".contains(b)) {
            return Err(BadHost::Byte { byte: bytes[at], at });
        }
        Ok(Host::Name(Name(text.into())))
    }
}

/// Controls of the second kind, white space, line and paragraph separators, and what is not drawn
/// (Unicode's Default_Ignorable_Code_Point, and three that look like nothing): a log in which they
/// stand can be made to show what is not there.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || c.is_whitespace()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Ip(IpAddr::V6(v6)) => write!(f, "[{v6}]"),
            Host::Ip(ip) => ip.fmt(f),
            Host::Name(name) => name.fmt(f),
        }
    }
}

/// A host and a port.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub struct Destination {
    /// The host.
    pub host: Host,
    /// The port; 0 is not in use.
    pub port: u16,
}

impl From<SocketAddr> for Destination {
    fn from(address: SocketAddr) -> Self {
        Destination { host: Host::Ip(address.ip()), port: address.port() }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_in_disguise_never_reach_a_resolver() {
        let v6 = Host::Ip("::1".parse().expect("literal"));
        assert_eq!(Host::parse(b"127.0.0.1"), Ok(Host::Ip("127.0.0.1".parse().expect("literal"))));
        assert_eq!(Host::parse(b"::1"), Ok(v6.clone()));
        assert_eq!(Host::parse(b"[::1]"), Ok(v6));
        assert_eq!(Host::parse(b"[::1"), Err(BadHost::Brackets));
        assert_eq!(Host::parse(b"[example.org]"), Err(BadHost::Brackets));
    }

    #[test]
    fn names_are_told_from_garbage() {
        assert!(matches!(Host::parse(b"example.org"), Ok(Host::Name(_))));
        assert!(matches!(Host::parse(&[b'a'; 255]), Ok(Host::Name(_))));
        assert_eq!(Host::parse(b""), Err(BadHost::Empty));
        assert_eq!(Host::parse(&[b'a'; 256]), Err(BadHost::TooLong(256)));
        assert_eq!(Host::parse(b"a\0b"), Err(BadHost::Byte { byte: 0, at: 1 }));
        assert_eq!(Host::parse(b"a:1"), Err(BadHost::Byte { byte: b':', at: 1 }));
        assert_eq!(Host::parse(b"a\xff"), Err(BadHost::NotUtf8 { at: 1 }));
    }

    #[test]
    fn what_would_garble_a_log_is_in_no_name() {
        for bad in [
            "\u{9b}",
            "\u{85}",
            "\u{a0}",
            "\u{202e}",
            "\u{2028}",
            "\u{2029}",
            "\u{200f}",
            "\u{2066}",
            "\u{feff}",
            "\u{3000}",
            "\u{34f}",
            "\u{115f}",
            "\u{17b4}",
            "\u{2800}",
            "\u{3164}",
            "\u{fe0f}",
            "\u{ffa0}",
            "\u{1d173}",
            "\u{e0041}",
            "\u{e0100}",
        ] {
            let name = alloc::format!("a{bad}b");
            let byte = bad.as_bytes()[0];
            assert_eq!(Host::parse(name.as_bytes()), Err(BadHost::Byte { byte, at: 1 }), "{bad:?}");
        }
        for good in ["b\u{fc}cher.example", "\u{4f8b}\u{3048}.jp", "xn--bcher-kva.example", "a_b-c"] {
            assert!(matches!(Host::parse(good.as_bytes()), Ok(Host::Name(_))), "{good}");
        }
    }

    #[test]
    fn names_of_loopback_are_told() {
        let is =
            |text: &str| matches!(Host::parse(text.as_bytes()), Ok(Host::Name(name)) if name.is_localhost());
        assert!(["localhost", "LocalHost.", "a.localhost", "a.b.LOCALHOST"].into_iter().all(is));
        assert!(!["notlocalhost", "localhost.example", "localhost..", "a"].into_iter().any(is));
    }

    #[test]
    fn destinations_print_as_urls_write_them() {
        let destination = Destination { host: Host::parse(b"::1").expect("literal"), port: 80 };
        assert_eq!(alloc::format!("{destination}"), "[::1]:80");
    }
}
