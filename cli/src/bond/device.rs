//! The TUN device: made, and given its addresses and MTU over rtnetlink. With the process it is
//! gone.

use crate::host::rtnetlink::{Asker, KernelError};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use nix::net::if_::if_nametoindex;
use ropewalk_core::machine::{Fault, TunConfiguration};
use ropewalk_mio::Tun;
use std::io::ErrorKind;
use std::net::IpAddr;

// linux/rtnetlink.h
const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;

/// Makes the device `name`.
pub(super) fn create(name: &str) -> Result<Tun, String> {
    Tun::create(Some(name), true).map_err(|error| {
        let hint = match error.kind() {
            ErrorKind::PermissionDenied => "; expected CAP_NET_ADMIN, which root has",
            ErrorKind::NotFound => "; expected /dev/net/tun: modprobe tun",
            ErrorKind::ResourceBusy => "; another program has it: choose another name with --tun",
            _ => "",
        };
        format!("cannot make the TUN device {name}: {error}{hint}")
    })
}

/// Gives the device its addresses and MTU, and switches it on.
pub(super) fn configure(name: &str, to: &TunConfiguration) -> Result<(), String> {
    let index = if_nametoindex(name).map_err(|error| format!("{name}: {error}"))?;
    let mut asker = Asker::new().map_err(|error| format!("cannot open rtnetlink: {error}"))?;
    asker
        .change(RTM_NEWLINK, 0, &link(index, to.mtu))
        .map_err(|error| format!("cannot set the MTU of {name} to {}: {error}", to.mtu))?;
    let mut wrong = None;
    for (address, bits) in &to.addresses {
        let message = own(index, *address, *bits);
        let added = asker.change(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &message);
        if let Err(error) = added.map_err(|error| refused(name, *address, &error)) {
            log::warn!("{error}");
            wrong = Some(error);
        }
    }
    // One family is better than none.
    match wrong {
        Some(error) if to.addresses.len() == 1 => Err(error),
        _ => Ok(()),
    }
}

fn refused(name: &str, address: IpAddr, error: &KernelError) -> String {
    let hint = match address.is_ipv6() {
        true => format!(" (is net.ipv6.conf.{name}.disable_ipv6 set?)"),
        false => String::new(),
    };
    format!("cannot give {name} the address {address}: {error}{hint}")
}

/// As the machine asks for it.
pub(super) fn configured(name: &str, to: &TunConfiguration) -> Result<(), Fault> {
    configure(name, to).map_err(|error| {
        log::error!("{error}");
        Fault::Unsupported
    })
}

fn link(index: u32, mtu: u16) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    message.attributes = vec![LinkAttribute::Mtu(mtu.into())];
    message
}

fn own(index: u32, address: IpAddr, bits: u8) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.prefix_len = bits;
    message.header.index = index;
    message.attributes = vec![
        AddressAttribute::Local(address),
        AddressAttribute::Address(address),
        // Nobody else is on this link to have it: nothing to wait for (RFC 4862 section 5.4).
        AddressAttribute::Flags(AddressFlags::Nodad),
    ];
    message
}
