//! Which addresses mean the same everywhere, and which lead to a listener.

#[cfg(any(feature = "dispatch", feature = "unwrap"))]
use core::net::SocketAddr;
use core::net::{IpAddr, Ipv4Addr};

/// Addresses that mean another thing on each network.
pub(crate) fn private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => private_v4(v4),
        IpAddr::V6(v6) => {
            let segments = v6.segments();
            // RFC 6052 section 2.1: the last 32 bits of 64:ff9b::/96 are an IPv4 address; RFC 3056:
            // so are bits 16 to 47 of 2002::/16.
            let low = Ipv4Addr::from_bits(v6.to_bits() as u32);
            let high = Ipv4Addr::from_bits((v6.to_bits() >> 80) as u32);
            (segments[0] & 0xfe00) == 0xfc00
                || (segments[0] & 0xffc0) == 0xfe80
                || (segments[0] & 0xffc0) == 0xfec0
                || v6.is_multicast()
                || v6.is_loopback()
                || v6.is_unspecified()
                || (segments[..6] == [0x64, 0xff9b, 0, 0, 0, 0] && private_v4(low))
                || (segments[..6] == [0; 6])
                // RFC 8215: translation prefixes of the local network; RFC 4380: Teredo, which
                // hides an IPv4 address.
                || segments[..3] == [0x64, 0xff9b, 1]
                || segments[..2] == [0x2001, 0]
                || (segments[0] == 0x2002 && private_v4(high))
        }
    }
}

fn private_v4(v4: Ipv4Addr) -> bool {
    let [a, b, c, _] = v4.octets();
    v4.is_private()
        || v4.is_loopback()
        || v4.is_link_local()
        || v4.is_multicast()
        || v4.is_broadcast()
        || a == 0
        || a >= 240
        || (a == 100 && (b & 0xc0) == 64)
        // RFC 6890: special purpose (one cloud's metadata is at 192.0.0.192), and benchmarks.
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (b & 0xfe) == 18)
        // Another cloud's host services, at a public address.
        || v4.octets() == [168, 63, 129, 16]
}

/// Whether a connection to `to` comes in on a socket that listens on `listener`. `is_here`: its
/// address is one of this host.
#[cfg(any(feature = "dispatch", feature = "unwrap"))]
pub(crate) fn leads_to(to: SocketAddr, listener: SocketAddr, is_here: bool) -> bool {
    let (ip, own) = (to.ip().to_canonical(), listener.ip().to_canonical());
    // A listener on [::] takes IPv6 only.
    let any = own.is_unspecified() && own.is_ipv4() == ip.is_ipv4();
    listener.port() == to.port() && (own == ip || (any && is_here))
}
