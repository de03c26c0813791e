//! Uplinks that are proxies: ropewalk in front of another ropewalk, on the far side of a link.

use crate::common::proxy::{Launch, Proxy};
use crate::common::{Scratch, has, here, socks};
use crate::world::{SERVER, World};
use std::io::{Read, Write};
use std::process::Command;

/// The other proxy, on the far side of uplink 1. It says what it was asked for.
fn beyond(world: &World, more: &[&str]) -> Proxy {
    let args = [&["--listen", "0.0.0.0:1080", "--allow-private", "-v"], more].concat();
    world.far(1).run(|| Launch::new(&args).start())
}

/// What curl gets from the server by this proxy.
fn curl(world: &World, flag: &str, proxy: &Proxy) -> String {
    let (scheme, url) = (flag.to_owned() + &proxy.address.to_string(), format!("http://{SERVER}/"));
    let words =
        ["-q", "--silent", "--http0.9", "--max-time", "20", "--noproxy", "", "-p", "-x", &scheme, &url];
    let output = world.client.run(|| Command::new("curl").args(words).output().expect("curl was there"));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The server, as the other proxy reaches it.
const TOLD: &str = "203.0.113.1 1\n";

#[test]
fn curl_comes_through_two_proxies_by_each_protocol_with_and_without_a_password() {
    if !has(here!(), "curl") {
        return;
    }
    let Some(world) = World::new(here!(), 2) else { return };
    let scratch = Scratch::new();
    let users = scratch.file("users", b"alice:p@ss:word\n");
    for (more, login) in
        [(&["--allow-open-proxy"][..], ""), (&["--auth-file", &users], "alice:p%40ss%3Aword@")]
    {
        let second = beyond(&world, more);
        for scheme in ["socks5", "http"] {
            let first = world.dispatch(&[&format!("{scheme}://{login}10.77.1.1:1080%up1@3"), "-vv"]);
            for flag in ["socks5://", "socks5h://", "socks4://", "http://"] {
                assert_eq!(curl(&world, flag, &first), TOLD, "{flag} by {scheme}, {login:?}");
            }
            let log = first.stop().join("\n");
            assert!(log.contains(&format!("{scheme}://10.77.1.1:1080%up1")), "{log}");
            assert!(!log.contains("p@ss") && !log.contains("p%40ss"), "a password is in the log: {log}");
        }
        drop(second);
    }
}

#[test]
fn a_name_is_looked_up_by_the_last_proxy_only() {
    let Some(world) = World::new(here!(), 1) else { return };
    let second = beyond(&world, &["--allow-open-proxy"]);
    let first = world.dispatch(&["socks5://10.77.1.1:1080"]);
    // To a resolver of the system this is an address; to ropewalk it is a name.
    let name = b"203.0.28929";
    let told = world.client.run(|| {
        let mut stream = socks::dial(first.address);
        let request = [&[5, 1, 0, 5, 1, 0, 3, name.len() as u8][..], name, &80u16.to_be_bytes()].concat();
        stream.write_all(&request).expect("the proxy reads");
        socks::read_answers(&mut stream).expect("a reply").expect("both proxies work");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("the server speaks");
        text
    });
    assert_eq!(told, TOLD);
    second.wait_for("203.0.28929:80");
}

#[test]
fn a_wrong_password_is_told_and_another_uplink_carries() {
    let Some(world) = World::new(here!(), 2) else { return };
    let scratch = Scratch::new();
    let users = scratch.file("users", b"alice:right\n");
    let _second = beyond(&world, &["--auth-file", &users]);
    let wrong = "socks5://alice:wr0ng@10.77.1.1:1080";
    let both = world.dispatch(&[wrong, "up2"]);
    for _ in 0..4 {
        let seen = world.ask(&both, SERVER).expect("uplink 2 works");
        assert_eq!(seen.source, crate::world::ip(2));
    }
    let alone = world.dispatch(&[wrong]);
    assert_eq!(world.ask(&alone, SERVER).map(drop), Err(socks::Refused(1)));
    alone.wait_for("asks for another user or password");
    let log = [both.stop(), alone.stop()].concat().join("\n");
    assert!(!log.contains("wr0ng"), "{log}");
}

#[test]
fn what_the_other_proxy_says_of_a_destination_reaches_the_client() {
    let Some(world) = World::new(here!(), 1) else { return };
    let _second = beyond(&world, &["--allow-open-proxy"]);
    let proxy = world.dispatch(&["socks5://10.77.1.1:1080"]);
    let nobody = "203.0.113.1:9".parse().expect("an address");
    assert_eq!(world.connect(&proxy, nobody).map(drop), Err(socks::Refused(5)));
    let itself = "10.77.1.1:1080".parse().expect("an address");
    assert_eq!(world.connect(&proxy, itself).map(drop), Ok(()), "it is in a network of this host: direct");
    world.ask(&proxy, SERVER).expect("the proxy is still well");
}
