//! The host as it is now: passes what its interfaces have to pool and workers, at the start and
//! after each change.
//!
//! On Linux the kernel reports changes (rtnetlink); elsewhere what was found at the start stays.

use crate::host;
use crate::host::links::Link;
use crate::host::matching::UplinkSpec;
use ropewalk_core::machine::Device;
use ropewalk_core::uplink::{Networks, Prefix};

/// What is known of the interface of an uplink.
pub(crate) fn networks(device: Option<Device>, on_link: &[host::prefix::Prefix], links: &[Link]) -> Networks {
    let Some(device) = device else {
        return Networks { on_link: prefixes(on_link), ..Networks::default() };
    };
    let link = links.iter().find(|link| link.device == Some(device));
    // Without notifications (not Linux) keep trying an interface that is absent now.
    let Some(link) = link else {
        let tried = !cfg!(target_os = "linux");
        return Networks { v4: tried, v6: tried, on_link: Vec::new() };
    };
    Networks {
        v4: link.usable().any(|address| address.ip.is_ipv4()),
        v6: link.usable().any(|address| address.ip.is_ipv6()),
        on_link: prefixes(&link.networks()),
    }
}

/// What leaves unbound.
pub(crate) fn unbound(links: &[Link], uplinks: &[UplinkSpec]) -> Vec<Prefix> {
    prefixes(&host::matching::unbound_prefixes(links, uplinks))
}

fn prefixes(pairs: &[host::prefix::Prefix]) -> Vec<Prefix> {
    pairs.iter().filter_map(|(network, bits)| Prefix::new(*network, *bits)).collect()
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn start(
    _: Vec<UplinkSpec>,
    _: Vec<Link>,
    _: std::sync::Arc<ropewalk_mio::Shared>,
    _: Vec<ropewalk_mio::Handle>,
) {
}

#[cfg(target_os = "linux")]
pub(crate) use linux::{follow, start};

#[cfg(target_os = "linux")]
mod linux {
    use super::{Link, UplinkSpec, networks, unbound};
    use crate::host;
    use netlink_sys::protocols::NETLINK_ROUTE;
    use netlink_sys::{Socket, SocketAddr};
    use ropewalk_core::machine::UplinkId;
    use ropewalk_mio::{Handle, Shared};
    use std::sync::Arc;

    /// rtnetlink(7): RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR.
    const GROUPS: u32 = 0x1 | 0x10 | 0x100;
    const STACK: usize = 256 * 1024;

    /// Watches in a thread of its own, which waits most of the time. `links` is what was found
    /// before.
    pub(crate) fn start(
        uplinks: Vec<UplinkSpec>,
        links: Vec<Link>,
        shared: Arc<Shared>,
        workers: Vec<Handle>,
    ) {
        let indexes = uplinks.iter().map(|uplink| index(uplink, &links)).collect();
        let mut monitor = Monitor { uplinks, indexes, shared, workers };
        follow(0, move |links| monitor.look(links));
    }

    /// Has `look` see the links as they are, once and after each change, in a thread of its own.
    /// `more`: rtnetlink groups beside those of interfaces and addresses.
    pub(crate) fn follow(more: u32, mut look: impl FnMut(Vec<Link>) + Send + 'static) {
        let watch = || -> std::io::Result<()> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind(&SocketAddr::new(0, GROUPS | more))?;
            let mut look = move || match host::links::snapshot() {
                Ok(links) => look(links),
                Err(error) => log::warn!("cannot read this host's interfaces: {error}"),
            };
            let thread = std::thread::Builder::new().name("links".into()).stack_size(STACK);
            thread.spawn(move || {
                // Something may have changed between the first look and the socket.
                look();
                loop {
                    // What changed is looked up whole: a message that was lost (ENOBUFS) costs
                    // nothing.
                    if let Err(error) = socket.recv_from_full() {
                        log::debug!("watching interfaces: {error}");
                        // An error that stays must not spin.
                        std::thread::sleep(std::time::Duration::from_secs(1));
                    }
                    look();
                }
            })?;
            Ok(())
        };
        if let Err(error) = watch() {
            log::warn!(
                "cannot watch this host's interfaces: {error}; what changes from now on is not noticed"
            );
        }
    }

    fn index(uplink: &UplinkSpec, links: &[Link]) -> Option<u32> {
        links.iter().find(|link| link.device.is_some() && link.device == uplink.device).map(|link| link.index)
    }

    struct Monitor {
        uplinks: Vec<UplinkSpec>,
        /// The interface of each uplink when it was last looked at.
        indexes: Vec<Option<u32>>,
        shared: Arc<Shared>,
        workers: Vec<Handle>,
    }

    impl Monitor {
        fn look(&mut self, links: Vec<Link>) {
            let now =
                self.uplinks.iter().map(|uplink| networks(uplink.device, &uplink.on_link, &links)).collect();
            self.shared.pool().set_networks(now, unbound(&links, &self.uplinks));
            let addresses = host::links::local_addresses(&links);
            self.workers.iter().for_each(|worker| worker.local_addresses(addresses.clone()));
            for (number, uplink) in self.uplinks.iter().enumerate() {
                let now = index(uplink, &links);
                let before = std::mem::replace(&mut self.indexes[number], now);
                if before.is_some() && before != now {
                    log::warn!("the interface of {} has vanished: its connections end", uplink.label);
                    let gone = UplinkId(number as u16);
                    self.workers.iter().for_each(|worker| worker.uplink_gone(gone));
                } else if before.is_none() && now.is_some() {
                    log::info!("the interface of {} is there", uplink.label);
                }
            }
        }
    }
}
