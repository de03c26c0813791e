//! A connection, or a datagram, with a foreign source: what no look at rules can replace.

use super::report::Report;
use crate::unwrap::target::{Protocol, Target};
use socket2::{Domain, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Nothing within this host takes so long.
const PATIENCE: Duration = Duration::from_secs(2);
/// Of a range of ports no more are tried.
const MOST: usize = 4;

/// Whether a socket can have the address of `client`.
pub(super) fn can_lend(client: IpAddr, report: &mut Report) -> bool {
    let what = format!("transparent socket as {client}");
    match lent(client, Type::DGRAM) {
        Ok(_) => {
            report.ok(what, "can be made");
            true
        }
        Err(error) => {
            report.fail(
                what,
                format_args!("cannot be made: {error}; it needs CAP_NET_RAW. No connection is tried"),
            );
            false
        }
    }
}

fn lent(client: IpAddr, kind: Type) -> io::Result<Socket> {
    let socket = match client {
        IpAddr::V4(_) => {
            let socket = Socket::new(Domain::IPV4, kind, None)?;
            socket.set_ip_transparent_v4(true)?;
            socket
        }
        IpAddr::V6(_) => {
            let socket = Socket::new(Domain::IPV6, kind, None)?;
            socket.set_ip_transparent_v6(true)?;
            socket
        }
    };
    socket.bind(&SocketAddr::new(client, 0).into())?;
    Ok(socket)
}

/// Tries the ports that have a server; where none has, the first.
pub(super) fn run(
    target: Target,
    protocol: Protocol,
    mark: Option<u32>,
    client: IpAddr,
    servers: &[SocketAddr],
    report: &mut Report,
) {
    let served: Vec<u16> = servers.iter().map(SocketAddr::port).take(MOST).collect();
    let ports = if served.is_empty() { vec![target.ports.first] } else { served };
    for port in ports {
        let to = SocketAddr::new(target.ip, port);
        let what = format!("{protocol} {to} as {client}");
        match protocol {
            Protocol::Tcp => connect(what, to, mark, client, report),
            Protocol::Udp => send(what, to, client, report),
        }
    }
}

fn connect(what: String, to: SocketAddr, mark: Option<u32>, client: IpAddr, report: &mut Report) {
    let connected = lent(client, Type::STREAM).and_then(|socket| {
        mark.map_or(Ok(()), |mark| socket.set_mark(mark))?;
        socket.connect_timeout(&to.into(), PATIENCE)
    });
    match connected {
        Ok(()) => report.ok(what, "connected"),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            report.warn(what, "refused: the answer came back, so the routes work, but nobody listens");
        }
        Err(error) if error.kind() == io::ErrorKind::TimedOut => report.fail(
            what,
            format_args!(
                "no answer within {} s: it does not come back; look at the routes above, at rules before ours \
                 (ip rule), at a firewall (nft list ruleset)",
                PATIENCE.as_secs()
            ),
        ),
        Err(error) => report.fail(what, format_args!("cannot connect: {error}")),
    }
}

fn send(what: String, to: SocketAddr, client: IpAddr, report: &mut Report) {
    let answered = lent(client, Type::DGRAM).and_then(|socket| {
        socket.connect(&to.into())?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.send(&[0])?;
        io::Read::read(&mut &socket, &mut [0; 1])
    });
    match answered {
        Ok(_) => report.ok(what, "a datagram was answered"),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            report.warn(what, "refused: the answer came back, so the routes work, but nobody listens");
        }
        // A blocking socket whose time is up says WouldBlock.
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => report.warn(
            what,
            format_args!(
                "a datagram of one byte had no answer within {} s: not every server answers such, so this \
                 tells nothing",
                PATIENCE.as_secs()
            ),
        ),
        Err(error) => report.fail(what, format_args!("cannot send: {error}")),
    }
}
