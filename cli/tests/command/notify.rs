//! A service manager is notified when the service is ready and when it stops (sd_notify).

use crate::common::proxy::{Launch, Proxy};
use crate::common::servers::Server;
use crate::common::socks::{self, round_trip};
use crate::common::{LONG, Scratch};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The next datagram.
#[track_caller]
fn heard(manager: &UnixDatagram) -> String {
    let mut buffer = [0; 256];
    let length = manager.recv(&mut buffer).expect("a datagram, soon");
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

fn patient(manager: UnixDatagram) -> UnixDatagram {
    manager.set_read_timeout(Some(LONG)).expect("a time above zero");
    manager
}

fn told(manager: &UnixDatagram, mut proxy: Proxy) {
    assert_eq!(heard(manager), "READY=1");
    let server = Server::echo();
    let mut tunnel = socks::connect(proxy.address, server.address).expect("it serves once it says so");
    round_trip(&mut tunnel);
    proxy.terminate();
    assert_eq!(heard(manager), "STOPPING=1");
    assert!(proxy.is_running(), "an open tunnel keeps it alive");
    drop(tunnel);
    assert!(proxy.wait_for_end().success());
    manager.set_nonblocking(true).expect("our own socket");
    assert!(manager.recv(&mut [0; 1]).is_err(), "each is said once");
}

#[test]
fn a_manager_at_a_path_is_told() {
    let scratch = Scratch::new();
    let path = scratch.path().join("notify");
    let manager = patient(UnixDatagram::bind(&path).expect("our own directory"));
    let path = path.to_str().expect("temporary paths are text");
    told(&manager, Launch::new(&[]).with("NOTIFY_SOCKET", path).start());
}

#[test]
fn a_manager_in_the_abstract_namespace_is_told() {
    let name = format!("ropewalk-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a short name");
    let manager = patient(UnixDatagram::bind_addr(&address).expect("a name of our own"));
    told(&manager, Launch::new(&["--workers", "2"]).with("NOTIFY_SOCKET", &format!("@{name}")).start());
}

#[test]
fn a_manager_that_is_not_there_is_no_reason_not_to_serve() {
    for bad in ["/nonexistent/notify", "relative", "@", ""] {
        let proxy = Launch::new(&[]).with("NOTIFY_SOCKET", bad).start();
        proxy.wait_for("cannot send READY=1 to the service manager");
        let server = Server::echo();
        round_trip(&mut socks::connect(proxy.address, server.address).expect("a tunnel"));
    }
}
