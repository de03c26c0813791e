//! A bond on the system's own devices: two namespaces, two links of 40 Mbit/s between them, and a
//! worker in each.
//!
//! ```text
//!   near                                                               far
//!   10.77.0.2 rwk0 ══ client ── c1 10.9.1.2 ═══ 10.9.1.1 s1 ── server ══ rwk0 10.77.0.1
//!                            └─ c2 10.9.2.2 ═══ 10.9.2.1 s2 ─┘  198.51.100.1
//! ```

use super::devices::configure;
use crate::client::{accept, all, dial, exactly, pattern};
use crate::ns::Ns;
use crate::process::skip;
use crate::run::{Run, eventually};
use crate::tuns::{Device, Tun};
use crate::{AnyRuntime, Listeners};
use ropewalk_core::bond::crypto::{CipherOrder, PresharedKey, Rng, SecretKey};
use ropewalk_core::bond::{
    Client, ClientConfig, Common, DEFAULT_MTU, KnownClient, Server, ServerConfig, Tuning, Uplink,
};
use ropewalk_core::machine::{Device as Name, ListenerId, TunId, UplinkId, Via};
use ropewalk_core::uplink::{Pool, PoolConfig};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command;
use std::thread;
use std::time::Duration;

const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)), 4500);
const OWN: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const FILE: usize = 8_000_000;

fn tc(ns: &Ns, rest: &str) -> bool {
    let output = Command::new("tc").args(["-n", ns.name(), "qdisc"]).args(rest.split(' ')).output();
    output.is_ok_and(|output| output.status.success())
}

/// The namespaces and the links, or what this system lacks.
fn links() -> Result<(Ns, Ns), String> {
    let (near, far) = (Ns::new()?, Ns::new()?);
    for link in 1..=2 {
        near.ip(&format!("link add c{link} type veth peer name s{link} netns {}", far.name()));
        for (ns, device, host) in [(&near, "c", 2), (&far, "s", 1)] {
            ns.ip(&format!(
                "address add 10.9.{link}.{host}/24 dev {device}{link}\nlink set {device}{link} up"
            ));
            if !tc(ns, &format!("add dev {device}{link} root tbf rate 40mbit burst 20kb limit 150kb")) {
                return Err("tc of iproute2, and the kernel's sch_tbf".into());
            }
        }
        near.ip(&format!("route add {}/32 via 10.9.{link}.1 dev c{link} metric {link}00", SERVER.ip()));
    }
    far.ip(&format!("address add {}/32 dev lo", SERVER.ip()));
    Ok((near, far))
}

/// Both ends of a bond, each in its namespace.
fn ends(runtime: &AnyRuntime, near: &Ns, far: &Ns) -> (Run, Run) {
    let mut rng = Rng::new([1; 32]);
    let (server_key, client_key) = (SecretKey::generate(&mut rng), SecretKey::generate(&mut rng));
    let (server_public, client_public) = (server_key.public(), client_key.public());
    let common = |key| Common {
        tun: TunId(0),
        offload: true,
        mtu: DEFAULT_MTU,
        key,
        ciphers: CipherOrder::fast_aes(),
        tuning: Tuning::default(),
    };
    let tun = |ns: &Ns| Tun {
        device: Device::Named("rwk0".into()),
        offload: true,
        configure: configure(ns.name().to_owned()),
    };
    let known = KnownClient { key: client_public, psk: PresharedKey::NONE, addresses: vec![CLIENT.into()] };
    let config = ServerConfig {
        common: common(server_key),
        listener: ListenerId(0),
        addresses: vec![(OWN.into(), 24)],
        clients: vec![known],
        max_clients: 16,
        allow_client_to_client: false,
        allow_private: false,
    };
    let machine = Server::new(config, [2; 32]).expect("a valid configuration");
    let pool = || Pool::new(PoolConfig::default()).expect("a valid pool");
    let server = far.run(|| {
        let any = (Ipv4Addr::UNSPECIFIED, SERVER.port()).into();
        let datagrams = vec![(runtime.listen_datagrams)(any).expect("the port is free")];
        let listeners = Listeners { datagrams, tuns: vec![tun(far)], ..Listeners::default() };
        Run::start(runtime, machine, listeners, pool())
    });
    far.ip(&format!("address add {OWN}/24 dev rwk0\nlink set rwk0 mtu {DEFAULT_MTU} up"));
    let uplink = |(id, device)| Uplink {
        id: UplinkId(id),
        via: Via { device: Name::new(device), ..Via::default() },
        weight: 1,
    };
    let config = ClientConfig {
        common: common(client_key),
        server: SERVER,
        server_key: server_public,
        psk: PresharedKey::NONE,
        token: Vec::new(),
        uplinks: [(0, "c1"), (1, "c2")].map(uplink).into(),
    };
    let machine = Client::new(config, [3; 32]).expect("a valid configuration");
    let listeners = Listeners { tuns: vec![tun(near)], ..Listeners::default() };
    let client = near.run(|| Run::start(runtime, machine, listeners, pool()));
    (client, server)
}

/// Bytes that a device has received.
fn received(ns: &Ns, device: &str) -> u64 {
    let text = ns.run(|| std::fs::read_to_string("/proc/thread-self/net/dev")).expect("every kernel has it");
    let line = text.lines().find_map(|line| line.trim().strip_prefix(&format!("{device}:")));
    let bytes = line.and_then(|line| line.split_whitespace().next());
    bytes.and_then(|bytes| bytes.parse().ok()).expect("the device, and a number first")
}

pub(super) fn a_file_comes_by_two_links_and_by_one_when_the_other_falls_silent(runtime: &AnyRuntime) {
    let (near, far) = match links() {
        Ok(both) => both,
        Err(needs) => return skip(&needs),
    };
    let (client, server) = ends(runtime, &near, &far);
    let is_set =
        || String::from_utf8_lossy(&near.try_ip("address show dev rwk0").stdout).contains("10.77.0.2");
    assert!(eventually(Duration::from_secs(10), is_set), "the client learns its address");
    let file = pattern(FILE, 3);
    let listener = far.run(|| TcpListener::bind((OWN, 0))).expect("the address is there");
    let to = listener.local_addr().expect("it is bound");
    let fetch = || {
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut stream = accept(&listener).expect("somebody comes");
                exactly(&mut stream, 1).expect("it asks");
                stream.write_all(&file).expect("it is taken");
            });
            let mut stream = near.run(|| dial(to)).expect("it listens");
            stream.write_all(&[1]).expect("it is taken");
            let came = all(&mut stream).expect("an orderly end");
            assert!(came == file, "{} of {FILE} bytes came, or others", came.len());
        });
    };
    let before = ["c1", "c2"].map(|device| received(&near, device));
    fetch();
    for (device, before) in ["c1", "c2"].into_iter().zip(before) {
        let carried = received(&near, device) - before;
        assert!(carried > 800_000, "{device} carried {carried} of {FILE} bytes");
    }
    // Nothing passes the second link any more, and nobody says so: smaller than any packet.
    for (ns, device) in [(&near, "c2"), (&far, "s2")] {
        assert!(tc(ns, &format!("replace dev {device} root tbf rate 8bit burst 10b limit 10b")));
    }
    let before = received(&near, "c2");
    fetch();
    let came = received(&near, "c2") - before;
    assert!(came < 2_000, "{came} bytes came through a silent link");
    let found = [client.found(), server.found()].map(|found| found.taken);
    println!("packets and superpackets taken: {found:?}");
    client.finish_unreplayed::<Client>();
    server.finish_unreplayed::<Server>();
}
