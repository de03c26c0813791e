//! Values of the switches.

use crate::host::prefix;
use ropewalk_core::bond::Strategy;
use ropewalk_core::machine::Device;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// What goes through the bond.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Route {
    /// Everything.
    All,
    /// Nothing: no route is set.
    None,
    /// What goes to this network.
    Prefix(prefix::Prefix),
}

/// Which resolver is used while the bond is up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Dns {
    /// The one that was there before.
    Keep,
    /// This one.
    Server(IpAddr),
}

/// Whether clients leave with the server's address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Nat {
    /// Yes.
    Auto,
    /// No: the server's filters and forwarding are left alone.
    Off,
}

/// A network inside the tunnel, and the address in it that the server has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Subnet {
    /// The network's first address.
    pub(crate) network: IpAddr,
    /// Bits of the prefix.
    pub(crate) bits: u8,
}

impl Subnet {
    /// The address of this number in the network; `None` where the network ends before, and for the
    /// last address of an IPv4 network, which is its broadcast address (RFC 919).
    pub(crate) fn address(&self, number: u64) -> Option<IpAddr> {
        let width = if self.network.is_ipv4() { 32 } else { 128 };
        let room = width - u32::from(self.bits);
        match self.network {
            IpAddr::V4(v4) => {
                let last = (1u64 << room) - 1;
                let own = u32::try_from(number).ok()?;
                (number < last).then(|| IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() + own)))
            }
            IpAddr::V6(v6) => {
                let fits = room >= 64 || number < 1 << room;
                fits.then(|| IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() + u128::from(number))))
            }
        }
    }

    /// The server's own address: the first after the network's.
    pub(crate) fn server(&self) -> IpAddr {
        self.address(1).expect("subnet() lets in none without room for it")
    }
}

fn prefix(text: &str, what: &str) -> Result<prefix::Prefix, String> {
    let wrong = || format!("expected {what}, got '{text}'");
    let (address, bits) = text.split_once('/').ok_or_else(wrong)?;
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits: u8 = bits.parse().ok().filter(|bits| *bits <= most).ok_or_else(wrong)?;
    Ok(prefix::network(address, bits))
}

/// `--subnet`
pub(super) fn subnet(text: &str) -> Result<Subnet, String> {
    let (network, bits) = prefix(text, "a network such as 10.77.0.0/24 or fd77::/64")?;
    let (least, most) = if network.is_ipv4() { (8, 30) } else { (32, 126) };
    if !(least..=most).contains(&bits) {
        return Err(format!(
            "expected a prefix of {least} to {most} bits, so that clients have room, got '{text}'"
        ));
    }
    Ok(Subnet { network, bits })
}

/// `--route`
pub(super) fn route(text: &str) -> Result<Route, String> {
    match text {
        "all" => Ok(Route::All),
        "none" => Ok(Route::None),
        other => prefix(other, "all, none or a network such as 10.0.0.0/8").map(Route::Prefix),
    }
}

/// `--dns`
pub(super) fn dns(text: &str) -> Result<Dns, String> {
    match text {
        "keep" => Ok(Dns::Keep),
        other => other
            .parse()
            .map(Dns::Server)
            .map_err(|_| format!("expected keep or the address of a resolver, got '{text}'")),
    }
}

/// `--nat`
pub(super) fn nat(text: &str) -> Result<Nat, String> {
    match text {
        "auto" => Ok(Nat::Auto),
        "off" => Ok(Nat::Off),
        _ => Err(format!("expected auto or off, got '{text}'")),
    }
}

/// `--mode`
pub(super) fn mode(text: &str) -> Result<Strategy, String> {
    Strategy::named(text)
        .ok_or_else(|| format!("expected one of {}, got '{text}'", Strategy::NAMES.join(", ")))
}

/// The mark of the bond's own packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Mark(pub(crate) u32);

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// `--mark`: decimal, or hexadecimal after 0x.
pub(super) fn mark(text: &str) -> Result<Mark, String> {
    let read = match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => text.parse(),
    };
    match read {
        Ok(mark @ 1..) => Ok(Mark(mark)),
        _ => Err(format!("expected a number from 1 to 4294967295, such as 0x2930, got '{text}'")),
    }
}

/// `--max-skew`
pub(super) fn millis(text: &str) -> Result<Duration, String> {
    match text.parse::<u32>() {
        Ok(millis @ 1..=10_000) => Ok(Duration::from_millis(millis.into())),
        _ => Err(format!("expected milliseconds from 1 to 10000, got '{text}'")),
    }
}

/// `--expires`: a number and s, m, h or d.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("expected a time such as 30m, 24h or 7d, at most 365d, got '{text}'");
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    match number.checked_mul(unit) {
        Some(seconds @ 1..=31_536_000) => Ok(Duration::from_secs(seconds)),
        _ => Err(wrong()),
    }
}

/// `--listen`: unlike a proxy, a server is for others; a lone port is one of all addresses.
pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port));
    }
    text.parse().map_err(|_| {
        format!("expected ADDRESS:PORT such as 0.0.0.0:4500 or [::]:4500, or a port, got '{text}'")
    })
}

/// `--tun`
pub(super) fn device(text: &str) -> Result<String, String> {
    match Device::new(text) {
        Some(_) if text != "." && text != ".." && !text.contains('%') => Ok(text.to_owned()),
        _ => Err(format!("expected the name of a device, at most {} bytes, got '{text}'", Device::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("a literal")
    }

    #[test]
    fn the_server_has_the_first_address_and_the_last_is_nobodys() {
        let v4 = subnet("10.77.0.5/30").expect("a network");
        assert_eq!((v4.network, v4.bits), (ip("10.77.0.4"), 30));
        assert_eq!(v4.server(), ip("10.77.0.5"));
        assert_eq!(v4.address(2), Some(ip("10.77.0.6")));
        assert_eq!(v4.address(3), None, "the broadcast address");
        let v6 = subnet("fd77::/64").expect("a network");
        assert_eq!(v6.server(), ip("fd77::1"));
        assert_eq!(v6.address(u64::MAX), Some(ip("fd77::ffff:ffff:ffff:ffff")));
        assert_eq!(subnet("fd77::/126").expect("a network").address(4), None);
    }

    #[test]
    fn what_is_none_of_them_is_told_with_what_was_expected() {
        for bad in
            ["10.77.0.0", "10.77.0.0/33", "10.77.0.0/31", "x/24", "fd77::/127", "10.77.0.0/x", "10.0.0.0/7"]
        {
            assert!(subnet(bad).is_err_and(|said| said.contains("expected") && said.contains(bad)), "{bad}");
        }
        for bad in ["0", "0x", "4294967296", "-1", "x"] {
            assert!(mark(bad).is_err_and(|said| said.contains(bad)), "{bad}");
        }
        for bad in ["0", "10001", "1.5", "x"] {
            assert!(millis(bad).is_err_and(|said| said.contains(bad)), "{bad}");
        }
        for bad in ["", "24", "h", "0h", "1.5h", "366d", "24\u{fc}", "-1h"] {
            assert!(span(bad).is_err_and(|said| said.contains("24h")), "{bad}");
        }
        assert!(mode("fastest").is_err_and(|said| said.contains("redundant") && said.contains("fastest")));
        assert!(device("a-name-of-16-byt").is_err() && device("tun%d").is_err());
        assert!(route("10.0.0.0/33").is_err() && dns("x").is_err() && nat("on").is_err());
    }

    #[test]
    fn what_is_one_of_them_is_read() {
        assert_eq!(mark("0x2930"), Ok(Mark(10_544)));
        assert_eq!(mark("10544").map(|mark| mark.to_string()), Ok("0x2930".into()));
        assert_eq!(span("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(route("10.1.2.3/8"), Ok(Route::Prefix((ip("10.0.0.0"), 8))));
        assert_eq!(dns("9.9.9.9"), Ok(Dns::Server(ip("9.9.9.9"))));
        assert_eq!(listen("4500"), Ok("0.0.0.0:4500".parse().expect("a literal")));
    }
}
