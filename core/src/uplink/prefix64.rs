//! IPv4 addresses inside IPv6 ones, for networks that carry IPv6 alone and translate (NAT64).
//!
//! RFC 6052 section 2.2, byte by byte; `u` is 0 and takes no part:
//!
//! ```text
//!      0       4   5   6   7   8   9   10  11  12      15
//!  /32 │prefix │ v4            │ u │
//!  /40 │prefix     │ v4        │ u │v4 │
//!  /48 │prefix         │ v4    │ u │v4     │
//!  /56 │prefix             │v4 │ u │v4         │
//!  /64 │prefix                 │ u │ v4            │
//!  /96 │prefix                                     │ v4    │
//! ```

use crate::scope;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The byte that takes no part.
const U: usize = 8;
/// What a name server that synthesises hides in its answer for `ipv4only.arpa` (RFC 7050 section
/// 2.2).
const WELL_KNOWN: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 0, 170), Ipv4Addr::new(192, 0, 0, 171)];
/// RFC 6052 section 2.1: it is the same everywhere.
const EVERYWHERE: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0);

/// The prefix of a network's translator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prefix64 {
    network: Ipv6Addr,
    bits: u8,
}

impl Prefix64 {
    /// The lengths that a prefix may have (RFC 6052 section 2.2).
    pub const LENGTHS: [u8; 6] = [96, 64, 56, 48, 40, 32];

    /// The prefix of `bits` bits that `address` begins with; `None`: no prefix is so long, or the
    /// byte that must be 0 is not.
    pub fn new(address: Ipv6Addr, bits: u8) -> Option<Self> {
        let mut octets = address.octets();
        octets.iter_mut().skip(usize::from(bits) / 8).for_each(|octet| *octet = 0);
        (Self::LENGTHS.contains(&bits) && octets[U] == 0)
            .then(|| Prefix64 { network: Ipv6Addr::from(octets), bits })
    }

    /// The prefix that a network's name servers synthesise with, told by the IPv6 addresses that
    /// they have for `ipv4only.arpa` (RFC 7050 section 3).
    pub fn find(addresses: impl IntoIterator<Item = IpAddr>) -> Option<Self> {
        addresses.into_iter().find_map(|address| {
            let IpAddr::V6(address) = address else { return None };
            let fits = |bits: &u8| {
                let prefix = Prefix64::new(address, *bits)?;
                prefix.extract(address).filter(|v4| WELL_KNOWN.contains(v4)).map(|_| prefix)
            };
            let mut found = Self::LENGTHS.iter().filter_map(fits);
            // Where it could be two, another address tells.
            found.next().filter(|_| found.next().is_none())
        })
    }

    /// Its first address.
    pub const fn network(self) -> Ipv6Addr {
        self.network
    }

    /// How many leading bits count.
    pub const fn bits(self) -> u8 {
        self.bits
    }

    /// Where an IPv4 address is in the octets of an IPv6 one.
    fn places(self) -> impl Iterator<Item = usize> {
        (usize::from(self.bits) / 8..16).filter(|at| *at != U).take(4)
    }

    /// The address by which the translator reaches `v4`; `None`: not through it. RFC 6052 section
    /// 3.1: with the prefix that is the same everywhere none is reached that means another host on
    /// each network.
    pub fn embed(self, v4: Ipv4Addr) -> Option<Ipv6Addr> {
        if self.network == EVERYWHERE && scope::private(v4.into()) {
            return None;
        }
        let mut octets = self.network.octets();
        self.places().zip(v4.octets()).for_each(|(at, octet)| octets[at] = octet);
        Some(Ipv6Addr::from(octets))
    }

    /// The IPv4 address that `v6` stands for, if it is under this prefix.
    pub fn extract(self, v6: Ipv6Addr) -> Option<Ipv4Addr> {
        (Prefix64::new(v6, self.bits)? == self).then_some(())?;
        let mut v4 = [0; 4];
        self.places().zip(&mut v4).for_each(|(at, octet)| *octet = v6.octets()[at]);
        Some(Ipv4Addr::from(v4))
    }
}

impl fmt::Display for Prefix64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn v6(text: &str) -> Ipv6Addr {
        text.parse().expect("literal")
    }

    /// The table of RFC 6052 section 2.4.
    const TABLE: [(&str, u8, &str); 6] = [
        ("2001:db8::", 32, "2001:db8:c000:221::"),
        ("2001:db8:100::", 40, "2001:db8:1c0:2:21::"),
        ("2001:db8:122::", 48, "2001:db8:122:c000:2:2100::"),
        ("2001:db8:122:300::", 56, "2001:db8:122:3c0:0:221::"),
        ("2001:db8:122:344::", 64, "2001:db8:122:344:c0:2:2100::"),
        ("2001:db8:122:344::", 96, "2001:db8:122:344::192.0.2.33"),
    ];

    #[test]
    fn addresses_are_put_where_rfc_6052_has_them() {
        for (network, bits, whole) in TABLE {
            let prefix = Prefix64::new(v6(network), bits).expect("a length that is used");
            let v4 = Ipv4Addr::new(192, 0, 2, 33);
            assert_eq!(prefix.embed(v4), Some(v6(whole)), "{prefix}");
            assert_eq!(prefix.extract(v6(whole)), Some(v4), "{prefix}");
            assert_eq!(prefix.to_string(), alloc::format!("{network}/{bits}"));
        }
        let everywhere = Prefix64::new(EVERYWHERE, 96).expect("a length that is used");
        assert_eq!(everywhere.embed([192, 0, 2, 33].into()), Some(v6("64:ff9b::192.0.2.33")));
        for private in [[10, 0, 0, 1], [127, 0, 0, 1], [169, 254, 169, 254], [224, 0, 0, 1]] {
            assert_eq!(everywhere.embed(private.into()), None, "{private:?}");
        }
        assert_eq!(Prefix64::new(v6("2001:db8::"), 33), None);
        assert_eq!(Prefix64::new(v6("2001:db8:0:0:100::"), 96), None, "the byte that must be 0");
    }

    #[test]
    fn the_prefix_is_found_in_what_name_servers_synthesise() {
        for (network, bits, _) in TABLE {
            let prefix = Prefix64::new(v6(network), bits).expect("a length that is used");
            let all = WELL_KNOWN.map(|v4| IpAddr::V6(prefix.embed(v4).expect("it is not the common one")));
            assert_eq!(Prefix64::find(all), Some(prefix));
        }
        let none: [IpAddr; 3] = [[192, 0, 0, 170].into(), v6("2001:db8::1").into(), v6("::1").into()];
        assert_eq!(Prefix64::find(none), None);
        // Where one address could stand for two prefixes, the other tells.
        let twice = v6("2001:db8:c000:aa:0:0:c000:aa");
        assert_eq!(Prefix64::find([twice.into()]), None);
        let clear = v6("2001:db8:c000:aa:0:0:c000:ab");
        let after = Prefix64::find([twice.into(), v6("2001:db8:c000:ab::").into(), clear.into()]);
        assert_eq!(after, Prefix64::new(v6("2001:db8::"), 32));
    }

    proptest! {
        #[test]
        fn what_is_put_in_comes_out_again(octets in any::<[u8; 16]>(), v4 in any::<u32>(), at in 0usize..6) {
            let bits = Prefix64::LENGTHS[at];
            let mut octets = octets;
            octets[U] = 0;
            let prefix = Prefix64::new(octets.into(), bits).expect("a length that is used");
            let v4 = Ipv4Addr::from_bits(v4);
            if let Some(whole) = prefix.embed(v4) {
                prop_assert_eq!(prefix.extract(whole), Some(v4));
                prop_assert_eq!(whole.octets()[U], 0);
                let clear: Vec<u8> = whole.octets()[..usize::from(bits) / 8].to_vec();
                prop_assert_eq!(&clear[..], &prefix.network().octets()[..usize::from(bits) / 8]);
            }
        }
    }
}
