//! The way from the client to the server: straight, through a forwarded port, through a SOCKS5
//! proxy, or behind a balancer's PROXY header.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The longest a blocking connect, read or write may wait.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// RFC 1928 section 3: version 5, one method offered, "no authentication required".
pub(crate) const GREETING: [u8; 3] = [5, 1, 0];
/// RFC 1928 section 3: the proxy's choice of that method.
pub(crate) const CHOICE: [u8; 2] = [5, 0];
/// The shortest start of a reply that contains the reply's length.
pub(crate) const REPLY_HEAD: usize = 4;
/// The longest reply understood: one with an IPv6 address.
pub(crate) const REPLY_MAX: usize = 22;

/// RFC 1928 section 4: CONNECT to an IPv4 address.
pub(crate) fn request(target: SocketAddrV4) -> [u8; 10] {
    let [a, b, c, d] = target.ip().octets();
    let [high, low] = target.port().to_be_bytes();
    [5, 1, 0, 1, a, b, c, d, high, low]
}

/// Asks `proxy` for a UDP association: the connection that it lives by, and where its datagrams go.
pub(crate) fn associate(proxy: SocketAddrV4) -> io::Result<(TcpStream, SocketAddrV4)> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::V4(proxy), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut ask = request(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
    ask[1] = 3;
    stream.write_all(&[&GREETING[..], &ask].concat())?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).map_err(awaiting("an association"))?;
    let [5, 0, 5, 0, _, 1, a, b, c, d, high, low] = answer else {
        return Err(io::Error::other(format!("expected an association, got {answer:02x?}")));
    };
    Ok((stream, SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low]))))
}

/// RFC 1928 section 6: the full length of a reply, from its first four bytes; an error unless it
/// grants the request.
pub(crate) fn reply_length(head: &[u8]) -> io::Result<usize> {
    match head {
        [5, 0, _, 1, ..] => Ok(10),
        [5, 0, _, 4, ..] => Ok(REPLY_MAX),
        other => Err(io::Error::other(format!("expected a granting SOCKS5 reply, got {other:02x?}"))),
    }
}

/// Where connections of one measurement go. Connections rotate over the server's ports: a proxy
/// that dials each time from 127.0.0.1 would otherwise run out of ports to one destination while
/// old ones are in TIME-WAIT.
pub(crate) enum Route {
    /// No handshake: the server's own ports, or the port of a forwarder.
    Plain(Vec<SocketAddrV4>),
    /// A SOCKS5 proxy, asked for one of the server's ports.
    Socks {
        /// Where the proxy listens.
        proxy: SocketAddrV4,
        /// The server's ports.
        targets: Vec<SocketAddrV4>,
    },
    /// A proxy that takes a PROXY header.
    Header {
        /// Where the proxy listens.
        proxy: SocketAddrV4,
        /// The number of this measurement's first client.
        first: usize,
    },
}

/// Clients of one measurement.
const CLIENTS: usize = 1 << 20;

/// Client number `number`: of 198.18.0.0/15, which RFC 2544 section C.2.2 keeps for benchmarks. The
/// two counts have no common factor, so that billions pass before one comes again: none meets
/// itself in TIME-WAIT.
pub(crate) fn client(number: usize) -> SocketAddrV4 {
    let address = u32::from(Ipv4Addr::new(198, 18, 0, 1)) + u32::try_from(number % 131_041).unwrap_or(0);
    SocketAddrV4::new(address.into(), u16::try_from(1500 + number % 64_000).unwrap_or(1500))
}

impl Route {
    /// A way through `proxy` with clients that no earlier way had.
    pub(crate) fn header(proxy: SocketAddrV4) -> Self {
        static MEASUREMENTS: AtomicUsize = AtomicUsize::new(0);
        Self::Header { proxy, first: MEASUREMENTS.fetch_add(CLIENTS, Ordering::Relaxed) }
    }

    /// The client that the header of connection number `turn` names, if this way has a header.
    pub(crate) fn client(&self, turn: usize) -> Option<SocketAddrV4> {
        match self {
            Self::Plain(_) | Self::Socks { .. } => None,
            Self::Header { first, .. } => Some(client(first + turn)),
        }
    }

    /// What goes ahead of all else on connection number `turn`: proxy-protocol.txt section 2.1,
    /// version 1.
    pub(crate) fn preface(&self, turn: usize) -> Option<String> {
        let (client, proxy) = (self.client(turn)?, self.entry(turn));
        Some(format!("PROXY TCP4 {} {} {} {}\r\n", client.ip(), proxy.ip(), client.port(), proxy.port()))
    }

    /// The address connection number `turn` connects to.
    pub(crate) fn entry(&self, turn: usize) -> SocketAddrV4 {
        match self {
            Self::Plain(entries) => entries[turn % entries.len()],
            Self::Socks { proxy, .. } | Self::Header { proxy, .. } => *proxy,
        }
    }

    /// The SOCKS request of connection number `turn`, if this way has a handshake.
    pub(crate) fn request(&self, turn: usize) -> Option<[u8; 10]> {
        match self {
            Self::Plain(_) | Self::Header { .. } => None,
            Self::Socks { targets, .. } => Some(request(targets[turn % targets.len()])),
        }
    }

    /// Opens connection number `turn`, handshake included; blocking, with [`PATIENCE`] for each
    /// step.
    pub(crate) fn open(&self, turn: usize) -> io::Result<TcpStream> {
        let entry = self.entry(turn);
        let connected = TcpStream::connect_timeout(&SocketAddr::V4(entry), PATIENCE);
        let mut stream = connected.map_err(awaiting(&format!("a connection to {entry}")))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        if let Some(preface) = self.preface(turn) {
            stream.write_all(preface.as_bytes())?;
        }
        if let Some(request) = self.request(turn) {
            stream.write_all(&GREETING)?;
            let mut choice = [0; CHOICE.len()];
            stream.read_exact(&mut choice).map_err(awaiting("the proxy's choice of method"))?;
            if choice != CHOICE {
                return Err(io::Error::other(format!(
                    "expected method choice {CHOICE:02x?}, got {choice:02x?}"
                )));
            }
            stream.write_all(&request)?;
            let mut reply = [0; REPLY_MAX];
            let (head, rest) = reply.split_at_mut(REPLY_HEAD);
            stream.read_exact(head).map_err(awaiting("the proxy's reply"))?;
            let length = reply_length(head)?;
            stream
                .read_exact(&mut rest[..length - REPLY_HEAD])
                .map_err(awaiting("the rest of the proxy's reply"))?;
        }
        Ok(stream)
    }

    /// Opens `count` connections one after another.
    pub(crate) fn open_many(&self, count: usize) -> Result<Vec<TcpStream>, String> {
        (0..count)
            .map(|turn| {
                self.open(turn).map_err(|e| format!("opening connection {} of {count}: {e}", turn + 1))
            })
            .collect()
    }
}

/// Says what an error kept from coming; a blocking socket reports its timeout as "would block".
pub(crate) fn awaiting(what: &str) -> impl Fn(io::Error) -> io::Error {
    move |e| {
        let timed_out = matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
        let cause = if timed_out { format!("nothing for {PATIENCE:?}") } else { e.to_string() };
        io::Error::new(e.kind(), format!("awaiting {what}: {cause}"))
    }
}
