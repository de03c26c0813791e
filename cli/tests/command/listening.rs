//! Where it listens, and which clients it lets in.

use crate::common::proxy::{Proxy, run};
use crate::common::servers::Server;
use crate::common::{Scratch, socks};
use std::net::{SocketAddr, TcpListener};

#[test]
fn a_port_in_use_is_told_with_its_holder_and_the_switch() {
    let held = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = held.local_addr().expect("bound").to_string();
    let outcome = run(&["dispatch", "--listen", &address]);
    assert_eq!(outcome.code, Some(1));
    let mut words = vec![address, "choose another with --listen".to_owned()];
    if cfg!(target_os = "linux") {
        words.push(format!("pid {} (", std::process::id()));
    }
    for word in words {
        assert!(outcome.stderr.contains(&word), "expected {word:?} in:\n{}", outcome.stderr);
    }
}

#[test]
fn a_second_ropewalk_does_not_share_the_port_of_the_first_whatever_the_workers() {
    let first = Proxy::start(&["--workers", "2"]);
    for workers in ["1", "2"] {
        let outcome = run(&["dispatch", "--listen", &first.at(), "--workers", workers]);
        assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
        assert!(outcome.stderr.contains("listens there already"), "{}", outcome.stderr);
    }
}

#[test]
fn listening_beyond_this_host_without_auth_is_refused_with_the_flags_named() {
    for address in ["0.0.0.0:0", "[::]:0"] {
        let outcome = run(&["dispatch", "--listen", address]);
        assert_eq!(outcome.code, Some(1));
        for word in [address, "--auth-file", "--allow-open-proxy"] {
            assert!(outcome.stderr.contains(word), "expected {word:?} in:\n{}", outcome.stderr);
        }
    }
}

#[test]
fn listening_beyond_this_host_is_allowed_with_either_flag() {
    let scratch = Scratch::new();
    let users = scratch.file("users", b"alice:secret\n");
    for flags in [&["--auth-file", &users][..], &["--allow-open-proxy"]] {
        let mut args = vec!["--listen", "0.0.0.0:0"];
        args.extend(flags);
        let proxy = Proxy::start(&args);
        assert!(proxy.address.ip().is_unspecified() && proxy.address.port() != 0);
    }
}

#[test]
fn it_listens_at_several_places_in_both_families() {
    let server = Server::echo();
    let proxy = Proxy::start(&["--listen", "127.0.0.1:0", "--listen", "[::1]:0", "--listen", "0"]);
    for nth in 1..=3 {
        let line = proxy.wait_for_nth("listening on ", nth);
        let text = line.split("listening on ").nth(1).and_then(|rest| rest.split(' ').next());
        let place: SocketAddr = text.expect("an address").parse().expect("an address");
        assert_eq!(place.is_ipv6(), nth == 2);
        socks::round_trip(&mut socks::connect(place, server.address).expect("a tunnel"));
    }
}
