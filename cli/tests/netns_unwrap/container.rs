//! A server in a container: in a network namespace of its own, behind a bridge of this host.
//!
//! ```text
//!   balancer 127.0.0.1 ── LISTEN ─▶ ropewalk unwrap ── br0 172.20.0.1 ── 172.20.0.2, 172.20.0.3 (container)
//! ```

use crate::common::here;
use crate::common::ns::Ns;
use crate::common::proxy::{Launch, ROPEWALK, run};
use crate::host::{CLIENT, Host, LISTEN, Server, v2};
use socket2::{Domain, Socket, Type};
use std::io::Read;
use std::net::SocketAddr;

const CLIENT_V6: &str = "[2001:db8::7]:40000";

/// A container whose default gateway is this host, or nobody.
fn container(host: &Host, gateway: bool) -> Ns {
    let inside = Ns::new().expect("there is one already");
    // Link-local addresses, which neighbours are asked from, are there at once.
    [&host.ns, &inside].iter().for_each(|ns| ns.set("ipv6/conf/default/accept_dad", "0"));
    host.ns.ip(&format!(
        "link add br0 type bridge\n\
         addr add 172.20.0.1/16 dev br0\n\
         addr add fd20::1/64 dev br0 nodad\n\
         link add veth0 type veth peer name eth0 netns {}\n\
         link set veth0 addrgenmode none\n\
         link set veth0 master br0\n\
         link set veth0 up\n\
         link set br0 up",
        inside.name()
    ));
    inside.ip("addr add 172.20.0.2/16 dev eth0\n\
               addr add fd20::2/64 dev eth0 nodad\n\
               link set eth0 up");
    if gateway {
        inside.ip("route add default via 172.20.0.1\n-6 route add default via fd20::1");
    }
    inside
}

/// A TCP server inside.
fn serve(inside: &Ns, at: &str) -> Server {
    let at: SocketAddr = at.parse().expect("an address and a port");
    let socket = inside.run(|| {
        let domain = if at.is_ipv6() { Domain::IPV6 } else { Domain::IPV4 };
        let socket = Socket::new(domain, Type::STREAM, None).expect("a descriptor");
        socket.bind(&at.into()).expect("nobody else is there");
        socket.listen(16).expect("bound");
        socket
    });
    socket.set_read_timeout(Some(crate::common::LONG)).expect("a time above zero");
    Server(socket.into())
}

/// Runs `ropewalk` with these words; its code and all it said.
fn said(host: &Host, words: &str) -> (Option<i32>, String) {
    let words: Vec<&str> = words.split_ascii_whitespace().collect();
    let outcome = host.ns.run(|| run(&words));
    (outcome.code, outcome.stdout + &outcome.stderr)
}

#[test]
fn a_server_in_a_container_sees_its_clients_and_the_doctor_proves_it() {
    let Some(host) = Host::bare(here!()) else { return };
    let inside = container(&host, true);
    let targets = "-4 172.20.0.2:8000 -6 [fd20::2]:8000";
    let servers = [serve(&inside, "172.20.0.2:8000"), serve(&inside, "[fd20::2]:8000")];
    let (code, before) = said(&host, &format!("doctor unwrap {targets}"));
    assert!(
        code == Some(1) && before.contains("FAIL  tcp 172.20.0.2:8000 as 192.0.2.1: no answer"),
        "{before}"
    );
    host.setup(targets);
    let (code, after) = said(&host, &format!("doctor unwrap {targets}"));
    assert_eq!(code, Some(0), "{after}");
    for line in [
        "warn  172.20.0.2: is behind br0",
        "ok    routes for tcp 172.20.0.2:8000: priority 293 from 172.20.0.2 iif br0 ipproto tcp sport 8000",
        "ok    tcp 172.20.0.2:8000 as 192.0.2.1: connected",
        "ok    tcp [fd20::2]:8000 as 2001:db8::1: connected",
    ] {
        assert!(after.contains(line), "expected {line:?} in {after}");
    }
    let _unwrap = host.unwrap(&format!("-l {LISTEN} {targets} --allow-from 127.0.0.0/8"));
    // The doctor's own connections and those of setup come first.
    for (server, client) in servers.iter().zip([CLIENT, CLIENT_V6]) {
        let mut balancer = host.send(&[&v2(client)[..], b"hello"].concat());
        let (mut stream, peer) = loop {
            let (stream, peer) = server.0.accept().expect("within a while");
            if peer.ip().to_string() != "192.0.2.1" && peer.ip().to_string() != "2001:db8::1" {
                break (stream, peer);
            }
        };
        assert_eq!(peer.to_string(), client);
        let mut hello = [0; 5];
        stream.read_exact(&mut hello).expect("what the client sent");
        std::io::Write::write_all(&mut stream, b"there").expect("there is room");
        balancer.read_exact(&mut hello).expect("the answer comes back");
        assert_eq!(&hello, b"there");
    }
    // A health check from loopback, from which nothing leaves for a container.
    let mut balancer = host.send(b"PROXY UNKNOWN\r\nalive");
    let (mut stream, peer) = servers[0].0.accept().expect("within a while");
    assert_eq!(peer.ip().to_string(), "172.20.0.1");
    stream.read_exact(&mut [0; 5]).expect("what it asks");
    std::io::Write::write_all(&mut stream, b"yes").expect("there is room");
    balancer.read_exact(&mut [0; 3]).expect("the answer comes back");
}

#[test]
fn setup_refuses_in_words_what_cannot_work_and_leaves_nothing() {
    let Some(host) = Host::bare(here!()) else { return };
    let inside = container(&host, false);
    let _server = serve(&inside, "172.20.0.2:8000");
    host.ns.ip("route add 198.51.100.0/24 via 172.20.0.9");
    let rules = || host.ns.run(|| std::process::Command::new("ip").arg("rule").output().expect("ip").stdout);
    let before = rules();
    let state = host.dir().join("state");
    for (switches, words) in [
        (
            "-4 172.20.0.2:8000",
            &["172.20.0.2:8000", "br0", "default gateway is this host", "as it was again"][..],
        ),
        ("-4 172.20.0.2:8000 --mark 5", &["172.20.0.2:8000 is behind br0", "leave --mark out"]),
        ("-4 198.51.100.1:80", &["198.51.100.1 is another host's, behind a gateway"]),
        ("-4 203.0.113.1:80", &["no route leads to 203.0.113.1", "unreachable"]),
        ("-4 nobody.invalid:80", &["-4 nobody.invalid:80", "the name is not found"]),
    ] {
        let (code, said) = said(&host, &format!("unwrap setup {switches} --state-dir {}", state.display()));
        assert_eq!(code, Some(1), "{switches}: {said}");
        words.iter().for_each(|word| assert!(said.contains(word), "{switches}: expected {word:?} in {said}"));
        assert_eq!(rules(), before, "{switches}");
    }
    // Where nobody is at the address yet, only a connection can tell: later.
    let (code, said) = said(&host, &format!("unwrap setup -4 172.20.0.9:1 --state-dir {}", state.display()));
    assert!(code == Some(0) && said.contains("is not proven"), "{said}");
}

#[test]
fn a_server_known_by_name_is_found_again_where_it_has_gone() {
    let Some(host) = Host::bare(here!()) else { return };
    let inside = container(&host, true);
    let hosts = host.file("hosts", "172.20.0.2 mtg\n");
    // A name whose address changes: /etc/hosts is read at each look-up.
    let by =
        ["unshare", "--mount", "sh", "-c", &format!("mount --bind {hosts} /etc/hosts && exec \"$0\" \"$@\"")];
    let setup = ["unwrap", "setup", "-4", "mtg:45330", "--state-dir"];
    let state = host.dir().join("state");
    let first = serve(&inside, "172.20.0.2:45330");
    let set_up = || {
        let mut command = std::process::Command::new(by[0]);
        command.args(&by[1..]).arg(ROPEWALK).args(setup).arg(&state);
        let output = host.ns.run(|| command.output()).expect("unshare of util-linux");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    set_up();
    let args = ["--listen", LISTEN, "-4", "mtg:45330", "--allow-from", "127.0.0.0/8"];
    let unwrap = host.start(Launch::unwrap_by(&by, None, &args));
    let seen = |server: &Server, client: &str| loop {
        let (_, peer) = server.0.accept().expect("within a while");
        if peer.ip().to_string() != "192.0.2.1" {
            return assert_eq!(peer.to_string(), client);
        }
    };
    let _one = host.send(&v2("192.0.2.7:1001"));
    seen(&first, "192.0.2.7:1001");
    // The container is made anew, at another address.
    drop(first);
    inside.ip("addr del 172.20.0.2/16 dev eth0\naddr add 172.20.0.3/16 dev eth0\n\
               route replace default via 172.20.0.1");
    std::fs::write(&hosts, "172.20.0.3 mtg\n").expect("our own");
    let second = serve(&inside, "172.20.0.3:45330");
    set_up();
    let _two = host.send(&v2("192.0.2.7:1002"));
    seen(&second, "192.0.2.7:1002");
    unwrap.wait_for("mtg was not reached at 172.20.0.2:45330: it is at 172.20.0.3:45330 now");
    let _three = host.send(&v2("192.0.2.7:1003"));
    seen(&second, "192.0.2.7:1003");
    assert_eq!(unwrap.count_lines("was not reached"), 1);
}
