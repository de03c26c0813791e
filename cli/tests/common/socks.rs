//! A minimal SOCKS5 client: one tunnel, or the code of the refusal.

use super::LONG;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};

/// The code of a reply that is no success (RFC 1928 section 6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Refused(pub(crate) u8);

/// A connection to the proxy, on which no read or write hangs for ever.
pub(crate) fn dial(proxy: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&proxy, LONG).expect("the proxy listens");
    stream.set_read_timeout(Some(LONG)).expect("a time above zero");
    stream.set_write_timeout(Some(LONG)).expect("a time above zero");
    stream.set_nodelay(true).expect("a TCP socket");
    stream
}

/// The greeting without authentication and the request for `target`, back to back.
pub(crate) fn hello(target: SocketAddr) -> Vec<u8> {
    let mut bytes = vec![5, 1, 0, 5, 1, 0];
    match target.ip() {
        IpAddr::V4(ip) => {
            bytes.push(1);
            bytes.extend(ip.octets());
        }
        IpAddr::V6(ip) => {
            bytes.push(4);
            bytes.extend(ip.octets());
        }
    }
    bytes.extend(target.port().to_be_bytes());
    bytes
}

/// The same for a name.
pub(crate) fn hello_name(name: &str, port: u16) -> Vec<u8> {
    let mut bytes = vec![5, 1, 0, 5, 1, 0, 3, name.len() as u8];
    bytes.extend(name.bytes());
    bytes.extend(port.to_be_bytes());
    bytes
}

/// Reads the answers to [`hello`]. On success the address in BND.
pub(crate) fn read_answers(stream: &mut impl Read) -> io::Result<Result<SocketAddr, Refused>> {
    let mut method = [0; 2];
    stream.read_exact(&mut method)?;
    assert_eq!(method, [5, 0], "the answer to the greeting");
    let mut head = [0; 4];
    stream.read_exact(&mut head)?;
    let [version, code, reserved, family] = head;
    assert_eq!((version, reserved), (5, 0), "the fixed bytes of the reply");
    let ip = match family {
        1 => {
            let mut octets = [0; 4];
            stream.read_exact(&mut octets)?;
            IpAddr::from(octets)
        }
        4 => {
            let mut octets = [0; 16];
            stream.read_exact(&mut octets)?;
            IpAddr::from(octets)
        }
        other => panic!("expected an address of type 1 or 4 in the reply, got {other}"),
    };
    let mut port = [0; 2];
    stream.read_exact(&mut port)?;
    let bound = SocketAddr::new(ip, u16::from_be_bytes(port));
    Ok(if code == 0 { Ok(bound) } else { Err(Refused(code)) })
}

/// A tunnel to `target`.
pub(crate) fn connect(proxy: SocketAddr, target: SocketAddr) -> Result<TcpStream, Refused> {
    let mut stream = dial(proxy);
    stream.write_all(&hello(target)).expect("the proxy reads");
    read_answers(&mut stream).expect("a reply, never silence").map(|_| stream)
}

/// Sends a little and gets it back.
#[track_caller]
pub(crate) fn round_trip(tunnel: &mut TcpStream) {
    tunnel.write_all(b"ping").expect("the tunnel stands");
    let mut back = [0; 4];
    tunnel.read_exact(&mut back).expect("the echo");
    assert_eq!(&back, b"ping");
}
