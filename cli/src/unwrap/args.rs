//! The switches of `unwrap`.

use super::target::{self, Protocol, Wanted};
use crate::process::args::{Common, listen, seconds};
use crate::process::record::RecordArgs;
use ropewalk_core::machine::LocalPath;
use ropewalk_core::uplink::Prefix;
use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

const HELP: &str = "\
Examples:
  ropewalk unwrap setup -4 127.0.0.1:25578 -6 [::1]:25578
  ropewalk unwrap -l 0.0.0.0:25577 -4 127.0.0.1:25578 -6 [::1]:25578 --allowed-subnets balancers.txt
  ropewalk unwrap -l 0.0.0.0:19132 -4 127.0.0.1:19133 --protocol udp --allow-from 10.0.0.0/8
  ropewalk doctor unwrap -4 127.0.0.1:25578";

/// The name of the tables in the configuration file of which each describes listeners.
pub(crate) const TABLES: &str = "listener";

/// Take off the PROXY protocol header and connect to the server with its client's own address
#[derive(clap::Args, Debug)]
#[command(after_help = HELP, args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    #[command(flatten)]
    pub(crate) options: Options,
}

#[derive(clap::Subcommand, Debug)]
pub(crate) enum Command {
    /// Add the routing rules by which the server's answers come back into this host
    Setup(super::routes::args::Setup),
    /// Take away what setup has added
    Teardown(super::routes::args::Teardown),
}

#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) listener: Listener,
    #[command(flatten)]
    pub(crate) process: Process,
}

/// What each `[[unwrap.listener]]` may set for itself.
#[derive(clap::Args, Debug)]
pub(crate) struct Listener {
    /// Where clients come in, ADDRESS:PORT or ADDRESS:FIRST-LAST; may be given several times
    #[arg(short, long, value_name = "ADDRESS:PORT", value_parser = listen_range)]
    pub(crate) listen: Vec<Range>,

    /// The server for IPv4 clients: ADDRESS:PORT (or NAME:PORT), ADDRESS:FIRST-LAST (port by port)
    /// or unix:PATH
    #[arg(short = '4', long = "target-v4", value_name = "ADDRESS:PORT", value_parser = server_v4)]
    pub(crate) v4: Option<Server>,

    #[arg(
        help = "The server for IPv6 clients: [ADDRESS]:PORT (or NAME:PORT), [ADDRESS]:FIRST-LAST or unix:PATH",
        short = '6', long = "target-v6", value_name = "[ADDRESS]:PORT", value_parser = server_v6
    )]
    pub(crate) v6: Option<Server>,

    /// Where connections go: to the targets, or where the header says their client wanted to go
    #[arg(long, value_enum, value_name = "WHERE", default_value = "targets")]
    pub(crate) to: To,

    /// With --to header: where headers may lead to, PREFIX:PORT, PREFIX:FIRST-LAST or PREFIX:*;
    /// several times for several
    #[arg(long, value_name = "PREFIX:PORTS", value_parser = destinations)]
    pub(crate) allow_target: Vec<Destinations>,

    /// What comes in; may be given twice
    #[arg(short, long, value_enum, value_name = "PROTOCOL", default_value = "tcp")]
    pub(crate) protocol: Vec<Protocol>,

    /// Which UDP datagrams have a header: each, or the first from each port of the balancer
    /// (Spectrum, frp)
    #[arg(long, value_enum, value_name = "WHICH", default_value = "each")]
    pub(crate) udp_header: UdpHeader,

    /// The file with the networks whose headers are believed, one ADDRESS/BITS a line
    #[arg(short, long, value_name = "FILE")]
    pub(crate) allowed_subnets: Option<PathBuf>,

    /// A network whose headers are believed, ADDRESS/BITS; may be given several times
    #[arg(long, value_name = "PREFIX")]
    pub(crate) allow_from: Vec<Prefix>,

    /// Believe everybody's headers: whoever reaches a listener can be whoever it likes
    #[arg(long, conflicts_with_all = ["allowed_subnets", "allow_from"])]
    pub(crate) allow_any: bool,
}

/// What holds for the whole process.
#[derive(clap::Args, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    /// Let headers name clients in this network, which no client can have: loopback, link-local,
    /// this host's own and such
    #[arg(long, value_name = "PREFIX")]
    pub(crate) allow_source: Vec<Prefix>,

    /// Where the client's own port cannot be had (in use, under 1024 without the privilege, 0):
    /// refuse the client, or take another port
    #[arg(long, value_enum, value_name = "WHAT", default_value = "fail")]
    pub(crate) on_port_conflict: OnPortConflict,

    /// Mark what goes to the servers; setup must be given the same
    #[arg(long, value_name = "N", value_parser = super::routes::args::mark)]
    pub(crate) mark: Option<u32>,

    /// Take version 1 lines whose destination is of the other family than their source, as nginx
    /// writes them
    #[arg(long)]
    pub(crate) mixed_families: bool,

    /// The most bytes that a version 2 header may say to follow its first 16
    #[arg(
        long, value_name = "BYTES", default_value_t = 4096,
        value_parser = clap::value_parser!(u16).range(36..)
    )]
    pub(crate) max_header: u16,

    /// A header must be whole after this many seconds
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = seconds)]
    pub(crate) header_timeout: Duration,

    /// The server must be reached after this many seconds
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub(crate) connect_timeout: Duration,

    /// End a UDP flow on which nothing moves for so many seconds
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub(crate) close_after: Duration,

    /// UDP flows open at once; beyond that the longest idle one is ended
    /// [default: a quarter of the descriptors there are, at most 16384]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_flows: Option<u32>,

    /// Bytes that may wait to be sent on one UDP socket; what comes beyond that is dropped
    #[arg(
        long, value_name = "BYTES", default_value_t = 1 << 20,
        value_parser = clap::value_parser!(u32).range(65536..)
    )]
    pub(crate) max_queue: u32,

    /// Started as root, become this user (a number or a name) once all is set up, and keep nothing
    /// but what foreign addresses need [default: ropewalk if there is such a user, else 65534]
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,

    #[command(flatten)]
    pub(crate) record: RecordArgs,

    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum To {
    /// To -4 and -6
    Targets,
    /// Where the header says, if --allow-target has it
    Header,
}

#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum UdpHeader {
    Each,
    First,
}

#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OnPortConflict {
    Fail,
    Ephemeral,
}

/// An address with ports in a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Range {
    pub(crate) first: SocketAddr,
    pub(crate) last: u16,
}

impl Range {
    pub(crate) fn len(self) -> usize {
        usize::from(self.last - self.first.port()) + 1
    }

    pub(crate) fn addresses(self) -> impl Iterator<Item = SocketAddr> {
        (self.first.port()..=self.last).map(move |port| SocketAddr::new(self.first.ip(), port))
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first.fmt(f)?;
        if self.len() > 1 { write!(f, "-{}", self.last) } else { Ok(()) }
    }
}

/// A server, or several at ports in a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Server {
    Addresses(Wanted),
    Local(LocalPath),
}

/// Where headers may lead to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Destinations {
    pub(crate) network: Prefix,
    pub(crate) ports: RangeInclusive<u16>,
}

fn listen_range(text: &str) -> Result<Range, String> {
    let (address, last) = match text.rsplit_once('-') {
        Some((address, last)) => (address, Some(last)),
        None => (text, None),
    };
    let first = listen(address)?;
    let last = match last {
        None => first.port(),
        Some(last) => match last.parse() {
            Ok(last) if last >= first.port() && first.port() > 0 => last,
            _ => {
                return Err(format!(
                    "expected ADDRESS:FIRST-LAST with ports in rising order, such as 0.0.0.0:2000-2009, got \
                     '{text}'"
                ));
            }
        },
    };
    Ok(Range { first, last })
}

fn server_v4(text: &str) -> Result<Server, String> {
    server(text, target::wanted_v4)
}

fn server_v6(text: &str) -> Result<Server, String> {
    server(text, target::wanted_v6)
}

fn server(text: &str, address: fn(&str) -> Result<Wanted, String>) -> Result<Server, String> {
    match text.strip_prefix("unix:") {
        None => address(text).map(Server::Addresses),
        Some(path) => LocalPath::new(path.as_bytes()).map(Server::Local).ok_or_else(|| {
            format!("expected unix:PATH with a path of 1 to {} bytes, got '{text}'", LocalPath::MAX)
        }),
    }
}

fn destinations(text: &str) -> Result<Destinations, String> {
    let wrong = || {
        format!(
            "expected PREFIX:PORT, PREFIX:FIRST-LAST or PREFIX:*, such as 10.0.0.0/24:25565 or \
             [2001:db8::/64]:*, got '{text}'"
        )
    };
    let (network, ports) = text.rsplit_once(':').ok_or_else(wrong)?;
    let network = network.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(network);
    let network: Prefix = network.parse().map_err(|error| format!("'{text}': {error}"))?;
    let (first, last) = match ports.split_once('-') {
        _ if ports == "*" => (1, u16::MAX),
        None => {
            let port = ports.parse().map_err(|_| wrong())?;
            (port, port)
        }
        Some((first, last)) => (first.parse().map_err(|_| wrong())?, last.parse().map_err(|_| wrong())?),
    };
    if first == 0 || first > last {
        return Err(wrong());
    }
    Ok(Destinations { network, ports: first..=last })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_has_a_port_or_several() {
        let read = |text: &str| listen_range(text).map(|range| (range.to_string(), range.len()));
        assert_eq!(read("0.0.0.0:25577"), Ok(("0.0.0.0:25577".into(), 1)));
        assert_eq!(read("[::]:2000-2009"), Ok(("[::]:2000-2009".into(), 10)));
        for bad in ["0.0.0.0:2009-2000", "0.0.0.0:0-5", "0.0.0.0:1-70000", "0.0.0.0:1-", "x:1"] {
            assert!(listen_range(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_server_is_an_address_or_a_path() {
        assert!(matches!(server_v4("127.0.0.1:1-3"), Ok(Server::Addresses(_))));
        assert!(matches!(server_v6("[::1]:1"), Ok(Server::Addresses(_))));
        assert!(matches!(server_v4("unix:/run/server.sock"), Ok(Server::Local(_))));
        assert!(server_v4("unix:").is_err_and(|e| e.contains("'unix:'")));
        assert!(server_v4("[::1]:1").is_err());
    }

    #[test]
    fn headers_may_lead_to_networks_with_ports() {
        let read = |text: &str| destinations(text).map(|d| (d.network.to_string(), d.ports));
        assert_eq!(read("10.0.0.0/24:25565"), Ok(("10.0.0.0/24".into(), 25565..=25565)));
        assert_eq!(read("[2001:db8::/64]:*"), Ok(("2001:db8::/64".into(), 1..=65535)));
        assert_eq!(read("127.0.0.1:1-9"), Ok(("127.0.0.1/32".into(), 1..=9)));
        for bad in ["10.0.0.0/24", "10.0.0.0/24:0", "10.0.0.0/24:9-1", "10.0.0.0/33:1", "10.0.0.1/24:1"] {
            assert!(destinations(bad).is_err_and(|e| e.contains(bad)), "{bad}");
        }
    }
}
