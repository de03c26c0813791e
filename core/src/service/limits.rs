//! What a service may use, and why there is none.

use core::fmt;

/// What one machine (one worker) may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How many listeners it has.
    pub(crate) listeners: usize,
    /// Listeners of datagrams, in addition.
    pub(crate) datagram_listeners: usize,
    /// Connections open at once.
    pub(crate) max_connections: usize,
    /// Connections whose handshake is not complete; the oldest goes for a new one.
    pub(crate) max_half_open: usize,
    /// Connections of one client open at once.
    pub(crate) max_client_connections: Option<usize>,
    /// Bytes kept in all before relays stand: heads, what was sent behind them. Beyond that each
    /// connection may keep a little.
    pub(crate) max_kept: usize,
    /// Names that one client may have looked up at the same time.
    pub(crate) max_lookups: usize,
    /// Bytes of one relay buffer.
    pub(crate) buffer_size: usize,
    /// Relay buffers taken at once.
    pub(crate) buffer_limit: usize,
    /// Consecutive reads that filled the buffer before bytes move in the kernel. 0: never.
    pub(crate) splice_after: u8,
}

/// Why there is no machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ConfigError {
    /// No listener, or more than 65,535.
    Listeners(usize),
    /// Relay buffers of less than 1 KiB.
    BufferSize(usize),
    /// HTTP heads of less than 1 KiB.
    HeadSize(usize),
    /// Other listeners than the machine has: it can take no others while it runs.
    OtherListeners,
    /// A limit of 0, by name.
    Zero(&'static str),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Listeners(n) => write!(f, "expected 1 to 65535 listeners, got {n}"),
            ConfigError::BufferSize(n) => write!(f, "expected buffers of at least 1024 bytes, got {n}"),
            ConfigError::HeadSize(n) => write!(f, "expected heads of at least 1024 bytes, got {n}"),
            ConfigError::OtherListeners => f.write_str("expected the listeners that there are, got others"),
            ConfigError::Zero(what) => write!(f, "expected {what} of 1 or more, got 0"),
        }
    }
}

impl core::error::Error for ConfigError {}

impl Limits {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let listeners = self.listeners + self.datagram_listeners;
        if listeners == 0 || listeners > usize::from(u16::MAX) {
            return Err(ConfigError::Listeners(listeners));
        }
        if self.buffer_size < 1024 {
            return Err(ConfigError::BufferSize(self.buffer_size));
        }
        if self.max_connections == 0 {
            return Err(ConfigError::Zero("max_connections"));
        }
        if self.max_half_open == 0 {
            return Err(ConfigError::Zero("max_half_open"));
        }
        if self.max_lookups == 0 {
            return Err(ConfigError::Zero("max_lookups"));
        }
        if self.buffer_limit == 0 {
            return Err(ConfigError::Zero("buffer_limit"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_would_let_nothing_through_is_refused_by_name() {
        let right = Limits {
            listeners: 1,
            datagram_listeners: 0,
            max_connections: 1,
            max_half_open: 1,
            max_client_connections: None,
            max_kept: 0,
            max_lookups: 1,
            buffer_size: 1024,
            buffer_limit: 1,
            splice_after: 0,
        };
        assert_eq!(right.check(), Ok(()));
        let zero = |what| Err(ConfigError::Zero(what));
        assert_eq!(Limits { max_connections: 0, ..right }.check(), zero("max_connections"));
        assert_eq!(Limits { max_half_open: 0, ..right }.check(), zero("max_half_open"));
        assert_eq!(Limits { max_lookups: 0, ..right }.check(), zero("max_lookups"));
        assert_eq!(Limits { buffer_limit: 0, ..right }.check(), zero("buffer_limit"));
        assert_eq!(Limits { buffer_size: 1023, ..right }.check(), Err(ConfigError::BufferSize(1023)));
        let listeners =
            |listeners, datagram_listeners| Limits { listeners, datagram_listeners, ..right }.check();
        assert_eq!((listeners(0, 1), listeners(65_534, 1)), (Ok(()), Ok(())));
        assert_eq!(listeners(0, 0), Err(ConfigError::Listeners(0)));
        assert_eq!(listeners(65_535, 1), Err(ConfigError::Listeners(65_536)));
    }
}
