//! Command lines held against made-up links.

use super::*;
use crate::host::fixtures::{eth, ip, lo, of_kind, ppp, via};
use crate::host::links::{DefaultRoute, Reach};
use crate::host::uplink::parse;

fn args(texts: &[&str]) -> Vec<UplinkArg> {
    texts.iter().map(|text| parse(text).expect("well written")).collect()
}

fn one(text: &str, links: &[Link]) -> Result<UplinkSpec, String> {
    match_one(&parse(text).expect("well written"), links)
}

fn two_ways() -> Vec<Link> {
    vec![
        lo(),
        via(eth("eth0", &["10.0.0.2/24", "2001:db8::2/64", "fe80::2/64"]), "10.0.0.1"),
        via(eth("wlan0", &["10.0.1.2/24"]), "10.0.1.1"),
    ]
}

#[test]
fn an_address_binds_to_its_interface_and_itself() {
    let spec = one("10.0.1.2@3", &two_ways()).expect("resolved");
    assert_eq!((spec.label.as_str(), spec.weight, spec.device), ("10.0.1.2", 3, Device::new("wlan0")));
    assert_eq!((spec.source_v4, spec.source_v6), (Some(Ipv4Addr::new(10, 0, 1, 2)), None));
    assert_eq!(spec.on_link, vec![(ip("10.0.1.0"), 24)]);
    assert!(spec.carries(false) && !spec.carries(true));
    assert_eq!(spec.warnings, Vec::<String>::new());
}

#[test]
fn a_name_binds_to_the_interface_alone_so_that_addresses_may_change() {
    let spec = one("eth0", &two_ways()).expect("resolved");
    assert_eq!((spec.device, spec.source_v4, spec.source_v6), (Device::new("eth0"), None, None));
    assert_eq!(spec.on_link, vec![(ip("10.0.0.0"), 24), (ip("2001:db8::"), 64)]);
    assert!(spec.carries(false) && spec.carries(true) && spec.warnings.is_empty());
}

#[test]
fn an_address_on_two_interfaces_is_asked_to_name_one() {
    let links =
        [via(eth("eth0", &["10.0.0.2/24"]), "10.0.0.1"), via(eth("usb0", &["10.0.0.2/24"]), "10.0.0.1")];
    let error = one("10.0.0.2", &links).expect_err("two have it");
    for word in ["eth0", "usb0", "10.0.0.2%eth0", "10.0.0.2%usb0"] {
        assert!(error.contains(word), "{error}");
    }
    let spec = one("10.0.0.2%usb0", &links).expect("resolved");
    assert_eq!((spec.device, spec.source_v4), (Device::new("usb0"), Some(Ipv4Addr::new(10, 0, 0, 2))));
}

#[test]
fn an_address_of_no_interface_is_answered_with_those_there_are() {
    let error = one("10.9.9.9", &two_ways()).expect_err("nobody has it");
    assert!(
        error.contains("10.9.9.9") && error.contains("10.0.0.2 (eth0)") && error.contains("10.0.1.2 (wlan0)")
    );
    assert!(!error.contains("127.0.0.1") && !error.contains("fe80"), "{error}");
    let error = one("10.0.0.2%wlan0", &two_ways()).expect_err("not on this one");
    assert!(error.contains("an address of wlan0") && error.contains("10.0.0.2 is on eth0"), "{error}");
}

#[test]
fn an_interface_that_is_not_there_yet_is_a_warning() {
    for text in ["usb0", "192.168.42.7%usb0"] {
        let spec = one(text, &two_ways()).expect("it may come");
        assert_eq!(spec.device, Device::new("usb0"));
        assert!(spec.on_link.is_empty() && spec.warnings[0].contains("no interface usb0"), "{spec:?}");
    }
}

#[test]
fn an_interface_that_is_down_is_a_warning() {
    let ready = via(eth("eth0", &["10.0.0.2/24"]), "10.0.0.1");
    let unplugged = Link { up: false, ..ready };
    let warnings = one("eth0", std::slice::from_ref(&unplugged)).expect("resolved").warnings;
    assert!(warnings.len() == 1 && warnings[0].contains("no carrier"), "{warnings:?}");
    let off = Link { enabled: false, defaults: Some(Vec::new()), ..unplugged };
    let warnings = one("eth0", &[off]).expect("resolved").warnings;
    assert!(warnings.len() == 1 && warnings[0].contains("ip link set eth0 up"), "{warnings:?}");
}

#[test]
fn an_interface_without_a_default_route_comes_with_the_command_that_adds_one() {
    let warning = |text: &str, link: Link| {
        let mut warnings = one(text, &[link]).expect("resolved").warnings;
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        warnings.remove(0)
    };
    let command = "ip route add default via 192.168.1.1 dev wlan0 metric 200";
    assert!(warning("wlan0", eth("wlan0", &["192.168.1.7/24"])).ends_with(command));
    assert!(warning("192.168.1.7", eth("wlan0", &["192.168.1.7/24"])).ends_with(command));
    let command = "ip -6 route add default via fe80::1 dev wlan0 metric 200";
    assert!(warning("wlan0", eth("wlan0", &["2001:db8::7/64"])).ends_with(command));
    // The IPv4 route is of no use to an IPv6 source.
    let link = via(eth("wlan0", &["2001:db8::7/64", "10.0.0.2/24"]), "10.0.0.1");
    assert!(warning("2001:db8::7", link).ends_with(command));
    let command = "ip route add default dev ppp0 metric 200";
    assert!(warning("ppp0", ppp("ppp0", "203.0.113.9", "198.51.100.1")).ends_with(command));
    assert!(warning("wlan0", eth("wlan0", &["fe80::7/64"])).contains("no address"));
}

#[test]
fn the_metric_of_the_command_is_one_that_is_free() {
    let mut taken = via(eth("eth0", &["10.0.0.2/24"]), "10.0.0.1");
    taken.defaults.iter_mut().flatten().for_each(|route| route.metric = 200);
    let warnings = one("wlan0", &[taken, eth("wlan0", &["192.168.1.7/24"])]).expect("resolved").warnings;
    assert!(warnings[0].ends_with("metric 201"), "{warnings:?}");
}

#[test]
fn a_default_route_behind_a_rule_for_a_source_is_told_with_both_ways_to_use_it() {
    let mut link = eth("eth1", &["10.0.1.2/24"]);
    let reach = Reach::From((ip("10.0.1.2"), 32));
    link.defaults = Some(vec![DefaultRoute { v6: false, table: 100, metric: 0, gateway: None, reach }]);
    let links = [link];
    assert!(one("10.0.1.2", &links).is_ok_and(|spec| spec.warnings.is_empty()));
    let warnings = one("eth1", &links).expect("resolved").warnings;
    assert!(warnings[0].contains("10.0.1.2%eth1"), "{warnings:?}");
    assert!(warnings[0].ends_with("ip rule add oif eth1 lookup 100"), "{warnings:?}");
}

#[test]
fn loopback_and_link_local_sources_are_taken_with_a_warning() {
    let warnings = one("127.0.0.1", &two_ways()).expect("resolved").warnings;
    assert!(warnings[0].contains("nothing but this host"), "{warnings:?}");
    let warnings = one("fe80::2%eth0", &two_ways()).expect("resolved").warnings;
    assert!(warnings[0].contains("nothing but its own link"), "{warnings:?}");
}

#[test]
fn the_same_way_out_twice_is_refused_with_both_positions() {
    let error =
        match_all(&args(&["10.0.0.2@3", "wlan0", "10.0.0.2%eth0@2"]), &two_ways()).expect_err("twice");
    for word in ["position 1", "position 3", "10.0.0.2@5"] {
        assert!(error.contains(word), "{error}");
    }
    let error = match_all(&args(&["usb0", "usb0"]), &[]).expect_err("twice, and absent");
    assert!(error.contains("position 1") && error.contains("position 2"), "{error}");
    // Two sources on one interface are two ways out, where rules route them differently.
    assert!(match_all(&args(&["10.0.0.2", "2001:db8::2"]), &two_ways()).is_ok());
}

#[test]
fn auto_adds_what_is_not_written_beside_it() {
    let matched = match_all(&args(&["wlan0@3", "auto"]), &two_ways()).expect("resolved");
    let got: Vec<_> = matched.uplinks.iter().map(|spec| (spec.label.as_str(), spec.weight)).collect();
    assert_eq!(got, [("wlan0", 3), ("eth0", 1)]);
    let matched = match_all(&args(&["auto@2", "wlan0"]), &two_ways()).expect("resolved");
    let got: Vec<_> = matched.uplinks.iter().map(|spec| (spec.label.as_str(), spec.weight)).collect();
    assert_eq!(got, [("eth0", 2), ("wlan0", 1)]);
    assert_eq!(matched.left_out.len(), 1);
}

#[test]
fn auto_on_a_host_without_a_way_out_is_no_error() {
    let matched = match_all(&[UplinkArg::auto()], &[lo(), eth("eth0", &[])]).expect("resolved");
    assert!(matched.uplinks.is_empty() && matched.left_out.len() == 2);
}

#[test]
fn more_than_64_uplinks_are_refused() {
    let names: Vec<String> = (0..65).map(|n| format!("up{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert!(match_all(&args(&names[..64]), &[]).is_ok());
    let error = match_all(&args(&names), &[]).expect_err("one too many");
    assert!(error.contains("at most 64") && error.contains("65"), "{error}");
}

#[test]
fn a_name_no_socket_can_be_bound_to_stands_for_its_addresses() {
    let link = Link { device: None, defaults: None, ..eth("Local Area Connection", &["10.0.0.2/24"]) };
    let selector = Selector::Interface(link.name.clone());
    let arg = UplinkArg { label: link.name.clone(), selector, weight: 1 };
    let spec = match_one(&arg, &[link]).expect("resolved");
    assert_eq!((spec.device, spec.source_v4), (None, Some(Ipv4Addr::new(10, 0, 0, 2))));
    assert!(spec.warnings[0].contains("not followed"));
}

#[test]
fn unbound_is_loopback_and_what_is_on_link_on_no_uplink() {
    let mut links = two_ways();
    links.push(of_kind(eth("docker0", &["172.17.0.1/16"]), "bridge"));
    links.push(Link { up: false, ..eth("eth9", &["10.9.0.2/24"]) });
    let uplinks = match_all(&args(&["eth0"]), &links).expect("resolved").uplinks;
    let expected = vec![(ip("127.0.0.0"), 8), (ip("::1"), 128), (ip("10.0.1.0"), 24), (ip("172.17.0.0"), 16)];
    assert_eq!(unbound_prefixes(&links, &uplinks), expected);
}

#[test]
fn a_network_on_an_uplink_and_beside_it_is_the_uplinks() {
    let links = [via(eth("eth0", &["10.0.0.2/24"]), "10.0.0.1"), eth("eth1", &["10.0.0.3/24"])];
    let uplinks = match_all(&args(&["eth0"]), &links).expect("resolved").uplinks;
    assert_eq!(unbound_prefixes(&links, &uplinks).len(), 2);
}

#[test]
fn a_proxy_leaves_by_the_interface_that_is_written_and_takes_it_from_nobody() {
    let links = two_ways();
    let spec = one("socks5://192.0.2.1:1080%wlan0@2", &links).expect("resolved");
    assert_eq!((spec.device, spec.weight), (Device::new("wlan0"), 2));
    assert!(spec.on_link.is_empty() && spec.warnings.is_empty(), "{spec:?}");
    assert_eq!(one("socks5://192.0.2.1:1080", &links).expect("resolved").device, None);
    let absent = one("socks5://192.0.2.1:1080%usb0", &links).expect("it may come");
    let warning =
        "there is no interface usb0 now; socks5://192.0.2.1:1080%usb0 is used once it comes".to_string();
    assert_eq!((absent.device, absent.warnings), (Device::new("usb0"), vec![warning]));

    let matched = match_all(&args(&["socks5://192.0.2.1:1080%wlan0", "auto"]), &links).expect("resolved");
    let labels: Vec<_> = matched.uplinks.iter().map(|spec| spec.label.as_str()).collect();
    assert_eq!(labels, ["socks5://192.0.2.1:1080%wlan0", "eth0", "wlan0"]);
    // What is on-link on the way to a proxy is reached without it.
    let unbound = unbound_prefixes(&links, &matched.uplinks[..1]);
    assert!(unbound.contains(&(ip("10.0.1.0"), 24)), "{unbound:?}");

    assert!(match_all(&args(&["socks5://192.0.2.1:1080", "socks5://192.0.2.1:1081"]), &links).is_ok());
    assert!(match_all(&args(&["socks5://192.0.2.1:1080", "socks5://192.0.2.1:1080"]), &links).is_err());
}

#[test]
fn what_is_written_twice_is_advised_no_weight_that_may_not_be_written() {
    let error = match_all(&args(&["eth0@65535", "eth0@2"]), &two_ways()).expect_err("twice");
    assert!(error.ends_with("eth0@65535"), "{error}");
}

#[test]
fn auto_is_several_and_none_by_itself() {
    assert!(one("auto", &two_ways()).is_err_and(|error| error.contains("stands for several")));
}

#[test]
fn the_loopback_is_taken_with_a_warning_and_an_absent_interface_is_told_of_the_others() {
    let warnings = one("lo", &two_ways()).expect("resolved").warnings;
    assert_eq!(warnings, ["lo is the loopback: it reaches nothing but this host"]);
    let warnings = one("usb0", &two_ways()).expect("it may come").warnings;
    assert!(warnings[0].ends_with("(there are eth0, wlan0)"), "{warnings:?}");
}

#[test]
fn where_no_address_reaches_anything_there_is_none_to_propose() {
    let error = one("10.9.9.9", &[lo(), eth("eth0", &["fe80::2/64"])]).expect_err("nobody has it");
    assert!(error.ends_with("none that reach beyond their own link"), "{error}");
}

#[test]
fn a_default_route_that_no_rule_opens_is_told_by_family_and_without_a_source_that_would_not_help() {
    let route = |v6| DefaultRoute { v6, table: 100, metric: 0, gateway: None, reach: Reach::Never };
    for (address, v6, family) in [("10.0.1.2/24", false, ""), ("2001:db8::2/64", true, "-6 ")] {
        let mut link = eth("eth1", &[address]);
        // One of the other family is no help to these addresses.
        link.defaults = Some(vec![route(!v6), route(v6)]);
        let warnings = one("eth1", &[link]).expect("resolved").warnings;
        let end = format!("bound to eth1 alone: add a rule: ip {family}rule add oif eth1 lookup 100");
        assert!(warnings[0].ends_with(&end), "{warnings:?}");
    }
}

#[test]
fn the_metric_of_one_family_is_free_in_the_other() {
    let mut taken = via(eth("eth0", &["10.0.0.2/24"]), "10.0.0.1");
    taken.defaults.iter_mut().flatten().for_each(|route| route.metric = 200);
    let warnings = one("wlan0", &[taken, eth("wlan0", &["2001:db8::7/64"])]).expect("resolved").warnings;
    assert!(warnings[0].ends_with("metric 200"), "{warnings:?}");
}

#[test]
fn an_interface_without_a_name_for_sockets_is_known_by_its_sources() {
    let unnamed = |name: &str, addresses: &[&str]| Link { device: None, ..eth(name, addresses) };
    let links = [
        unnamed("Ethernet adapter one", &["10.0.0.2/24", "10.0.0.3/24", "2001:db8::2/64"]),
        unnamed("Ethernet adapter two", &["10.0.1.2/24", "2001:db8:1::2/64"]),
    ];
    let selector = Selector::Interface(links[0].name.clone());
    let arg = UplinkArg { label: links[0].name.clone(), selector, weight: 1 };
    let spec = match_one(&arg, &links).expect("resolved");
    assert_eq!(spec.source_v4, Some(Ipv4Addr::new(10, 0, 0, 2)), "the first of its family");
    assert_eq!(spec.source_v6.map(IpAddr::from), Some(ip("2001:db8::2")));
    assert!(spec.carries(false) && spec.carries(true));
    assert_eq!(spec.on_link.len(), 2);
    let by_v6 = UplinkSpec { source_v4: None, on_link: Vec::new(), ..spec.clone() };
    for spec in [spec, by_v6] {
        let unbound = unbound_prefixes(&links, &[spec]);
        assert_eq!(unbound[2..], [(ip("10.0.1.0"), 24), (ip("2001:db8:1::"), 64)]);
    }
}
