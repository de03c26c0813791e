//! What is not ours is not touched, and what cannot be done is done not at all.

use crate::common::here;
use crate::common::proxy::ROPEWALK;
use crate::host::Host;
use std::process::Command;

#[test]
fn an_equal_rule_of_somebody_else_is_named_and_left() {
    let Some(host) = Host::new(here!()) else { return };
    let rule = "priority 293 from 127.0.0.1 iif lo ipproto tcp sport 25578 lookup 29303";
    host.ns.ip(&format!("rule add {rule} protocol 4"));
    let before = host.dump();
    let said = host.refuses("setup", "-4 127.0.0.1:1 -4 127.0.0.1:25578");
    assert!(said.contains(rule) && said.contains("protocol 4"), "{said}");
    assert_eq!(host.dump(), before);
    host.unwrap("setup", "-4 127.0.0.1:25578 --priority 294");
    host.unwrap("teardown", "");
    assert_eq!(host.dump(), before);
}

#[test]
fn a_table_with_routes_of_somebody_else_is_left() {
    for (route, target) in [
        ("route add local default dev lo table 29303", "-4 127.0.0.1:1"),
        ("route add 10.0.0.0/8 dev lo table 29303", "-4 127.0.0.1:1"),
        ("route add blackhole default table 29303 proto 229", "--mark 5"),
        ("-6 route add local default dev lo table 29303", "-4 127.0.0.1:1 -6 [::1]:1"),
    ] {
        let Some(host) = Host::new(here!()) else { return };
        host.ns.ip(route);
        let before = host.dump();
        let said = host.refuses("setup", target);
        assert!(said.contains("table 29303 has a route that is not ours"), "{route}: {said}");
        host.unwrap("teardown", "");
        assert_eq!(host.dump(), before, "{route}");
    }
}

#[test]
fn the_route_of_a_wildcard_udp_server_is_for_one_address() {
    let Some(host) = Host::new(here!()) else { return };
    host.ns.ip("addr add 198.51.100.1/24 dev lo");
    host.unwrap("setup", "-4 127.0.0.1:1 -p udp");
    let before = host.dump();
    let said = host.refuses("setup", "-4 198.51.100.1:1 -p udp");
    assert!(
        said.contains("127.0.0.1") && said.contains("198.51.100.1") && said.contains("--table"),
        "{said}"
    );
    assert_eq!(host.dump(), before);
    // TCP has no use for the source.
    host.unwrap("setup", "-4 198.51.100.1:1");
    host.unwrap("setup", "-4 198.51.100.1:1 -p udp --table 29304");
}

#[test]
fn a_setup_that_fails_midway_takes_back_what_it_has_added() {
    let Some(host) = Host::new(here!()) else { return };
    host.unwrap("setup", "-4 127.0.0.1:1");
    host.ns.set("ipv6/conf/lo/disable_ipv6", "1");
    let before = host.dump();
    for line in ["-4 127.0.0.1:2 -6 [::1]:2 --table 9", "-4 127.0.0.1:2 -6 [::1]:2", "--mark 5 --table 9"] {
        let said = host.refuses("setup", line);
        assert!(said.contains("cannot add the route") && said.contains("src ::1"), "{said}");
        assert_eq!((host.dump(), host.remembered()), (before.clone(), None), "{line}");
    }
}

#[test]
fn a_state_that_cannot_be_written_leaves_the_sysctls_alone() {
    let Some(host) = Host::new(here!()) else { return };
    let before = host.dump();
    // A file where the directory should be, which root cannot write through either.
    let line = ["unwrap", "setup", "--mark", "5", "--state-dir", "/proc/version"];
    let outcome = host.ns.run(|| crate::common::proxy::run(&line));
    assert_eq!(outcome.code, Some(1), "{}", outcome.stdout);
    assert!(outcome.stderr.contains("/proc/version"), "{}", outcome.stderr);
    assert_eq!(host.dump(), before);
}

#[test]
fn a_sysctl_that_cannot_be_set_takes_back_those_before_it() {
    let Some(host) = Host::new(here!()) else { return };
    let before = host.dump();
    // The last of them is read-only, as in many containers.
    let file = "/proc/sys/net/ipv6/fwmark_reflect";
    let mount = format!("mount --bind {file} {file} && mount -o remount,bind,ro {file}");
    let setup = format!("{ROPEWALK} unwrap setup --mark 5 --state-dir {}", host.state_dir());
    let line = ["--mount", "sh", "-c", &format!("{mount} && {setup}")];
    let output = host.ns.run(|| Command::new("unshare").args(line).output()).expect("unshare of util-linux");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("cannot set net.ipv6.fwmark_reflect=1") && said.contains("as it was again"),
        "{said}"
    );
    assert_eq!((host.dump(), host.remembered()), (before, None));
}

#[test]
fn a_loopback_that_is_down_is_told() {
    let Some(host) = Host::new(here!()) else { return };
    host.ns.ip("link set lo down");
    let said = host.refuses("setup", "-4 127.0.0.1:1");
    assert!(said.contains("lo is down") && said.contains("ip link set lo up"), "{said}");
}

#[test]
fn without_the_privilege_it_says_which() {
    let Some(host) = Host::new(here!()) else { return };
    let before = host.dump();
    let (code, said) = host.as_nobody("unwrap setup -4 127.0.0.1:1");
    assert_eq!(code, Some(1));
    assert!(said.contains("CAP_NET_ADMIN") && said.contains("Operation not permitted"), "{said}");
    assert_eq!(host.dump(), before);
    host.unwrap("setup", "-4 127.0.0.1:1");
    let (code, said) = host.as_nobody("unwrap teardown");
    assert!(code == Some(1) && said.contains("CAP_NET_ADMIN"), "{said}");
}

#[test]
fn a_mark_is_not_for_udp() {
    let Some(host) = Host::new(here!()) else { return };
    let said = host.refuses("setup", "-4 127.0.0.1:1 --mark 5 -p udp");
    assert!(said.contains("the answers of a UDP server carry none"), "{said}");
}
