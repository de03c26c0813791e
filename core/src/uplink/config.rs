//! What a pool is made of, and what is wrong with it.

use super::health::HealthConfig;
use super::policy::Policy;
use super::prefix::Prefix;
use super::prefix64::Prefix64;
use crate::machine::{Device, UplinkSet, Via};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What an uplink's interface has at the moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Networks {
    /// An IPv4 address to send from. Default true: not known to be without.
    pub v4: bool,
    /// An IPv6 address to send from. Default true.
    pub v6: bool,
    /// A carrier. Without one it is tried when no other uplink is left. Default true.
    pub up: bool,
    /// Networks reached through it without a router.
    pub on_link: Vec<Prefix>,
}

impl Default for Networks {
    fn default() -> Self {
        Networks { v4: true, v6: true, up: true, on_link: Vec::new() }
    }
}

/// One way out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UplinkConfig {
    /// What people call it.
    pub label: String,
    /// Its share, 1 or more.
    pub weight: u32,
    /// Its tier, 1 the best: it is used while no uplink of a better tier is well. Default 1.
    pub tier: u8,
    /// Probes that fail in a row before it is left, 1 or more. Default 2.
    pub fall: u32,
    /// Probes that succeed in a row before it is used again, 1 or more. Default 1.
    pub rise: u32,
    /// Leave through this device.
    pub device: Option<Device>,
    /// Leave with this IPv4 source. With a source of one family only, the uplink carries that
    /// family only.
    pub source_v4: Option<Ipv4Addr>,
    /// Leave with this IPv6 source.
    pub source_v6: Option<Ipv6Addr>,
    /// What the host says of it now.
    pub networks: Networks,
    /// Connect to this instead of a destination that the client names.
    pub endpoint: Option<SocketAddr>,
    /// A proxy, which asks for the destination, is at `endpoint`. It takes any family, and is not
    /// used while `endpoint` is not known. Default false.
    pub upstream: bool,
    /// So many bytes it may carry, both ways together, until [`super::Pool::set_used`] begins its
    /// account anew; beyond that it takes no new connections. Default none.
    pub cap: Option<u64>,
}

impl UplinkConfig {
    /// An uplink of weight 1 without any binding.
    pub fn new(label: impl Into<String>) -> Self {
        UplinkConfig {
            label: label.into(),
            weight: 1,
            tier: 1,
            fall: 2,
            rise: 1,
            device: None,
            source_v4: None,
            source_v6: None,
            networks: Networks::default(),
            endpoint: None,
            upstream: false,
            cap: None,
        }
    }

    pub(super) fn via(&self, v6: bool) -> Via {
        let source = if v6 { self.source_v6.map(IpAddr::V6) } else { self.source_v4.map(IpAddr::V4) };
        Via { device: self.device, source, ..Via::default() }
    }

    /// Whether this destination, or one whose address is not known, may go by it.
    pub(super) fn reaches(&self, ip: Option<IpAddr>, prefix64: Option<Prefix64>) -> bool {
        match self.upstream {
            true => self.endpoint.is_some(),
            false => {
                ip.is_none_or(|ip| self.carries(ip.is_ipv6()) || self.translates(ip, prefix64).is_some())
            }
        }
    }

    /// The prefix under which it carries this destination, which it cannot carry as it is.
    pub(super) fn translates(&self, ip: IpAddr, prefix64: Option<Prefix64>) -> Option<Prefix64> {
        let IpAddr::V4(v4) = ip else { return None };
        prefix64.filter(|prefix| self.is_v6_only() && prefix.embed(v4).is_some())
    }

    /// Whether it carries IPv6 alone, and is no proxy.
    pub fn is_v6_only(&self) -> bool {
        self.endpoint.is_none() && !self.upstream && self.carries(true) && !self.carries(false)
    }

    pub(super) fn carries(&self, v6: bool) -> bool {
        // Without an address of this family the kernel would use another interface's.
        if !(if v6 { self.networks.v6 } else { self.networks.v4 }) {
            return false;
        }
        match (self.source_v4, self.source_v6) {
            (None, None) => true,
            (v4_source, v6_source) => {
                if v6 {
                    v6_source.is_some()
                } else {
                    v4_source.is_some()
                }
            }
        }
    }
}

/// What a pool is made of.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PoolConfig {
    /// The ways out; none: everything leaves unbound.
    pub uplinks: Vec<UplinkConfig>,
    /// Destinations that leave unbound, as loopback does: networks on-link on interfaces that are
    /// no uplink.
    pub unbound: Vec<Prefix>,
    /// When an uplink is left.
    pub health: HealthConfig,
    /// Which of several that are well takes the next connection.
    pub policy: Policy,
}

/// Why there is no pool.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum PoolError {
    /// More than [`UplinkSet::CAPACITY`] uplinks.
    TooMany(usize),
    /// An uplink's weight is 0.
    ZeroWeight(String),
    /// Some uplinks have an endpoint and some have none.
    MixedEndpoints(String),
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PoolError::TooMany(n) => write!(f, "expected at most {} uplinks, got {n}", UplinkSet::CAPACITY),
            PoolError::ZeroWeight(label) => {
                write!(f, "expected a weight of 1 or more for uplink {label}, got 0")
            }
            PoolError::MixedEndpoints(label) => {
                write!(
                    f,
                    "expected endpoints for all uplinks or for none, and {label} differs from the first"
                )
            }
        }
    }
}

impl core::error::Error for PoolError {}

/// Refuses uplinks that no pool can be made of.
pub(super) fn check(uplinks: &[UplinkConfig]) -> Result<(), PoolError> {
    let mut direct = uplinks.iter().filter(|uplink| !uplink.upstream);
    let endpoints = direct.next().is_some_and(|first| first.endpoint.is_some());
    for uplink in uplinks {
        if uplink.weight == 0 {
            return Err(PoolError::ZeroWeight(uplink.label.clone()));
        }
        if !uplink.upstream && uplink.endpoint.is_some() != endpoints {
            return Err(PoolError::MixedEndpoints(uplink.label.clone()));
        }
    }
    Ok(())
}
