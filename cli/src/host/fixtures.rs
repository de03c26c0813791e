//! Made-up interfaces for the tests.

use super::links::{Address, DefaultRoute, Link, Reach};
use super::prefix;
use ropewalk_core::machine::Device;
use std::net::IpAddr;

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn address(text: &str) -> Address {
    let (address, prefix_len) = text.split_once('/').expect("ADDRESS/LEN");
    let ip = ip(address);
    let usable = !prefix::is_link_local(ip) && !ip.is_loopback();
    Address { ip, prefix_len: prefix_len.parse().expect("a length"), peer: None, broadcast: None, usable }
}

/// A network card that is up, without a default route; its index is made from its name.
pub(crate) fn eth(name: &str, addresses: &[&str]) -> Link {
    Link {
        index: name.bytes().fold(1, |sum, b| (sum * 31 + u32::from(b)) % 10_007),
        name: name.to_string(),
        device: Device::new(name),
        enabled: true,
        up: true,
        loopback: false,
        kind: None,
        master: None,
        physical: true,
        addresses: addresses.iter().map(|text| address(text)).collect(),
        defaults: Some(Vec::new()),
    }
}

/// The link with a default route in table `main`.
pub(crate) fn via(mut link: Link, gateway: &str) -> Link {
    let gateway = ip(gateway);
    let route = DefaultRoute {
        v6: gateway.is_ipv6(),
        table: 254,
        metric: 100,
        gateway: Some(gateway),
        reach: Reach::Always,
    };
    link.defaults.get_or_insert_default().push(route);
    link
}

/// The link as something Linux made in software.
pub(crate) fn of_kind(mut link: Link, kind: &str) -> Link {
    link.kind = Some(kind.to_string());
    link.physical = false;
    link
}

pub(crate) fn lo() -> Link {
    Link { loopback: true, physical: false, ..eth("lo", &["127.0.0.1/8", "::1/128"]) }
}

pub(crate) fn ppp(name: &str, own: &str, peer: &str) -> Link {
    let mut link = of_kind(eth(name, &[]), "ppp");
    link.addresses.push(Address {
        ip: ip(own),
        prefix_len: 32,
        peer: Some(ip(peer)),
        broadcast: None,
        usable: true,
    });
    link
}
