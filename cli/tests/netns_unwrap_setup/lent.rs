//! A client's address lent to a socket, as unwrap does it, and servers that answer.

use crate::host::Host;
use socket2::{Domain, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

/// Within a host an answer comes at once.
const SOON: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Tcp,
    Udp,
}

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// Starts a server at `at` that answers each client, on TCP also before it is asked, with the
/// address it sees. It ends with the test's process.
pub(crate) fn serve(host: &Host, kind: Kind, at: &str) {
    let domain = if addr(at).is_ipv6() { Domain::IPV6 } else { Domain::IPV4 };
    let socket = host.ns.run(|| {
        let kind = if kind == Kind::Tcp { Type::STREAM } else { Type::DGRAM };
        let socket = Socket::new(domain, kind, None).expect("a descriptor");
        // The other family has a server of its own on the same port.
        if domain == Domain::IPV6 {
            socket.set_only_v6(true).expect("an IPv6 socket");
        }
        socket.bind(&addr(at).into()).expect("nobody else is there");
        if kind == Type::STREAM {
            socket.listen(16).expect("bound");
        }
        socket
    });
    match kind {
        Kind::Tcp => {
            let listener = TcpListener::from(socket);
            std::thread::spawn(move || {
                while let Ok((mut stream, peer)) = listener.accept() {
                    // A client that left has no use for it.
                    let _ = stream.write_all(peer.ip().to_string().as_bytes());
                }
            });
        }
        Kind::Udp => {
            let socket = UdpSocket::from(socket);
            std::thread::spawn(move || {
                while let Ok((_, peer)) = socket.recv_from(&mut [0; 16]) {
                    // Without a route it cannot.
                    let _ = socket.send_to(peer.ip().to_string().as_bytes(), peer);
                }
            });
        }
    }
}

/// Asks the server as `client`; gives the answer.
pub(crate) fn ask(
    host: &Host,
    kind: Kind,
    server: &str,
    client: &str,
    mark: Option<u32>,
) -> io::Result<String> {
    let (server, client) = (addr(server), SocketAddr::new(client.parse().expect("an address"), 0));
    let domain = if server.is_ipv6() { Domain::IPV6 } else { Domain::IPV4 };
    host.ns.run(|| {
        let socket = Socket::new(domain, if kind == Kind::Tcp { Type::STREAM } else { Type::DGRAM }, None)?;
        if server.is_ipv6() {
            socket.set_ip_transparent_v6(true)?;
        } else {
            socket.set_ip_transparent_v4(true)?;
        }
        mark.map_or(Ok(()), |mark| socket.set_mark(mark))?;
        socket.bind(&client.into())?;
        socket.connect_timeout(&server.into(), SOON)?;
        socket.set_read_timeout(Some(SOON))?;
        socket.send(b"?").or_else(|error| if kind == Kind::Tcp { Ok(0) } else { Err(error) })?;
        let mut answer = [0; 64];
        let length = (&socket).read(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
    })
}
