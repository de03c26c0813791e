//! The application: the dispatch machine of one worker.

use super::Cx;
use super::config::Config;
#[cfg(feature = "names")]
use super::names::Names;
use super::probe::Probe;
use super::served::Served;
#[cfg(feature = "names")]
use crate::machine::{ConnId, Fault};
use crate::machine::{
    DatagramMachine, Input, Machine, Output, Rx, SocketId, Splice, StreamId, StreamMachine, Transmit,
    TunMachine, UplinkId,
};
use crate::record::{Discreet, Reading};
#[cfg(feature = "names")]
use crate::service::Mail;
use crate::service::{ConfigError, Counters, Service};
use crate::time::Instant;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

/// The dispatch machine of one worker.
#[derive(Debug)]
pub struct Dispatch {
    service: Service<Served>,
    /// The connection that looks names up, where uplinks have name servers of their own.
    #[cfg(feature = "names")]
    names: Option<ConnId>,
}

impl Dispatch {
    /// A machine that asks for its first connections at once.
    ///
    /// # Errors
    /// [`ConfigError`] says which value is wrong.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        check(&config)?;
        let limits = config.limits();
        let rates = config.rate_pairs();
        let mut dispatch = Dispatch {
            service: Service::new(config, limits)?,
            #[cfg(feature = "names")]
            names: None,
        };
        dispatch.begin_names(Instant::ZERO);
        dispatch.service.set_rates(Instant::ZERO, &rates);
        dispatch.begin_probes();
        Ok(dispatch)
    }

    #[cfg(not(feature = "names"))]
    fn begin_names(&mut self, _: Instant) {}

    #[cfg(not(feature = "names"))]
    fn settle(&mut self, _: Instant) {}

    #[cfg(feature = "names")]
    fn begin_names(&mut self, now: Instant) {
        if self.names.is_none() && self.service.config().names.is_used() && !self.service.is_draining() {
            let make = |id, _: &mut Cx| Served::Names(Box::new(Names::new(id)));
            self.names = Some(self.service.spawn(make));
        }
        if let Some(names) = self.names.filter(|_| !self.service.is_draining()) {
            self.with_names(now, names, |its, cx| its.seek_prefixes(cx));
        }
    }

    /// Hands on what connections have for each other, until none has anything.
    #[cfg(feature = "names")]
    fn settle(&mut self, now: Instant) {
        while let Some(mail) = self.service.take_mail() {
            match mail {
                Mail::Ask { query, name, uplink } => match self.names {
                    Some(names) => self.with_names(now, names, |its, cx| its.ask(query, &name, uplink, cx)),
                    None => {
                        let fault = Fault::NameUnavailable;
                        self.service.handle_input(now, Input::ResolveFailed { query, fault });
                    }
                },
                Mail::Cancel { query } => {
                    let Some(names) = self.names else { continue };
                    self.with_names(now, names, |its, cx| its.cancel(query, cx));
                }
                Mail::Answer { query, answer } => {
                    let input = match &answer {
                        Ok(addresses) => Input::Resolved { query, addresses },
                        Err(fault) => Input::ResolveFailed { query, fault: *fault },
                    };
                    self.service.handle_input(now, input);
                }
            }
        }
    }

    #[cfg(feature = "names")]
    fn with_names(&mut self, now: Instant, names: ConnId, f: impl FnOnce(&mut Names, &mut Cx)) {
        self.service.tell(now, names, |served, cx| {
            if let Served::Names(names) = served {
                f(names, cx);
            }
        });
    }

    fn begin_probes(&mut self) {
        let probes = self.service.config_mut().probes.clone();
        for (uplink, probe) in (0..).map(UplinkId).zip(probes) {
            let Some(probe) = probe else { continue };
            let make = |id, cx: &mut Cx| Served::Probe(Box::new(Probe::new(id, uplink, probe, cx.now)));
            self.service.spawn(make);
        }
    }

    /// Another configuration from now on. Open connections live on, under its times; those of users
    /// that it does not have, or has with another password, are reset: gives how many. Uplinks are
    /// the pool's, which the caller reconfigures before.
    ///
    /// Listeners, this host's addresses, private endpoints and the size of buffers stay.
    ///
    /// # Errors
    /// [`ConfigError`] says which value is wrong: then all is as it was.
    pub fn reconfigure(&mut self, now: Instant, config: Config) -> Result<usize, ConfigError> {
        self.check_change(&config)?;
        self.service.set_limits(now, config.limits())?;
        let own = self.service.config_mut();
        let before = core::mem::take(own);
        *own = Config {
            listeners: before.listeners,
            local_addresses: before.local_addresses,
            private_endpoints: before.private_endpoints,
            buffer_size: before.buffer_size,
            ..config
        };
        let other_rates = (own.rates != before.rates).then(|| own.rate_pairs());
        let other_probes = own.probes != before.probes;
        #[cfg(feature = "names")]
        let other_names = own.names != before.names;
        let next = own.credentials.clone();
        let gone = before.credentials.as_ref().map_or(Vec::new(), |known| known.gone(next.as_ref()));
        let mut ended = 0;
        if let Some(rates) = other_rates {
            self.service.set_rates(now, &rates);
        }
        self.service.revise(now, |served, cx| {
            if other_probes {
                served.end_probe(cx);
            }
            ended += usize::from(served.user_gone(&gone, cx));
            #[cfg(feature = "names")]
            if let (Served::Names(names), true) = (served, other_names) {
                names.forget();
            }
        });
        self.begin_names(now);
        if other_probes && !self.service.is_draining() {
            self.begin_probes();
        }
        self.settle(now);
        Ok(ended)
    }

    /// Whether [`Dispatch::reconfigure`] would take this configuration.
    ///
    /// # Errors
    /// [`ConfigError`] says which value is wrong.
    pub fn check_change(&self, config: &Config) -> Result<(), ConfigError> {
        check(config)?;
        match config.listeners == self.service.config().listeners {
            true => Ok(()),
            false => Err(ConfigError::OtherListeners),
        }
    }

    /// Its configuration, as it is now.
    pub fn config(&self) -> &Config {
        self.service.config()
    }

    /// What has happened since the start.
    pub fn counters(&self) -> Counters {
        self.service.counters()
    }

    /// How many relay buffers hold bytes now.
    pub fn buffers_taken(&self) -> usize {
        self.service.buffers_taken()
    }
}

/// What holds of each configuration.
fn check(config: &Config) -> Result<(), ConfigError> {
    config.limits().check()?;
    if config.max_head < 1024 {
        return Err(ConfigError::HeadSize(config.max_head));
    }
    let counts = [
        ("max_fields", config.max_fields),
        ("max_destinations", config.max_destinations),
        ("max_queue", config.max_queue),
    ];
    if config.rate_pairs().as_flattened().contains(&Some(0)) {
        return Err(ConfigError::Zero("rates"));
    }
    match counts.into_iter().find(|(_, count)| *count == 0) {
        Some((name, _)) => Err(ConfigError::Zero(name)),
        None => Ok(()),
    }
}

impl Machine for Dispatch {
    fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        if let Input::LocalAddresses { addresses } = input {
            let before = core::mem::replace(&mut self.service.config_mut().local_addresses, addresses.into());
            let gone: Vec<IpAddr> = before.into_iter().filter(|ip| !addresses.contains(ip)).collect();
            self.service.addresses_gone(now, &gone);
        }
        #[cfg(feature = "names")]
        if let (Input::Entropy { bytes }, Some(names)) = (input, self.names) {
            self.with_names(now, names, |its, _| its.entropy(bytes));
        }
        self.service.handle_input(now, input);
        self.settle(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.service.handle_timeout(now);
        self.settle(now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.service.poll_output()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.service.poll_timeout()
    }

    /// Ids of questions come from it, which go over the wire as they are.
    fn entropy_is_secret(&self) -> bool {
        false
    }
}

impl Discreet for Dispatch {
    fn reading(&self, stream: StreamId) -> Reading {
        self.service.reading(stream)
    }

    fn is_pressed(&self) -> bool {
        self.service.is_pressed()
    }

    fn held(&self) -> usize {
        self.service.held()
    }

    fn reads_of(&self, socket: SocketId, _: SocketAddr, datagram: &[u8]) -> usize {
        self.service.reads_of(socket, datagram)
    }
}

impl TunMachine for Dispatch {}

/// All of an association is the worker's that has its connection.
impl DatagramMachine for Dispatch {
    fn poll_dirty_socket(&mut self) -> Option<SocketId> {
        self.service.poll_dirty_socket()
    }

    fn handle_datagrams(&mut self, now: Instant, socket: SocketId, rx: &mut [Rx<'_>]) {
        self.service.handle_datagrams(now, socket, rx);
        self.settle(now);
    }

    fn poll_transmit(&mut self, _: Instant, socket: SocketId, buf: &mut [u8]) -> Option<Transmit> {
        self.service.poll_transmit(socket, buf)
    }
}

impl StreamMachine for Dispatch {
    fn poll_dirty(&mut self) -> Option<StreamId> {
        self.service.poll_dirty()
    }

    fn read_buf(&mut self, stream: StreamId) -> &mut [u8] {
        self.service.read_buf(stream)
    }

    fn write_buf(&self, stream: StreamId) -> &[u8] {
        self.service.write_buf(stream)
    }

    fn splice(&self, from: StreamId) -> Option<Splice> {
        self.service.splice(from)
    }

    fn hears_faults(&self, stream: StreamId) -> bool {
        self.service.hears_faults(stream)
    }

    fn refuse_splice(&mut self, from: StreamId) {
        self.service.refuse_splice(from);
    }
}
