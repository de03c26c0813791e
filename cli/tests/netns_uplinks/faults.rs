//! An uplink that does not work is left; a destination that does not work hurts no uplink.

use crate::common::proxy::Proxy;
use crate::common::socks::Refused;
use crate::common::{LONG, here, wait_until};
use crate::world::{SERVER, SERVER_V6, World, in_peace, ip, ip_v6, uplink_of};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Until an attempt gets company, and how long another uplink may then take.
const STAGGER: Duration = Duration::from_millis(250);
const SPARE: Duration = Duration::from_millis(500);

#[test]
fn a_black_holed_uplink_is_passed_over_in_the_same_request_and_soon_left() {
    let Some(world) = World::new(here!(), 2) else { return };
    world.black_hole(2);
    let proxy = world.dispatch(&["up1", "up2"]);
    let mut failovers = Vec::new();
    wait_until("up2 rests", LONG, || {
        let seen = world.ask(&proxy, SERVER).expect("up1 works");
        assert_eq!(seen.source, ip(1));
        failovers.extend(Some(seen.took).filter(|took| *took >= STAGGER));
        proxy.count_lines("uplink through up2 rests") == 1
    });
    // A busy machine makes one or two of them slower, and others as slow as they are.
    let fastest = failovers.iter().min().copied().expect("a failover has its stagger");
    assert!(fastest < STAGGER + SPARE, "failovers took {failovers:?}");
    let log = proxy.stop();
    // Three silent attempts are enough, then it rests.
    let account = "up2: 0 connections, 0 attempts failed, 3 outpaced";
    assert!(log.iter().any(|line| line.contains(account)), "expected {account:?} in {log:#?}");
}

#[test]
fn a_black_holed_uplink_that_is_mended_carries_again() {
    let Some(world) = World::new(here!(), 2) else { return };
    world.black_hole(1);
    let proxy = world.dispatch(&["up1", "up2"]);
    wait_until("up1 rests", LONG, || {
        world.ask(&proxy, SERVER).expect("up2 works");
        proxy.count_lines("up1 rests") == 1
    });
    world.mend(1);
    wait_until("up1 carries", LONG, || world.ask(&proxy, SERVER).expect("up2 works").source == ip(1));
    proxy.wait_for("up1 carries again");
    let order = in_peace(|| world.ask_in_peace(&proxy, 10));
    assert_eq!(order.iter().filter(|n| **n == 1).count(), 5, "{order:?}");
}

#[test]
fn an_open_connection_survives_while_its_uplink_rests() {
    let Some(world) = World::new(here!(), 2) else { return };
    let listener = world.far(1).run(|| std::net::TcpListener::bind("203.0.113.1:7")).expect("a free port");
    let echo = crate::common::servers::Server::of(listener, |mut stream| {
        if let Ok(mut writer) = stream.try_clone() {
            let _ = std::io::copy(&mut stream, &mut writer);
        }
    });
    let proxy = world.dispatch(&["up1", "up2"]);
    let mut tunnels = [(); 2].map(|()| world.connect(&proxy, echo.address).expect("a tunnel"));
    world.black_hole(2);
    wait_until("up2 rests", LONG, || {
        world.ask(&proxy, SERVER).expect("up1 works");
        proxy.count_lines("up2 rests") == 1
    });
    world.mend(2);
    tunnels.iter_mut().for_each(crate::common::socks::round_trip);
}

#[test]
fn an_uplink_without_a_route_is_told_with_the_command_that_mends_it_and_passed_over() {
    let Some(world) = World::new(here!(), 1) else { return };
    world.plug_without_routes(2);
    let proxy = world.dispatch(&["up1", "up2"]);
    let warning = proxy.wait_for("up2 has no default route");
    let command = "ip route add default via 10.77.2.1 dev up2 metric ";
    let at = warning.find(command).unwrap_or_else(|| panic!("expected {command:?} in {warning:?}"));
    // It is known beforehand: the connect does not wait for ARP.
    world.ask_and_never_wait(&proxy, SERVER, 10, ip(1));
    let command = warning[at..].strip_prefix("ip ").expect("found above");
    world.client.ip(&format!("{command}\n"));
    let order = in_peace(|| world.ask_in_peace(&proxy, 10));
    assert_eq!(order.iter().filter(|n| **n == 2).count(), 5, "mended as told: {order:?}");
}

#[test]
fn an_ipv6_target_goes_by_the_uplink_that_has_ipv6() {
    let Some(world) = World::new(here!(), 2) else { return };
    world.client.ip("addr del fd77:2::2/64 dev up2\n-6 route flush dev up2\n");
    let proxy = world.dispatch(&["up1", "up2"]);
    world.ask_and_never_wait(&proxy, SERVER_V6, 10, ip_v6(1));
    let order = in_peace(|| world.ask_in_peace(&proxy, 10));
    assert_eq!(order.iter().filter(|n| **n == 2).count(), 5, "up2 has IPv4 all the same: {order:?}");
    assert_eq!(proxy.count_lines(" rests"), 0, "what an uplink does not have is no fault of it");
}

#[test]
fn an_uplink_written_as_an_address_is_for_its_family_alone() {
    let Some(world) = World::new(here!(), 2) else { return };
    let proxy = world.dispatch(&["10.77.1.2", "fd77:2::2"]);
    for _ in 0..5 {
        assert_eq!(world.ask(&proxy, SERVER).expect("up1 has IPv4").source, ip(1));
        assert_eq!(world.ask(&proxy, SERVER_V6).expect("up2 has IPv6").source, ip_v6(2));
    }
    let proxy = world.dispatch(&["10.77.1.2", "10.77.2.2"]);
    assert_eq!(world.ask(&proxy, SERVER_V6), Err(Refused(3)), "no uplink for IPv6 is a reply, not silence");
}

#[test]
fn a_refused_target_is_not_tried_again_and_hurts_no_uplink() {
    let Some(world) = World::new(here!(), 3) else { return };
    let proxy = world.dispatch(&["up1", "up2", "up3"]);
    let closed = SocketAddr::new(SERVER.ip(), 81);
    for _ in 0..30 {
        assert_eq!(world.connect(&proxy, closed).err(), Some(Refused(5)));
    }
    let mut order = world.ask_times(&proxy, 3);
    order.sort_unstable();
    assert_eq!(order, [1, 2, 3], "all are well");
    assert_eq!(proxy.count_lines(" rests"), 0);
    let log = proxy.stop();
    let summary = log.last().expect("the summary");
    assert!(summary.contains("30 refused, 30 attempts failed"), "one attempt each: {summary}");
    let each = log.iter().filter(|line| line.contains(": 1 connections, 10 attempts failed")).count();
    assert_eq!(each, 3, "refusals take turns too: {log:#?}");
}

#[test]
fn what_routers_say_of_a_destination_has_its_code_and_hurts_no_uplink() {
    let Some(world) = World::new(here!(), 2) else { return };
    // A router that knows: it says so.
    world.far(1).set("ipv4/ip_forward", "1");
    world.far(1).set("ipv4/icmp_ratelimit", "0");
    world.far(1).ip("route add unreachable 198.51.100.4\nroute add prohibit 198.51.100.5\n");
    let proxy = world.dispatch(&["up1", "up2"]);
    // Host unreachable; forbidden by a router (Linux says the same to whoever connects); a network
    // that the router has no route to.
    for (to, code) in [("198.51.100.4:80", 4), ("198.51.100.5:80", 4), ("192.0.2.1:80", 3)] {
        for _ in 0..4 {
            let refused = world.connect(&proxy, to.parse().expect("an address")).map(drop);
            assert_eq!(refused, Err(Refused(code)), "{to}");
        }
    }
    let mut order = in_peace(|| world.ask_in_peace(&proxy, 2));
    order.sort_unstable();
    assert_eq!((order, proxy.count_lines(" rests")), (vec![1, 2], 0));
}

#[test]
fn a_name_of_one_byte_that_nobody_knows_is_host_unreachable() {
    let Some(world) = World::new(here!(), 1) else { return };
    let proxy = world.dispatch(&["up1", "--lookup-timeout", "2"]);
    let told = world.client.run(|| {
        let mut stream = crate::common::socks::dial(proxy.address);
        let request = [5, 1, 0, 5, 1, 0, 3, 1, b'x', 0, 80];
        std::io::Write::write_all(&mut stream, &request).expect("the proxy reads");
        crate::common::socks::read_answers(&mut stream).expect("a reply, never silence")
    });
    assert_eq!(told.map(drop), Err(Refused(4)));
}

#[test]
fn where_no_uplink_has_a_route_the_reply_is_network_unreachable_at_once() {
    let Some(world) = World::new(here!(), 2) else { return };
    let proxy = world.dispatch(&["up1", "up2"]);
    world.client.ip("route del default dev up1\nroute del default dev up2\n");
    replies_at_once(&world, &proxy);
}

#[test]
fn where_all_devices_are_gone_the_reply_is_network_unreachable_at_once() {
    let Some(world) = World::new(here!(), 2) else { return };
    let proxy = world.dispatch(&["up1", "10.77.2.2"]);
    world.unplug(1);
    world.unplug(2);
    replies_at_once(&world, &proxy);
}

fn replies_at_once(world: &World, proxy: &Proxy) {
    for _ in 0..5 {
        let began = Instant::now();
        assert_eq!(world.connect(proxy, SERVER).err(), Some(Refused(3)));
        assert!(began.elapsed() < Duration::from_secs(1), "after {:?}", began.elapsed());
    }
}

#[test]
fn where_all_uplinks_are_black_holes_the_reply_is_a_time_out() {
    let Some(world) = World::new(here!(), 2) else { return };
    world.black_hole(1);
    world.black_hole(2);
    let proxy = world.dispatch(&["up1", "up2", "--connect-timeout", "2"]);
    let began = Instant::now();
    assert_eq!(world.connect(&proxy, SERVER).err(), Some(Refused(6)));
    let took = began.elapsed();
    assert!(took > Duration::from_millis(1900) && took < Duration::from_secs(4), "after {took:?}");
    world.mend(2);
    wait_until("up2 is found again", LONG, || {
        world.ask(&proxy, SERVER).is_ok_and(|s| uplink_of(s.source) == 2)
    });
}

#[test]
fn strict_filtering_is_named_by_the_list_at_the_start_and_when_the_uplink_rests() {
    let Some(world) = World::new(here!(), 2) else { return };
    for key in ["all", "up1", "up2"] {
        world.client.set(&format!("ipv4/conf/{key}/rp_filter"), "1");
    }
    let command = "sysctl -w net.ipv4.conf.up2.rp_filter=2";
    let listed = world.client.run(|| crate::common::proxy::run(&["list"]));
    let line = listed.stdout.lines().find(|line| line.starts_with("! ")).unwrap_or_default();
    assert!(line.starts_with("! up2: rp_filter=1 drops") && line.ends_with(command), "{}", listed.stdout);
    let json = world.client.run(|| crate::common::proxy::run(&["list", "--json"])).stdout;
    assert_eq!(json.matches(command).count(), 1, "{json}");
    let proxy = world.dispatch(&["up1", "up2"]);
    proxy.wait_for(command);
    wait_until("up2 rests", LONG, || {
        assert_eq!(world.ask(&proxy, SERVER).expect("up1 works").source, ip(1));
        proxy.count_lines("up2 rests") == 1
    });
    proxy.wait_for_nth(command, 2);
    assert_eq!(proxy.count_lines("up1: rp_filter"), 0);
    // The command helps.
    world.client.set("ipv4/conf/up2/rp_filter", "2");
    wait_until("up2 carries", LONG, || world.ask(&proxy, SERVER).expect("one works").source == ip(2));
    assert_eq!(world.client.run(|| crate::common::proxy::run(&["list"])).stdout.matches("\n! ").count(), 0);
}

#[test]
fn two_interfaces_in_one_network_are_named_with_what_mends_it() {
    let Some(world) = World::new(here!(), 2) else { return };
    world.client.ip("addr add 10.77.1.3/24 dev up2\n");
    let command = "sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2";
    let proxy = world.dispatch(&["up1", "up2"]);
    let line = proxy.wait_for("up1: up2 is in the same network 10.77.1.0/24");
    assert!(line.ends_with(command), "{line}");
    world.client.set("ipv4/conf/all/arp_ignore", "1");
    world.client.set("ipv4/conf/all/arp_announce", "2");
    let listed = world.client.run(|| crate::common::proxy::run(&["list"]));
    assert!(!listed.stdout.contains("arp_ignore"), "{}", listed.stdout);
}

#[test]
fn what_is_never_acknowledged_breaks_its_connection_when_it_was_said_and_the_log_says_what_it_may_be() {
    let Some(world) = World::new(here!(), 1) else { return };
    let listener = world.far(1).run(|| std::net::TcpListener::bind("203.0.113.1:7")).expect("a free port");
    let sink = crate::common::servers::Server::of(listener, |mut stream| {
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let proxy = world.dispatch(&["up1", "--user-timeout", "1"]);
    let mut tunnel = world.connect(&proxy, sink.address).expect("a tunnel");
    std::io::Write::write_all(&mut tunnel, b"acknowledged").expect("there is room");
    world.black_hole(1);
    std::io::Write::write_all(&mut tunnel, b"lost").expect("there is room");
    tunnel.set_read_timeout(Some(LONG)).expect("above zero");
    let end = std::io::Read::read(&mut tunnel, &mut [0; 1]).map_err(|error| error.kind());
    assert_eq!(end, Err(std::io::ErrorKind::ConnectionReset));
    let line = proxy.wait_for("what it sent was not acknowledged");
    assert!(line.contains("through up1") && line.contains("ip link set up1 mtu"), "{line}");
}

#[test]
fn an_mtu_black_hole_is_told_with_what_mends_it_and_small_requests_go_on() {
    if !crate::common::has(here!(), "nft") {
        return;
    }
    let Some(world) = World::new(here!(), 1) else { return };
    let listener = world.far(1).run(|| std::net::TcpListener::bind("203.0.113.1:7")).expect("a free port");
    let sink = crate::common::servers::Server::of(listener, |mut stream| {
        let count = std::io::copy(&mut stream, &mut std::io::sink()).unwrap_or(0);
        let _ = std::io::Write::write_all(&mut stream, &count.to_be_bytes());
    });
    // Each segment as it would be on a wire, and a tunnel somewhere behind uplink 1 that carries
    // 1280 bytes and says nothing of it.
    world.client.ip("link set up1 gso_max_segs 1\n");
    let rules = "add table ip narrow\n\
                 add chain ip narrow in { type filter hook prerouting priority -300; }\n\
                 add rule ip narrow in iifname far1 meta length > 1280 drop\n";
    let scratch = crate::common::Scratch::new();
    let rules = scratch.file("rules", rules.as_bytes());
    let nft = || std::process::Command::new("nft").args(["-f", &rules]).output();
    let output = world.far(1).run(nft).expect("asked for before");
    if !output.status.success() {
        return crate::common::skip(here!(), "the kernel's nf_tables");
    }
    let proxy = world.dispatch(&["up1", "--user-timeout", "2"]);
    let upload = || {
        let mut tunnel = world.connect(&proxy, sink.address).expect("connects are answered");
        tunnel.set_read_timeout(Some(LONG)).expect("above zero");
        std::io::Write::write_all(&mut tunnel, &[7; 50_000])?;
        tunnel.shutdown(std::net::Shutdown::Write)?;
        let mut count = [0; 8];
        std::io::Read::read_exact(&mut tunnel, &mut count).map(|()| u64::from_be_bytes(count))
    };
    let end = upload().map_err(|error| error.kind());
    assert!(end.is_err(), "large segments vanish, and it ended as {end:?}");
    let line = proxy.wait_for("what it sent was not acknowledged");
    assert!(line.contains("the link carries no large packets"), "{line}");
    // Plain HTTP too.
    let mut client = world.client.run(|| crate::common::socks::dial(proxy.address));
    let head = "POST http://203.0.113.1:7/ HTTP/1.1\r\nHost: 203.0.113.1:7\r\nContent-Length: 50000\r\n\r\n";
    let _ = std::io::Write::write_all(&mut client, &[head.as_bytes(), &[7; 50_000]].concat());
    proxy.wait_for_nth("what it sent was not acknowledged", 2);
    // It is no fault of connects or small requests, and no reason to rest.
    assert_eq!(world.ask_times(&proxy, 4), [1; 4]);
    assert_eq!(proxy.count_lines(" rests"), 0);
    let command = line.split_once("ip link set ").and_then(|(_, rest)| rest.split(',').next());
    world.client.ip(&format!("link set {}\n", command.expect("it names a command")));
    assert_eq!(upload().expect("mended as told"), 50_000);
}
