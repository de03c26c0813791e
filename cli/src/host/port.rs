//! Which process holds a TCP port, for the message that it is in use.

use std::io::ErrorKind;
use std::net::SocketAddr;

/// The sentence about a listener that is not available, with the switch that chose it.
pub(crate) fn cannot_listen(address: SocketAddr, error: &std::io::Error, switch: &str) -> String {
    if error.kind() == ErrorKind::AddrInUse {
        let who = who_listens(address).unwrap_or_else(|| "another program".into());
        return format!(
            "cannot listen on {address}: {who} listens there already; choose another with {switch}"
        );
    }
    format!("cannot listen on {address} ({switch}): {error}")
}

/// The process that listens at `addr`, or at the wildcard in its way: `pid 123 (nginx)`, or, when
/// the process is not ours to see, `a process of user id 33`. `None` where the system does not
/// tell.
pub(crate) fn who_listens(addr: SocketAddr) -> Option<String> {
    #[cfg(target_os = "linux")]
    return proc::who_listens(addr);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = addr;
        None
    }
}

/// The addresses that TCP servers listen at, or (`udp`) that UDP sockets without a peer are bound
/// to, in this network namespace.
#[cfg(target_os = "linux")]
pub(crate) fn served(udp: bool) -> Vec<SocketAddr> {
    proc::served(udp)
}

#[cfg(target_os = "linux")]
mod proc {
    use std::fs;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
    use std::path::Path;

    /// TCP_LISTEN in include/net/tcp_states.h, as /proc/net/tcp shows it.
    const LISTEN: &str = "0A";

    /// TCP_CLOSE, the state of a UDP socket without a peer.
    const UNCONNECTED: &str = "07";

    /// A listening socket in /proc/net/tcp or tcp6.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(super) struct Listener {
        pub(super) addr: SocketAddr,
        pub(super) user: u32,
        pub(super) inode: u64,
    }

    pub(super) fn who_listens(addr: SocketAddr) -> Option<String> {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let tables = [read("/proc/self/net/tcp"), read("/proc/self/net/tcp6")];
        let listeners: Vec<Listener> =
            tables.iter().flat_map(|table| table.lines().filter_map(listener)).collect();
        let holder = in_the_way(addr, &listeners)?;
        let process = holder_of(holder.inode);
        Some(process.unwrap_or_else(|| format!("a process of user id {}", holder.user)))
    }

    /// Of the listeners that keep `addr` from being bound, the one that says it best.
    pub(super) fn in_the_way(addr: SocketAddr, listeners: &[Listener]) -> Option<Listener> {
        let wildcard = |ip: IpAddr| ip.is_unspecified();
        let clashes = |listener: &&Listener| {
            let (held, wanted) = (listener.addr.ip().to_canonical(), addr.ip().to_canonical());
            let same_family = held.is_ipv4() == wanted.is_ipv4();
            // `::` takes the IPv4 port too, unless the socket is IPv6 only; the other way round
            // likewise.
            let by_wildcard = if same_family {
                wildcard(held) || wildcard(wanted)
            } else {
                (held.is_ipv6() && wildcard(held)) || (wanted.is_ipv6() && wildcard(wanted))
            };
            listener.addr.port() == addr.port() && (held == wanted || by_wildcard)
        };
        let nearness = |listener: &&Listener| {
            let held = listener.addr.ip().to_canonical();
            (held == addr.ip().to_canonical(), held.is_ipv4() == addr.ip().is_ipv4())
        };
        listeners.iter().filter(clashes).max_by_key(nearness).copied()
    }

    /// A line of /proc/net/tcp: `sl local remote st queues timer retransmits uid timeout inode
    /// ...`.
    pub(super) fn listener(line: &str) -> Option<Listener> {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        if *fields.get(3)? != LISTEN {
            return None;
        }
        let addr = socket_addr(fields.get(1)?)?;
        Some(Listener { addr, user: fields.get(7)?.parse().ok()?, inode: fields.get(9)?.parse().ok()? })
    }

    /// `0100007F:1F90`: the address in words of 32 bits as they lie in memory, the port as a
    /// number.
    fn socket_addr(text: &str) -> Option<SocketAddr> {
        let (ip, port) = text.split_once(':')?;
        let word = |at: usize| u32::from_str_radix(ip.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
        let ip = match ip.len() {
            8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
            32 => {
                let mut bytes = [0; 16];
                for (n, four) in bytes.chunks_exact_mut(4).enumerate() {
                    four.copy_from_slice(&word(n * 8)?);
                }
                IpAddr::V6(Ipv6Addr::from(bytes))
            }
            _ => return None,
        };
        Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
    }

    pub(super) fn served(udp: bool) -> Vec<SocketAddr> {
        let (files, state) = if udp { (["udp", "udp6"], UNCONNECTED) } else { (["tcp", "tcp6"], LISTEN) };
        let tables =
            files.map(|file| fs::read_to_string(format!("/proc/self/net/{file}")).unwrap_or_default());
        let bound = |line: &str| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let addr = socket_addr(fields.next()?)?;
            (fields.nth(1)? == state).then_some(addr)
        };
        tables.iter().flat_map(|table| table.lines().filter_map(bound)).collect()
    }

    /// The process that has the socket `inode` open, among those we may look into.
    fn holder_of(inode: u64) -> Option<String> {
        let wanted = format!("socket:[{inode}]");
        for entry in fs::read_dir("/proc").ok()?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let Ok(descriptors) = fs::read_dir(entry.path().join("fd")) else {
                continue;
            };
            let is_it = |fd: &Path| fs::read_link(fd).is_ok_and(|link| link.as_os_str() == wanted.as_str());
            if descriptors.flatten().any(|fd| is_it(&fd.path())) {
                let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
                return Some(format!("pid {pid} ({})", name.trim_end()));
            }
        }
        None
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::proc::{in_the_way, listener};
    use super::{cannot_listen, served, who_listens};
    use std::net::SocketAddr;

    fn addr(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn lines_of_proc_net_tcp_are_understood() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000    \
                    33        0 4711 1 0";
        let found = listener(line).expect("a listener");
        assert_eq!((found.addr, found.user, found.inode), (addr("127.0.0.1:8080"), 33, 4711));
        let v6 = "0: 00000000000000000000000001000000:1F90 0:0 0A 0:0 0:0 0 0 0 12";
        assert_eq!(listener(v6).map(|found| found.addr), Some(addr("[::1]:8080")));
        assert_eq!(listener(&line.replace(" 0A ", " 01 ")), None);
        assert_eq!(
            listener("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt"),
            None
        );
        for end in 0..line.len() {
            let _ = listener(&line[..end]);
        }
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn a_wildcard_is_in_the_way_of_each_address_and_the_exact_one_is_named_first() {
        let at = |hex: &str, inode: u64| {
            listener(&format!("0: {hex} 0:0 0A 0:0 0:0 0 0 0 {inode}")).expect("a listener")
        };
        let any = at("00000000:1F90", 1);
        let exact = at("0100007F:1F90", 2);
        let any6 = at("00000000000000000000000000000000:1F90", 3);
        let inode = |wanted, of: &[_]| in_the_way(addr(wanted), of).map(|found| found.inode);
        assert_eq!(inode("127.0.0.1:8080", &[any, exact, any6]), Some(2));
        assert_eq!(inode("10.0.0.1:8080", &[any, exact]), Some(1));
        assert_eq!(inode("10.0.0.1:8080", &[any6]), Some(3));
        assert_eq!(inode("0.0.0.0:8080", &[exact]), Some(2));
        assert_eq!(inode("[::1]:8080", &[any, exact]), None);
        assert_eq!(inode("127.0.0.1:8081", &[any, exact, any6]), None);
    }

    #[test]
    fn servers_of_our_own_are_seen_by_protocol() {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback");
        let addr = tcp.local_addr().expect("bound");
        assert!(served(false).contains(&addr) && !served(true).contains(&addr));
        let addr = udp.local_addr().expect("bound");
        assert!(served(true).contains(&addr));
    }

    #[test]
    fn a_listener_of_our_own_is_found_with_pid_and_name() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
        let held = listener.local_addr().expect("bound");
        let who = who_listens(held).expect("our own is readable");
        assert!(who.starts_with(&format!("pid {} (", std::process::id())), "{who}");
        drop(listener);
        assert_eq!(who_listens(held), None);
    }

    #[test]
    fn an_address_that_is_taken_is_told_with_its_holder_and_any_other_error_as_it_is() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
        let held = listener.local_addr().expect("bound");
        let taken = std::io::Error::from(std::io::ErrorKind::AddrInUse);
        let told = cannot_listen(held, &taken, "--listen");
        let pid = std::process::id();
        assert!(told.starts_with(&format!("cannot listen on {held}: pid {pid} (")), "{told}");
        assert!(told.ends_with("listens there already; choose another with --listen"), "{told}");
        drop(listener);
        let told = cannot_listen(held, &taken, "--listen");
        assert!(told.contains(": another program listens there"), "{told}");
        let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let told = cannot_listen(held, &denied, "--listen");
        assert_eq!(told, format!("cannot listen on {held} (--listen): {denied}"));
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn a_socket_that_is_in_the_way_of_both_families_is_one_and_the_nearer_is_named() {
        let at = |hex: &str, inode: u64| {
            listener(&format!("0: {hex} 0:0 0A 0:0 0:0 0 0 0 {inode}")).expect("a listener")
        };
        let any = at("00000000:1F90", 1);
        let any6 = at("00000000000000000000000000000000:1F90", 3);
        let exact6 = at("00000000000000000000000001000000:1F90", 4);
        // 127.0.0.1 as IPv6 has it.
        let mapped = at("0000000000000000FFFF00000100007F:1F90", 5);
        let inode = |wanted, of: &[_]| in_the_way(addr(wanted), of).map(|found| found.inode);
        assert_eq!(inode("[::]:8080", &[any]), Some(1), "it wants the port of IPv4, too");
        assert_eq!(inode("[::]:8080", &[exact6]), Some(4));
        assert_eq!(inode("0.0.0.0:8080", &[exact6]), None);
        assert_eq!(inode("0.0.0.0:8080", &[any6]), Some(3));
        assert_eq!(inode("[::1]:8080", &[any6, exact6]), Some(4));
        assert_eq!(inode("127.0.0.1:8080", &[mapped, any]), Some(5));
        assert_eq!(inode("10.0.0.1:8080", &[any6, any]), Some(1), "the nearer family");
        assert_eq!(inode("10.0.0.1:8080", &[mapped]), None);
    }

    #[test]
    fn a_udp_socket_with_a_peer_serves_nobody() {
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback");
        udp.connect("127.0.0.1:9").expect("a peer");
        assert!(!served(true).contains(&udp.local_addr().expect("bound")));
    }
}
