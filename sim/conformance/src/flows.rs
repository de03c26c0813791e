//! Datagrams relayed by UDP flows under test, and the peers of those flows.
//!
//! The machine is the unwrap machine. What the kit sends it stands behind a LOCAL header of the
//! PROXY protocol: a flow then leaves from the client's own address, which on loopback needs no
//! privilege.

use super::client::{is_deadline, socket_deadline};
use super::run::Run;
use super::{AnyRuntime, Listeners};
use quinn_udp::{EcnCodepoint, RecvMeta, Transmit, UdpSocketState};
use ropewalk_core::unwrap::{Config, DatagramListener, FlowCounters, UdpHeader, Unwrap, emit};
use ropewalk_core::uplink::{Pool, PoolConfig, Prefix};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

/// Where most of the kit is.
pub const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// The same in IPv6.
pub const HERE_V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// The addresses of loopback that this host has.
pub fn families() -> impl Iterator<Item = IpAddr> {
    [HERE, HERE_V6].into_iter().filter(|ip| UdpSocket::bind((*ip, 0)).is_ok())
}

/// A worker whose UDP flows are under test.
pub struct Flows {
    /// Where its datagrams come in.
    pub address: SocketAddr,
    /// Where its connections come in.
    pub streams: Vec<SocketAddr>,
    run: Run,
    config: Config,
}

impl Flows {
    /// Flows to `server`; each datagram has a header.
    pub fn start(runtime: &AnyRuntime, server: &Peer) -> Self {
        Flows::with(runtime, server.address.ip(), server.address, |_| {})
    }

    /// Flows to `server`; only a client's first datagram has a header.
    pub fn headed_once(runtime: &AnyRuntime, server: &Peer) -> Self {
        Flows::with(runtime, server.address.ip(), server.address, |config| {
            config.datagram_listeners[0].header = UdpHeader::First;
        })
    }

    /// Flows to `server` of what comes in at `ip`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn with(
        runtime: &AnyRuntime,
        ip: IpAddr,
        server: SocketAddr,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let listener = (runtime.listen_datagrams)((ip, 0).into()).expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let allowed = ["127.0.0.0/8", "::1"].map(|text| text.parse::<Prefix>().expect("literal"));
        let mut config = Config {
            datagram_listeners: vec![DatagramListener {
                address,
                allowed: Arc::new(allowed),
                target_v4: server.is_ipv4().then_some(server),
                target_v6: server.is_ipv6().then_some(server),
                to_header: None,
                header: UdpHeader::Each,
            }],
            // A drained worker ends when its last flow was idle for this long.
            flow_idle_timeout: ropewalk_core::time::Duration::from_millis(1500),
            ..Config::default()
        };
        change(&mut config);
        let mut listeners = Listeners { datagrams: vec![listener], ..Listeners::default() };
        for place in &mut config.listeners {
            let listener = (runtime.listen)(place.address).expect("a port is free");
            place.address = listener.local_addr().expect("it is bound");
            listeners.streams.push(listener);
        }
        let streams = config.listeners.iter().map(|place| place.address).collect();
        let machine = Unwrap::new(config.clone()).expect("a valid configuration");
        let pool = Pool::new(PoolConfig::default()).expect("a valid pool");
        Flows { address, streams, run: Run::start(runtime, machine, listeners, pool), config }
    }

    /// Drains, and checks everything that holds for every run.
    ///
    /// # Panics
    /// When something does not hold.
    pub fn finish(self) -> FlowCounters {
        let fresh = Unwrap::new(self.config).expect("a valid configuration");
        let end = self.run.finish(fresh);
        let counters = end.machine.flow_counters();
        assert_eq!(counters.open, 0, "flows are open after the end");
        counters
    }
}

impl Deref for Flows {
    type Target = Run;

    fn deref(&self) -> &Run {
        &self.run
    }
}

/// A client or a server of datagrams. It waits for what comes, and gives up in the end.
pub struct Peer {
    /// Where.
    pub address: SocketAddr,
    socket: UdpSocket,
    /// Groups and ECN, where they are asked for.
    state: Option<UdpSocketState>,
    came: RefCell<VecDeque<Came>>,
}

/// What came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Came {
    /// The datagram.
    pub bytes: Vec<u8>,
    /// The sender.
    pub from: SocketAddr,
    /// Its ECN codepoint.
    pub ecn: u8,
}

impl Peer {
    /// A socket like that of any program.
    ///
    /// # Panics
    /// When the system does not give it.
    pub fn at(address: impl Into<SocketAddr>) -> Self {
        let socket = UdpSocket::bind(address.into()).expect("the port is free");
        socket.set_read_timeout(Some(socket_deadline())).expect("a socket option");
        let address = socket.local_addr().expect("it is bound");
        Peer { address, socket, state: None, came: RefCell::default() }
    }

    /// The same on a free port of this address.
    pub fn on(ip: IpAddr) -> Self {
        Peer::at((ip, 0))
    }

    /// A socket that sends and receives groups, and sees ECN.
    ///
    /// # Panics
    /// When the system does not give it.
    pub fn rich(ip: IpAddr) -> Self {
        let peer = Peer::on(ip);
        let state = UdpSocketState::new((&peer.socket).into()).expect("a socket option");
        peer.socket.set_nonblocking(false).expect("a socket option");
        Peer { state: Some(state), ..peer }
    }

    /// Sends `bytes` behind a header.
    pub fn say(&self, to: SocketAddr, bytes: &[u8]) {
        self.send(to, &[&emit::v2_local(&[]), bytes].concat());
    }

    /// Sends `bytes`.
    ///
    /// # Panics
    /// When it is not sent whole.
    pub fn send(&self, to: SocketAddr, bytes: &[u8]) {
        assert_eq!(self.socket.send_to(bytes, to).expect("loopback is there"), bytes.len());
    }

    /// Sends `bytes` as datagrams of `segment` bytes in one go, where the system can.
    pub fn send_group(&self, to: SocketAddr, bytes: &[u8], segment: usize) {
        if self.state.as_ref().is_some_and(|state| state.max_gso_segments() >= bytes.len() / segment) {
            self.transmit(to, bytes, Some(segment), 0);
        } else {
            bytes.chunks(segment).for_each(|datagram| self.send(to, datagram));
        }
    }

    /// Sends `bytes` with this ECN codepoint.
    pub fn mark(&self, to: SocketAddr, bytes: &[u8], ecn: u8) {
        self.transmit(to, bytes, None, ecn);
    }

    fn transmit(&self, to: SocketAddr, contents: &[u8], segment_size: Option<usize>, ecn: u8) {
        let ecn = EcnCodepoint::from_bits(ecn);
        let transmit = Transmit { destination: to, ecn, contents, segment_size, src_ip: None };
        let state = self.state.as_ref().expect("a rich one");
        state.try_send((&self.socket).into(), &transmit).expect("loopback is there");
    }

    /// The next datagram.
    ///
    /// # Panics
    /// When none comes in time.
    pub fn hear(&self) -> Came {
        self.next().unwrap_or_else(|| panic!("no datagram has come to {}", self.address))
    }

    /// All that comes until nothing has come for `quiet`.
    pub fn rest(&self, quiet: Duration) -> Vec<Came> {
        self.socket.set_read_timeout(Some(quiet)).expect("a socket option");
        let all = std::iter::from_fn(|| self.next()).collect();
        self.socket.set_read_timeout(Some(socket_deadline())).expect("a socket option");
        all
    }

    fn next(&self) -> Option<Came> {
        let mut came = self.came.borrow_mut();
        if came.is_empty() {
            let mut buf = vec![0; 65_536];
            match &self.state {
                None => {
                    let (len, from) = ended(self.socket.recv_from(&mut buf))?;
                    came.push_back(Came { bytes: buf[..len].to_vec(), from, ecn: 0 });
                }
                Some(state) => {
                    let mut meta = [RecvMeta::default()];
                    let slices = &mut [IoSliceMut::new(&mut buf)];
                    ended(state.recv((&self.socket).into(), slices, &mut meta))?;
                    let RecvMeta { len, stride, addr: from, ecn, .. } = meta[0];
                    let ecn = ecn.map_or(0, |ecn| ecn as u8);
                    let whole = (len == 0).then_some(&buf[..0]);
                    let parts = whole.into_iter().chain(buf[..len].chunks(stride.max(1)));
                    came.extend(parts.map(|part| Came { bytes: part.to_vec(), from, ecn }));
                }
            }
        }
        came.pop_front()
    }
}

fn ended<T>(result: std::io::Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) if is_deadline(&error) => None,
        Err(error) => panic!("a datagram socket of the kit failed: {error}"),
    }
}
