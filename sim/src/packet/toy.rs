//! A plain tunnel: the contract's test driver. It copies each packet of the TUN device into a
//! datagram, behind as many bytes as the bond's header has, and back. It neither seals nor orders
//! nor repairs, and it uses one link.

use super::io::SERVER;
use ropewalk_core::machine::{
    DatagramMachine, Fault, Input, ListenerId, Machine, Offload, Output, Rx, SocketId, Splice, StreamId,
    StreamMachine, Transmit, TunConfiguration, TunId, TunMachine, Via,
};
use ropewalk_core::time::Instant;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The bond's 64 bytes less IPv4 and UDP.
const HEADER: usize = 36;
const SOCKET: SocketId = SocketId::from_parts(0, 0);
const TUN: TunId = TunId(0);
/// What a sender may have taken and not sent.
const MOST: usize = 64;

/// One end of the plain tunnel.
pub(super) struct Toy {
    outputs: VecDeque<Output>,
    dirty_socket: bool,
    dirty_tun: bool,
    /// The other end, where the socket has several.
    peer: Option<SocketAddr>,
    /// Whether there is another end.
    known: bool,
    client: bool,
    buf: Vec<u8>,
    sending: VecDeque<Vec<u8>>,
    giving: VecDeque<Vec<u8>>,
}

impl Toy {
    fn new(output: Output, client: bool) -> Self {
        Toy {
            outputs: [output].into(),
            dirty_socket: false,
            dirty_tun: false,
            peer: None,
            known: false,
            client,
            buf: vec![0; 1 << 16],
            sending: VecDeque::new(),
            giving: VecDeque::new(),
        }
    }

    /// It sets its TUN device to `address` and speaks first.
    pub(super) fn client(via: Via, address: Ipv4Addr, mtu: u16) -> Self {
        let open = Output::OpenSocket { socket: SOCKET, to: SERVER, via, fragments: false };
        let mut toy = Toy::new(open, true);
        let configuration = TunConfiguration { addresses: vec![(IpAddr::V4(address), 24)], mtu };
        toy.outputs.push_back(Output::Configure { tun: TUN, configuration });
        toy
    }

    /// It answers the last sender.
    pub(super) fn server() -> Self {
        Toy::new(Output::Receive { listener: ListenerId(0), socket: SOCKET, fragments: false }, false)
    }
}

impl Machine for Toy {
    fn handle_input(&mut self, _: Instant, input: Input<'_>) {
        if let Input::Opened { .. } = input {
            self.known = true;
            self.dirty_tun = true;
        }
    }

    fn handle_timeout(&mut self, _: Instant) {}

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

impl StreamMachine for Toy {
    fn poll_dirty(&mut self) -> Option<StreamId> {
        None
    }

    fn read_buf(&mut self, _: StreamId) -> &mut [u8] {
        &mut []
    }

    fn write_buf(&self, _: StreamId) -> &[u8] {
        &[]
    }

    fn splice(&self, _: StreamId) -> Option<Splice> {
        None
    }

    fn refuse_splice(&mut self, _: StreamId) {}
}

impl DatagramMachine for Toy {
    fn poll_dirty_socket(&mut self) -> Option<SocketId> {
        std::mem::take(&mut self.dirty_socket).then_some(SOCKET)
    }

    fn handle_datagrams(&mut self, _: Instant, _: SocketId, rx: &mut [Rx<'_>]) {
        for rx in rx.iter() {
            if !self.client {
                self.peer = Some(rx.from);
                self.dirty_tun |= !self.known;
                self.known = true;
            }
            for datagram in rx.datagrams().filter_map(|datagram| datagram.get(HEADER..)) {
                self.dirty_tun |= self.giving.is_empty();
                self.giving.push_back(datagram.to_vec());
            }
        }
    }

    fn poll_transmit(&mut self, _: Instant, _: SocketId, buf: &mut [u8]) -> Option<Transmit> {
        let packet = self.sending.pop_front()?;
        self.dirty_tun = true;
        let len = HEADER + packet.len();
        buf[..HEADER].fill(0);
        buf[HEADER..len].copy_from_slice(&packet);
        Some(Transmit { to: self.peer, len, ..Transmit::default() })
    }
}

impl TunMachine for Toy {
    fn poll_dirty_tun(&mut self) -> Option<TunId> {
        std::mem::take(&mut self.dirty_tun).then_some(TUN)
    }

    fn take_buf(&mut self, _: TunId) -> &mut [u8] {
        if self.known && self.sending.len() < MOST { &mut self.buf } else { &mut [] }
    }

    fn handle_packet(&mut self, _: Instant, _: TunId, len: usize, _: Offload) {
        self.sending.push_back(self.buf[..len].to_vec());
        self.dirty_socket = true;
    }

    fn give_buf(&self, _: TunId) -> Option<(&[u8], Offload)> {
        self.giving.front().map(|packet| (&packet[..], Offload::None))
    }

    fn handle_given(&mut self, _: Instant, _: TunId, _: Result<(), Fault>) {
        self.giving.pop_front();
    }
}
