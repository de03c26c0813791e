//! The application: the dispatch machine of one worker.

use super::config::Config;
use super::probe::Probe;
use super::served::Served;
use crate::machine::{
    DatagramMachine, Input, Machine, Output, Rx, SocketId, Splice, StreamId, StreamMachine, Transmit,
    TunMachine, UplinkId,
};
use crate::service::{ConfigError, Counters, Service};
use crate::time::Instant;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::IpAddr;

/// The dispatch machine of one worker.
#[derive(Debug)]
pub struct Dispatch {
    service: Service<Served>,
}

impl Dispatch {
    /// A machine that asks for its first connections at once.
    ///
    /// # Errors
    /// [`ConfigError`] says which value is wrong.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let limits = config.limits();
        if config.max_head < 1024 {
            return Err(ConfigError::HeadSize(config.max_head));
        }
        if config.max_fields == 0 {
            return Err(ConfigError::Zero("max_fields"));
        }
        if config.max_destinations == 0 {
            return Err(ConfigError::Zero("max_destinations"));
        }
        if config.max_queue == 0 {
            return Err(ConfigError::Zero("max_queue"));
        }
        let probes = config.probes.clone();
        let mut service = Service::new(config, limits)?;
        for (uplink, probe) in (0..).map(UplinkId).zip(probes) {
            let Some(probe) = probe else { continue };
            service.spawn(|id, cx| Served::Probe(Box::new(Probe::new(id, uplink, probe, cx.now))));
        }
        Ok(Dispatch { service })
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

impl Machine for Dispatch {
    fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        if let Input::LocalAddresses { addresses } = input {
            let before = core::mem::replace(&mut self.service.config_mut().local_addresses, addresses.into());
            let gone: Vec<IpAddr> = before.into_iter().filter(|ip| !addresses.contains(ip)).collect();
            self.service.addresses_gone(now, &gone);
        }
        self.service.handle_input(now, input);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.service.handle_timeout(now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.service.poll_output()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.service.poll_timeout()
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
