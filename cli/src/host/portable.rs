//! The interfaces where there is no rtnetlink: names, addresses and state. Routes, kinds and
//! masters are not known, and an interface without an address is not listed.

use super::links::{Address, Link};
use super::prefix;
use if_addrs::{IfAddr, IfOperStatus};
use ropewalk_core::machine::Device;
use std::io;

pub(super) fn snapshot() -> io::Result<Vec<Link>> {
    let mut links: Vec<Link> = Vec::new();
    for entry in if_addrs::get_if_addrs()? {
        let (ip, prefix_len) = match &entry.addr {
            IfAddr::V4(v4) => (v4.ip.into(), v4.prefixlen),
            IfAddr::V6(v6) => (v6.ip.into(), v6.prefixlen),
        };
        let usable = !prefix::is_link_local(ip) && !ip.is_loopback();
        let address = Address { ip, prefix_len, peer: None, broadcast: None, usable };
        if let Some(link) = links.iter_mut().find(|link| link.name == entry.name) {
            link.addresses.push(address);
            link.loopback |= entry.is_loopback();
            continue;
        }
        // Not every system reports the state; an interface with an address is then taken for up.
        let up = matches!(entry.oper_status, IfOperStatus::Up | IfOperStatus::Unknown);
        links.push(Link {
            index: entry.index.unwrap_or(0),
            device: Device::new(&entry.name),
            enabled: true,
            up,
            loopback: entry.is_loopback(),
            kind: None,
            master: None,
            physical: false,
            addresses: vec![address],
            defaults: None,
            name: entry.name,
        });
    }
    Ok(links)
}
