//! The configuration of a dispatch machine.

use super::auth::Credentials;
#[cfg(feature = "names")]
use super::names::NamesConfig;
use super::probe::ProbeConfig;
use super::upstream::Upstream;
use crate::machine::{UplinkId, UplinkSet};
use crate::name::Name;
use crate::service::Limits;
use crate::time::Duration;
use crate::wire::http::HeadLimits;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

/// How fast an uplink may carry, in bytes a second. What has no limit is `None`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rate {
    /// To targets. At least 1.
    pub sent: Option<u64>,
    /// From targets. At least 1.
    pub received: Option<u64>,
}

/// The configuration of one [`Dispatch`](super::Dispatch) machine (one worker).
#[derive(Clone, Debug)]
pub struct Config {
    /// The addresses listened on, in the order of their
    /// [`ListenerId`](crate::machine::ListenerId)s.
    pub listeners: Vec<SocketAddr>,
    /// This host's own addresses, so that the proxy is not reached through itself.
    pub local_addresses: Vec<IpAddr>,
    /// Where this process serves its own figures: never open to clients beyond this host.
    pub private_endpoints: Vec<SocketAddr>,
    /// Users and passwords. `None`: everybody may connect.
    pub credentials: Option<Credentials>,
    /// Clients beyond loopback may go to private, link-local and loopback destinations. Default
    /// false.
    pub allow_private: bool,
    /// Relay bytes to the pool's endpoints without any handshake. Default false.
    pub tunnel: bool,
    /// A handshake must be complete by then. Default 10 s.
    pub handshake_timeout: Duration,
    /// A target must be reached by then, all attempts together. Default 20 s.
    pub connect_timeout: Duration,
    /// A relay on which nothing moves for this long is closed. Default none.
    pub idle_timeout: Option<Duration>,
    /// An HTTP exchange on which nothing moves for so long ends: the origin is silent, or one of
    /// the two stalls its body. Default 15 min.
    pub exchange_timeout: Duration,
    /// An HTTP connection without a request under way is closed after this long. Default 75 s.
    pub keep_alive_timeout: Duration,
    /// The refusal of a wrong user or password is held back this long, so that guessing is slow.
    /// Default 1 s.
    pub auth_delay: Duration,
    /// How long the client has to take a last reply, and may be silent while it still sends.
    /// Default 2 s.
    pub linger: Duration,
    /// Connections open at once; more wait in the backlog. Default 10,000.
    pub max_connections: usize,
    /// Connections whose handshake is not complete; beyond that the oldest is reset for a new one.
    /// Default 5,000.
    pub max_half_open: usize,
    /// Connections of one client open at once; more are reset. Default none.
    pub max_client_connections: Option<usize>,
    /// Bytes kept in all before relays stand: heads, and what clients send behind them. Beyond that
    /// each connection may keep 4 KiB, and is not read further until there is room. Default 16 MiB.
    pub max_kept: usize,
    /// Names that one client may have looked up at the same time; more wait. Default 64.
    pub max_lookups: usize,
    /// A name must be looked up by then. Default 8 s: the system asks a second server after 5 s.
    pub lookup_timeout: Duration,
    /// How each uplink of the pool is probed, in the pool's order; for one worker of a process.
    /// Default: none is.
    pub probes: Vec<Option<ProbeConfig>>,
    /// The proxy behind each uplink that has one, in the pool's order. Names go to it unresolved.
    /// No UDP association uses such an uplink. Default: none.
    pub upstreams: Vec<Option<Upstream>>,
    /// Which names are looked up through the uplink that will carry their connection. Default:
    /// none.
    #[cfg(feature = "names")]
    pub names: NamesConfig,
    /// How fast each uplink may carry, in the pool's order, in this worker. What has a rate is not
    /// spliced; datagrams beyond it are dropped. Default: as fast as they can.
    pub rates: Vec<Option<Rate>>,
    /// UDP associations open at once; more are refused. 0: UDP ASSOCIATE is not served. Default
    /// 1,024.
    pub max_associations: usize,
    /// Destinations that one association remembers, 1 or more; beyond that the longest idle one is
    /// forgotten, and what it still answers is dropped. Default 1,024.
    pub max_destinations: usize,
    /// A destination of an association that is silent for so long is forgotten. Default 2 minutes,
    /// the least that RFC 4787 (REQ-5) allows a NAT.
    pub flow_idle_timeout: Duration,
    /// Bytes that may wait to be sent on one UDP socket, in at most a 16th as many datagrams and 64
    /// more; what comes beyond that is dropped. Default 1 MiB.
    pub max_queue: usize,
    /// Bytes of one relay buffer. Default 128 KiB.
    pub buffer_size: usize,
    /// Relay buffers taken at once; beyond that bytes are carried in pieces of 4 KiB. Default 512
    /// (64 MiB).
    pub buffer_limit: usize,
    /// Consecutive reads that filled the buffer before bytes move in the kernel. 0: never. Default
    /// 2.
    pub splice_after: u8,
    /// Bytes of one HTTP head, of requests and of responses. Default 256 KiB: what browsers take,
    /// so that no page that works without the proxy fails with it.
    pub max_head: usize,
    /// Header fields in one HTTP head. Default 2,000, above what any server in use sends.
    pub max_fields: usize,
    /// Say [`Event::Requested`](crate::machine::event::Event::Requested) too, which copies names.
    /// Default false.
    pub request_events: bool,
}

impl Config {
    /// The rates as the service has them, to targets and from them.
    pub(super) fn rate_pairs(&self) -> Vec<[Option<u64>; 2]> {
        let pair = |rate: &Option<Rate>| rate.map_or([None; 2], |rate| [rate.sent, rate.received]);
        self.rates.iter().map(pair).collect()
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listeners: Vec::new(),
            local_addresses: Vec::new(),
            private_endpoints: Vec::new(),
            credentials: None,
            allow_private: false,
            tunnel: false,
            handshake_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(20),
            idle_timeout: None,
            exchange_timeout: Duration::from_secs(900),
            keep_alive_timeout: Duration::from_secs(75),
            auth_delay: Duration::from_secs(1),
            linger: Duration::from_secs(2),
            max_connections: 10_000,
            max_half_open: 5_000,
            max_client_connections: None,
            max_kept: 16 * 1024 * 1024,
            max_lookups: 64,
            lookup_timeout: Duration::from_secs(8),
            probes: Vec::new(),
            upstreams: Vec::new(),
            #[cfg(feature = "names")]
            names: NamesConfig::default(),
            rates: Vec::new(),
            max_associations: 1024,
            max_destinations: 1024,
            flow_idle_timeout: Duration::from_secs(120),
            max_queue: 1 << 20,
            buffer_size: 128 * 1024,
            buffer_limit: 512,
            splice_after: 2,
            max_head: 256 * 1024,
            max_fields: 2000,
            request_events: false,
        }
    }
}

impl Config {
    /// How large an HTTP head may be.
    pub(super) fn heads(&self) -> HeadLimits {
        HeadLimits { bytes: self.max_head, fields: self.max_fields }
    }

    /// The uplink, where name servers of its own are to be asked for this name.
    #[cfg(feature = "names")]
    pub(super) fn asks(&self, uplink: Option<UplinkId>, name: &Name) -> Option<UplinkId> {
        let names = &self.names;
        uplink.filter(|uplink| !names.servers(*uplink).is_empty() && names.may_ask(name))
    }

    /// Whether a name may go to an uplink's own name servers: which uplink is then known first.
    #[cfg(feature = "names")]
    pub(super) fn may_ask(&self, name: &Name) -> bool {
        self.names.is_used() && self.names.may_ask(name)
    }

    /// Uplinks that take a name before its addresses are known: proxies, and those with name
    /// servers that may be asked for it.
    pub(super) fn naming_set(&self, name: &Name) -> UplinkSet {
        let mut set = self.upstream_set();
        (0..UplinkSet::CAPACITY as u16)
            .filter_map(|index| self.asks(Some(UplinkId(index)), name))
            .for_each(|uplink| set.insert(uplink));
        set
    }

    #[cfg(not(feature = "names"))]
    pub(super) fn asks(&self, _: Option<UplinkId>, _: &Name) -> Option<UplinkId> {
        None
    }

    #[cfg(not(feature = "names"))]
    pub(super) fn may_ask(&self, _: &Name) -> bool {
        false
    }

    pub(super) fn limits(&self) -> Limits {
        Limits {
            listeners: self.listeners.len(),
            datagram_listeners: 0,
            max_connections: self.max_connections,
            max_half_open: self.max_half_open,
            max_client_connections: self.max_client_connections,
            max_kept: self.max_kept,
            max_lookups: self.max_lookups,
            buffer_size: self.buffer_size,
            buffer_limit: self.buffer_limit,
            splice_after: self.splice_after,
        }
    }
}
