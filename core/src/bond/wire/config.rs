//! What the server gives a client for its tunnel device, and how the client asks for it.
//!
//! ```text
//!   CONFIG          epoch 4 | mtu 2 | count 1 | count x (purpose 1, family 1, prefix 1, address 4 or 16)
//!   CONFIG_REQUEST  epoch 4 | flags 1 | mtu 2
//!   CONFIG_ACK      epoch 4
//! ```
//!
//! A client asks, with the epoch it has, zero for none, until a CONFIG comes; the server answers
//! each request and repeats nothing by itself. A client applies an epoch once, acknowledges it each
//! time it comes, and ignores older ones.

use super::{Full, Malformed, Reader, Writer};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Most entries of a configuration.
pub(crate) const MAX_ENTRIES: usize = 8;

/// RFC 791: each host takes 576 bytes. A tunnel below that is no use to anybody.
const MIN_MTU: u16 = 576;

/// RFC 8200 section 5: IPv6 needs links of 1280 bytes.
const MIN_MTU_V6: u16 = 1280;

/// What an address is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// An inner address of the client itself.
    Own,
    /// The server's inner address.
    Server,
    /// A resolver that can be reached through the tunnel.
    Resolver,
}

/// One address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConfigEntry {
    purpose: Purpose,
    address: IpAddr,
    prefix: u8,
}

impl ConfigEntry {
    /// An address with the length of its network's prefix. An error if no host could have it.
    pub(crate) fn new(purpose: Purpose, address: IpAddr, prefix: u8) -> Result<ConfigEntry, Malformed> {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        if prefix == 0 || prefix > bits {
            return Err(Malformed::Value { what: "prefix", got: prefix.into() });
        }
        let unicast = match address {
            IpAddr::V4(v4) => {
                !(v4.is_unspecified()
                    || v4.is_multicast()
                    || v4.is_broadcast()
                    || v4.is_loopback()
                    || v4.octets()[0] == 0)
            }
            IpAddr::V6(v6) => {
                !(v6.is_unspecified()
                    || v6.is_multicast()
                    || v6.is_loopback()
                    || v6.to_ipv4_mapped().is_some())
            }
        };
        if !unicast {
            let first = match address {
                IpAddr::V4(v4) => v4.octets()[0],
                IpAddr::V6(v6) => v6.octets()[0],
            };
            return Err(Malformed::Value { what: "host address, by its first byte", got: first.into() });
        }
        Ok(ConfigEntry { purpose, address, prefix })
    }

    /// What the address is for.
    pub(crate) const fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// The address.
    pub(crate) const fn address(&self) -> IpAddr {
        self.address
    }

    /// Bits of its network's prefix: 1 to 32 or 128.
    pub(crate) const fn prefix(&self) -> u8 {
        self.prefix
    }
}

/// A client's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    epoch: u32,
    mtu: u16,
    entries: [Option<ConfigEntry>; MAX_ENTRIES],
    count: u8,
}

impl Config {
    /// A configuration without addresses. `epoch` counts from 1 with each change; `mtu` is the
    /// tunnel's, in bytes, at least 576.
    pub(crate) fn new(epoch: u32, mtu: u16) -> Result<Config, Malformed> {
        if epoch == 0 {
            return Err(Malformed::Value { what: "configuration's epoch", got: epoch });
        }
        if mtu < MIN_MTU {
            return Err(Malformed::Value { what: "tunnel's MTU", got: mtu.into() });
        }
        Ok(Config { epoch, mtu, entries: [None; MAX_ENTRIES], count: 0 })
    }

    /// Appends an entry. An error if there are [`MAX_ENTRIES`], or IPv6 does not fit the MTU.
    pub(crate) fn push(&mut self, entry: ConfigEntry) -> Result<(), Malformed> {
        if entry.address.is_ipv6() && self.mtu < MIN_MTU_V6 {
            return Err(Malformed::Value { what: "MTU of a tunnel with IPv6", got: self.mtu.into() });
        }
        let Some(slot) = self.entries.get_mut(usize::from(self.count)) else {
            return Err(Malformed::Value { what: "number of addresses", got: MAX_ENTRIES as u32 + 1 });
        };
        *slot = Some(entry);
        self.count += 1;
        Ok(())
    }

    /// Which configuration this is.
    pub(crate) const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The tunnel's MTU in bytes.
    pub(crate) const fn mtu(&self) -> u16 {
        self.mtu
    }

    /// The addresses, in the order in which they were pushed.
    pub(crate) fn entries(&self) -> impl Iterator<Item = ConfigEntry> + '_ {
        self.entries.iter().flatten().copied()
    }

    pub(super) fn parse(reader: &mut Reader<'_>) -> Result<Config, Malformed> {
        let epoch = reader.u32("configuration's epoch")?;
        let mut config = Config::new(epoch, reader.u16("tunnel's MTU")?)?;
        for _ in 0..reader.u8("number of addresses")? {
            let purpose = match reader.u8("address's purpose")? {
                0 => Purpose::Own,
                1 => Purpose::Server,
                2 => Purpose::Resolver,
                got => return Err(Malformed::Unknown { what: "address's purpose", got }),
            };
            let family = reader.u8("address's family")?;
            let prefix = reader.u8("prefix")?;
            let address = match family {
                4 => IpAddr::V4(Ipv4Addr::from(reader.array::<4>("IPv4 address")?)),
                6 => IpAddr::V6(Ipv6Addr::from(reader.array::<16>("IPv6 address")?)),
                got => return Err(Malformed::Unknown { what: "address's family", got }),
            };
            config.push(ConfigEntry::new(purpose, address, prefix)?)?;
        }
        Ok(config)
    }

    pub(super) fn emit(&self, out: &mut Writer<'_>) -> Result<(), Full> {
        out.u32(self.epoch)?;
        out.u16(self.mtu)?;
        out.u8(self.count)?;
        for entry in self.entries() {
            out.u8(match entry.purpose {
                Purpose::Own => 0,
                Purpose::Server => 1,
                Purpose::Resolver => 2,
            })?;
            match entry.address {
                IpAddr::V4(v4) => {
                    out.bytes(&[4, entry.prefix])?;
                    out.bytes(&v4.octets())?;
                }
                IpAddr::V6(v6) => {
                    out.bytes(&[6, entry.prefix])?;
                    out.bytes(&v6.octets())?;
                }
            }
        }
        Ok(())
    }
}

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConfigRequest {
    /// The epoch it has applied, zero for none.
    pub(crate) epoch: u32,
    /// Whether it wants an IPv4 address.
    pub(crate) v4: bool,
    /// Whether it wants an IPv6 address.
    pub(crate) v6: bool,
    /// The MTU it wants at most, in bytes, zero for no wish.
    pub(crate) mtu: u16,
}

impl ConfigRequest {
    pub(super) fn parse(reader: &mut Reader<'_>) -> Result<ConfigRequest, Malformed> {
        let epoch = reader.u32("request's epoch")?;
        let flags = reader.u8("request's flags")?;
        if flags & !3 != 0 {
            return Err(Malformed::Value { what: "request's flags", got: flags.into() });
        }
        let mtu = reader.u16("request's MTU")?;
        Ok(ConfigRequest { epoch, v4: flags & 1 != 0, v6: flags & 2 != 0, mtu })
    }

    pub(super) fn emit(&self, out: &mut Writer<'_>) -> Result<(), Full> {
        out.u32(self.epoch)?;
        out.u8(u8::from(self.v4) | u8::from(self.v6) << 1)?;
        out.u16(self.mtu)
    }
}
