//! How a proxy is written as an uplink: `SCHEME://[USER:PASSWORD@]HOST:PORT[%INTERFACE][@WEIGHT]`.
//!
//! ```text
//! socks5://127.0.0.1:1080@2             what `ssh -D 1080` serves
//! http://user:pa%40ss@proxy.example:3128   CONNECT, with a password that has an @ in it
//! socks5://[2001:db8::7]:1080%eth1      reached through eth1
//! ```

use super::uplink::{MAX_WEIGHT, Selector, UplinkArg, interface};
use std::fmt;

/// What a proxy speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scheme {
    Socks5,
    Http,
}

/// A proxy as it was written.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct UpstreamArg {
    pub(crate) scheme: Scheme,
    /// An address, an IPv6 one without brackets, or a name.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// User and password, decoded.
    pub(crate) login: Option<(Vec<u8>, Vec<u8>)>,
    /// The interface by which it is reached.
    pub(crate) interface: Option<String>,
}

/// Passwords do not belong in logs.
impl fmt::Debug for UpstreamArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}:{} {:?}", self.scheme, self.host, self.port, self.interface)
    }
}

/// Reads what stands behind `scheme://`. No error repeats what may be a password.
pub(super) fn parse(scheme: &str, rest: &str) -> Result<UplinkArg, String> {
    let (scheme, name) = match scheme.to_ascii_lowercase().as_str() {
        "socks5" | "socks5h" => (Scheme::Socks5, "socks5"),
        "http" => (Scheme::Http, "http"),
        _ => {
            return Err(format!(
                "expected socks5://HOST:PORT or http://HOST:PORT as a proxy, got {scheme}://"
            ));
        }
    };
    // A place has a colon, a weight has none.
    let (rest, share) = match rest.rsplit_once('@') {
        Some((before, last)) if !last.contains(':') => (before, weight(last, name)?),
        _ => (rest, 1),
    };
    let (login, place) = match rest.rsplit_once('@') {
        Some((login, place)) => (Some(self::login(login, name)?), place),
        None => (None, rest),
    };
    let place = place.strip_suffix('/').unwrap_or(place);
    let (address, device) = match place.rsplit_once('%') {
        // A link-local address has its scope inside the brackets.
        Some((address, device)) if !device.contains(']') => (address, Some(interface(device, place)?)),
        _ => (place, None),
    };
    let wanted = || format!("expected {name}://[USER:PASSWORD@]HOST:PORT, got {place:?} as HOST:PORT");
    let (host, port) = address.rsplit_once(':').ok_or_else(wanted)?;
    let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(wanted)?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').filter(|ip| ip.contains(':')).ok_or_else(wanted)?,
        None if host.contains(':') => return Err(wanted()),
        None => host,
    };
    let bad = |c: char| c.is_whitespace() || c.is_control() || "/?#[]@\\".contains(c);
    if host.is_empty() || host.contains(bad) {
        return Err(wanted());
    }
    let upstream = UpstreamArg { scheme, host: host.to_string(), port, login, interface: device };
    let label = format!("{name}://{place}");
    Ok(UplinkArg { label, selector: Selector::Upstream(upstream), weight: share })
}

/// What stands behind the last `@` may be a part of a password that has one: it is not repeated.
fn weight(text: &str, name: &str) -> Result<u32, String> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|weight| digits && (1..=MAX_WEIGHT).contains(weight)).ok_or_else(|| {
        format!("expected HOST:PORT or a weight from 1 to {MAX_WEIGHT} behind the last @ of {name}://")
    })
}

/// `USER:PASSWORD`, each percent-encoded (RFC 3986 section 2.1). A user alone has an empty
/// password.
fn login(text: &str, name: &str) -> Result<(Vec<u8>, Vec<u8>), String> {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    let wrong =
        || format!("expected USER:PASSWORD before the @ of {name}://, percent-encoded (%40 for an @)");
    let user = decode(user).filter(|user| !user.is_empty()).ok_or_else(wrong)?;
    let password = decode(password).ok_or_else(wrong)?;
    // RFC 1929 section 2. (RFC 7617 section 2: a user of Basic has no colon.)
    if user.len() > 255 || password.len() > 255 || (name == "http" && user.contains(&b':')) {
        return Err(format!("expected a user and a password of at most 255 bytes each for {name}://"));
    }
    Ok((user, password))
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        out.push((high * 16 + low) as u8);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::uplink;

    fn read(text: &str) -> (UpstreamArg, String, u32) {
        let arg = uplink::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let Selector::Upstream(upstream) = arg.selector else { panic!("{text} is no proxy") };
        (upstream, arg.label, arg.weight)
    }

    #[test]
    fn a_proxy_has_a_place_and_perhaps_a_login_an_interface_and_a_weight() {
        let (upstream, label, weight) = read("socks5://127.0.0.1:1080");
        assert_eq!(
            (upstream.scheme, upstream.host.as_str(), upstream.port),
            (Scheme::Socks5, "127.0.0.1", 1080)
        );
        assert_eq!((label.as_str(), weight), ("socks5://127.0.0.1:1080", 1));
        assert_eq!((upstream.login, upstream.interface), (None, None));
        let (upstream, label, weight) =
            read("http://us%3Aer:p%40s:s%25@proxy.example:3128%eth1@7".replace("%3A", "").as_str());
        assert_eq!(
            (upstream.scheme, upstream.host.as_str(), upstream.port),
            (Scheme::Http, "proxy.example", 3128)
        );
        assert_eq!(upstream.login, Some((b"user".to_vec(), b"p@s:s%".to_vec())));
        assert_eq!(upstream.interface.as_deref(), Some("eth1"));
        assert_eq!((label.as_str(), weight), ("http://proxy.example:3128%eth1", 7));
        let (upstream, label, weight) = read("SOCKS5H://user@[2001:db8::7]:1080@2");
        assert_eq!((upstream.host.as_str(), weight), ("2001:db8::7", 2));
        assert_eq!(upstream.login, Some((b"user".to_vec(), vec![])));
        assert_eq!(label, "socks5://[2001:db8::7]:1080");
        assert_eq!(read("http://host:80/").0.host, "host");
    }

    #[test]
    fn what_is_no_proxy_is_told_without_its_password() {
        for (bad, word) in [
            ("https://host:1", "socks5://HOST:PORT or http://HOST:PORT"),
            ("socks4://host:1", "socks5://HOST:PORT"),
            ("socks5://host", "HOST:PORT"),
            ("socks5://user:secret@host", "from 1 to 65535"),
            ("socks5://user:secret@host:0", "HOST:PORT"),
            ("socks5://user:secret@host:x", "HOST:PORT"),
            ("socks5://user:secret@::1:80", "HOST:PORT"),
            ("socks5://user:secret@host:80@0", "from 1 to 65535"),
            ("socks5://user:secret@host:80/path", "HOST:PORT"),
            ("socks5://us%zzer:secret@host:80", "percent-encoded"),
            ("socks5://:secret@host:80", "percent-encoded"),
            ("socks5://user:secret@host:80%", "after the %"),
            ("socks5://user:secret@:80", "HOST:PORT"),
        ] {
            let error = uplink::parse(bad).expect_err(bad);
            assert!(error.contains(word), "{bad}: {error}");
            assert!(!error.contains("secret"), "{bad}: {error}");
        }
        let (upstream, ..) = read("socks5://user:secret@host:80");
        assert!(!format!("{upstream:?}").contains("secret"));
    }

    #[test]
    fn a_bond_takes_no_proxy() {
        assert!("socks5://host:80".parse::<UplinkArg>().is_err_and(|error| error.contains("dispatch")));
    }

    #[test]
    fn a_login_has_at_most_255_bytes_each_and_the_user_of_basic_no_colon() {
        let with = |scheme: &str, user: &str, password: &str| {
            uplink::parse(&format!("{scheme}://{user}:{password}@host:80")).is_ok()
        };
        let (most, more) = ("a".repeat(255), "a".repeat(256));
        for scheme in ["http", "socks5"] {
            assert!(with(scheme, &most, &most), "{scheme}");
            assert!(!with(scheme, &more, &most) && !with(scheme, &most, &more), "{scheme}");
            // RFC 7617 section 2 has this of Basic alone.
            assert_eq!(with(scheme, "us%3Aer", "word"), scheme == "socks5");
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address_and_nothing_else() {
        for bad in ["socks5://[host]:80", "socks5://ho st:80", "socks5://ho\x07st:80", "socks5://ho/st:80"] {
            assert!(uplink::parse(bad).is_err(), "{bad}");
        }
        let (upstream, label, _) = read("socks5://[fe80::1%eth1]:80");
        assert_eq!((upstream.host.as_str(), upstream.interface), ("fe80::1%eth1", None), "{label}");
    }
}
