//! The hosts of a scenario, and its links between them.
//!
//! ```text
//!   client                    links                     server                  far
//!   c1 10.9.1.2/24 ── x1 ══ the model ══ y1 ── s1 10.9.1.1/24        ┌ w1 203.0.113.80, lo 192.88.99.80
//!   c2 10.9.2.2/24 ── x2 ══ the model ══ y2 ── s2 10.9.2.1/24   w0 ──┘
//!                                              lo 198.51.100.1
//! ```

use std::net::Ipv4Addr;
use std::process::Command;

use ropewalk_sim::lab::{Forwarder, Host, Wire, open};
use ropewalk_sim::scenario::Scenario;

use crate::ns::Ns;

/// Where the server is, from outside.
pub(crate) const SERVER: &str = "198.51.100.1";
/// Where the flows lead: a host in no network of the server's.
pub(crate) const FAR: Ipv4Addr = Ipv4Addr::new(192, 88, 99, 80);

/// What a tunnel joins.
pub(crate) struct Pair {
    pub(crate) client: Ns,
    pub(crate) server: Ns,
}

pub(crate) struct Hosts {
    pub(crate) pair: Pair,
    pub(crate) far: Ns,
    /// Holds the links' ends.
    links: Ns,
    count: usize,
}

impl Host for Ns {
    fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        Ns::run(self, f)
    }
}

/// The client's address on a link, from 1 on.
pub(crate) fn address(link: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 9, link as u8, 2)
}

impl Pair {
    fn new() -> Result<Pair, String> {
        Ok(Pair { client: Ns::new()?, server: Ns::new()? })
    }

    /// Two hosts, veth pairs between them, nothing else. The far address is the server's own.
    ///
    /// ```text
    ///   client                     server
    ///   c1 10.9.1.2/24 ════ s1 10.9.1.1/24   lo 198.51.100.1, 192.88.99.80
    /// ```
    pub(crate) fn straight(links: usize) -> Result<Pair, String> {
        let pair = Pair::new()?;
        let Pair { client, server } = &pair;
        for link in 1..=links {
            client.ip(&format!("link add c{link} type veth peer name s{link} netns {}", server.name()));
            for (ns, near, host) in [(client, 'c', 2), (server, 's', 1)] {
                ns.ip(&format!("addr add 10.9.{link}.{host}/24 dev {near}{link}\nlink set {near}{link} up"));
            }
            pair.route(link);
        }
        server.ip(&format!("addr add {SERVER}/32 dev lo\naddr add {FAR}/32 dev lo"));
        [client, server].into_iter().for_each(tune);
        Ok(pair)
    }

    /// Gives a link of the client its routes, as a lease does.
    fn route(&self, link: usize) {
        let way = format!("default via 10.9.{link}.1 dev c{link}");
        self.client.ip(&format!(
            "route replace {way} metric 10{link}\nroute replace {way} table 10{link}\n\
             rule add from {} table 10{link}",
            address(link)
        ));
    }
}

impl Hosts {
    /// Makes them, with as many links as the scenario has.
    pub(crate) fn new(scenario: &Scenario) -> Result<Hosts, String> {
        let hosts =
            Hosts { pair: Pair::new()?, far: Ns::new()?, links: Ns::new()?, count: scenario.links.len() };
        let Hosts { pair: Pair { client, server }, far, links, count } = &hosts;
        links.set("ipv6/conf/all/disable_ipv6", "1");
        links.set("ipv6/conf/default/disable_ipv6", "1");
        for link in 1..=*count {
            for (ns, near, end, host) in [(client, 'c', 'x', 2), (server, 's', 'y', 1)] {
                ns.ip(&format!(
                    "link add {near}{link} type veth peer name {end}{link} netns {}",
                    links.name()
                ));
                // The link takes packets, not the large pieces that a device would cut.
                ns.ip(&format!(
                    "link set {near}{link} gso_max_segs 1\nlink set {near}{link} mtu {}",
                    scenario.links[link - 1].mtu
                ));
                ns.ip(&format!("addr add 10.9.{link}.{host}/24 dev {near}{link}\nlink set {near}{link} up"));
                links.ip(&format!("link set {end}{link} mtu 9000\nlink set {end}{link} up"));
            }
        }
        server.ip(&format!(
            "addr add {SERVER}/32 dev lo\nlink add w0 type veth peer name w1 netns {}\n\
             addr add 203.0.113.1/24 dev w0\nlink set w0 up\nroute add default via 203.0.113.80",
            far.name()
        ));
        far.ip(&format!(
            "addr add 203.0.113.80/24 dev w1\nlink set w1 up\naddr add {FAR}/32 dev lo\n\
             route add default via 203.0.113.1 src {FAR}"
        ));
        server.set("ipv4/ip_forward", "1");
        [client, far].into_iter().for_each(tune);
        (1..=*count).for_each(|link| hosts.pair.route(link));
        Ok(hosts)
    }

    /// A link of the client, by its place, vanishes or is back.
    pub(crate) fn plug(&self, place: usize, back: bool) {
        let link = place + 1;
        if !back {
            self.pair.client.ip(&format!("link set c{link} down\nrule del table 10{link}"));
            return;
        }
        self.pair.client.ip(&format!("link set c{link} up"));
        self.pair.route(link);
    }

    /// Sets the links in motion.
    pub(crate) fn forward(&self, scenario: &Scenario) -> Result<Forwarder, String> {
        let wire = |link| {
            let open = |end| self.links.run(|| open(&format!("{end}{link}")));
            Ok(Wire { client: open('x')?, server: open('y')? })
        };
        let wires = (1..=self.count).map(wire).collect::<std::io::Result<_>>();
        let forwarder = wires.and_then(|wires| Forwarder::start(scenario, wires));
        forwarder.map_err(|error| format!("the links: {error}"))
    }
}

/// Buffers that do not limit a flow, and a TCP that is what it is called.
fn tune(ns: &Ns) {
    ns.set("ipv4/tcp_rmem", "4096 131072 33554432");
    ns.set("ipv4/tcp_wmem", "4096 65536 33554432");
    // No figure depends on the run before.
    ns.set("ipv4/tcp_no_metrics_save", "1");
    // A socket that began with bbr is paced for ever, whatever it is told afterwards.
    ns.set("ipv4/tcp_congestion_control", "reno");
}

/// Runs `ip` with these arguments in a namespace.
pub(crate) fn try_ip(ns: &Ns, args: &str) -> Result<String, String> {
    let output = Command::new("ip").args(["-n", ns.name()]).args(args.split(' ')).output();
    let output = output.map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("ip {args}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
