//! Which peers are trusted, which clients a header may name, and where it may lead.

mod util;

use ropewalk_core::machine::event::Refusal;
use ropewalk_core::machine::{Close, Input, Layer, LocalPath};
use ropewalk_core::unwrap::emit::{self, Tlv, Transport, kind};
use ropewalk_core::unwrap::{
    Config, DatagramListener, Destinations, Listener, PortConflict, Target, UdpHeader,
};
use std::net::SocketAddr;
use util::manual::{BALANCER, LISTEN, ManualDriver, SERVER_V4, SERVER_V6, prefixes, tcp, udp};
use util::{addr, secs};

const CLIENT: &str = "192.0.2.1:5000";

fn v2(client: &str, to: &str) -> Vec<u8> {
    emit::v2(addr(client), addr(to), Transport::Stream, &[], false)
}

/// A header of a client that wanted to reach our listener; its own end is of the client's family.
fn named(client: &str) -> Vec<u8> {
    v2(client, if addr(client).is_ipv4() { LISTEN } else { "[2001:db8::ffff]:443" })
}

fn listener(change: impl FnOnce(&mut Listener)) -> Config {
    let mut config = tcp();
    change(&mut config.listeners[0]);
    config
}

// ---- which peers may send headers ----

#[test]
fn a_peer_outside_the_allowed_subnets_is_reset_before_a_byte_is_read() {
    for peer in ["192.0.2.9:7000", "11.0.0.1:7000", "[2001:db8::9]:7000", "[::ffff:192.0.2.9]:7000"] {
        let mut driver = ManualDriver::new(tcp());
        let stream = driver.accept(peer);
        assert_eq!(driver.how_closed(stream), Some(Close::Reset), "{peer}");
        assert_eq!(driver.refusals(), [Refusal::PeerNotAllowed]);
        assert!(!driver.wants_read(stream));
        // A late input of the driver, which may give none, changes nothing.
        driver.machine.inner_mut().ended = true;
        driver.input(Input::Read { stream, len: 1 });
        driver.input(Input::ReadClosed { stream });
        assert_eq!((driver.closed.len(), driver.connects.len()), (1, 0));
        let next = driver.arrives(BALANCER, &named(CLIENT));
        assert_eq!((driver.how_closed(next), driver.connects.len()), (None, 1));
    }
}

#[test]
fn an_ipv4_peer_of_a_dual_stack_socket_is_the_ipv4_peer() {
    let mut driver = ManualDriver::new(tcp());
    driver.arrives("[::ffff:10.0.0.1]:7000", &named(CLIENT));
    assert_eq!(driver.only_connect().via.transparent, Some(addr(CLIENT)));

    let mut driver = ManualDriver::new(tcp());
    driver.arrives("[::ffff:10.0.0.1]:7000", &emit::v2_local(&[]));
    let asked = driver.only_connect();
    assert_eq!(asked.to, Target::Address(addr(SERVER_V4)));
    assert_eq!(asked.via.transparent, Some(addr("10.0.0.1:7000")), "a mapped source is EAFNOSUPPORT");
}

#[test]
fn an_empty_list_lets_nobody_in() {
    let mut driver = ManualDriver::new(listener(|listener| listener.allowed = [].into()));
    let stream = driver.accept(BALANCER);
    assert_eq!(driver.how_closed(stream), Some(Close::Reset));
}

#[test]
fn refused_peers_take_no_place_from_others() {
    let mut driver = ManualDriver::new(Config { max_connections: 1, ..tcp() });
    for _ in 0..1000 {
        driver.accept("192.0.2.9:7000");
    }
    driver.arrives(BALANCER, &named(CLIENT));
    assert_eq!(driver.connects.len(), 1);
    assert!(driver.highest_index < 4, "slots are used again: {}", driver.highest_index);
}

// ---- which clients a header may name ----

/// What a header with this client comes to.
fn verdict(config: &Config, client: &str) -> Result<SocketAddr, Refusal> {
    let mut driver = ManualDriver::new(config.clone());
    let stream = driver.arrives(BALANCER, &named(client));
    match driver.refusals()[..] {
        [] => Ok(driver.only_connect().via.transparent.expect("a client that is named is shown")),
        [why] => {
            assert_eq!((driver.how_closed(stream), driver.connects.len()), (Some(Close::Reset), 0));
            Err(why)
        }
        ref more => panic!("{more:?}"),
    }
}

const BOGUS: [&str; 21] = [
    "0.0.0.0",
    "0.1.2.3",
    "127.0.0.1",
    "127.255.0.3",
    "169.254.1.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "198.51.100.1",
    "10.0.0.200",
    "::",
    "::1",
    "::192.0.2.1",
    "::ffff:0.0.0.0",
    "::ffff:127.0.0.1",
    "::ffff:198.51.100.1",
    "::ffff:255.255.255.255",
    "fe80::1",
    "ff02::1",
    "ff0e::1",
];

#[test]
fn a_client_that_cannot_be_one_is_refused() {
    let config = tcp();
    for ip in BOGUS {
        let client = SocketAddr::new(ip.parse().expect("an address"), 5000);
        let ip = client.ip().to_canonical();
        assert_eq!(verdict(&config, &client.to_string()), Err(Refusal::BogusSource(ip)), "{client}");
    }
}

#[test]
fn a_bogus_client_that_is_allowed_by_name_passes_and_no_other() {
    for ip in BOGUS {
        let client = SocketAddr::new(ip.parse().expect("an address"), 5000);
        let ip = client.ip().to_canonical();
        let bits = if ip.is_ipv4() { 32 } else { 128 };
        let allow_source = prefixes(&[&format!("{ip}/{bits}")]);
        let config = Config { allow_source, ..tcp() };
        assert_eq!(verdict(&config, &client.to_string()), Ok(SocketAddr::new(ip, 5000)));
        assert!(matches!(verdict(&config, "127.3.3.3:1"), Err(Refusal::BogusSource(_))));
    }
}

#[test]
fn clients_at_the_edges_of_the_bogus_ranges_pass() {
    let config = tcp();
    for client in ["1.0.0.0:1", "126.255.255.255:1", "128.0.0.0:1", "169.253.255.255:1", "169.255.0.0:1"] {
        assert_eq!(verdict(&config, client), Ok(addr(client)));
    }
    for client in ["223.255.255.255:65535", "10.0.0.1:7000", "[2001:db8::1]:1", "[fec0::1]:1", "[fd00::5]:1"]
    {
        assert_eq!(verdict(&config, client), Ok(addr(client)));
    }
    assert_eq!(verdict(&config, "[::ffff:192.0.2.1]:9"), Ok(addr("192.0.2.1:9")));
}

#[test]
fn this_hosts_own_addresses_are_those_it_has_now() {
    let mut driver = ManualDriver::new(tcp());
    driver.arrives(BALANCER, &named("203.0.113.5:1"));
    assert_eq!(driver.connects.len(), 1);
    driver.input(Input::LocalAddresses { addresses: &[addr("203.0.113.5:0").ip()] });
    driver.arrives(BALANCER, &named("203.0.113.5:1"));
    assert_eq!(driver.refusals(), [Refusal::BogusSource(addr("203.0.113.5:0").ip())]);
    driver.arrives(BALANCER, &named("10.0.0.200:1"));
    assert_eq!(driver.connects.len(), 2, "an address that has gone is anybody's");
}

#[test]
fn a_family_without_a_server_is_refused() {
    let config = listener(|listener| listener.target_v6 = None);
    assert_eq!(verdict(&config, "[2001:db8::1]:1"), Err(Refusal::NoTarget { ipv6: true }));
    assert_eq!(verdict(&config, CLIENT), Ok(addr(CLIENT)));
    let config = listener(|listener| listener.target_v4 = None);
    assert_eq!(verdict(&config, "[::ffff:192.0.2.1]:1"), Err(Refusal::NoTarget { ipv6: false }));
    // A server of the other family cannot be shown this client.
    let config = listener(|listener| listener.target_v6 = Some(Target::Address(addr(SERVER_V4))));
    assert_eq!(verdict(&config, "[2001:db8::1]:1"), Err(Refusal::NoTarget { ipv6: true }));
}

// ---- where a header may lead ----

/// Networks and ports that headers may lead to.
fn to_header() -> Config {
    let open = |network: &str, ports| Destinations { network: prefixes(&[network])[0], ports };
    let list = [open("203.0.113.0/24", 80..=81), open("2001:db8::/32", 443..=443)];
    listener(|listener| listener.to_header = Some(list.into()))
}

#[test]
fn a_header_leads_to_its_own_destination_where_that_is_allowed() {
    for (client, to, good) in [
        (CLIENT, "203.0.113.7:80", true),
        (CLIENT, "203.0.113.7:81", true),
        (CLIENT, "203.0.113.7:82", false),
        (CLIENT, "203.0.113.7:79", false),
        (CLIENT, "203.0.114.7:80", false),
        (CLIENT, SERVER_V4, false),
        (CLIENT, "[::ffff:203.0.113.7]:80", true),
        ("[2001:db8::1]:5000", "[2001:db8::2]:443", true),
        ("[2001:db8::1]:5000", "[2001:db9::2]:443", false),
        ("[2001:db8::1]:5000", SERVER_V6, false),
    ] {
        let mut driver = ManualDriver::new(to_header());
        driver.arrives(BALANCER, &v2(client, to));
        let to = addr(to);
        let to = SocketAddr::new(to.ip().to_canonical(), to.port());
        if good {
            let asked = driver.only_connect();
            assert_eq!((asked.to, asked.via.transparent), (Target::Address(to), Some(addr(client))));
        } else {
            assert_eq!((driver.refusals(), driver.connects.len()), (vec![Refusal::NotAllowed(to)], 0));
        }
    }
}

#[test]
fn a_destination_of_the_other_family_is_refused() {
    let mut driver = ManualDriver::new(to_header());
    driver.arrives(BALANCER, &v2(CLIENT, "[2001:db8::2]:443"));
    assert_eq!((driver.refusals(), driver.connects.len()), (vec![Refusal::NoTarget { ipv6: false }], 0));
}

#[test]
fn a_header_that_names_nobody_goes_to_the_set_server_and_not_to_its_block() {
    let mut driver = ManualDriver::new(to_header());
    // LOCAL with an address block, as some balancers send it.
    let mut local = v2(CLIENT, "203.0.113.7:80");
    local[12] = 0x20;
    driver.arrives(BALANCER, &local);
    let asked = driver.only_connect();
    assert_eq!((asked.to, asked.via.transparent), (Target::Address(addr(SERVER_V4)), Some(addr(BALANCER))));
}

#[test]
fn a_header_cannot_lead_back_to_us() {
    let all = |port: u16| Destinations { network: prefixes(&["0.0.0.0/0"])[0], ports: port..=port };
    for (listen, to, back) in [
        (LISTEN, LISTEN, true),
        ("0.0.0.0:25577", "198.51.100.1:25577", true),
        ("0.0.0.0:25577", "127.0.0.1:25577", true),
        ("0.0.0.0:25577", "0.0.0.0:25577", true),
        ("0.0.0.0:25577", "198.51.100.1:25578", false),
        ("0.0.0.0:25577", "203.0.113.8:25577", false),
        (LISTEN, "127.0.0.1:25577", false),
    ] {
        let mut driver = ManualDriver::new(listener(|listener| {
            listener.address = addr(listen);
            listener.to_header = Some([all(25577), all(25578)].into());
        }));
        driver.arrives(BALANCER, &v2(CLIENT, to));
        let refusals = if back { vec![Refusal::Itself(addr(to))] } else { Vec::new() };
        assert_eq!(
            (driver.refusals(), driver.connects.len()),
            (refusals, usize::from(!back)),
            "{listen} {to}"
        );
    }
}

#[test]
fn a_tcp_server_on_the_port_of_a_udp_listener_is_not_ourselves() {
    let datagrams: DatagramListener = udp(UdpHeader::Each).datagram_listeners.remove(0);
    let at = DatagramListener { address: addr(SERVER_V4), ..datagrams };
    let mut driver = ManualDriver::new(Config { datagram_listeners: vec![at], ..tcp() });
    driver.arrives(BALANCER, &named(CLIENT));
    assert_eq!((driver.refusals(), driver.connects.len()), (Vec::new(), 1));
}

// ---- headers without a client ----

/// Headers without a client: the peer's own address holds.
fn nobody() -> Vec<Vec<u8>> {
    let mut untransported = v2(CLIENT, LISTEN);
    untransported[13] = 0x10;
    let unix = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x31\0\xd8"[..], &[b'/'; 216]].concat();
    let aws = [Tlv::new(0xea, b"\x01vpce-08d2bf15fac5001c9"), Tlv::new(kind::NOOP, &[0; 8])];
    let mut undefined = emit::v2_local(&[]);
    undefined[13] = 0xff;
    let all = [
        emit::v2_local(&[]),
        emit::v2_local(&aws),
        undefined,
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN \xff\xfe 1 2 3\r\n".to_vec(),
        unix,
        // Behind AF_UNSPEC stand TLVs: these bytes are none.
        b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\0".to_vec(),
        untransported,
    ];
    all.into()
}

#[test]
fn a_header_that_names_nobody_shows_the_balancer() {
    for bytes in nobody() {
        let text = bytes.escape_ascii().to_string();
        for (peer, to) in [(BALANCER, SERVER_V4), ("[fd00::7]:7000", SERVER_V6)] {
            let mut driver = ManualDriver::new(Config { mark: Some(3), ..tcp() });
            let stream = driver.arrives(peer, &[&bytes[..], b"GET /health"].concat());
            assert_eq!(driver.refusals(), [], "{text}");
            let asked = driver.only_connect();
            assert_eq!(asked.to, Target::Address(addr(to)), "{text}");
            assert_eq!((asked.via.transparent, asked.via.mark), (Some(addr(peer)), Some(3)), "{text}");
            driver.connected(asked.stream);
            assert_eq!(driver.written(asked.stream), b"GET /health");
            driver.read(asked.stream, b"fine");
            assert_eq!(driver.written(stream), b"fine");
        }
    }
}

#[test]
fn a_balancer_on_this_host_is_shown_without_a_disguise() {
    for (peer, to) in
        [("127.0.0.1:7000", SERVER_V4), ("10.0.0.200:7000", SERVER_V4), ("[::1]:7000", SERVER_V6)]
    {
        for bytes in nobody() {
            let mut driver = ManualDriver::new(tcp());
            driver.arrives(peer, &bytes);
            let asked = driver.only_connect();
            assert_eq!(asked.to, Target::Address(addr(to)));
            assert_eq!((asked.via.transparent, asked.via.source), (None, Some(addr(peer).ip())));
        }
        // It may name a client all the same.
        let mut driver = ManualDriver::new(tcp());
        driver.arrives(peer, &named(CLIENT));
        assert_eq!(driver.only_connect().via.transparent, Some(addr(CLIENT)));
    }
}

#[test]
fn a_health_check_reaches_the_server_there_is() {
    let mut driver = ManualDriver::new(listener(|listener| listener.target_v6 = None));
    driver.arrives("[fd00::7]:7000", &emit::v2_local(&[]));
    let asked = driver.only_connect();
    assert_eq!(asked.to, Target::Address(addr(SERVER_V4)));
    assert_eq!((asked.via.transparent, asked.via.source), (None, None), "the families differ");
}

#[test]
fn a_health_check_from_loopback_reaches_a_server_in_a_container() {
    for (peer, server, source) in [
        ("127.0.0.1:7000", "172.20.0.2:80", None),
        ("[::ffff:127.0.0.1]:7000", "172.20.0.2:80", None),
        // An address of this host that others can answer to.
        ("10.0.0.200:7000", "172.20.0.2:80", Some("10.0.0.200:0")),
        ("127.0.0.1:7000", "127.0.0.5:80", Some("127.0.0.1:0")),
        ("127.0.0.1:7000", "10.0.0.200:80", Some("127.0.0.1:0")),
    ] {
        let config = listener(|listener| listener.target_v4 = Some(Target::Address(addr(server))));
        let mut driver = ManualDriver::new(config);
        driver.arrives(peer, &emit::v2_local(&[]));
        let asked = driver.only_connect();
        let wanted = source.map(|source| addr(source).ip());
        assert_eq!((asked.via.transparent, asked.via.source), (None, wanted), "{peer} to {server}");
    }
}

#[test]
fn a_unix_socket_is_connected_to_and_sees_nobody() {
    let path = Target::Local(LocalPath::new(b"/run/server.sock").expect("a path"));
    let config = listener(|listener| {
        (listener.target_v4, listener.target_v6) = (Some(path.clone()), Some(path.clone()));
    });
    for bytes in [named(CLIENT), named("[2001:db8::1]:1"), emit::v2_local(&[])] {
        let mut driver =
            ManualDriver::new(Config { on_port_conflict: PortConflict::Ephemeral, ..config.clone() });
        let stream = driver.arrives(BALANCER, &[&bytes[..], b"early"].concat());
        let asked = driver.only_connect();
        assert_eq!(asked.to, path);
        driver.connected(asked.stream);
        assert_eq!(driver.written(asked.stream), b"early");
        driver.read(asked.stream, b"answer");
        assert_eq!(driver.written(stream), b"answer");
    }
    let mut driver = ManualDriver::new(config);
    driver.arrives(BALANCER, &named("127.0.0.1:1"));
    assert!(matches!(driver.refusals()[..], [Refusal::BogusSource(_)]), "logs believe it there too");
    driver.advance(secs(1));
}

#[test]
fn a_client_that_the_system_shows_as_somebody_else_is_refused() {
    // The broadcast address of a network that has come since the last look at the host's own.
    let mut driver = ManualDriver::new(tcp());
    driver.own_way = true;
    let client = driver.arrives(BALANCER, &[&named(CLIENT)[..], b"secret"].concat());
    let server = driver.only_connect().stream;
    driver.connected(server);
    assert_eq!(driver.refusals(), [Refusal::BogusSource(addr(CLIENT).ip())]);
    assert_eq!(driver.how_closed(server), Some(Close::Reset));
    assert_eq!(driver.how_closed(client), Some(Close::Reset));
}

#[test]
fn a_balancer_on_this_host_that_names_itself_is_one_that_says_local() {
    for (peer, named_ip, server) in [
        ("127.0.0.1:7000", "127.0.0.1:1", SERVER_V4),
        ("[::ffff:127.0.0.1]:7000", "127.0.0.1:1", SERVER_V4),
        ("10.0.0.200:7000", "10.0.0.200:1", SERVER_V4),
        ("[::1]:7000", "[::1]:1", SERVER_V6),
    ] {
        let mut driver = ManualDriver::new(tcp());
        driver.arrives(peer, &named(named_ip));
        let asked = driver.only_connect();
        assert_eq!((asked.to, asked.via.transparent), (Target::Address(addr(server)), None), "{peer}");
    }
    // Another of its addresses is still free.
    for (peer, named_ip) in [("127.0.0.1:7000", "127.0.0.2:1"), ("10.0.0.200:7000", "127.0.0.1:1")] {
        let mut driver = ManualDriver::new(tcp());
        driver.arrives(peer, &named(named_ip));
        assert!(matches!(driver.refusals()[..], [Refusal::BogusSource(_)]), "{peer}");
    }
}
