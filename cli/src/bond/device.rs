//! The TUN device: made, and given its addresses and MTU over rtnetlink. With the process it is
//! gone.

use crate::host;
use crate::host::links::Link;
use crate::host::rtnetlink::{Asker, KernelError};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use nix::net::if_::if_nametoindex;
use ropewalk_core::machine::{Fault, TunConfiguration};
use ropewalk_mio::{Handle, Tun};
use std::io::ErrorKind;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

// linux/rtnetlink.h
const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;

/// The number of the device `name`.
pub(super) fn index(name: &str) -> Result<u32, String> {
    if_nametoindex(name).map_err(|error| format!("cannot find the device {name}: {error}"))
}

/// Makes the device `name`.
pub(super) fn create(name: &str) -> Result<Tun, String> {
    Tun::create(Some(name), true).map_err(|error| {
        let hint = match error.kind() {
            ErrorKind::PermissionDenied => "; expected CAP_NET_ADMIN, which root has",
            ErrorKind::NotFound => "; expected /dev/net/tun: modprobe tun",
            ErrorKind::InvalidInput => {
                "; is a device of another kind called so? Choose another name with --tun"
            }
            ErrorKind::ResourceBusy => "; another program has it: choose another name with --tun",
            _ => "",
        };
        format!("cannot make the TUN device {name}: {error}{hint}")
    })
}

/// What became of a device that another program may have changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found {
    /// It is as it was left.
    Same,
    /// It was off, or an address was missing.
    Changed,
    /// It is there no more: nothing leads to the descriptor that we hold.
    Gone,
}

/// Looks at the device that was made as `index` and set to `to`.
pub(super) fn found(index: u32, to: Option<&TunConfiguration>, links: &[Link]) -> Found {
    let Some(link) = links.iter().find(|link| link.index == index) else { return Found::Gone };
    let has = |(ip, _): &(IpAddr, u8)| link.addresses.iter().any(|address| address.ip == *ip);
    match to {
        // It is given them yet.
        None => Found::Same,
        Some(to) if link.enabled && to.addresses.iter().all(has) => Found::Same,
        Some(_) => Found::Changed,
    }
}

/// The device of a bond that runs, which other programs may change.
#[derive(Clone)]
pub(super) struct Tended {
    name: String,
    index: u32,
    handle: Handle,
    /// Whether the worker answers: with it the device goes too.
    alive: Arc<dyn Fn() -> bool + Send + Sync>,
    removed: Arc<AtomicBool>,
}

impl Tended {
    pub(super) fn new(
        name: &str,
        handle: Handle,
        alive: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let (name, index, alive) = (name.to_owned(), index(name)?, Arc::new(alive));
        Ok(Tended { name, index, handle, alive, removed: Arc::default() })
    }

    /// Puts back what another program has changed of it. Stops the bond where it is gone: who
    /// holds a removed device gets and gives no packet any more.
    pub(super) fn tend(&self, to: Option<&TunConfiguration>) -> Result<(), String> {
        match (self.look(to)?, to) {
            (Found::Changed, Some(to)) => match configure(&self.name, to) {
                Ok(()) => {
                    log::warn!("{} was off or had lost an address, by another program: put back", self.name);
                }
                // A device that goes loses its addresses first.
                Err(_) if self.look(Some(to))? == Found::Gone => self.gone(),
                Err(error) => return Err(error),
            },
            (Found::Gone, _) => self.gone(),
            _ => {}
        }
        Ok(())
    }

    fn look(&self, to: Option<&TunConfiguration>) -> Result<Found, String> {
        let links =
            host::links::snapshot().map_err(|error| format!("cannot read the interfaces: {error}"))?;
        Ok(found(self.index, to, &links))
    }

    /// Ends the bond, unless the device is gone because the bond has ended.
    fn gone(&self) {
        if (self.alive)() {
            self.removed.store(true, Ordering::Relaxed);
            self.handle.stop();
        }
    }

    /// What ended the bond, if that was it.
    ///
    /// # Errors
    /// A sentence: the device was removed.
    pub(super) fn end(&self) -> Result<(), String> {
        match self.removed.load(Ordering::Relaxed) {
            true => Err(format!("another program has removed {}: the bond has ended", self.name)),
            false => Ok(()),
        }
    }
}

/// Gives the device its addresses and MTU, and switches it on.
pub(super) fn configure(name: &str, to: &TunConfiguration) -> Result<(), String> {
    let index = index(name)?;
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

/// As the machine asks for it. `before`: the addresses that it asked for last.
pub(super) fn configured(
    name: &str,
    to: &TunConfiguration,
    before: &mut Vec<(IpAddr, u8)>,
) -> Result<(), Fault> {
    let stale: Vec<_> = before.iter().copied().filter(|old| !to.addresses.contains(old)).collect();
    *before = to.addresses.clone();
    let done = configure(name, to).and_then(|()| match stale.is_empty() {
        true => Ok(()),
        // With the first address of a network the kernel takes all others of it.
        false => take(name, &stale).and_then(|()| configure(name, to)),
    });
    done.map_err(|error| {
        log::error!("{error}");
        Fault::Unsupported
    })
}

/// Takes these addresses away. Hosts would go on sending from the first that the device had, and a
/// bond takes nothing from an address that is not its own.
fn take(name: &str, addresses: &[(IpAddr, u8)]) -> Result<(), String> {
    let index = index(name)?;
    let mut asker = Asker::new().map_err(|error| format!("cannot open rtnetlink: {error}"))?;
    for (address, bits) in addresses {
        // It may be gone already.
        if let Err(error) = asker.change(RTM_DELADDR, 0, &own(index, *address, *bits)) {
            log::debug!("cannot take the address {address} from {name}: {error}");
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bond::host::Ns;
    use crate::host::fixtures::{eth, ip};

    #[test]
    fn a_device_that_was_switched_off_or_lost_an_address_is_told_from_one_that_is_gone() {
        let tun = |addresses: &[&str]| Link { index: 9, ..eth("ropewalk0", addresses) };
        let to = TunConfiguration { addresses: vec![(ip("10.77.0.2"), 24), (ip("fd77::2"), 64)], mtu: 1436 };
        let whole = tun(&["10.77.0.2/24", "fd77::2/64"]);
        assert_eq!(found(9, Some(&to), std::slice::from_ref(&whole)), Found::Same);
        assert_eq!(found(9, Some(&to), &[tun(&["fd77::2/64"])]), Found::Changed);
        assert_eq!(found(9, Some(&to), &[Link { enabled: false, ..whole.clone() }]), Found::Changed);
        assert_eq!(found(9, None, &[tun(&[])]), Found::Same, "it has not been told its addresses yet");
        // One of the same name that somebody else has made is another.
        assert_eq!(found(8, Some(&to), &[whole]), Found::Gone);
    }

    fn to(addresses: &[(&str, u8)]) -> TunConfiguration {
        let addresses = addresses.iter().map(|(address, bits)| (ip(address), *bits)).collect();
        TunConfiguration { addresses, mtu: 1400 }
    }

    #[test]
    fn a_device_has_the_addresses_it_was_given_last_and_what_others_have_added() {
        let ns = match Ns::new() {
            Ok(ns) => ns,
            Err(needs) => return eprintln!("SKIP a_device_has_the_addresses: needs {needs}"),
        };
        ns.ip("link add rw0 type veth peer name far0\nlink set rw0 up\naddr add 192.0.2.7/24 dev rw0");
        let mut before = Vec::new();
        for wanted in [
            to(&[("10.77.0.2", 24), ("fd77::2", 64)]),
            to(&[("10.77.0.2", 24), ("fd77::2", 64)]),
            // The same network: with the first address of it the kernel takes the second.
            to(&[("10.77.0.3", 24), ("fd77::3", 64)]),
            to(&[("10.78.0.3", 16)]),
            to(&[("10.78.0.3", 24), ("fd78::3", 64)]),
        ] {
            let there = ns.run(|| {
                configured("rw0", &wanted, &mut before).expect("it is there");
                let found = host::links::snapshot().expect("rtnetlink");
                let link = found.into_iter().find(|link| link.name == "rw0").expect("it is there");
                let all = link.addresses.into_iter().map(|address| (address.ip, address.prefix_len));
                all.filter(|(ip, _)| !host::prefix::is_link_local(*ip)).collect::<Vec<_>>()
            });
            assert!(there.contains(&(ip("192.0.2.7"), 24)), "{there:?}");
            assert_eq!(there[1..], wanted.addresses);
        }
    }
}
