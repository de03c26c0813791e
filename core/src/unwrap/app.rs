//! The application: the unwrap machine of one worker.

use super::config::Config;
use super::connection::Conn;
use super::flows::{FlowCounters, Flows};
use crate::machine::event::Event;
use crate::machine::{
    DatagramMachine, Input, Machine, Output, QueryId, Rx, SocketId, Splice, StreamId, StreamMachine,
    Transmit, TunMachine,
};
use crate::name::Name;
use crate::record::{Discreet, Reading};
use crate::service::{ConfigError, Counters, Service};
use crate::time::Instant;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

/// The unwrap machine of one worker.
#[derive(Debug)]
pub struct Unwrap {
    service: Service<Conn>,
    flows: Flows,
    /// The connections have ended; the flows may not have.
    service_finished: bool,
    /// The names of servers that flows did not reach.
    lookups: Vec<(QueryId, Name, SocketAddr)>,
}

impl Unwrap {
    /// A machine that asks for its first connections at once.
    ///
    /// # Errors
    /// [`ConfigError`] says which value is wrong.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        check(&config)?;
        let limits = config.limits();
        let flows = Flows::new(config.datagram_listeners.len(), config.listeners.len());
        Ok(Unwrap {
            service: Service::new(config, limits)?,
            flows,
            service_finished: false,
            lookups: Vec::new(),
        })
    }

    /// Another configuration from now on: who may send headers and where they lead, times and
    /// limits. What is open lives on.
    ///
    /// The addresses of listeners, this host's own and the size of buffers stay.
    ///
    /// # Errors
    /// [`ConfigError`] says which value is wrong: then all is as it was.
    pub fn reconfigure(&mut self, now: Instant, config: Config) -> Result<(), ConfigError> {
        self.check_change(&config)?;
        self.service.set_limits(now, config.limits())?;
        let own = self.service.config_mut();
        let before = core::mem::take(own);
        *own = Config { local_addresses: before.local_addresses, buffer_size: before.buffer_size, ..config };
        self.service.revise(now, |_, _| ());
        Ok(())
    }

    /// Whether [`Unwrap::reconfigure`] would take this configuration.
    ///
    /// # Errors
    /// [`ConfigError`] says which value is wrong.
    pub fn check_change(&self, config: &Config) -> Result<(), ConfigError> {
        check(config)?;
        let own = self.service.config();
        let streams = |config: &Config| config.listeners.iter().map(|l| l.address).collect::<Vec<_>>();
        let datagrams =
            |config: &Config| config.datagram_listeners.iter().map(|l| l.address).collect::<Vec<_>>();
        match streams(own) == streams(config) && datagrams(own) == datagrams(config) {
            true => Ok(()),
            false => Err(ConfigError::OtherListeners),
        }
    }

    /// What has happened to UDP flows since the start.
    pub fn flow_counters(&self) -> FlowCounters {
        self.flows.counters()
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

impl Unwrap {
    /// A flow did not reach its server, which may be elsewhere by now, if it has a name.
    fn look_up(&mut self, now: Instant, server: Option<SocketAddr>) {
        let Some(server) = server else { return };
        if let Some(name) = self.service.config_mut().names.may_ask(server, now) {
            let query = self.service.look_up(now, server.ip(), &name);
            self.lookups.push((query, name, server));
        }
    }

    /// The answer, if it was a flow's question.
    fn looked_up(&mut self, query: QueryId, addresses: &[IpAddr]) {
        let Some(at) = self.lookups.iter().position(|(own, ..)| *own == query) else { return };
        let (_, name, from) = self.lookups.swap_remove(at);
        if let Some(to) = self.service.config_mut().looked_up(&name, from, addresses) {
            self.flows.say(Event::TargetMoved { name, from, to });
        }
    }

    /// Flows go where their servers have gone.
    fn follow(&mut self, now: Instant) {
        for (from, to) in self.service.config_mut().names.take_moved() {
            self.flows.server_moved(now, from, to);
        }
    }
}

/// What holds of each configuration.
fn check(config: &Config) -> Result<(), ConfigError> {
    config.limits().check()?;
    let counts = [("max_flows", config.max_flows), ("max_queue", config.max_queue)];
    match counts.into_iter().find(|(_, count)| *count == 0) {
        Some((name, _)) => Err(ConfigError::Zero(name)),
        None => Ok(()),
    }
}

impl Machine for Unwrap {
    fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Opened { socket, local } => self.flows.opened(now, socket, local, self.service.config()),
            Input::OpenFailed { socket, fault } => {
                self.flows.open_failed(now, socket, fault, self.service.config());
            }
            Input::SocketFailed { socket, fault } => {
                let server = self.flows.socket_failed(socket, fault);
                self.look_up(now, server);
            }
            Input::SendFailed { socket, fault, id: _, sent: _ } => {
                let server = self.flows.send_failed(socket, fault);
                self.look_up(now, server);
            }
            Input::Resolved { query, addresses } => {
                self.looked_up(query, addresses);
                self.service.handle_input(now, input);
                self.follow(now);
            }
            Input::ResolveFailed { query, .. } => {
                self.looked_up(query, &[]);
                self.service.handle_input(now, input);
            }
            Input::LocalAddresses { addresses } => {
                self.service.config_mut().local_addresses = addresses.into();
            }
            Input::Drain => {
                self.flows.drain(now, self.service.config());
                self.service.handle_input(now, input);
            }
            other => self.service.handle_input(now, other),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.service.handle_timeout(now);
        self.flows.handle_timeout(now, self.service.config());
    }

    fn poll_output(&mut self) -> Option<Output> {
        if let Some(output) = self.flows.poll_output() {
            return Some(output);
        }
        match self.service.poll_output() {
            // It is said when the flows have ended too.
            Some(Output::Finished) => self.service_finished = true,
            output @ Some(_) => return output,
            None => {}
        }
        if !(self.service_finished && self.flows.is_empty()) {
            return None;
        }
        self.flows.close_listeners();
        self.flows.poll_output().or_else(|| {
            self.service_finished = false;
            Some(Output::Finished)
        })
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let (service, flows) = (self.service.poll_timeout(), self.flows.poll_timeout());
        service.into_iter().chain(flows).min()
    }
}

impl Discreet for Unwrap {
    fn reading(&self, stream: StreamId) -> Reading {
        self.service.reading(stream)
    }

    fn is_pressed(&self) -> bool {
        self.service.is_pressed()
    }

    fn held(&self) -> usize {
        self.service.held() + self.flows.waiting()
    }

    fn reads_of(&self, socket: SocketId, from: SocketAddr, datagram: &[u8]) -> usize {
        self.flows.reads_of(socket, from, datagram, self.service.config())
    }
}

impl TunMachine for Unwrap {}

impl DatagramMachine for Unwrap {
    fn poll_dirty_socket(&mut self) -> Option<SocketId> {
        self.flows.poll_dirty()
    }

    fn handle_datagrams(&mut self, now: Instant, socket: SocketId, rx: &mut [Rx<'_>]) {
        self.flows.handle_datagrams(now, socket, rx, self.service.config());
    }

    fn poll_transmit(&mut self, _: Instant, socket: SocketId, buf: &mut [u8]) -> Option<Transmit> {
        self.flows.poll_transmit(socket, buf)
    }
}

impl StreamMachine for Unwrap {
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

    fn refuse_splice(&mut self, from: StreamId) {
        self.service.refuse_splice(from);
    }
}
