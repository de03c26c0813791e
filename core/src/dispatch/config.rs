//! What a dispatch machine is told at its construction.

use super::auth::Credentials;
use crate::time::Duration;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, SocketAddr};

/// The configuration of one [`Dispatch`](super::Dispatch) machine (one worker).
#[derive(Clone, Debug)]
pub struct Config {
    /// The addresses listened on, in the order of their [`ListenerId`](crate::machine::ListenerId)s.
    pub listeners: Vec<SocketAddr>,
    /// This host's own addresses, so that the proxy is not reached through itself.
    pub local_addresses: Vec<IpAddr>,
    /// Who may come; `None`: everybody.
    pub credentials: Option<Credentials>,
    /// Clients beyond loopback may go to private, link-local and loopback destinations. Default false.
    pub allow_private: bool,
    /// Relay bytes to the pool's endpoints without any handshake. Default false.
    pub tunnel: bool,
    /// A handshake must be complete by then. Default 10 s.
    pub handshake_timeout: Duration,
    /// A target must be reached by then, all attempts together. Default 20 s.
    pub connect_timeout: Duration,
    /// A relay on which nothing moves for so long is closed. Default none.
    pub idle_timeout: Option<Duration>,
    /// An HTTP connection on which no request is under way is closed after so long. Default 75 s.
    pub keep_alive_timeout: Duration,
    /// How long the client has to take a last reply. Default 2 s.
    pub linger: Duration,
    /// Connections open at once; more wait in the backlog. Default 10,000.
    pub max_connections: usize,
    /// Bytes of one relay buffer. Default 128 KiB.
    pub buffer_size: usize,
    /// Relay buffers taken at once; beyond that bytes are carried in pieces of 4 KiB. Default 512 (64 MiB).
    pub buffer_limit: usize,
    /// After so many reads in a row that filled the buffer, bytes move in the kernel; 0: never. Default 2.
    pub splice_after: u8,
    /// Say [`Event::Requested`](crate::event::Event::Requested) too, which copies names. Default false.
    pub narrate: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listeners: Vec::new(),
            local_addresses: Vec::new(),
            credentials: None,
            allow_private: false,
            tunnel: false,
            handshake_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(20),
            idle_timeout: None,
            keep_alive_timeout: Duration::from_secs(75),
            linger: Duration::from_secs(2),
            max_connections: 10_000,
            buffer_size: 128 * 1024,
            buffer_limit: 512,
            splice_after: 2,
            narrate: false,
        }
    }
}

/// Why there is no machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ConfigError {
    /// No listener, or more than 65,535.
    Listeners(usize),
    /// Relay buffers of less than 1 KiB.
    BufferSize(usize),
    /// A limit of 0, by name.
    Zero(&'static str),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Listeners(n) => write!(f, "expected 1 to 65535 listeners, got {n}"),
            ConfigError::BufferSize(n) => write!(f, "expected buffers of at least 1024 bytes, got {n}"),
            ConfigError::Zero(what) => write!(f, "expected {what} of 1 or more, got 0"),
        }
    }
}

impl core::error::Error for ConfigError {}

impl Config {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.listeners.is_empty() || self.listeners.len() > usize::from(u16::MAX) {
            return Err(ConfigError::Listeners(self.listeners.len()));
        }
        if self.buffer_size < 1024 {
            return Err(ConfigError::BufferSize(self.buffer_size));
        }
        if self.max_connections == 0 {
            return Err(ConfigError::Zero("max_connections"));
        }
        if self.buffer_limit == 0 {
            return Err(ConfigError::Zero("buffer_limit"));
        }
        Ok(())
    }
}
