//! A world that dies after so many changes: from then on nothing can be changed any more, as if the
//! process had been killed there.

use super::super::dns::ResolvConf;
use super::super::sysctl::Sysctl;
use super::super::world::World;
use crate::host::policy::{Added, Route, Rule};
use std::net::IpAddr;

type Watch<W> = Box<dyn FnMut(&mut W) + Send>;

pub(super) struct Stopping<W> {
    world: W,
    /// Changes until the end; `None`: it lives.
    left: Option<usize>,
    /// Changes so far.
    pub(super) made: usize,
    /// Looks after each change.
    pub(super) watch: Option<Watch<W>>,
    /// It does not see its table the first time: it is made in that moment.
    pub(super) blind: bool,
}

impl<W> Stopping<W> {
    pub(super) fn new(world: W, left: Option<usize>) -> Self {
        Stopping { world, left, made: 0, watch: None, blind: false }
    }

    fn change<T>(&mut self, change: impl FnOnce(&mut W) -> Result<T, String>) -> Result<T, String> {
        match &mut self.left {
            Some(0) => return Err("killed".into()),
            Some(left) => *left -= 1,
            None => {}
        }
        self.made += 1;
        let done = change(&mut self.world);
        if let Some(watch) = &mut self.watch {
            watch(&mut self.world);
        }
        done
    }
}

impl<W: World> World for Stopping<W> {
    fn rules(&mut self) -> Result<Vec<Rule>, String> {
        self.world.rules()
    }

    fn add_rule(&mut self, rule: &Rule) -> Result<Added, String> {
        self.change(|world| world.add_rule(rule))
    }

    fn remove_rule(&mut self, rule: &Rule) -> Result<(), String> {
        self.change(|world| world.remove_rule(rule))
    }

    fn routes(&mut self) -> Result<Vec<Route>, String> {
        self.world.routes()
    }

    fn add_route(&mut self, route: &Route) -> Result<Added, String> {
        self.change(|world| world.add_route(route))
    }

    fn remove_route(&mut self, route: &Route) -> Result<(), String> {
        self.change(|world| world.remove_route(route))
    }

    fn filter(&mut self, text: &str) -> Result<(), String> {
        self.change(|world| world.filter(text))
    }

    fn listed(&mut self, table: &str) -> Option<String> {
        if std::mem::take(&mut self.blind) {
            return None;
        }
        self.world.listed(table)
    }

    fn sysctl(&self, name: &Sysctl) -> Option<String> {
        self.world.sysctl(name)
    }

    fn set_sysctl(&mut self, name: &Sysctl, value: &str) -> Result<(), String> {
        self.change(|world| world.set_sysctl(name, value))
    }

    fn resolv_conf(&self) -> Result<ResolvConf, String> {
        self.world.resolv_conf()
    }

    fn resolvers(&self) -> Vec<u8> {
        self.world.resolvers()
    }

    fn set_resolv_conf(&mut self, to: &ResolvConf) -> Result<(), String> {
        self.change(|world| world.set_resolv_conf(to))
    }

    fn has_resolved(&self) -> bool {
        self.world.has_resolved()
    }

    fn set_link_dns(&mut self, device: &str, servers: &[IpAddr]) -> Result<(), String> {
        self.change(|world| world.set_link_dns(device, servers))
    }

    fn revert_link_dns(&mut self, device: &str) {
        let _ = self.change(|world| {
            world.revert_link_dns(device);
            Ok(())
        });
    }

    fn has_device(&self, index: u32) -> bool {
        self.world.has_device(index)
    }

    fn device_up(&mut self, name: &str) -> Result<u32, String> {
        self.world.device_up(name)
    }
}
