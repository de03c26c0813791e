//! What is compared.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use ropewalk_sim::lab::{Ends, Tcp, measure};
use ropewalk_sim::packet;
use ropewalk_sim::report::Report;
use ropewalk_sim::scenario::Scenario;

use crate::daemon::Daemon;
use crate::hosts::{FAR, Hosts, Pair, SERVER, address, try_ip};
use crate::rivals;
use crate::tunnel::{Folder, Tunnel};

/// A way over the links.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// The bond in virtual time.
    Simulator,
    /// The built binary, in real time.
    Bond,
    /// The first link alone, without a tunnel.
    Link,
    /// MPTCP of the kernel, a subflow by each link. What is no TCP goes by the first link.
    Mptcp,
    /// A tunnel by the first link, in user space.
    WireguardGo,
    /// The same.
    Openvpn,
    /// Bonds that are named, and left out.
    Glorytun,
    Mlvpn,
}

/// Packets of the bond go to this port.
const PORT: u16 = 4500;
/// The device of both its ends.
const TUN: &str = "ropewalk0";

impl Way {
    pub(crate) const ALL: &[Way] = &[
        Way::Simulator,
        Way::Bond,
        Way::Link,
        Way::Mptcp,
        Way::WireguardGo,
        Way::Openvpn,
        Way::Glorytun,
        Way::Mlvpn,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Way::Simulator => "simulator",
            Way::Bond => "bond",
            Way::Link => "link",
            Way::Mptcp => "mptcp",
            Way::WireguardGo => "wireguard-go",
            Way::Openvpn => "openvpn",
            Way::Glorytun => "glorytun",
            Way::Mlvpn => "mlvpn",
        }
    }

    /// Why it cannot be measured here.
    pub(crate) fn missing(self) -> Option<String> {
        let needs = |path: &str, what: &str| (!Path::new(path).exists()).then(|| what.to_owned());
        match self {
            Way::Simulator | Way::Link => None,
            Way::Bond => needs("/dev/net/tun", "there is no /dev/net/tun"),
            Way::WireguardGo => rivals::missing(&["wireguard-go"]),
            Way::Openvpn => rivals::missing(&["openvpn", "openssl"]),
            Way::Glorytun | Way::Mlvpn => Some("Debian has no package of it".to_owned()),
            Way::Mptcp => needs("/proc/sys/net/mptcp/enabled", "this kernel has no MPTCP"),
        }
    }

    /// One run.
    pub(crate) fn run(self, scenario: &Scenario, congestion: &'static str) -> Result<Report, String> {
        if self == Way::Simulator {
            return packet::run(scenario, packet::Options::default()).map_err(|error| error.to_string());
        }
        let hosts = Hosts::new(scenario)?;
        let forwarder = hosts.forward(scenario)?;
        let tcp = Tcp { congestion, multipath: self == Way::Mptcp };
        let tunnel = match self {
            Way::Bond => Some(bond(&hosts.pair, &settings(scenario))?),
            _ => self.rival(&hosts.pair)?,
        };
        if self == Way::Mptcp {
            for ns in [&hosts.pair.client, &hosts.far] {
                try_ip(ns, "mptcp limits set subflow 8 add_addr_accepted 8")?;
            }
            for link in 2..=scenario.links.len() {
                let endpoint = format!("mptcp endpoint add {} dev c{link} subflow", address(link));
                try_ip(&hosts.pair.client, &endpoint)?;
            }
        }
        let source = tunnel.as_ref().map_or(address(1), |tunnel| tunnel.inside);
        let ends = Ends::open(scenario, tcp, (&hosts.pair.client, source), (&hosts.far, FAR));
        let ends = ends.map_err(|error| format!("the flows: {error}"))?;
        let report = measure(scenario, forwarder, ends, |link, back| hosts.plug(link, back))?;
        if let Some(tunnel) = &tunnel {
            tunnel.say(self.name(), scenario);
        }
        Ok(report)
    }

    /// Another's tunnel by the first link, if this is one.
    pub(crate) fn rival(self, hosts: &Pair) -> Result<Option<Tunnel>, String> {
        match self {
            Way::WireguardGo => rivals::wireguard_go(hosts).map(Some),
            Way::Openvpn => rivals::openvpn(hosts).map(Some),
            _ => Ok(None),
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What both ends of a bond are started with.
pub(crate) struct Settings {
    /// For each link, whether it carries something when the bond begins.
    present: Vec<bool>,
    serve: &'static [&'static str],
    connect: Vec<String>,
}

impl Settings {
    /// Some links that are alike, to a server that is itself what the client wants to reach.
    pub(crate) fn straight(links: usize) -> Settings {
        let via = |link| ["--via".to_owned(), format!("c{link}")];
        Settings {
            present: vec![true; links],
            serve: &["--allow-private"],
            connect: (1..=links).flat_map(via).collect(),
        }
    }
}

/// What a scenario asks for.
fn settings(scenario: &Scenario) -> Settings {
    let mut connect = Vec::new();
    for (link, spec) in (1..).zip(&scenario.links) {
        connect.extend(["--via".to_owned(), format!("c{link}@{}", spec.weight)]);
    }
    let switches = [
        ("--mode", scenario.bond.mode.clone()),
        ("--max-skew", scenario.bond.max_skew.map(|skew| skew.as_millis().to_string())),
    ];
    for (switch, value) in switches {
        connect.extend(value.into_iter().flat_map(|value| [switch.to_owned(), value]));
    }
    Settings { present: scenario.links.iter().map(|link| link.present).collect(), serve: &[], connect }
}

/// Both ends of a bond.
pub(crate) fn bond(hosts: &Pair, settings: &Settings) -> Result<Tunnel, String> {
    let binary = match std::env::var_os("ROPEWALK_BIN") {
        Some(path) => path,
        None => option_env!("CARGO_BIN_EXE_ropewalk").ok_or("ropewalk is not built")?.into(),
    };
    let folder = Folder::new()?;
    let bond = |role: &str, args: &[&str]| {
        let mut command = Command::new(&binary);
        command.arg("bond").args(args).arg("--state-dir").arg(folder.0.join(role));
        command
    };
    let mut serve = bond("serve", &["serve", "-v"]);
    let mut server = Daemon::start(&hosts.server, serve.args(settings.serve), &folder.0, "serve.log")?;
    server.wait_for(&["serving on".into()])?;
    let mut invite = bond("serve", &["invite", "laptop", "--server", &format!("{SERVER}:{PORT}")]);
    let invited = hosts.server.run(|| invite.output()).map_err(|error| format!("{invite:?}: {error}"))?;
    let join = String::from_utf8_lossy(&invited.stdout).trim().to_owned();
    let args = ["connect", &join, "-v"].into_iter().chain(settings.connect.iter().map(String::as_str));
    let args: Vec<&str> = args.collect();
    let mut client = Daemon::start(&hosts.client, &mut bond("connect", &args), &folder.0, "connect.log")?;
    let present = (1..).zip(&settings.present).filter(|(_, present)| **present);
    client.wait_for(&present.map(|(link, _)| format!("c{link} carries")).collect::<Vec<_>>())?;
    let (inside, devices) = (Ipv4Addr::new(10, 77, 0, 2), [TUN.to_owned(), TUN.to_owned()]);
    let tunnel = Tunnel { client, server, inside, devices, folder };
    tunnel.wait_for_route(hosts)?;
    Ok(tunnel)
}
