//! Arithmetic on address prefixes.

pub(crate) use ropewalk_core::uplink::is_link_local;
use std::net::IpAddr;

/// A network: its first address and the length of its prefix in bits.
pub(crate) type Prefix = (IpAddr, u8);

/// The network that `ip` with `len` bits of prefix lies in. Too long a prefix is the whole address.
pub(crate) fn network(ip: IpAddr, len: u8) -> Prefix {
    match ip {
        IpAddr::V4(ip) => {
            let len = len.min(32);
            let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
            (IpAddr::V4((ip.to_bits() & mask).into()), len)
        }
        IpAddr::V6(ip) => {
            let len = len.min(128);
            let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
            (IpAddr::V6((ip.to_bits() & mask).into()), len)
        }
    }
}

/// Whether `ip` lies in `prefix`; never across families.
pub(crate) fn contains(prefix: Prefix, ip: IpAddr) -> bool {
    ip.is_ipv4() == prefix.0.is_ipv4() && network(ip, prefix.1) == network(prefix.0, prefix.1)
}

/// An address of the network of `ip` that its router may have: the first, or the second where `ip`
/// is the first. `None` where the network has no room for a router.
pub(crate) fn likely_router(ip: IpAddr, len: u8) -> Option<IpAddr> {
    let (IpAddr::V4(first), IpAddr::V4(own)) = (network(ip, len).0, ip) else {
        // Routers of IPv6 are known by their link-local address.
        return (len < 127).then_some(IpAddr::V6(std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)));
    };
    if len > 30 {
        return None;
    }
    let one = first.to_bits() + 1;
    Some(IpAddr::V4((if one == own.to_bits() { one + 1 } else { one }).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_network_is_the_address_without_its_host_bits() {
        assert_eq!(network(ip("10.1.2.3"), 8), (ip("10.0.0.0"), 8));
        assert_eq!(network(ip("10.1.2.3"), 0), (ip("0.0.0.0"), 0));
        assert_eq!(network(ip("10.1.2.3"), 32), (ip("10.1.2.3"), 32));
        assert_eq!(network(ip("10.1.2.3"), 77), (ip("10.1.2.3"), 32));
        assert_eq!(network(ip("2001:db8::1:2:3:4"), 64), (ip("2001:db8::"), 64));
        assert_eq!(network(ip("2001:db8::1"), 0), (ip("::"), 0));
    }

    #[test]
    fn a_prefix_never_contains_an_address_of_the_other_family() {
        assert!(contains((ip("0.0.0.0"), 0), ip("10.0.0.1")));
        assert!(!contains((ip("0.0.0.0"), 0), ip("::1")));
        assert!(!contains((ip("10.0.0.0"), 24), ip("10.0.1.1")));
    }

    #[test]
    fn the_router_shown_as_an_example_is_never_the_host_itself() {
        assert_eq!(likely_router(ip("192.168.1.7"), 24), Some(ip("192.168.1.1")));
        assert_eq!(likely_router(ip("192.168.1.1"), 24), Some(ip("192.168.1.2")));
        assert_eq!(likely_router(ip("192.168.1.1"), 32), None);
        assert_eq!(likely_router(ip("2001:db8::5"), 64), Some(ip("fe80::1")));
    }

    #[test]
    fn a_network_without_room_has_no_router() {
        assert_eq!(likely_router(ip("192.168.1.6"), 30), Some(ip("192.168.1.5")));
        assert_eq!(likely_router(ip("192.168.1.6"), 31), None);
        assert_eq!(likely_router(ip("2001:db8::5"), 126), Some(ip("fe80::1")));
        assert_eq!(likely_router(ip("2001:db8::5"), 127), None);
        assert!(contains((ip("2001:db8::"), 32), ip("2001:db8:1::5")));
        assert!(!contains((ip("2001:db8::"), 48), ip("2001:db8:1::5")));
        assert_eq!(network(ip("2001:db8::1"), 200), (ip("2001:db8::1"), 128));
    }
}
