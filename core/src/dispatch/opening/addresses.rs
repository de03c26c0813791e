//! The order in which the addresses of a name are tried: IPv4 and IPv6 take turns.

use alloc::vec::Vec;
use core::net::IpAddr;

/// Addresses of a name that are considered.
const MAX_ADDRESSES: usize = 8;

/// RFC 8305 section 4: the families take turns, beginning with the family of the first address.
pub(super) fn interleave(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let Some(first) = addresses.first() else { return Vec::new() };
    let mut same = addresses.iter().filter(|ip| ip.is_ipv4() == first.is_ipv4());
    let mut other = addresses.iter().filter(|ip| ip.is_ipv4() != first.is_ipv4());
    let mut out: Vec<IpAddr> = Vec::new();
    loop {
        let pair = [same.next(), other.next()];
        if pair == [None, None] || out.len() >= MAX_ADDRESSES {
            return out;
        }
        for ip in pair.into_iter().flatten() {
            if !out.contains(ip) {
                out.push(*ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns_and_doubles_go() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("literal");
        let all = ["::1", "::2", "::1", "10.0.0.1", "::3", "10.0.0.2"].map(ip);
        assert_eq!(interleave(&all), ["::1", "10.0.0.1", "::2", "10.0.0.2", "::3"].map(ip));
        assert!(interleave(&[]).is_empty());
    }
}
