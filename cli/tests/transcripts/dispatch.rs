//! A machine with Wi-Fi, a phone on USB and a bridge for containers, as README describes it.

use crate::common::ns::Ns;
use crate::common::proxy::Launch;
use crate::common::servers::Server;
use crate::common::{LONG, here, skip, socks, wait_until};
use crate::page::Page;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;

/// Where the downloads come from.
const SERVER: &str = "203.0.113.1:80";
const REQUEST: &[u8] = b"GET /file HTTP/1.1\r\nHost: 203.0.113.1\r\n\r\n";
const FILE: usize = 1_000_000;

/// Device, address and gateway of each link.
const LINKS: [(&str, &str, &str); 2] =
    [("wlan0", "192.168.1.7", "192.168.1.1"), ("usb0", "192.168.42.5", "192.168.42.129")];

fn machine() -> Result<(Ns, Ns), String> {
    let (machine, far) = (Ns::new()?, Ns::new()?);
    for key in ["all", "default"] {
        machine.set(&format!("ipv4/conf/{key}/rp_filter"), "0");
    }
    machine.ip("link add docker0 type bridge\naddr add 172.17.0.1/16 dev docker0\n");
    far.ip("addr add 203.0.113.1/32 dev lo\n");
    for (number, (device, address, gateway)) in (1..).zip(LINKS) {
        machine.ip(&format!(
            "link add {device} type veth peer name far{number} netns {}\n\
             link set {device} addrgenmode none\n\
             addr add {address}/24 dev {device}\n",
            far.name()
        ));
        far.ip(&format!(
            "link set far{number} addrgenmode none\naddr add {gateway}/24 dev far{number}\n\
             link set far{number} up\n"
        ));
        machine.ip(&format!("link set {device} up\n"));
        let show = ["-n", machine.name(), "-o", "link", "show", "dev", device];
        wait_until("the link has a carrier", LONG, || {
            let output = Command::new("ip").args(show).output().expect("ip was there for the namespace");
            String::from_utf8_lossy(&output.stdout).contains(" state UP ")
        });
        machine.ip(&format!("route add default via {gateway} dev {device} metric {}\n", 100 * number));
    }
    Ok((machine, far))
}

/// The server: a request in, the file out.
fn serve(mut stream: TcpStream) {
    if stream.read_exact(&mut [0; REQUEST.len()]).is_ok() {
        let _ = stream.write_all(&vec![b'r'; FILE]);
    }
}

fn download(proxy: SocketAddr) {
    let server: SocketAddr = SERVER.parse().expect("an address");
    let mut stream = socks::connect(proxy, server).expect("both links carry");
    stream.write_all(REQUEST).expect("the proxy reads");
    let mut file = Vec::new();
    stream.read_to_end(&mut file).expect("the file and its end");
    assert_eq!(file.len(), FILE);
}

#[test]
fn the_readme_shows_dispatch_on_a_machine_with_two_links() {
    let (machine, far) = match machine() {
        Ok(both) => both,
        Err(needs) => return skip(here!(), &needs),
    };
    let listener = far.run(|| TcpListener::bind(SERVER)).expect("nobody else is there");
    let _server = Server::of(listener, serve);
    let proxy = machine.run(|| Launch::exactly(&[]).start());
    machine.run(|| (0..6).for_each(|_| download(proxy.address)));
    // A connection counts once both sides have ended.
    let pid = Pid::from_raw(proxy.id().cast_signed()).expect("a process has a number");
    kill_process(pid, Signal::INT).expect("our own child");
    let mut printed = proxy.all();
    let draining = printed.iter().position(|line| line.contains("draining"));
    printed.insert(draining.expect("the signal was heard"), "^C".to_owned());
    Page::new("README.md").shows("ropewalk dispatch", &printed);
}
