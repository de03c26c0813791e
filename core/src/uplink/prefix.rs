//! Address prefixes.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

/// A network: an address and how many of its leading bits count.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Prefix {
    network: IpAddr,
    bits: u8,
}

impl Prefix {
    /// The network of `address` with `bits` leading bits, its host bits cleared; `None` when there
    /// are more bits than the family has.
    pub fn new(address: IpAddr, bits: u8) -> Option<Self> {
        let network = match address {
            IpAddr::V4(v4) if bits <= 32 => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask32(bits))),
            IpAddr::V6(v6) if bits <= 128 => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask128(bits))),
            _ => return None,
        };
        Some(Prefix { network, bits })
    }

    /// Its first address.
    pub(crate) fn network(&self) -> IpAddr {
        self.network
    }

    /// How many leading bits count.
    pub(crate) fn bits(&self) -> u8 {
        self.bits
    }

    /// Whether `address` is inside. An IPv4 address is never inside an IPv6 prefix.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.network, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                address.to_bits() & mask32(self.bits) == network.to_bits()
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                address.to_bits() & mask128(self.bits) == network.to_bits()
            }
            _ => false,
        }
    }
}

/// Whether `ip` is good on its own link only: 169.254.0.0/16 or fe80::/10.
pub fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// Why a text is no prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PrefixError {
    /// What stands before the slash is no address.
    Address,
    /// What stands behind it is not a number of bits that the family has.
    Bits,
    /// Bits are set behind the prefix: another network may be meant.
    HostBits(Prefix),
}

impl fmt::Display for PrefixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PrefixError::Address => f.write_str("expected ADDRESS or ADDRESS/BITS, such as 10.0.0.0/8"),
            PrefixError::Bits => f.write_str("expected 0 to 32 bits for IPv4, 0 to 128 for IPv6"),
            PrefixError::HostBits(prefix) => write!(f, "bits are set behind the prefix: expected {prefix}"),
        }
    }
}

impl core::error::Error for PrefixError {}

/// `10.0.0.0/8`, `2001:db8::/32`; an address alone is the network of that one address.
impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
        let address: IpAddr = address.parse().map_err(|_| PrefixError::Address)?;
        let bits = match bits {
            None => {
                if address.is_ipv4() {
                    32
                } else {
                    128
                }
            }
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().map_err(|_| PrefixError::Bits)?
            }
            Some(_) => return Err(PrefixError::Bits),
        };
        let prefix = Prefix::new(address, bits).ok_or(PrefixError::Bits)?;
        if prefix.network != address {
            return Err(PrefixError::HostBits(prefix));
        }
        Ok(prefix)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.bits)
    }
}

const fn mask32(bits: u8) -> u32 {
    if bits == 0 { 0 } else { u32::MAX << (32 - bits) }
}

const fn mask128(bits: u8) -> u128 {
    if bits == 0 { 0 } else { u128::MAX << (128 - bits) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("literal")
    }

    #[test]
    fn a_text_is_a_prefix_or_says_why_not() {
        let read = |text: &str| text.parse::<Prefix>();
        assert_eq!(read("10.0.0.0/8"), Ok(Prefix::new(ip("10.0.0.0"), 8).expect("valid")));
        assert_eq!(read("::1"), Ok(Prefix::new(ip("::1"), 128).expect("valid")));
        for bad in ["", "/8", "10.0.0/8", "localhost"] {
            assert_eq!(read(bad), Err(PrefixError::Address), "{bad}");
        }
        for bad in ["10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "::/129", "10.0.0.0/8/8"] {
            assert_eq!(read(bad), Err(PrefixError::Bits), "{bad}");
        }
        assert!(matches!(read("10.1.0.0/8"), Err(PrefixError::HostBits(_))));
    }

    #[test]
    fn a_prefix_holds_what_shares_its_bits_and_nothing_else() {
        let prefix = Prefix::new(ip("10.1.2.3"), 22).expect("valid");
        assert!(prefix.contains(ip("10.1.3.255")));
        assert!(!prefix.contains(ip("10.1.4.0")));
        assert!(!prefix.contains(ip("::ffff:10.1.2.3")));
        assert!(Prefix::new(ip("0.0.0.0"), 0).expect("valid").contains(ip("255.1.1.1")));
        assert!(Prefix::new(ip("fe80::"), 10).expect("valid").contains(ip("febf::1")));
        assert!(Prefix::new(ip("::1"), 128).expect("valid").contains(ip("::1")));
        assert_eq!(Prefix::new(ip("10.0.0.0"), 33), None);
        assert_eq!(Prefix::new(ip("::"), 129), None);
    }
}
