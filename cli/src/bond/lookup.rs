//! The server's name, asked of name servers by the links, past the bond.
//!
//! ```text
//!   link ─▶ its name servers, resolv.conf's ─▶ a socket each: bound to the link, with the bond's mark
//!                                                   │ A, AAAA
//!                                                   ▼
//!                                        all addresses that anybody tells
//! ```
//!
//! Names of this host may go into the bond, and behind the kill switch they do: while the bond is
//! down the system has no answer then. These questions leave as the bond's own packets do, and ask
//! for nothing but the server's name.

use super::state;
use crate::host::links::Link;
use crate::host::{name_servers, prefix};
use ropewalk_core::dispatch::message::{self, Answer, Kind};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// How often a question is sent, and how long its answer is waited for.
const TRIES: u32 = 2;
const PATIENCE: Duration = Duration::from_secs(2);
/// Name servers of a link that are asked, at most: as many as resolv.conf(5) has.
const SERVERS: usize = 3;
/// Room for an answer: more than the 512 bytes that come unasked (RFC 1035 section 4.2.1).
const LONGEST: usize = 1232;

/// A question that is under way.
struct Question {
    socket: UdpSocket,
    kind: Kind,
    id: u16,
    bytes: Vec<u8>,
}

/// Who can be asked by a link: the name servers that the host knows for it, and those of
/// resolv.conf. A private address means another host in each network, so it is asked in its own.
fn servers(link: &Link, known: Vec<SocketAddr>, resolv_conf: &[IpAddr]) -> Vec<SocketAddr> {
    let networks = link.networks();
    let is_private = |ip: &IpAddr| match ip {
        IpAddr::V4(v4) => v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unique_local(),
    };
    let is_here = |ip: &IpAddr| networks.iter().any(|network| prefix::contains(*network, *ip));
    let mut all = known;
    for ip in resolv_conf {
        // Of a link-local one it is not known whose it is.
        let other = ip.to_canonical().is_loopback() || ip.is_unspecified() || prefix::is_link_local(*ip);
        let server = SocketAddr::new(*ip, name_servers::PORT);
        if !other && (!is_private(ip) || is_here(ip)) && !all.contains(&server) {
            all.push(server);
        }
    }
    let has = |server: &SocketAddr| link.addresses.iter().any(|one| one.ip.is_ipv4() == server.is_ipv4());
    all.retain(has);
    all.truncate(SERVERS);
    all
}

/// The addresses that name servers tell of `name`, asked by each of these links. It may take
/// [`TRIES`] times [`PATIENCE`].
pub(super) fn addresses(name: &str, links: &[&Link], resolv_conf: &[IpAddr], mark: u32) -> Vec<IpAddr> {
    // Names of the LAN are asked in other ways (RFC 6762, search domains of resolv.conf).
    let local = name.rsplit_once('.').is_none_or(|(_, last)| last.eq_ignore_ascii_case("local"));
    if local {
        return Vec::new();
    }
    let mut open = Vec::new();
    for link in links {
        for server in servers(link, name_servers::of(link), resolv_conf) {
            match questions(name, link, server, mark) {
                Ok(both) => open.extend(both),
                Err(error) => log::debug!("{server} cannot be asked by {}: {error}", link.name),
            }
        }
    }
    let mut found: Vec<IpAddr> = Vec::new();
    for _ in 0..TRIES {
        if open.is_empty() {
            break;
        }
        open.retain(|question| question.socket.send(&question.bytes).is_ok());
        let until = Instant::now() + PATIENCE;
        open.retain(|question| {
            let answer = answer(question, name, until);
            for ip in answer.iter().flatten() {
                // Links may tell the same. Filters tell 0.0.0.0 of names that they hide.
                let hidden = ip.is_unspecified() || ip.is_loopback() || ip.is_multicast();
                if !hidden && !found.contains(ip) {
                    found.push(*ip);
                }
            }
            answer.is_none()
        });
        if !found.is_empty() {
            break;
        }
    }
    found
}

/// The questions for both families, to one server by one link.
fn questions(name: &str, link: &Link, server: SocketAddr, mark: u32) -> io::Result<Vec<Question>> {
    let [a, b, c, d, ..] = state::entropy().map_err(io::Error::other)?;
    let ids = [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])];
    let mut both = Vec::new();
    for (kind, id) in Kind::ALL.into_iter().zip(ids) {
        let Some(bytes) = message::question(id, name, kind) else { continue };
        let domain = if server.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_mark(mark)?;
        socket.bind_device(Some(link.name.as_bytes()))?;
        socket.connect(&server.into())?;
        both.push(Question { socket: socket.into(), kind, id, bytes });
    }
    Ok(both)
}

/// What comes to a question: addresses, or none if there are none. `None`: nothing yet.
fn answer(question: &Question, name: &str, until: Instant) -> Option<Vec<IpAddr>> {
    let mut bytes = [0; LONGEST];
    loop {
        // What has come is read, also where others took all the time.
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        question.socket.set_read_timeout(Some(left)).ok()?;
        let len = question.socket.recv(&mut bytes).ok()?;
        match message::read(bytes.get(..len)?, question.id, name, question.kind) {
            Answer::Stray if Instant::now() < until => {}
            Answer::Stray => return None,
            Answer::Found { addresses, .. } => return Some(addresses),
            Answer::Truncated | Answer::Failed | Answer::Nothing { .. } => return Some(Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fixtures::{eth, ip};

    #[test]
    fn a_private_name_server_is_asked_in_its_own_network_and_none_on_this_host() {
        let (lan, phone) = (eth("wlan0", &["192.168.1.7/24"]), eth("usb0", &["192.168.42.3/24"]));
        let all = ["127.0.0.53", "192.168.1.1", "9.9.9.9", "2620:fe::fe", "fe80::1"].map(ip);
        let of = |link: &Link, known: &[&str]| -> Vec<String> {
            let known = known.iter().map(|text| text.parse().expect("a literal")).collect();
            servers(link, known, &all).iter().map(|server| server.ip().to_string()).collect()
        };
        assert_eq!(of(&lan, &[]), ["192.168.1.1", "9.9.9.9"]);
        assert_eq!(of(&phone, &[]), ["9.9.9.9"], "that network's 192.168.1.1 is somebody else");
        assert_eq!(of(&phone, &["192.168.42.129:53", "9.9.9.9:53"]), ["192.168.42.129", "9.9.9.9"]);
        assert_eq!(of(&eth("usb1", &["2001:db8::7/64"]), &[]), ["2620:fe::fe"]);
    }

    #[test]
    fn names_of_the_lan_are_left_to_the_system() {
        let link = eth("lo", &["127.0.0.1/8"]);
        for name in ["server", "server.local"] {
            assert_eq!(addresses(name, &[&link], &[ip("127.0.0.1")], 0), [""; 0].map(ip));
        }
    }
}
