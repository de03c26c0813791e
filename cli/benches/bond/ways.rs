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
use crate::hosts::{FAR, Hosts, SERVER, address};
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
            Way::Bond => Some(bond(&hosts, scenario)?),
            Way::WireguardGo => Some(rivals::wireguard_go(&hosts)?),
            Way::Openvpn => Some(rivals::openvpn(&hosts)?),
            _ => None,
        };
        if self == Way::Mptcp {
            for ns in [&hosts.client, &hosts.far] {
                Hosts::try_ip(ns, "mptcp limits set subflow 8 add_addr_accepted 8")?;
            }
            for link in 2..=scenario.links.len() {
                let endpoint = format!("mptcp endpoint add {} dev c{link} subflow", address(link));
                Hosts::try_ip(&hosts.client, &endpoint)?;
            }
        }
        let source = tunnel.as_ref().map_or(address(1), |tunnel| tunnel.inside);
        let ends = Ends::open(scenario, tcp, (&hosts.client, source), (&hosts.far, FAR));
        let ends = ends.map_err(|error| format!("the flows: {error}"))?;
        let report = measure(scenario, forwarder, ends, |link, back| hosts.plug(link, back))?;
        if let Some(tunnel) = &tunnel {
            tunnel.say(self.name(), scenario);
        }
        Ok(report)
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Both ends of a bond.
fn bond(hosts: &Hosts, scenario: &Scenario) -> Result<Tunnel, String> {
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
    let mut server =
        Daemon::start(&hosts.server, &mut bond("serve", &["serve", "-v"]), &folder.0, "serve.log")?;
    server.wait_for(&["serving on".into()])?;
    let mut invite = bond("serve", &["invite", "laptop", "--server", &format!("{SERVER}:{PORT}")]);
    let invited = hosts.server.run(|| invite.output()).map_err(|error| format!("{invite:?}: {error}"))?;
    let join = String::from_utf8_lossy(&invited.stdout).trim().to_owned();
    let mut args = vec!["connect".to_owned(), join, "-v".to_owned()];
    for (link, spec) in (1..).zip(&scenario.links) {
        args.extend(["--via".to_owned(), format!("c{link}@{}", spec.weight)]);
    }
    let settings = [
        ("--mode", scenario.bond.mode.clone()),
        ("--max-skew", scenario.bond.max_skew.map(|skew| skew.as_millis().to_string())),
    ];
    for (switch, value) in settings {
        args.extend(value.into_iter().flat_map(|value| [switch.to_owned(), value]));
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut client = Daemon::start(&hosts.client, &mut bond("connect", &args), &folder.0, "connect.log")?;
    let present = (1..).zip(&scenario.links).filter(|(_, link)| link.present);
    client.wait_for(&present.map(|(link, _)| format!("c{link} carries")).collect::<Vec<_>>())?;
    let tunnel = Tunnel { client, server, inside: Ipv4Addr::new(10, 77, 0, 2), folder };
    tunnel.wait_for_route(hosts, "ropewalk0")?;
    Ok(tunnel)
}
