//! The host as it is now: passes what its interfaces have to pool and workers, at the start and
//! after each change.
//!
//! On Linux the kernel reports changes (rtnetlink); elsewhere what was found at the start stays.

use crate::host;
use crate::host::links::Link;
use crate::host::matching::UplinkSpec;
use ropewalk_core::machine::{Device, UplinkId};
use ropewalk_core::uplink::{Networks, Prefix};
use std::sync::{Arc, Mutex, PoisonError};

/// What is known of the interface of an uplink.
pub(crate) fn networks(device: Option<Device>, on_link: &[host::prefix::Prefix], links: &[Link]) -> Networks {
    let Some(device) = device else {
        return Networks { on_link: prefixes(on_link), ..Networks::default() };
    };
    let link = links.iter().find(|link| link.device == Some(device));
    // Without notifications (not Linux) keep trying an interface that is absent now.
    let Some(link) = link else {
        let tried = !cfg!(target_os = "linux");
        return Networks { v4: tried, v6: tried, ..Networks::default() };
    };
    let has = |v6: bool| link.usable().any(|address| address.ip.is_ipv6() == v6);
    // Without a carrier Linux keeps addresses and routes, and what is sent is lost.
    Networks { v4: has(false), v6: has(true), up: link.up, on_link: prefixes(&link.networks()) }
}

/// What leaves unbound.
pub(crate) fn unbound(links: &[Link], uplinks: &[UplinkSpec]) -> Vec<Prefix> {
    prefixes(&host::matching::unbound_prefixes(links, uplinks))
}

fn prefixes(pairs: &[host::prefix::Prefix]) -> Vec<Prefix> {
    pairs.iter().filter_map(|(network, bits)| Prefix::new(*network, *bits)).collect()
}

/// The uplinks that are watched, which may become others.
#[derive(Clone, Default)]
pub(crate) struct Watched(Arc<Mutex<Vec<Entry>>>);

/// An uplink, by its id in the pool.
struct Entry {
    spec: UplinkSpec,
    /// Its interface when it was last looked at.
    index: Option<u32>,
    /// It was taken out; what is open through it lives on.
    retired: bool,
}

impl Watched {
    pub(crate) fn new(uplinks: Vec<UplinkSpec>, links: &[Link]) -> Self {
        let entry = |spec| Entry { index: index(&spec, links), spec, retired: false };
        Watched(Arc::new(Mutex::new(uplinks.into_iter().map(entry).collect())))
    }

    /// Those that are in use, with their ids in the pool.
    pub(crate) fn specs(&self) -> Vec<(UplinkId, UplinkSpec)> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = (0..).map(UplinkId).zip(entries.iter()).filter(|(_, entry)| !entry.retired);
        all.map(|(id, entry)| (id, entry.spec.clone())).collect()
    }

    /// Other uplinks from now on. `take` gives them their ids, in the pool, while nobody looks.
    pub(crate) fn change<E>(
        &self,
        uplinks: Vec<UplinkSpec>,
        links: &[Link],
        take: impl FnOnce() -> Result<Vec<UplinkId>, E>,
    ) -> Result<(), E> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ids = take()?;
        entries.iter_mut().for_each(|entry| entry.retired = true);
        for (id, spec) in ids.into_iter().zip(uplinks) {
            let entry = Entry { index: index(&spec, links), spec, retired: false };
            match entries.get_mut(usize::from(id.0)) {
                Some(place) => *place = entry,
                // New ones have the ids behind all others, in their order.
                None => entries.push(entry),
            }
        }
        Ok(())
    }
}

fn index(uplink: &UplinkSpec, links: &[Link]) -> Option<u32> {
    links.iter().find(|link| link.device.is_some() && link.device == uplink.device).map(|link| link.index)
}

/// Who sees the links too.
pub(crate) type Also = Box<dyn FnMut(&[Link]) + Send>;

#[cfg(not(target_os = "linux"))]
pub(crate) fn start(
    _: Watched,
    _: Arc<ropewalk_mio::Shared>,
    _: Vec<ropewalk_mio::Handle>,
    _: bool,
    _: Also,
) {
}

#[cfg(all(target_os = "linux", feature = "bond"))]
pub(crate) use linux::follow_filters;
#[cfg(target_os = "linux")]
pub(crate) use linux::{catch_up, follow, start};

#[cfg(not(target_os = "linux"))]
pub(crate) fn catch_up(_: &Watched, _: &Arc<ropewalk_mio::Shared>, _: &[ropewalk_mio::Handle], _: Vec<Link>) {
}

#[cfg(target_os = "linux")]
mod linux {
    use super::{Also, Link, Watched, index, networks, unbound};
    use crate::host;
    use netlink_sys::protocols::NETLINK_ROUTE;
    use netlink_sys::{Socket, SocketAddr};
    use ropewalk_core::machine::UplinkId;
    use ropewalk_mio::{Handle, Shared};
    use std::sync::{Arc, PoisonError};

    /// rtnetlink(7): RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR.
    const GROUPS: u32 = 0x1 | 0x10 | 0x100;
    /// RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_ROUTE.
    const ROUTES: u32 = 0x40 | 0x400;
    const STACK: usize = 256 * 1024;

    /// Watches in a thread of its own, which waits most of the time. `also` sees the links too,
    /// with `routes` after each change of routes as well.
    pub(crate) fn start(
        uplinks: Watched,
        shared: Arc<Shared>,
        workers: Vec<Handle>,
        routes: bool,
        mut also: Also,
    ) {
        let mut monitor = Monitor { uplinks, shared, workers };
        follow(if routes { ROUTES } else { 0 }, move |links| {
            monitor.look(&links);
            also(&links);
        });
    }

    /// The uplinks have become others by what `links` were a while ago: passes on what has come
    /// since, which may have been passed on before it was overwritten.
    pub(crate) fn catch_up(
        uplinks: &Watched,
        shared: &Arc<Shared>,
        workers: &[Handle],
        mut links: Vec<Link>,
    ) {
        let (uplinks, shared, workers) = (uplinks.clone(), Arc::clone(shared), workers.to_vec());
        let mut monitor = Monitor { uplinks, shared, workers };
        // What comes after the last of these looks is the thread's.
        while let Ok(now) = host::links::snapshot()
            && now != links
        {
            monitor.look(&now);
            links = now;
        }
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
                    // What came while we looked is looked at once.
                    more_of(&mut socket);
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

    /// Reads the messages that are there by now; whether there were some.
    fn more_of(socket: &mut Socket) -> bool {
        let mut more = false;
        if socket.set_non_blocking(true).is_ok() {
            while socket.recv_from_full().is_ok() {
                more = true;
            }
            // Where it fails the next read does too.
            let _ = socket.set_non_blocking(false);
        }
        more
    }

    /// linux/netfilter/nfnetlink.h: NFNLGRP_NFTABLES, as a bit.
    #[cfg(feature = "bond")]
    const FILTERS: u32 = 1 << 6;

    /// Calls `look` after each change of nftables, in a thread of its own.
    #[cfg(feature = "bond")]
    pub(crate) fn follow_filters(mut look: impl FnMut() + Send + 'static) {
        let watch = || -> std::io::Result<()> {
            let mut socket = Socket::new(netlink_sys::protocols::NETLINK_NETFILTER)?;
            socket.bind(&SocketAddr::new(0, FILTERS))?;
            let thread = std::thread::Builder::new().name("filters".into()).stack_size(STACK);
            thread.spawn(move || {
                loop {
                    // A message that was lost (ENOBUFS) is a change too.
                    let _ = socket.recv_from_full();
                    look();
                    // A ruleset is many messages, and some programs change theirs all the
                    // time: they are looked at together.
                    std::thread::sleep(std::time::Duration::from_secs(1));
                    if more_of(&mut socket) {
                        look();
                    }
                }
            })?;
            Ok(())
        };
        if let Err(error) = watch() {
            log::warn!("cannot watch nftables: {error}; a filter that is removed is not put back");
        }
    }

    pub(super) struct Monitor {
        pub(super) uplinks: Watched,
        pub(super) shared: Arc<Shared>,
        pub(super) workers: Vec<Handle>,
    }

    impl Monitor {
        pub(super) fn look(&mut self, links: &[Link]) {
            let mut entries = self.uplinks.0.lock().unwrap_or_else(PoisonError::into_inner);
            let now = entries.iter().map(|entry| networks(entry.spec.device, &entry.spec.on_link, links));
            let used = entries.iter().filter(|entry| !entry.retired).map(|entry| entry.spec.clone());
            let unbound = unbound(links, &used.collect::<Vec<_>>());
            self.shared.pool().set_networks(now.collect(), unbound);
            let addresses = host::links::local_addresses(links);
            self.workers.iter().for_each(|worker| worker.local_addresses(addresses.clone()));
            for (number, entry) in entries.iter_mut().enumerate() {
                let now = index(&entry.spec, links);
                let before = std::mem::replace(&mut entry.index, now);
                let label = &entry.spec.label;
                if before.is_some() && before != now {
                    log::warn!("the interface of {label} has vanished: its connections end");
                    let gone = UplinkId(number as u16);
                    self.workers.iter().for_each(|worker| worker.uplink_gone(gone));
                } else if before.is_none() && now.is_some() {
                    log::info!("the interface of {label} is there");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fixtures::{eth, ip};

    fn uplink(name: &str) -> UplinkSpec {
        UplinkSpec {
            label: name.into(),
            weight: 1,
            device: Device::new(name),
            source_v4: None,
            source_v6: None,
            on_link: Vec::new(),
            upstream: None,
            warnings: Vec::new(),
        }
    }

    #[test]
    fn an_uplink_carries_the_families_that_its_interface_has_an_address_of() {
        let links = [
            eth("eth0", &["10.0.0.2/24", "fe80::2/64"]),
            eth("eth1", &["2001:db8::2/64"]),
            eth("eth2", &["169.254.7.7/16"]),
        ];
        let of = |name: &str| networks(Device::new(name), &[], &links);
        let families = |name: &str| (of(name).v4, of(name).v6);
        assert_eq!(families("eth0"), (true, false), "link-local leads nowhere");
        assert_eq!(families("eth1"), (false, true));
        assert_eq!(families("eth2"), (false, false));
        let unplugged = Link { up: false, ..links[0].clone() };
        let its = networks(Device::new("eth0"), &[], std::slice::from_ref(&unplugged));
        assert_eq!((its.v4, its.v6, its.up), (true, false, false), "its addresses stay without a carrier");
        assert_eq!(of("eth0").on_link, prefixes(&[(ip("10.0.0.0"), 24)]));
        // One that is away carries nothing where its coming back is noticed.
        let tried = !cfg!(target_os = "linux");
        assert_eq!(families("eth9"), (tried, tried));
        // One without an interface of its own is tried for both.
        let unnamed = networks(None, &[(ip("10.7.0.0"), 16)], &links);
        assert_eq!(unnamed, Networks { on_link: prefixes(&[(ip("10.7.0.0"), 16)]), ..Networks::default() });
    }

    #[test]
    fn other_uplinks_take_the_ids_that_the_pool_gives_them() {
        let links = [eth("eth0", &[]), eth("eth1", &[])];
        let watched = Watched::new(vec![uplink("eth0"), uplink("eth1")], &links);
        let told = || -> Vec<(u16, String)> {
            watched.specs().into_iter().map(|(id, spec)| (id.0, spec.label)).collect()
        };
        let named = |all: &[(u16, &str)]| -> Vec<(u16, String)> {
            all.iter().map(|(id, label)| (*id, (*label).to_string())).collect()
        };
        assert_eq!(told(), named(&[(0, "eth0"), (1, "eth1")]));
        // The second stays, a third is new; the first is retired and keeps its id.
        let ids = || Ok::<_, ()>(vec![UplinkId(1), UplinkId(2)]);
        watched.change(vec![uplink("eth1"), uplink("eth2")], &links, ids).expect("taken");
        assert_eq!(told(), named(&[(1, "eth1"), (2, "eth2")]));
        let index = |id: usize| watched.0.lock().expect("nobody panics")[id].index;
        assert_eq!((index(1), index(2)), (Some(links[1].index), None), "eth2 is not there");
        // What the pool refuses changes nothing.
        assert_eq!(watched.change(vec![uplink("eth0")], &links, || Err("no")), Err("no"));
        assert_eq!(told(), named(&[(1, "eth1"), (2, "eth2")]));
        // It comes back to where it was.
        watched.change(vec![uplink("eth0")], &links, || Ok::<_, ()>(vec![UplinkId(0)])).expect("taken");
        assert_eq!(told(), named(&[(0, "eth0")]));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_pool_hears_what_interfaces_have_and_the_uplinks_where_theirs_are() {
        use ropewalk_core::machine::event::Event;
        use ropewalk_core::machine::{Assign, ConnId, HostKey, UplinkSet};
        use ropewalk_core::time::Instant;
        use ropewalk_core::uplink::{Pool, PoolConfig, UplinkConfig};
        use ropewalk_mio::{Shared, Watch};

        struct Deaf;
        impl Watch for Deaf {
            fn event(&self, _: Instant, _: &Event) {}
        }
        let uplinks = vec![UplinkConfig::new("eth0"), UplinkConfig::new("eth1")];
        let pool = Pool::new(PoolConfig { uplinks, ..PoolConfig::default() }).expect("valid");
        let shared = Shared::new(pool, Box::new(Deaf));
        let watched = Watched::new(vec![uplink("eth0"), uplink("eth1")], &[]);
        let mut monitor =
            linux::Monitor { uplinks: watched.clone(), shared: shared.clone(), workers: Vec::new() };
        let way = |to: &str| {
            let destination = Some(to.parse().expect("an address"));
            let (conn, host) = (ConnId::from_parts(0, 0), HostKey::of_name("host.example"));
            let assign = Assign { conn, destination, tried: UplinkSet::EMPTY, host };
            let answer = shared.pool().assign(Instant::ZERO, &assign);
            answer.map(|assignment| assignment.uplink.map(|uplink| uplink.0))
        };
        let indices = || -> Vec<Option<u32>> {
            watched.0.lock().expect("nobody panics").iter().map(|entry| entry.index).collect()
        };
        assert_eq!(indices(), [None, None]);
        let (one, two) = (eth("eth0", &["10.0.0.2/24"]), eth("eth1", &["2001:db8::2/64"]));
        let (first, second) = (one.index, two.index);
        monitor.look(&[one, two.clone(), eth("eth2", &["10.9.0.2/24"])]);
        assert_eq!(indices(), [Some(first), Some(second)]);
        assert_eq!(way("192.0.2.1:80"), Some(Some(0)), "eth1 has no IPv4 address");
        assert_eq!(way("[2001:db8:9::1]:80"), Some(Some(1)), "eth0 has no IPv6 address");
        assert_eq!(way("10.9.0.7:80"), Some(None), "on-link on no uplink");
        // It is unplugged, and what was beside the uplinks has gone.
        monitor.look(&[two]);
        assert_eq!(indices(), [None, Some(second)]);
        assert_eq!((way("192.0.2.1:80"), way("10.9.0.7:80")), (None, None));
        // One that was taken out lets its network be reached beside the uplinks.
        watched.change(vec![uplink("eth1")], &[], || Ok::<_, ()>(vec![UplinkId(1)])).expect("taken");
        monitor.look(&[eth("eth0", &["10.0.0.2/24"])]);
        assert_eq!(way("10.0.0.7:80"), Some(None));
    }
}
