//! `ropewalk doctor unwrap`.

use crate::common::here;
use crate::host::Host;
use crate::lent::{Kind, serve};

const ALL: &str = "-4 127.0.0.1:1000 -6 [::1]:1000 -p tcp -p udp";

/// The line about `what`, which must begin with `level`.
#[track_caller]
fn expect<'a>(lines: &'a [String], level: &str, what: &str) -> &'a str {
    let line = lines.iter().find(|line| line.get(6..).is_some_and(|line| line.starts_with(what)));
    let line = line.unwrap_or_else(|| panic!("expected a line on {what}, got {lines:#?}"));
    assert!(line.starts_with(level), "expected {level}, got {line}");
    line
}

const TARGETS: [&str; 4] = ["tcp 127.0.0.1:1000", "udp 127.0.0.1:1000", "tcp [::1]:1000", "udp [::1]:1000"];

fn serve_all(host: &Host) {
    for at in ["127.0.0.1:1000", "[::1]:1000"] {
        serve(host, Kind::Tcp, at);
        serve(host, Kind::Udp, at);
    }
}

#[test]
fn with_nothing_set_up_it_says_what_to_do() {
    let Some(host) = Host::new(here!()) else { return };
    serve_all(&host);
    let (well, lines) = host.doctor(ALL);
    assert!(!well, "{lines:#?}");
    for what in ["kernel", "privileges", "loopback interface", "transparent socket as 192.0.2.1"] {
        expect(&lines, "ok", what);
    }
    for target in TARGETS {
        let line = expect(&lines, "FAIL", &format!("routes for {target}"));
        assert!(line.contains("; ropewalk unwrap setup "), "{line}");
    }
    expect(&lines, "FAIL", "tcp 127.0.0.1:1000 as 192.0.2.1: no answer");
    expect(&lines, "FAIL", "tcp [::1]:1000 as 2001:db8::1: no answer");
    expect(&lines, "warn", "udp 127.0.0.1:1000 as 192.0.2.1");
    // What it says helps.
    for target in TARGETS {
        let line = expect(&lines, "FAIL", &format!("routes for {target}"));
        let (_, switches) = line.split_once("unwrap setup ").expect("asked for above");
        host.unwrap("setup", switches);
    }
    let (well, lines) = host.doctor(ALL);
    assert!(well, "{lines:#?}");
}

#[test]
fn without_a_server_the_routes_are_told_from_the_server() {
    let Some(host) = Host::new(here!()) else { return };
    host.unwrap("setup", ALL);
    let (well, lines) = host.doctor(ALL);
    assert!(!well, "{lines:#?}");
    for target in TARGETS {
        expect(&lines, "ok", &format!("routes for {target}"));
        expect(&lines, "FAIL", &format!("server at {target}: nobody listens"));
    }
    expect(&lines, "warn", "tcp 127.0.0.1:1000 as 192.0.2.1: refused");
    expect(&lines, "warn", "tcp [::1]:1000 as 2001:db8::1: refused");
    expect(&lines, "warn", "udp [::1]:1000 as 2001:db8::1");
}

#[test]
fn with_routes_and_servers_all_is_well() {
    let Some(host) = Host::new(here!()) else { return };
    host.unwrap("setup", ALL);
    serve_all(&host);
    let (well, lines) = host.doctor(&format!("{ALL} --as 198.51.100.7"));
    assert!(well && lines.iter().all(|line| line.starts_with("ok    ")), "{lines:#?}");
    expect(&lines, "ok", "tcp 127.0.0.1:1000 as 198.51.100.7: connected");
    expect(&lines, "ok", "tcp [::1]:1000 as 2001:db8::1: connected");
    expect(&lines, "ok", "udp 127.0.0.1:1000 as 198.51.100.7: a datagram was answered");
    expect(&lines, "ok", "udp [::1]:1000 as 2001:db8::1: a datagram was answered");
}

#[test]
fn with_a_mark_the_sysctls_are_looked_at_too() {
    let Some(host) = Host::new(here!()) else { return };
    serve_all(&host);
    let line = "-4 127.0.0.1:1000 -6 [::1]:1000 --mark 5";
    host.unwrap("setup", "--mark 5");
    let (well, lines) = host.doctor(line);
    assert!(well, "{lines:#?}");
    expect(&lines, "ok", "tcp 127.0.0.1:1000 as 192.0.2.1: connected");
    host.ns.set("ipv4/tcp_fwmark_accept", "0");
    let (well, lines) = host.doctor(line);
    assert!(!well, "{lines:#?}");
    expect(&lines, "FAIL", "net.ipv4.tcp_fwmark_accept");
    expect(&lines, "FAIL", "tcp 127.0.0.1:1000 as 192.0.2.1: no answer");
    expect(&lines, "FAIL", "tcp [::1]:1000 as 2001:db8::1: no answer");
}

#[test]
fn a_udp_server_on_all_addresses_is_too_much_for_the_narrow_rule() {
    let Some(host) = Host::new(here!()) else { return };
    serve(&host, Kind::Udp, "0.0.0.0:1000");
    let line = "-4 127.0.0.1:1000 -p udp";
    host.unwrap("setup", &format!("{line} --udp-bound-server"));
    let (_, lines) = host.doctor(line);
    let told = expect(&lines, "warn", "routes for udp 127.0.0.1:1000");
    assert!(told.contains("without --udp-bound-server"), "{told}");
    host.unwrap("setup", line);
    let (well, lines) = host.doctor(line);
    assert!(well, "{lines:#?}");
    expect(&lines, "ok", "udp 127.0.0.1:1000 as 192.0.2.1: a datagram was answered");
}

#[test]
fn rules_that_somebody_else_has_made_are_good_enough() {
    let Some(host) = Host::new(here!()) else { return };
    serve(&host, Kind::Tcp, "127.0.0.1:1000");
    host.ns.ip("rule add from 127.0.0.0/8 iif lo lookup 123\nroute add local default dev lo table 123\n");
    let (well, lines) = host.doctor("-4 127.0.0.1:1000");
    assert!(well, "{lines:#?}");
    assert!(expect(&lines, "ok", "routes for tcp").contains("not by setup"), "{lines:#?}");
}

#[test]
fn an_address_of_another_host_and_a_loopback_that_is_down_are_told() {
    let Some(host) = Host::new(here!()) else { return };
    let (_, lines) = host.doctor("-4 198.51.100.1:1000");
    expect(&lines, "FAIL", "198.51.100.1: is not this host's");
    host.ns.ip("link set lo down");
    let (well, lines) = host.doctor("-4 127.0.0.1:1000");
    assert!(!well);
    expect(&lines, "FAIL", "loopback interface: lo is down");
}

#[test]
fn without_a_privilege_it_says_which() {
    let Some(host) = Host::new(here!()) else { return };
    let (code, said) = host.as_nobody("doctor unwrap -4 127.0.0.1:1000");
    let lines: Vec<String> = said.lines().map(str::to_owned).collect();
    assert_eq!(code, Some(1));
    assert!(expect(&lines, "FAIL", "privileges").contains("CAP_NET_RAW"), "{said}");
    expect(&lines, "FAIL", "transparent socket as 192.0.2.1: cannot be made: Operation not permitted");
}
