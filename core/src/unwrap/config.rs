//! The configuration of an unwrap machine.

use super::names::Names;
use crate::machine::Target;
use crate::service::Limits;
use crate::time::Duration;
use crate::uplink::Prefix;
use crate::wire::proxy::MAX_LENGTH;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::ops::RangeInclusive;

/// Names looked up at the same time.
const MAX_LOOKUPS: usize = 16;

/// The configuration of one [`Unwrap`](super::Unwrap) machine (one worker).
#[derive(Clone, Debug)]
pub struct Config {
    /// Where connections come in, in the order of their
    /// [`ListenerId`](crate::machine::ListenerId)s.
    pub listeners: Vec<Listener>,
    /// Where datagrams come in; their ids follow those of `listeners`.
    pub datagram_listeners: Vec<DatagramListener>,
    /// The targets that are known by name. Default none.
    pub names: Names,
    /// This host's own addresses: no header may name them as a client's.
    pub local_addresses: Vec<IpAddr>,
    /// Clients that a header may name although they are bogus (loopback, link-local and so on).
    /// Default none.
    pub allow_source: Vec<Prefix>,
    /// What to do where the client's own port is not available. Default [`PortConflict::Fail`].
    pub on_port_conflict: PortConflict,
    /// Mark what goes to the servers (Linux `SO_MARK`). Default none.
    pub mark: Option<u32>,
    /// The most a version 2 header may say to follow its first 16 bytes. Default 4096.
    pub max_header: usize,
    /// Take version 1 lines whose destination is of the other family than their source, as nginx
    /// writes them. Default false.
    pub mixed_families: bool,
    /// A header must be whole by then. Default 3 s.
    pub header_timeout: Duration,
    /// A server must be reached by then. Default 10 s.
    pub connect_timeout: Duration,
    /// A relay on which nothing moves for this long is closed. Default none.
    pub idle_timeout: Option<Duration>,
    /// How long one side has to take its last bytes after the other has failed. Default 2 s.
    pub linger: Duration,
    /// A UDP flow on which nothing moves for this long is ended. Default 60 s.
    pub flow_idle_timeout: Duration,
    /// UDP flows open at once; beyond that the longest idle one is ended. Default 4096.
    pub max_flows: usize,
    /// Bytes that may wait to be sent on one UDP socket, in at most a 16th as many datagrams and 64
    /// more; what comes beyond that is dropped. Default 1 MiB.
    pub max_queue: usize,
    /// Connections open at once; more wait in the backlog. Default 10,000.
    pub max_connections: usize,
    /// Connections whose header is not whole; beyond that the oldest is reset for a new one.
    /// Default 5,000.
    pub max_half_open: usize,
    /// Bytes of one relay buffer. Default 128 KiB.
    pub buffer_size: usize,
    /// Relay buffers taken at once; beyond that bytes are carried in pieces of 4 KiB. Default 512
    /// (64 MiB).
    pub buffer_limit: usize,
    /// Consecutive reads that filled the buffer before bytes move in the kernel. 0: never. Default
    /// 2.
    pub splice_after: u8,
    /// Say [`Event::Header`](crate::machine::event::Event::Header) too, which copies text. Default
    /// false.
    pub request_events: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listeners: Vec::new(),
            datagram_listeners: Vec::new(),
            names: Names::default(),
            local_addresses: Vec::new(),
            allow_source: Vec::new(),
            on_port_conflict: PortConflict::Fail,
            mark: None,
            max_header: MAX_LENGTH,
            mixed_families: false,
            header_timeout: Duration::from_secs(3),
            connect_timeout: Duration::from_secs(10),
            idle_timeout: None,
            linger: Duration::from_secs(2),
            flow_idle_timeout: Duration::from_secs(60),
            max_flows: 4096,
            max_queue: 1 << 20,
            max_connections: 10_000,
            max_half_open: 5_000,
            buffer_size: 128 * 1024,
            buffer_limit: 512,
            splice_after: 2,
            request_events: false,
        }
    }
}

impl Config {
    pub(super) fn limits(&self) -> Limits {
        Limits {
            listeners: self.listeners.len(),
            datagram_listeners: self.datagram_listeners.len(),
            max_connections: self.max_connections,
            max_half_open: self.max_half_open,
            // Its clients are balancers, and a header is small.
            max_client_connections: None,
            max_kept: usize::MAX,
            // All names are those of its own servers.
            max_lookups: MAX_LOOKUPS,
            buffer_size: self.buffer_size,
            buffer_limit: self.buffer_limit,
            splice_after: self.splice_after,
        }
    }
}

/// Where connections come in, from which peers, and where they go.
#[derive(Clone, Debug)]
pub struct Listener {
    /// The address listened on.
    pub address: SocketAddr,
    /// The peers that may connect: a header is believed, so a peer outside is closed before a byte
    /// of it is read.
    pub allowed: Arc<[Prefix]>,
    /// The server for IPv4 clients.
    pub target_v4: Option<Target>,
    /// The server for IPv6 clients.
    pub target_v6: Option<Target>,
    /// Go to the destination that the header names, if it is in this list; `None`: to the targets.
    /// The targets are then for connections whose header names no client (health checks).
    pub to_header: Option<Arc<[Destinations]>>,
}

/// Where datagrams come in, from which peers, and where they go. As [`Listener`].
#[derive(Clone, Debug)]
pub struct DatagramListener {
    /// The address listened on.
    pub address: SocketAddr,
    /// The peers whose headers are trusted. A source can be forged in UDP: a packet filter has to
    /// ensure that what comes from these addresses is really from them.
    pub allowed: Arc<[Prefix]>,
    /// The server for IPv4 clients.
    pub target_v4: Option<SocketAddr>,
    /// The server for IPv6 clients.
    pub target_v6: Option<SocketAddr>,
    /// Go where the header says its client wanted to go, if that is in here.
    pub to_header: Option<Arc<[Destinations]>>,
    /// Which datagrams have a header.
    pub header: UdpHeader,
}

/// Which datagrams have a header. It is never guessed: a client could write one of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum UdpHeader {
    /// Each (the specification; Cloudflare's Simple Proxy Protocol).
    #[default]
    Each,
    /// The first from each port of the balancer (Cloudflare Spectrum with version 2, frp). A port
    /// that was silent for [`Config::flow_idle_timeout`] begins anew: where the balancer keeps a
    /// session for longer, its client can then write a header of its own.
    First,
}

/// Where headers may lead to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Destinations {
    /// These addresses.
    pub network: Prefix,
    /// These ports.
    pub ports: RangeInclusive<u16>,
}

impl Destinations {
    /// Whether `to` is in here.
    pub fn contains(&self, to: SocketAddr) -> bool {
        self.network.contains(to.ip().to_canonical()) && self.ports.contains(&to.port())
    }
}

/// What to do where the client's own port is not available: it is in use, below 1024 without the
/// privilege, or 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PortConflict {
    /// Refuse the connection: what a server logs is true or not there.
    #[default]
    Fail,
    /// Connect from the client's address with another port.
    Ephemeral,
}
