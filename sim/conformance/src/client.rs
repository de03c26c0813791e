//! A SOCKS5 client (RFC 1928) on plain sockets. Every wait has an end.

use super::faulty::{self, Kind};
use rustix::net::sockopt::{set_socket_linger, set_socket_recv_buffer_size, set_socket_send_buffer_size};
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// A read or a write that waits for longer has failed. With a broken driver there is nothing to
/// wait for.
pub fn socket_deadline() -> Duration {
    Duration::from_secs(if faulty::wanted() == Kind::None { 10 } else { 3 })
}

/// Where a client wants to go.
#[derive(Clone, Debug)]
pub enum To {
    /// An address.
    Address(SocketAddr),
    /// A name and a port.
    Name(String, u16),
}

impl From<SocketAddr> for To {
    fn from(address: SocketAddr) -> Self {
        To::Address(address)
    }
}

impl From<(&str, u16)> for To {
    fn from((name, port): (&str, u16)) -> Self {
        To::Name(name.into(), port)
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// RFC 1928 section 6: REP.
    pub code: u8,
    /// BND.ADDR and BND.PORT.
    pub bound: SocketAddr,
    /// The tunnel, when the code is 0.
    pub stream: TcpStream,
    /// From dialling the proxy to its answer.
    pub took: Duration,
}

impl Answer {
    /// The tunnel.
    ///
    /// # Panics
    /// When the target was not reached.
    pub fn open(self) -> TcpStream {
        assert_eq!(self.code, 0, "the target is reached");
        self.stream
    }
}

/// RFC 1928 section 3: a greeting that offers no authentication, and nothing else.
pub const GREETING: [u8; 3] = [5, 1, 0];

/// Greeting and request, as one.
pub fn request(to: &To) -> Vec<u8> {
    let mut bytes = [GREETING, [5, 1, 0]].concat();
    let port = match to {
        To::Address(address) => {
            match address.ip() {
                IpAddr::V4(v4) => {
                    bytes.push(1);
                    bytes.extend_from_slice(&v4.octets());
                }
                IpAddr::V6(v6) => {
                    bytes.push(4);
                    bytes.extend_from_slice(&v6.octets());
                }
            }
            address.port()
        }
        To::Name(name, port) => {
            bytes.extend_from_slice(&[3, u8::try_from(name.len()).expect("a short name")]);
            bytes.extend_from_slice(name.as_bytes());
            *port
        }
    };
    bytes.extend_from_slice(&port.to_be_bytes());
    bytes
}

/// A connection with deadlines.
///
/// # Errors
/// What the system says.
pub fn dial(to: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, socket_deadline())?;
    impatient(&stream)?;
    Ok(stream)
}

/// The next connection that comes in, as impatient as those of [`dial`].
///
/// # Errors
/// What the system says; [`ErrorKind::WouldBlock`] when nobody comes in time.
pub fn accept(listener: &TcpListener) -> Result<TcpStream> {
    listener.set_nonblocking(true)?;
    let began = Instant::now();
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                impatient(&stream)?;
                return Ok(stream);
            }
            Err(error) if is_deadline(&error) && began.elapsed() < socket_deadline() => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Gives a stream its deadlines.
///
/// # Errors
/// What the system says.
pub fn impatient(stream: &TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(socket_deadline()))?;
    stream.set_write_timeout(Some(socket_deadline()))
}

/// SOCKS5 CONNECT.
///
/// # Errors
/// What the system says, or that the proxy does not answer as RFC 1928 asks.
pub fn connect(proxy: SocketAddr, to: impl Into<To>) -> Result<Answer> {
    connect_with(proxy, to, b"")
}

/// SOCKS5 CONNECT: greeting, request and payload in one write.
///
/// # Errors
/// As [`connect`].
pub fn connect_with(proxy: SocketAddr, to: impl Into<To>, payload: &[u8]) -> Result<Answer> {
    let began = Instant::now();
    let mut stream = dial(proxy)?;
    let mut bytes = request(&to.into());
    bytes.extend_from_slice(payload);
    stream.write_all(&bytes)?;
    answer(stream, began)
}

/// Reads the proxy's two answers.
///
/// # Errors
/// As [`connect`].
pub fn answer(mut stream: TcpStream, began: Instant) -> Result<Answer> {
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    if head[..3] != [5, 0, 5] || head[5] != 1 {
        return Err(Error::new(ErrorKind::InvalidData, format!("no SOCKS5 reply: {head:?}")));
    }
    let ip = Ipv4Addr::new(head[6], head[7], head[8], head[9]);
    let bound = SocketAddr::new(ip.into(), u16::from_be_bytes([head[10], head[11]]));
    Ok(Answer { code: head[3], bound, stream, took: began.elapsed() })
}

/// A few bytes there and back through the proxy, to an echo.
///
/// # Panics
/// When they do not come back.
pub fn visit(proxy: SocketAddr, echo: impl Into<To>) {
    let mut stream = connect(proxy, echo).expect("the proxy answers").open();
    stream.write_all(b"ping").expect("the tunnel is open");
    stream.shutdown(Shutdown::Write).expect("the tunnel is open");
    assert_eq!(all(&mut stream).expect("an orderly end"), b"ping");
}

/// Reads until the other side's end.
///
/// # Errors
/// What the system says; a deadline too.
pub fn all(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads exactly `len` bytes.
///
/// # Errors
/// What the system says; a deadline too.
pub fn exactly(stream: &mut TcpStream, len: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Closes so that the other side sees a reset.
///
/// # Panics
/// When the system does not let us.
pub fn reset(stream: TcpStream) {
    set_socket_linger(&stream, Some(Duration::ZERO)).expect("a socket option");
}

/// Bounds what the kernel keeps for this socket. Less than two of loopback's 64 KiB segments would
/// make Linux probe every 200 ms instead of sending.
///
/// # Errors
/// What the system says.
pub fn narrow(stream: &TcpStream, bytes: usize) -> Result<()> {
    set_socket_recv_buffer_size(stream, bytes)?;
    Ok(set_socket_send_buffer_size(stream, bytes)?)
}

/// Whether a read failed because its deadline passed.
pub fn is_deadline(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Bytes that show their position.
pub fn pattern(len: usize, salt: u8) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8 ^ (i / 251) as u8 ^ salt).collect()
}
