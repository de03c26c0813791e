//! The hand on a running world, and what its hosts share: which links are down, which devices are there.

use super::ready::{Ready, ReadyList};
use super::wire::Resets;
use ropewalk_core::machine::event::Event;
use ropewalk_core::machine::{Device, Fault, Via};
use ropewalk_core::time::{Duration, Instant};
use ropewalk_core::uplink::{Account, Pool};
use std::cell::{RefCell, RefMut};
use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

/// Where the proxy listens.
pub(super) const PROXY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 1080);

/// Links that are down, as ordered pairs.
type Pairs = BTreeSet<(IpAddr, IpAddr)>;

pub(super) struct Port {
    pub(super) label: String,
    pub(super) device: Device,
    pub(super) ip: IpAddr,
    /// Fixed, instead of the world's range.
    pub(super) latency: Option<Duration>,
    pub(super) plugged: bool,
}

#[derive(Default)]
pub(super) struct Air {
    pub(super) ports: Vec<Port>,
    pub(super) hosts: BTreeSet<IpAddr>,
    pub(super) targets: Vec<IpAddr>,
    pub(super) partitions: Pairs,
    pub(super) resets: Resets,
    pub(super) events: Vec<(Instant, Event)>,
    pub(super) panics: Vec<String>,
}

struct Inner {
    air: RefCell<Air>,
    pool: RefCell<Pool>,
    ready: Arc<ReadyList>,
}

/// The hand on a running world. Links are named by the uplink's label and concern what is behind it: all
/// targets. To be used from within a host of the world (a client, say).
#[derive(Clone)]
pub struct Net(Rc<Inner>);

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Net")
    }
}

impl Net {
    pub(super) fn new(air: Air, pool: Pool) -> Self {
        Net(Rc::new(Inner { air: RefCell::new(air), pool: RefCell::new(pool), ready: Arc::default() }))
    }

    /// The proxy's address.
    pub fn proxy(&self) -> SocketAddr {
        PROXY
    }

    /// An uplink's address.
    pub fn uplink(&self, label: &str) -> IpAddr {
        let air = self.0.air.borrow();
        let port = air.ports.iter().find(|port| port.label == label);
        port.map(|port| port.ip).unwrap_or_else(|| panic!("no uplink is called {label}"))
    }

    /// From now on nothing gets through behind this uplink: a black hole. What is sent waits.
    pub fn hold(&self, label: &str) {
        self.each_link(label, turmoil::hold);
    }

    /// Ends a hold: what waits is delivered at once.
    pub fn release(&self, label: &str) {
        self.each_link(label, turmoil::release);
    }

    /// From now on all is lost behind this uplink, for good: turmoil's TCP sends nothing twice. A connect
    /// fails at once, as unreachable.
    pub fn partition(&self, label: &str) {
        self.each_link(label, |uplink, target| {
            self.0.air.borrow_mut().partitions.insert((uplink, target));
            turmoil::partition(uplink, target);
        });
    }

    /// Ends a partition.
    pub fn repair(&self, label: &str) {
        self.each_link(label, |uplink, target| {
            self.0.air.borrow_mut().partitions.remove(&(uplink, target));
            turmoil::repair(uplink, target);
        });
    }

    /// The device is gone: connects through it fail in the host itself. Streams that are open stay so.
    pub fn unplug(&self, label: &str) {
        self.plug_is(label, false);
    }

    /// The device is there again.
    pub fn plug(&self, label: &str) {
        self.plug_is(label, true);
    }

    fn plug_is(&self, label: &str, plugged: bool) {
        let mut air = self.0.air.borrow_mut();
        let port = air.ports.iter_mut().find(|port| port.label == label);
        port.unwrap_or_else(|| panic!("no uplink is called {label}")).plugged = plugged;
    }

    fn each_link(&self, label: &str, f: impl Fn(IpAddr, IpAddr)) {
        let uplink = self.uplink(label);
        let targets = self.0.air.borrow().targets.clone();
        targets.into_iter().for_each(|target| f(uplink, target));
    }

    /// The proxy takes no new connections and ends when the open ones have ended.
    pub fn drain(&self) {
        self.0.ready.push(Ready::Drain);
    }

    /// The proxy ends now.
    pub fn stop(&self) {
        self.0.ready.push(Ready::Stop);
    }

    /// What machine and pool have said so far.
    pub fn events(&self) -> Vec<(Instant, Event)> {
        self.0.air.borrow().events.clone()
    }

    /// What each uplink has carried, in their order.
    pub fn accounts(&self) -> Vec<Account> {
        self.0.pool.borrow().accounts(Instant::ZERO).map(|(_, account, _)| *account).collect()
    }

    // ---- for the other files of this world ----

    pub(super) fn air(&self) -> RefMut<'_, Air> {
        self.0.air.borrow_mut()
    }

    pub(super) fn ready(&self) -> &Arc<ReadyList> {
        &self.0.ready
    }

    /// Runs beside, on the same host. A panic fails the run of the world: a task of its own would swallow it.
    pub(super) fn watched(&self, future: impl Future<Output = ()> + 'static) {
        let net = self.clone();
        tokio::task::spawn_local(async move {
            if let Err(error) = tokio::task::spawn_local(future).await
                && error.is_panic()
            {
                net.0.air.borrow_mut().panics.push(error.to_string());
            }
        });
    }

    pub(super) fn with_pool<T>(&self, now: Instant, f: impl FnOnce(&mut Pool) -> T) -> T {
        let mut pool = self.0.pool.borrow_mut();
        let result = f(&mut pool);
        while let Some(event) = pool.poll_event() {
            self.event(now, event);
        }
        result
    }

    pub(super) fn event(&self, now: Instant, event: Event) {
        self.0.air.borrow_mut().events.push((now, event));
    }

    /// The hop to leave by; `None`: straight from the proxy.
    pub(super) fn way(&self, via: &Via) -> Result<Option<IpAddr>, Fault> {
        let air = self.0.air.borrow();
        let Some(device) = via.device else {
            let Some(source) = via.source else { return Ok(None) };
            let port = air.ports.iter().find(|port| port.ip == source && port.plugged);
            return port.map(|port| Some(port.ip)).ok_or(Fault::AddressNotAvailable);
        };
        let port = air.ports.iter().find(|port| port.device == device && port.plugged);
        let port = port.ok_or(Fault::NoDevice)?;
        match via.source {
            Some(source) if source != port.ip => Err(Fault::AddressNotAvailable),
            _ => Ok(Some(port.ip)),
        }
    }

    /// Why a connect failed, which turmoil does not tell.
    pub(super) fn why_not(&self, from: IpAddr, to: IpAddr) -> Fault {
        let air = self.0.air.borrow();
        if !air.hosts.contains(&to) {
            return Fault::HostUnreachable;
        }
        if air.partitions.contains(&(from, to)) { Fault::NetworkUnreachable } else { Fault::Refused }
    }

    pub(super) fn mark_reset(&self, from: SocketAddr, to: SocketAddr) {
        self.0.air.borrow_mut().resets.insert((from, to));
    }

    pub(super) fn take_reset(&self, from: SocketAddr, to: SocketAddr) -> bool {
        self.0.air.borrow_mut().resets.remove(&(from, to))
    }
}
