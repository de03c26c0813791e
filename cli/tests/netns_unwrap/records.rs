//! A recording of `unwrap`, replayed with equal outputs.

use crate::common::proxy::run;
use crate::common::{Scratch, here};
use crate::host::{CLIENT, Host, addr, carries, expect, v1, v2};
use std::io::Read;

#[test]
fn a_run_is_recorded_without_its_payload_and_replayed_with_equal_outputs() {
    let Some(host) = Host::new(here!()) else { return };
    let [server, _] = host.servers();
    let scratch = Scratch::new();
    let file = scratch.path().join("unwrap.rec");
    let file = file.to_str().expect("temporary paths are text");
    let proxy = host.usual(&format!("--record {file}"));
    let mut outer = host.send(&[&v2(CLIENT), &b"hunter22 first"[..]].concat());
    let (mut inner, peer) = server.accept();
    assert_eq!(peer, addr(CLIENT));
    expect(&mut inner, b"hunter22 first");
    carries(&mut inner, &mut outer, b"hunter22 answer");
    drop((inner, outer));
    // One that is no balancer's, and one whose server has gone.
    let _wrong = host.send(b"GET / HTTP/1.1\r\n");
    drop(server);
    let mut refused = host.send(&v1("192.0.2.7:40009"));
    // Reset or ended, as the system has it.
    let _ = refused.read(&mut [0; 1]);
    proxy.stop();

    let bytes = std::fs::read(file).expect("root reads all");
    assert!(!bytes.windows(8).any(|window| window == b"hunter22"));
    let replayed = run(&["sim", "replay", file]);
    assert_eq!((replayed.code, replayed.stderr.as_str()), (Some(0), ""), "{}", replayed.stdout);
    let told = |text: &str| replayed.stdout.lines().filter(|line| line.contains(text)).count();
    assert_eq!(told(&format!("is {CLIENT}, relays to")), 1, "{}", replayed.stdout);
    assert_eq!(told("outputs equal"), 1, "{}", replayed.stdout);
}
