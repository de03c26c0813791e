//! With the routes the answers come back, without they do not.

use crate::common::here;
use crate::host::Host;
use crate::lent::{Kind, ask, serve};
use std::io::ErrorKind;

const CLIENT: &str = "192.0.2.1";
const CLIENT_V6: &str = "2001:db8::1";

/// The server, where it is bound, and a client of its.
const TCP: [(Kind, &str, &str, &str); 4] = [
    (Kind::Tcp, "127.0.0.1:1000", "127.0.0.1:1000", CLIENT),
    (Kind::Tcp, "127.0.0.1:1001", "0.0.0.0:1001", CLIENT),
    (Kind::Tcp, "[::1]:1000", "[::1]:1000", CLIENT_V6),
    (Kind::Tcp, "[::1]:1001", "[::]:1001", CLIENT_V6),
];
const UDP: [(Kind, &str, &str, &str); 4] = [
    (Kind::Udp, "127.0.0.1:1000", "127.0.0.1:1000", CLIENT),
    (Kind::Udp, "127.0.0.1:1001", "0.0.0.0:1001", CLIENT),
    (Kind::Udp, "[::1]:1000", "[::1]:1000", CLIENT_V6),
    (Kind::Udp, "[::1]:1001", "[::]:1001", CLIENT_V6),
];

#[track_caller]
fn answered(host: &Host, mark: Option<u32>, (kind, target, bound, client): (Kind, &str, &str, &str)) {
    let answer = ask(host, kind, target, client, mark);
    let answer = answer.unwrap_or_else(|error| panic!("{kind:?} {target}, server at {bound}: {error}"));
    assert_eq!(answer, client, "{kind:?} {target}, server at {bound}");
}

#[track_caller]
fn silent(host: &Host, mark: Option<u32>, (kind, target, bound, client): (Kind, &str, &str, &str)) {
    let kinds = [ErrorKind::TimedOut, ErrorKind::WouldBlock];
    let answer = ask(host, kind, target, client, mark).map_err(|error| error.kind());
    assert!(
        answer.as_ref().is_err_and(|error| kinds.contains(error)),
        "{kind:?} {target}, server at {bound}: {answer:?}"
    );
}

fn start(host: &Host, cases: &[(Kind, &str, &str, &str)]) {
    cases.iter().for_each(|(kind, _, bound, _)| serve(host, *kind, bound));
}

/// A host with an address as wide as the client's, which IPv6 would rather answer from.
fn with_a_global_address(test: &str) -> Option<Host> {
    let host = Host::new(test)?;
    host.ns.ip("addr add 198.51.100.1/24 dev lo\n-6 addr add 2001:db8:5::1/64 dev lo nodad\n");
    Some(host)
}

#[test]
fn answers_of_tcp_servers_come_back_while_it_is_set_up() {
    let Some(host) = with_a_global_address(here!()) else { return };
    start(&host, &TCP);
    TCP.into_iter().for_each(|case| silent(&host, None, case));
    host.unwrap("setup", "-4 127.0.0.1:1000-1001 -6 [::1]:1000 -6 [::1]:1001");
    TCP.into_iter().for_each(|case| answered(&host, None, case));
    host.unwrap("teardown", "");
    TCP.into_iter().for_each(|case| silent(&host, None, case));
}

#[test]
fn a_port_without_a_server_refuses() {
    let Some(host) = Host::new(here!()) else { return };
    host.unwrap("setup", "-4 127.0.0.1:1000 -6 [::1]:1000");
    for (server, client) in [("127.0.0.1:1000", CLIENT), ("[::1]:1000", CLIENT_V6)] {
        let answer = ask(&host, Kind::Tcp, server, client, None).map_err(|error| error.kind());
        assert_eq!(answer, Err(ErrorKind::ConnectionRefused), "{server}");
    }
}

#[test]
fn answers_of_udp_servers_come_back_wherever_they_are_bound() {
    let Some(host) = with_a_global_address(here!()) else { return };
    start(&host, &UDP);
    UDP.into_iter().for_each(|case| silent(&host, None, case));
    host.unwrap("setup", "-p udp -4 127.0.0.1:1000-1001 -6 [::1]:1000-1001");
    UDP.into_iter().for_each(|case| answered(&host, None, case));
}

#[test]
fn the_narrow_rule_is_for_udp_servers_bound_to_the_address() {
    let Some(host) = with_a_global_address(here!()) else { return };
    start(&host, &UDP);
    host.unwrap("setup", "-p udp --udp-bound-server -4 127.0.0.1:1000-1001 -6 [::1]:1000-1001");
    for case in UDP.into_iter().filter(|(_, target, bound, _)| target == bound) {
        answered(&host, None, case);
    }
    silent(&host, None, UDP[1]);
}

#[test]
fn a_udp_server_on_all_addresses_answers_from_the_target_whichever_that_is() {
    let Some(host) = with_a_global_address(here!()) else { return };
    let case = (Kind::Udp, "198.51.100.1:1001", "0.0.0.0:1001", CLIENT);
    let case_v6 = (Kind::Udp, "[2001:db8:5::1]:1001", "[::]:1001", CLIENT_V6);
    start(&host, &[case, case_v6]);
    host.unwrap("setup", "-p udp -4 198.51.100.1:1001 -6 [2001:db8:5::1]:1001");
    answered(&host, None, case);
    answered(&host, None, case_v6);
}

#[test]
fn with_a_mark_the_answers_to_marked_connections_come_back_and_no_others() {
    let Some(host) = with_a_global_address(here!()) else { return };
    start(&host, &TCP);
    TCP.into_iter().for_each(|case| silent(&host, Some(7), case));
    host.unwrap("setup", "--mark 7");
    TCP.into_iter().for_each(|case| answered(&host, Some(7), case));
    silent(&host, None, TCP[0]);
    silent(&host, Some(8), TCP[2]);
    let closed = ask(&host, Kind::Tcp, "127.0.0.1:9", CLIENT, Some(7)).map_err(|error| error.kind());
    assert_eq!(closed, Err(ErrorKind::ConnectionRefused));
    host.unwrap("teardown", "");
    TCP.into_iter().for_each(|case| silent(&host, Some(7), case));
}

#[test]
fn clients_of_this_host_itself_are_served_as_ever() {
    let Some(host) = Host::new(here!()) else { return };
    start(&host, &TCP);
    start(&host, &UDP);
    host.unwrap("setup", "-p tcp -p udp -4 127.0.0.1:1000-1001 -6 [::1]:1000-1001");
    for (kind, target, bound, _) in TCP.into_iter().chain(UDP) {
        let own = if target.starts_with('[') { "::1" } else { "127.0.0.1" };
        answered(&host, None, (kind, target, bound, own));
    }
}
