//! One end of a TCP flow by smoltcp: real sockets, for tests of the protocol and of anything IP.
//!
//! Its sender ignores SACK, resends one segment for three duplicates and waits a second at least
//! for its timer: a first second with many drops looks worse than a kernel's would. Reno, because
//! its CUBIC computes with floats.

use super::ip::Ends;
use super::tcp::{Role, Tcp};
use ropewalk_core::time::{Duration, Instant};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer};
use smoltcp::time::Instant as Micros;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};
use std::collections::VecDeque;

/// Packets in and out.
struct Wire {
    mtu: usize,
    received: Option<Vec<u8>>,
    sent: VecDeque<Vec<u8>>,
}

struct Received(Vec<u8>);
struct Sent<'a>(&'a mut VecDeque<Vec<u8>>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Sent<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = vec![0; len];
        let result = f(&mut packet);
        self.0.push_back(packet);
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sent<'a>;

    fn receive(&mut self, _: Micros) -> Option<(Received, Sent<'_>)> {
        self.received.take().map(|packet| (Received(packet), Sent(&mut self.sent)))
    }

    fn transmit(&mut self, _: Micros) -> Option<Sent<'_>> {
        Some(Sent(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        capabilities
    }
}

/// One end.
pub(super) struct Smoltcp {
    wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    sends: bool,
    /// Bytes that are left to send.
    left: u64,
    delivered: u64,
    /// Something has happened since the sockets were last polled.
    dirty: bool,
    /// When that was.
    polled: Option<Micros>,
}

fn micros(now: Instant) -> Micros {
    Micros::from_micros((now.as_nanos() / 1000) as i64)
}

impl Smoltcp {
    /// `buffer`: two bandwidth-delay products, in bytes.
    pub(super) fn new(now: Instant, role: Role, ends: &Ends, mtu: u16, buffer: usize, seed: u64) -> Self {
        let mut wire = Wire { mtu: usize::from(mtu), received: None, sent: VecDeque::new() };
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut wire, micros(now));
        interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(IpAddress::Ipv4(ends.from), 32)).expect("there is room for one");
        });
        interface.routes_mut().add_default_ipv4_route(ends.to).expect("there is room for one");
        let sends = role.sends();
        let (receive, send) = if sends { (1 << 16, buffer) } else { (buffer, 1 << 16) };
        let mut socket = Socket::new(SocketBuffer::new(vec![0; receive]), SocketBuffer::new(vec![0; send]));
        socket.set_congestion_control(CongestionControl::Reno);
        socket.set_nagle_enabled(false);
        match role {
            Role::Client { .. } => {
                let to = (IpAddress::Ipv4(ends.to), ends.to_port);
                socket.connect(interface.context(), to, ends.from_port).expect("it is fresh");
            }
            Role::Server { .. } => socket.listen(ends.from_port).expect("it is fresh"),
        }
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let handle = sockets.add(socket);
        let left = role.bytes();
        Smoltcp { wire, interface, sockets, handle, sends, left, delivered: 0, dirty: true, polled: None }
    }

    fn poll(&mut self, now: Instant) {
        self.dirty = false;
        self.polled = Some(micros(now));
        self.fill();
        self.interface.poll(micros(now), &mut self.wire, &mut self.sockets);
        let socket: &mut Socket<'_> = self.sockets.get_mut(self.handle);
        while let Ok(taken @ 1..) = socket.recv(|bytes| (bytes.len(), bytes.len())) {
            self.delivered += taken as u64;
            self.dirty = true;
        }
        if self.fill() {
            self.dirty = true;
        }
    }

    /// Gives the socket what it has room for. The bytes are whatever its buffer holds: no test
    /// reads them.
    fn fill(&mut self) -> bool {
        let socket: &mut Socket<'_> = self.sockets.get_mut(self.handle);
        let mut filled = false;
        while self.sends && self.left > 0 && socket.can_send() {
            let left = usize::try_from(self.left).unwrap_or(usize::MAX);
            let sent = socket.send(|room| (room.len().min(left), room.len().min(left)));
            let sent = sent.expect("it said that it can");
            self.left -= sent as u64;
            filled = true;
        }
        if self.sends && self.left == 0 && socket.may_send() {
            socket.close();
        }
        filled
    }
}

impl Tcp for Smoltcp {
    fn handle_packet(&mut self, now: Instant, packet: &[u8]) {
        self.wire.received = Some(packet.to_vec());
        self.poll(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.poll(now);
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.wire.sent.is_empty() && self.dirty {
            self.poll(now);
        }
        self.wire.sent.pop_front()
    }

    fn poll_timeout(&mut self, now: Instant) -> Option<Instant> {
        if self.dirty {
            return Some(now);
        }
        let at = self.interface.poll_at(micros(now), &self.sockets)?;
        let at = Instant::from_nanos(at.total_micros().max(0) as u64 * 1000);
        // What it did not do when it was polled just now it does not do before its clock, of
        // microseconds, has gone on.
        let polled = self.polled == Some(micros(now));
        Some(if at > now {
            at
        } else if polled {
            now + Duration::from_micros(1)
        } else {
            now
        })
    }

    fn stop(&mut self) {
        self.left = 0;
        self.dirty = true;
    }

    fn delivered(&self) -> u64 {
        self.delivered
    }

    fn window(&self) -> Option<u64> {
        None
    }
}
