//! How traffic leaves this host, and what it may reach on it.

use alloc::sync::Arc;
use core::fmt;
use core::net::{IpAddr, SocketAddr};

/// The name of a network device, at most 15 bytes (Linux `IFNAMSIZ` less its NUL).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Device {
    bytes: [u8; Device::MAX],
    len: u8,
}

impl Device {
    /// The longest name, in bytes.
    pub const MAX: usize = 15;

    /// The device called `name`; `None` for an empty name, one over [`Device::MAX`] bytes, or one
    /// with a NUL, a slash or white space (Linux refuses these).
    pub fn new(name: &str) -> Option<Self> {
        let bad = |b: u8| b == 0 || b == b'/' || b.is_ascii_whitespace();
        if name.is_empty() || name.len() > Self::MAX || name.bytes().any(bad) {
            return None;
        }
        let mut bytes = [0; Self::MAX];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Some(Device { bytes, len: name.len() as u8 })
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.bytes[..usize::from(self.len)]).expect("made from a str")
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How an attempt must leave this host. What cannot be kept fails the attempt: traffic never leaks
/// out of another way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Via {
    /// Leave through this device (Linux `SO_BINDTODEVICE`).
    pub device: Option<Device>,
    /// Leave with this source address; the port is the system's choice.
    pub source: Option<IpAddr>,
    /// Leave with this address, which need not be this host's (Linux `IP_TRANSPARENT`), and with
    /// its port; port 0: the system's choice.
    pub transparent: Option<SocketAddr>,
    /// Mark each packet with this number (Linux `SO_MARK`).
    pub mark: Option<u32>,
}

/// The path of a Unix socket of this host, as the system takes it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalPath(Arc<[u8]>);

impl LocalPath {
    /// The longest path, in bytes (Linux `sun_path` less its NUL).
    pub const MAX: usize = 107;

    /// The socket at `path`; `None` for an empty path, one over [`LocalPath::MAX`] bytes, or one
    /// with a NUL.
    pub fn new(path: &[u8]) -> Option<Self> {
        let fits = !path.is_empty() && path.len() <= Self::MAX && !path.contains(&0);
        fits.then(|| LocalPath(path.into()))
    }

    /// The path.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for LocalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for LocalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix:{}", self.0.escape_ascii())
    }
}

/// A server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// A TCP server. It sees an address.
    Address(SocketAddr),
    /// A server on a Unix socket. It has no way to see one.
    Local(LocalPath),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Address(address) => address.fmt(f),
            Target::Local(path) => path.fmt(f),
        }
    }
}
