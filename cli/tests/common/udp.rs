//! A minimal client of SOCKS5 UDP ASSOCIATE, and an echo of datagrams.

use super::{LONG, socks};
use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

/// An association: its connection, our socket, and where the proxy hears it.
pub(crate) struct Association {
    pub(crate) stream: TcpStream,
    pub(crate) socket: UdpSocket,
    pub(crate) relay: SocketAddr,
}

impl Association {
    /// Asks for one and says nothing of our port: `0.0.0.0:0`.
    pub(crate) fn new(proxy: SocketAddr) -> Self {
        let mut stream = socks::dial(proxy);
        stream.write_all(&request([0, 0, 0, 0], 0)).expect("the proxy reads");
        let relay = socks::read_answers(&mut stream).expect("a reply").expect("an association");
        let any = if relay.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).expect("a free port");
        socket.set_read_timeout(Some(LONG)).expect("above zero");
        Association { stream, socket, relay }
    }

    pub(crate) fn send(&self, to: SocketAddr, data: &[u8]) {
        self.send_raw(&wrapped(to, data));
    }

    pub(crate) fn send_to_name(&self, name: &str, port: u16, data: &[u8]) {
        let mut all = vec![0, 0, 0, 3, name.len() as u8];
        all.extend(name.bytes());
        all.extend(port.to_be_bytes());
        all.extend(data);
        self.send_raw(&all);
    }

    pub(crate) fn send_raw(&self, bytes: &[u8]) {
        self.socket.send_to(bytes, self.relay).expect("the kernel takes it");
    }

    /// The next answer: whom it is from, and what it says.
    #[track_caller]
    pub(crate) fn receive(&self) -> (SocketAddr, Vec<u8>) {
        self.try_receive().expect("an answer")
    }

    /// The same, or `None` when none came in the time that the socket waits.
    pub(crate) fn try_receive(&self) -> Option<(SocketAddr, Vec<u8>)> {
        let mut buf = vec![0; 65_536];
        let (len, from) = self.socket.recv_from(&mut buf).ok()?;
        assert_eq!(from, self.relay, "answers come from where we send");
        Some(unwrapped(&buf[..len]))
    }

    /// Whether nothing comes for a while.
    pub(crate) fn is_silent(&self) -> bool {
        self.socket.set_read_timeout(Some(Duration::from_millis(200))).expect("above zero");
        let silent = self.try_receive().is_none();
        self.socket.set_read_timeout(Some(LONG)).expect("above zero");
        silent
    }
}

/// Greeting and UDP ASSOCIATE, back to back.
pub(crate) fn request(from: [u8; 4], port: u16) -> Vec<u8> {
    let mut bytes = socks::hello(SocketAddr::from((from, port)));
    bytes[4] = 3;
    bytes
}

/// A datagram with its header.
pub(crate) fn wrapped(to: SocketAddr, data: &[u8]) -> Vec<u8> {
    let mut all = socks::hello(to).split_off(3);
    all[..3].fill(0);
    all.extend(data);
    all
}

fn unwrapped(bytes: &[u8]) -> (SocketAddr, Vec<u8>) {
    assert_eq!(bytes[..3], [0, 0, 0], "whole, and nothing reserved is set");
    let (ip, at): (IpAddr, usize) = match bytes[3] {
        1 => (<[u8; 4]>::try_from(&bytes[4..8]).expect("four").into(), 8),
        4 => (<[u8; 16]>::try_from(&bytes[4..20]).expect("sixteen").into(), 20),
        other => panic!("expected an address of type 1 or 4, got {other}"),
    };
    let port = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    (SocketAddr::new(ip, port), bytes[at + 2..].to_vec())
}

/// Answers each datagram with `answer(its sender, it)`, from the socket that it came to, until the
/// process ends.
pub(crate) fn serve(
    socket: UdpSocket,
    answer: impl Fn(SocketAddr, &[u8]) -> Vec<u8> + Send + 'static,
) -> SocketAddr {
    let address = socket.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        let mut buf = vec![0; 65_536];
        while let Ok((len, from)) = socket.recv_from(&mut buf) {
            let _ = socket.send_to(&answer(from, &buf[..len]), from);
        }
    });
    address
}

/// Gives back what it gets, on a free port of 127.0.0.1.
pub(crate) fn echo() -> SocketAddr {
    serve(UdpSocket::bind("127.0.0.1:0").expect("a free port"), |_, data| data.to_vec())
}
