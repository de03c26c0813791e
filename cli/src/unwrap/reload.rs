//! SIGHUP: switches, lists of networks and names of servers read again, all or nothing.

use super::args::Options;
use super::plan::{plan, set_limits};
use crate::process::logging;
use crate::process::record::Recorded;
use crate::process::reload::{changed, fixed_common};
use ropewalk_core::unwrap::{Config, Unwrap};
use ropewalk_mio::Handle;
use std::net::SocketAddr;

/// The addresses of all listeners, in their order: of streams, of datagrams.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Asked {
    streams: Vec<SocketAddr>,
    datagrams: Vec<SocketAddr>,
}

impl Asked {
    pub(super) fn of(config: &Config) -> Self {
        Asked {
            streams: config.listeners.iter().map(|listener| listener.address).collect(),
            datagrams: config.datagram_listeners.iter().map(|listener| listener.address).collect(),
        }
    }
}

/// What runs, and what it was started with.
pub(super) struct Running<'a> {
    pub(super) all: &'a [Options],
    /// As the switches named them, and as they were bound.
    pub(super) asked: Asked,
    pub(super) bound: Asked,
    pub(super) descriptors: Option<u64>,
    pub(super) handles: Vec<Handle>,
}

impl Running<'_> {
    /// Says in some words what holds now.
    ///
    /// # Errors
    /// What was expected, what came and where: nothing has changed.
    pub(super) fn reload(&self) -> Result<String, String> {
        let mut all: Vec<Options> = Vec::new();
        for command in crate::reread()? {
            match command {
                crate::Command::Unwrap(args) => all.push(args.options),
                _ => return Err("expected the command unwrap again".into()),
            }
        }
        let [before, now] = [self.all, &all[..]].map(|all| all.first().map(|options| &options.process));
        let (Some(before), Some(now)) = (before, now) else { return Err("no listener is set".into()) };
        fixed_common(&before.common, &now.common)?;
        changed("--record", before.record != now.record)?;
        changed("--mark", before.mark != now.mark)?;
        changed("--user", before.user != now.user)?;
        // Low ports take a privilege that was given up.
        changed("--on-port-conflict", before.on_port_conflict != now.on_port_conflict)?;
        let mut config = plan(&all)?;
        changed("--listen or --protocol", Asked::of(&config) != self.asked)?;
        for (listener, bound) in config.listeners.iter_mut().zip(&self.bound.streams) {
            listener.address = *bound;
        }
        for (listener, bound) in config.datagram_listeners.iter_mut().zip(&self.bound.datagrams) {
            listener.address = *bound;
        }
        set_limits(now, self.descriptors, &mut config);
        // What a new machine would take, those that run take.
        Unwrap::new(config.clone()).map_err(|error| error.to_string())?;
        logging::set_level(now.common.verbose, now.common.quiet);
        let networks: usize = config.listeners.iter().map(|listener| listener.allowed.len()).sum();
        let networks = networks + config.datagram_listeners.iter().map(|l| l.allowed.len()).sum::<usize>();
        let listeners = self.bound.streams.len() + self.bound.datagrams.len();
        for (number, handle) in self.handles.iter().enumerate() {
            // As at the start, the first worker has all datagrams.
            let datagram_listeners = match number {
                0 => config.datagram_listeners.clone(),
                _ => Vec::new(),
            };
            let config = Config { datagram_listeners, ..config.clone() };
            handle.call(move |now, machine: &mut Recorded<Unwrap>| {
                if let Err(error) = machine.reconfigure(now, config) {
                    log::error!("a worker did not take the configuration: {error}");
                }
            });
        }
        Ok(format!(
            "the configuration was read again: {listeners} listeners, which believe {networks} networks"
        ))
    }
}
