//! A connection, or a datagram, with a foreign source: what no look at rules can replace.

use crate::doctor::report::Report;
use crate::unwrap::routes::place::{Place, Placed};
use crate::unwrap::target::Protocol;
use socket2::{Domain, Socket, Type};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

/// A probe within this host never takes this long.
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
    placed: &Placed,
    protocol: Protocol,
    mark: Option<u32>,
    client: IpAddr,
    servers: &[SocketAddr],
    report: &mut Report,
) {
    let target = placed.target;
    let served: Vec<u16> = servers.iter().map(SocketAddr::port).take(MOST).collect();
    let ports = if served.is_empty() { vec![target.ports.first] } else { served };
    for port in ports {
        let to = SocketAddr::new(target.ip, port);
        let what = format!("{protocol} {to} as {client}");
        match protocol {
            Protocol::Tcp => connect(what, to, mark, client, &placed.place, report),
            Protocol::Udp => send(what, to, client, &placed.place, report),
        }
    }
}

/// Connects as `client`, and is done.
pub(in crate::unwrap) fn reach(to: SocketAddr, mark: Option<u32>, client: IpAddr) -> io::Result<()> {
    let socket = lent(client, Type::STREAM)?;
    mark.map_or(Ok(()), |mark| socket.set_mark(mark))?;
    socket.connect_timeout(&to.into(), PATIENCE)
}

/// Whether a server answers this host itself.
pub(in crate::unwrap) fn is_there(to: SocketAddr) -> io::Result<()> {
    match TcpStream::connect_timeout(&to, PATIENCE) {
        Err(error) if error.kind() != ErrorKind::ConnectionRefused => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// An answer that no server listens.
fn refused(what: String, place: &Place, report: &mut Report) {
    let why = "refused: the answer came back, so the routes work, but nobody listens";
    match place {
        // It was reported already.
        Place::Here => report.warn(what, why),
        Place::Behind(_) => report.fail(what, why),
    }
}

fn connect(
    what: String,
    to: SocketAddr,
    mark: Option<u32>,
    client: IpAddr,
    place: &Place,
    report: &mut Report,
) {
    match reach(to, mark, client) {
        Ok(()) => report.ok(what, "connected"),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => refused(what, place, report),
        Err(error) if error.kind() == ErrorKind::TimedOut => {
            let more = match place {
                Place::Here => "",
                Place::Behind(_) => ", at the server's default gateway, which must be this host",
            };
            report.fail(
                what,
                format_args!(
                    "no answer within {} s: it does not come back; look at the routes above, at rules \
                     before ours (ip rule), at a firewall (nft list ruleset){more}",
                    PATIENCE.as_secs()
                ),
            );
        }
        Err(error) => report.fail(what, format_args!("cannot connect: {error}")),
    }
}

fn send(what: String, to: SocketAddr, client: IpAddr, place: &Place, report: &mut Report) {
    let answered = lent(client, Type::DGRAM).and_then(|socket| {
        socket.connect(&to.into())?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.send(&[0])?;
        io::Read::read(&mut &socket, &mut [0; 1])
    });
    match answered {
        Ok(_) => report.ok(what, "a datagram was answered"),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => refused(what, place, report),
        // A blocking socket whose timeout has passed says WouldBlock.
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => report.warn(
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
