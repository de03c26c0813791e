//! Clients that are machines alone, many in one thread: sockets of the system, and packets in place
//! of a TUN device.

use crate::common::wait_until;
use nix::sys::socket::{setsockopt, sockopt::BindToDevice};
use ropewalk_core::bond::crypto::{CipherOrder, PresharedKey, PublicKey, SecretKey};
use ropewalk_core::bond::{Client, ClientConfig, Common, DEFAULT_MTU, Tuning, Uplink};
use ropewalk_core::drive::{Drive, Io, Received, TransmitError, TryError};
use ropewalk_core::machine::{
    Device, Fault, Offload, Rx, SocketId, Transmit, TunConfiguration, TunId, UplinkId, Via,
};
use ropewalk_core::time::Instant;
use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

const TUN: TunId = TunId(0);

/// One client.
pub(crate) struct Light {
    machine: Client,
    drive: Drive,
    world: World,
}

/// What the machine has around it.
struct World {
    epoch: std::time::Instant,
    server: SocketAddr,
    sockets: BTreeMap<u32, UdpSocket>,
    inner: Option<Ipv4Addr>,
    into_tunnel: VecDeque<Vec<u8>>,
    out_of_tunnel: Vec<Vec<u8>>,
}

fn entropy() -> [u8; 32] {
    let mut bytes = [0; 32];
    let mut source = std::fs::File::open("/dev/urandom").expect("it is everywhere");
    source.read_exact(&mut bytes).expect("it has no end");
    bytes
}

/// A new secret key.
pub(crate) fn key() -> SecretKey {
    SecretKey::generate(&mut ropewalk_core::bond::crypto::Rng::new(entropy()))
}

impl Light {
    /// A client with these links, whose sockets are made in the namespace of whoever calls
    /// [`Light::turn`].
    pub(crate) fn new(server: SocketAddr, server_key: PublicKey, key: SecretKey, links: &[&str]) -> Self {
        let via = |device: &&str| Via { device: Device::new(device), ..Via::default() };
        let uplink = |(id, device)| Uplink { id: UplinkId(id), via: via(device), weight: 1 };
        let config = ClientConfig {
            common: Common {
                tun: TUN,
                offload: false,
                mtu: DEFAULT_MTU,
                key,
                ciphers: CipherOrder::fast_aes(),
                tuning: Tuning::default(),
            },
            server,
            server_key,
            psk: PresharedKey::NONE,
            token: Vec::new(),
            uplinks: (0..).zip(links).map(uplink).collect(),
        };
        let world = World {
            epoch: std::time::Instant::now(),
            server,
            sockets: BTreeMap::new(),
            inner: None,
            into_tunnel: VecDeque::new(),
            out_of_tunnel: Vec::new(),
        };
        let machine = Client::new(config, entropy()).expect("a sound configuration");
        Light { machine, drive: Drive::new(), world }
    }

    /// Its address inside, once the server has told it.
    pub(crate) fn inner(&self) -> Option<Ipv4Addr> {
        self.world.inner
    }

    /// Sends this packet into the tunnel.
    pub(crate) fn send(&mut self, packet: Vec<u8>) {
        self.world.into_tunnel.push_back(packet);
    }

    /// Packets that came out of the tunnel since the last time.
    pub(crate) fn take(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.world.out_of_tunnel)
    }

    /// Does what there is to do now.
    pub(crate) fn turn(&mut self) {
        for socket in self.world.sockets.keys() {
            self.drive.socket_ready(*socket, true, true);
        }
        self.drive.tun_ready(TUN, true, true);
        while self.drive.turn(&mut self.machine, &mut self.world, 64).more {}
    }
}

/// Lets all of them work until `done`.
#[track_caller]
pub(crate) fn run_until(
    what: &str,
    patience: Duration,
    clients: &mut [Light],
    mut done: impl FnMut(&mut [Light]) -> bool,
) {
    wait_until(what, patience, || {
        clients.iter_mut().for_each(Light::turn);
        done(clients)
    });
}

impl Io for World {
    fn now(&mut self) -> Instant {
        Instant::ZERO + self.epoch.elapsed()
    }

    fn open_socket(
        &mut self,
        socket: SocketId,
        to: SocketAddr,
        via: &Via,
        _: bool,
    ) -> Result<SocketAddr, Fault> {
        let own = UdpSocket::bind("0.0.0.0:0").map_err(|_| Fault::Unsupported)?;
        if let Some(device) = via.device {
            setsockopt(&own, BindToDevice, &device.as_str().into()).map_err(|_| Fault::Unsupported)?;
        }
        own.connect(to).map_err(|_| Fault::NoRoute)?;
        own.set_nonblocking(true).map_err(|_| Fault::Unsupported)?;
        let at = own.local_addr().map_err(|_| Fault::Unsupported)?;
        self.sockets.insert(socket.index(), own);
        Ok(at)
    }

    fn close_socket(&mut self, socket: SocketId) {
        self.sockets.remove(&socket.index());
    }

    fn try_receive(
        &mut self,
        socket: SocketId,
        sink: &mut dyn FnMut(&mut [Rx<'_>]),
    ) -> Result<Received, TryError> {
        let mut buf = [0; 2048];
        match self.sockets[&socket.index()].recv(&mut buf) {
            Ok(len) => {
                let from = self.server;
                let rx = Rx { data: &mut buf[..len], stride: len, from, to: None, interface: None, ecn: 0 };
                sink(&mut [rx]);
                Ok(Received { count: 1, more: true })
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err(TryError::WouldBlock),
            // An answer of ICMP to what was sent before.
            Err(_) => Ok(Received { count: 0, more: true }),
        }
    }

    fn try_transmit(
        &mut self,
        socket: SocketId,
        source: &mut dyn FnMut(&mut [u8]) -> Option<Transmit>,
    ) -> Result<usize, TransmitError> {
        let mut buf = vec![0; 65_536];
        let Some(transmit) = source(&mut buf) else { return Ok(0) };
        for datagram in buf[..transmit.len].chunks(transmit.segment.unwrap_or(transmit.len).max(1)) {
            // What the system does not take is lost, as on any way.
            let _ = self.sockets[&socket.index()].send(datagram);
        }
        Ok(1)
    }

    fn try_take(&mut self, _: TunId, buf: &mut [u8]) -> Result<(usize, Offload), TryError> {
        let packet = self.into_tunnel.pop_front().ok_or(TryError::WouldBlock)?;
        buf[..packet.len()].copy_from_slice(&packet);
        Ok((packet.len(), Offload::None))
    }

    fn try_give(&mut self, _: TunId, packet: &[u8], _: Offload) -> Result<(), TryError> {
        self.out_of_tunnel.push(packet.to_vec());
        Ok(())
    }

    fn configure(&mut self, _: TunId, to: &TunConfiguration) -> Result<(), Fault> {
        self.inner = to.addresses.iter().find_map(|(address, _)| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        });
        Ok(())
    }

    fn entropy(&mut self, bytes: &mut [u8; 32]) -> bool {
        *bytes = entropy();
        true
    }
}
