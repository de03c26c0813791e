//! The way from the client to the server: straight, through a forwarded port, or through a SOCKS5 proxy.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::time::Duration;

/// The longest a blocking connect, read or write may wait.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// RFC 1928 section 3: version 5, one method offered, "no authentication required".
pub(crate) const GREETING: [u8; 3] = [5, 1, 0];
/// RFC 1928 section 3: the proxy's choice of that method.
pub(crate) const CHOICE: [u8; 2] = [5, 0];
/// The shortest start of a reply that tells the reply's length.
pub(crate) const REPLY_HEAD: usize = 4;
/// The longest reply understood: one with an IPv6 address.
pub(crate) const REPLY_MAX: usize = 22;

/// RFC 1928 section 4: CONNECT to an IPv4 address.
pub(crate) fn request(target: SocketAddrV4) -> [u8; 10] {
    let [a, b, c, d] = target.ip().octets();
    let [high, low] = target.port().to_be_bytes();
    [5, 1, 0, 1, a, b, c, d, high, low]
}

/// RFC 1928 section 6: the full length of a reply, from its first four bytes; an error unless it grants the request.
pub(crate) fn reply_length(head: &[u8]) -> io::Result<usize> {
    match head {
        [5, 0, _, 1, ..] => Ok(10),
        [5, 0, _, 4, ..] => Ok(REPLY_MAX),
        other => Err(io::Error::other(format!("expected a granting SOCKS5 reply, got {other:02x?}"))),
    }
}

/// Where connections of one measurement go. Connections rotate over the server's ports: a proxy that dials each
/// time from 127.0.0.1 would otherwise run out of ports to one destination while old ones are in TIME-WAIT.
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
}

impl Route {
    /// The address connection number `turn` connects to.
    pub(crate) fn entry(&self, turn: usize) -> SocketAddrV4 {
        match self {
            Self::Plain(entries) => entries[turn % entries.len()],
            Self::Socks { proxy, .. } => *proxy,
        }
    }

    /// The SOCKS request of connection number `turn`, if this way has a handshake.
    pub(crate) fn request(&self, turn: usize) -> Option<[u8; 10]> {
        match self {
            Self::Plain(_) => None,
            Self::Socks { targets, .. } => Some(request(targets[turn % targets.len()])),
        }
    }

    /// Opens connection number `turn`, handshake included; blocking, with [`PATIENCE`] for each step.
    pub(crate) fn open(&self, turn: usize) -> io::Result<TcpStream> {
        let entry = self.entry(turn);
        let connected = TcpStream::connect_timeout(&SocketAddr::V4(entry), PATIENCE);
        let mut stream = connected.map_err(awaiting(&format!("a connection to {entry}")))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
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
