//! The hand on a running world, and what its hosts share: which links are down, which devices are
//! there.

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

pub(super) struct Uplink {
    pub(super) label: String,
    pub(super) device: Device,
    pub(super) ip: IpAddr,
    /// Fixed, instead of the world's range.
    pub(super) latency: Option<Duration>,
    pub(super) plugged: bool,
}

#[derive(Default)]
pub(super) struct Shared {
    pub(super) uplinks: Vec<Uplink>,
    pub(super) hosts: BTreeSet<IpAddr>,
    pub(super) targets: Vec<IpAddr>,
    pub(super) partitions: Pairs,
    pub(super) resets: Resets,
    pub(super) events: Vec<(Instant, Event)>,
    pub(super) panics: Vec<String>,
}

struct Inner {
    shared: RefCell<Shared>,
    pool: RefCell<Pool>,
    ready: Arc<ReadyList>,
}

/// The hand on a running world. Links are named by the uplink's label and concern what is behind
/// it: all targets. To be used from within a host of the world (a client, say).
#[derive(Clone)]
pub struct Net(Rc<Inner>);

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Net")
    }
}

impl Net {
    pub(super) fn new(shared: Shared, pool: Pool) -> Self {
        Net(Rc::new(Inner { shared: RefCell::new(shared), pool: RefCell::new(pool), ready: Arc::default() }))
    }

    /// The proxy's address.
    pub fn proxy(&self) -> SocketAddr {
        PROXY
    }

    /// An uplink's address.
    pub fn uplink(&self, label: &str) -> IpAddr {
        let shared = self.0.shared.borrow();
        let uplink = shared.uplinks.iter().find(|uplink| uplink.label == label);
        uplink.map(|uplink| uplink.ip).unwrap_or_else(|| panic!("no uplink is called {label}"))
    }

    /// From now on nothing gets through behind this uplink: a black hole. What is sent waits.
    pub fn hold(&self, label: &str) {
        self.each_link(label, turmoil::hold);
    }

    /// Ends a hold: what waits is delivered at once.
    pub fn release(&self, label: &str) {
        self.each_link(label, turmoil::release);
    }

    /// From now on all is lost behind this uplink, for good: turmoil's TCP sends nothing twice. A
    /// connect fails at once, as unreachable.
    pub fn partition(&self, label: &str) {
        self.each_link(label, |uplink, target| {
            self.0.shared.borrow_mut().partitions.insert((uplink, target));
            turmoil::partition(uplink, target);
        });
    }

    /// Ends a partition.
    pub fn repair(&self, label: &str) {
        self.each_link(label, |uplink, target| {
            self.0.shared.borrow_mut().partitions.remove(&(uplink, target));
            turmoil::repair(uplink, target);
        });
    }

    /// The device is gone: connects through it fail in the host itself. Streams that are open stay
    /// so.
    pub fn unplug(&self, label: &str) {
        self.plug_is(label, false);
    }

    /// The device is there again.
    pub fn plug(&self, label: &str) {
        self.plug_is(label, true);
    }

    fn plug_is(&self, label: &str, plugged: bool) {
        let mut shared = self.0.shared.borrow_mut();
        let uplink = shared.uplinks.iter_mut().find(|uplink| uplink.label == label);
        uplink.unwrap_or_else(|| panic!("no uplink is called {label}")).plugged = plugged;
    }

    fn each_link(&self, label: &str, f: impl Fn(IpAddr, IpAddr)) {
        let uplink = self.uplink(label);
        let targets = self.0.shared.borrow().targets.clone();
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
        self.0.shared.borrow().events.clone()
    }

    /// What each uplink has carried, in their order.
    pub fn accounts(&self) -> Vec<Account> {
        self.0.pool.borrow().accounts(Instant::ZERO).map(|(_, account, _)| *account).collect()
    }

    // ---- for the other files of this world ----

    pub(super) fn shared(&self) -> RefMut<'_, Shared> {
        self.0.shared.borrow_mut()
    }

    pub(super) fn ready(&self) -> &Arc<ReadyList> {
        &self.0.ready
    }

    /// Runs in the background on the same host. A panic fails the run of the world: a task of its
    /// own would swallow it.
    pub(super) fn watched(&self, future: impl Future<Output = ()> + 'static) {
        let net = self.clone();
        tokio::task::spawn_local(async move {
            if let Err(error) = tokio::task::spawn_local(future).await
                && error.is_panic()
            {
                net.0.shared.borrow_mut().panics.push(error.to_string());
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
        self.0.shared.borrow_mut().events.push((now, event));
    }

    /// The hop to leave by; `None`: straight from the proxy.
    pub(super) fn way(&self, via: &Via) -> Result<Option<IpAddr>, Fault> {
        let shared = self.0.shared.borrow();
        let Some(device) = via.device else {
            let Some(source) = via.source else { return Ok(None) };
            let uplink = shared.uplinks.iter().find(|uplink| uplink.ip == source && uplink.plugged);
            return uplink.map(|uplink| Some(uplink.ip)).ok_or(Fault::AddressNotAvailable);
        };
        let uplink = shared.uplinks.iter().find(|uplink| uplink.device == device && uplink.plugged);
        let uplink = uplink.ok_or(Fault::NoDevice)?;
        match via.source {
            Some(source) if source != uplink.ip => Err(Fault::AddressNotAvailable),
            _ => Ok(Some(uplink.ip)),
        }
    }

    /// Why a connect failed, which turmoil does not tell.
    pub(super) fn why_not(&self, from: IpAddr, to: IpAddr) -> Fault {
        let shared = self.0.shared.borrow();
        if !shared.hosts.contains(&to) {
            return Fault::HostUnreachable;
        }
        if shared.partitions.contains(&(from, to)) { Fault::NetworkUnreachable } else { Fault::Refused }
    }

    pub(super) fn mark_reset(&self, from: SocketAddr, to: SocketAddr) {
        self.0.shared.borrow_mut().resets.insert((from, to));
    }

    pub(super) fn take_reset(&self, from: SocketAddr, to: SocketAddr) -> bool {
        self.0.shared.borrow_mut().resets.remove(&(from, to))
    }
}
