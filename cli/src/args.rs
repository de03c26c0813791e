//! The arguments, and what `--help` says of them.

use crate::host::uplink::{self, UplinkArg};
use crate::runtime::Runtime;
use crate::unwrap::args::Unwrap;
use crate::unwrap::doctor;
use clap::{ArgAction, Parser, Subcommand};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// One way out of many: spread connections over several internet links.
#[derive(Parser, Debug)]
#[command(name = "ropewalk", version, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Show this host's interfaces, and which of them `dispatch` would use
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Run a SOCKS5, SOCKS4 and HTTP proxy whose connections leave by several uplinks
    #[command(after_help = DISPATCH_HELP)]
    Dispatch(Dispatch),
    /// Take off the PROXY protocol header and connect to the server with its client's own address
    #[command(after_help = UNWRAP_HELP)]
    Unwrap(Box<Unwrap>),
    /// Look for what is missing, and say what to do
    Doctor {
        #[command(subcommand)]
        command: Doctor,
    },
}

#[derive(Subcommand, Debug)]
pub(crate) enum Doctor {
    /// Try whether a server on this host can get its clients' real addresses
    Unwrap(doctor::args::Doctor),
}

const DISPATCH_HELP: &str = "\
Examples:
  ropewalk dispatch                                all usable uplinks, on 127.0.0.1:8080
  ropewalk dispatch 10.81.201.18@3 192.168.1.2@2   by address, 3 to 2
  ropewalk dispatch wlan0@3 usb0@2 --listen 127.0.0.1:5566
  ropewalk dispatch --tunnel 127.0.0.1:7777@2 127.0.0.1:7778

Then, for instance: curl --socks5-hostname 127.0.0.1:8080 https://example.org/";

const UNWRAP_HELP: &str = "\
Examples:
  ropewalk unwrap setup -4 127.0.0.1:25578 -6 [::1]:25578
  ropewalk unwrap -l 0.0.0.0:25577 -4 127.0.0.1:25578 -6 [::1]:25578 --allowed-subnets balancers.txt
  ropewalk unwrap -l 0.0.0.0:19132 -4 127.0.0.1:19133 --protocol udp --allow-from 10.0.0.0/8
  ropewalk doctor unwrap -4 127.0.0.1:25578";

#[derive(clap::Args, Debug)]
pub(crate) struct Dispatch {
    /// Ways out: INTERFACE, ADDRESS, ADDRESS%INTERFACE or `auto`, each with @WEIGHT (default 1) [default: auto]
    ///
    /// With --tunnel: upstream endpoints, ADDRESS:PORT or NAME:PORT, each with @WEIGHT.
    #[arg(value_name = "UPLINK")]
    pub(crate) uplinks: Vec<String>,

    /// Where to listen, ADDRESS:PORT or PORT; may be given several times
    #[arg(short, long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080", value_parser = listen)]
    pub(crate) listen: Vec<SocketAddr>,

    /// Relay bytes as they come to the endpoints given instead of uplinks; a dead one is passed over
    #[arg(long)]
    pub(crate) tunnel: bool,

    /// Ask clients for a user and password out of this file (lines USER:PASSWORD)
    #[arg(long, value_name = "FILE", conflicts_with = "tunnel")]
    pub(crate) auth_file: Option<PathBuf>,

    /// Serve clients beyond this host although no --auth-file is given
    #[arg(long)]
    pub(crate) allow_open_proxy: bool,

    /// Let clients beyond this host reach private, link-local and loopback destinations
    #[arg(long)]
    pub(crate) allow_private: bool,

    /// A client's handshake must be complete after this many seconds
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub(crate) handshake_timeout: Duration,

    /// A target must be reached after this many seconds, all attempts together
    #[arg(long, value_name = "SECONDS", default_value = "20", value_parser = seconds)]
    pub(crate) connect_timeout: Duration,

    #[command(flatten)]
    pub(crate) common: Common,
}

/// What every service has.
#[derive(clap::Args, Debug, PartialEq, Eq)]
pub(crate) struct Common {
    /// Threads that move bytes; UDP is the first one's
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) workers: u16,

    /// The driver that moves bytes
    #[cfg(feature = "async-std")]
    #[arg(long, value_enum, default_value_t)]
    pub(crate) runtime: Runtime,

    /// Connections open at once, shared out evenly among the workers; more wait until one ends [default: half of the descriptors there are]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_connections: Option<u32>,

    /// Relay buffers of 128 KiB in use at once, in each worker; beyond that pieces of 4 KiB
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_buffers: u32,

    /// Close a connection on which nothing moves for so many seconds [default: never]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) idle_timeout: Option<Duration>,

    /// Take the switches that are not given here from this command's section of this TOML file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Tell figures over HTTP at this address of this host, ADDRESS:PORT or PORT: /metrics for Prometheus, /stats as JSON [default: off]
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = stats)]
    pub(crate) stats: Option<SocketAddr>,

    /// Say more: -v each connection, -vv more of each
    #[arg(short, long, action = ArgAction::Count)]
    pub(crate) verbose: u8,

    /// Say less: -q warnings only, -qq errors only
    #[arg(short, long, action = ArgAction::Count, conflicts_with = "verbose")]
    pub(crate) quiet: u8,
}

impl Common {
    /// The driver that was asked for; in a build with one driver, that one.
    pub(crate) fn runtime(&self) -> Runtime {
        #[cfg(feature = "async-std")]
        return self.runtime;
        #[cfg(not(feature = "async-std"))]
        Runtime::default()
    }
}

/// A proxy that serves this host only is the safe reading of a lone port.
pub(crate) fn listen(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    text.parse().map_err(|_| {
        format!("expected ADDRESS:PORT such as 127.0.0.1:8080 or [::1]:8080, or a port, got '{text}'")
    })
}

/// The figures are for this host only.
pub(crate) fn stats(text: &str) -> Result<SocketAddr, String> {
    let address = listen(text)?;
    match address.ip().is_loopback() {
        true => Ok(address),
        false => Err(format!("expected an address of loopback, such as 127.0.0.1:9090, got '{text}'")),
    }
}

pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || format!("expected a number of seconds above 0, such as 10 or 0.5, got '{text}'");
    let number: f64 = text.parse().map_err(|_| wrong())?;
    match Duration::try_from_secs_f64(number) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(wrong()),
    }
}

/// Reads the positional arguments as uplinks; none is `auto`.
pub(crate) fn uplinks(texts: &[String]) -> Result<Vec<UplinkArg>, String> {
    if texts.is_empty() {
        return Ok(vec![UplinkArg::auto()]);
    }
    texts.iter().map(|text| uplink::parse(text)).collect()
}

/// An endpoint of `--tunnel`: what the user wrote, and its weight.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) label: String,
    pub(crate) weight: u32,
}

/// Reads the positional arguments as endpoints.
pub(crate) fn endpoints(texts: &[String]) -> Result<Vec<Endpoint>, String> {
    if texts.is_empty() {
        return Err("--tunnel expects at least one endpoint, such as 127.0.0.1:7777@2, got none".into());
    }
    texts.iter().map(|text| endpoint(text)).collect()
}

fn endpoint(text: &str) -> Result<Endpoint, String> {
    let (label, weight) = match text.rsplit_once('@') {
        None => (text, 1),
        Some((label, weight)) => match weight.parse() {
            Ok(number @ 1..=uplink::MAX_WEIGHT) => (label, number),
            _ => {
                let most = uplink::MAX_WEIGHT;
                return Err(format!(
                    "endpoint '{text}': expected a weight from 1 to {most} after '@', got '{weight}'"
                ));
            }
        },
    };
    let port = label.rsplit_once(':').and_then(|(host, port)| (!host.is_empty()).then_some(port));
    match port.map(str::parse::<u16>) {
        Some(Ok(1..)) => Ok(Endpoint { label: label.to_owned(), weight }),
        _ => Err(format!("endpoint '{text}': expected ADDRESS:PORT or NAME:PORT, got '{label}'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_lone_port_means_this_host_only() {
        assert_eq!(listen("5566"), Ok("127.0.0.1:5566".parse().expect("literal")));
        assert_eq!(listen("[::1]:1"), Ok("[::1]:1".parse().expect("literal")));
        assert!(listen("localhost:1").is_err_and(|e| e.contains("got 'localhost:1'")));
    }

    #[test]
    fn figures_are_told_on_loopback_only() {
        assert_eq!(stats("9090"), Ok("127.0.0.1:9090".parse().expect("literal")));
        assert_eq!(stats("[::1]:0"), Ok("[::1]:0".parse().expect("literal")));
        for bad in ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "[::ffff:192.0.2.1]:1"] {
            assert!(stats(bad).is_err_and(|e| e.contains("loopback") && e.contains(bad)), "{bad}");
        }
    }

    #[test]
    fn endpoints_have_a_port_and_may_have_a_weight() {
        let read = |text: &str| endpoint(text).map(|e| (e.label, e.weight));
        assert_eq!(read("127.0.0.1:7777@2"), Ok(("127.0.0.1:7777".into(), 2)));
        assert_eq!(read("[::1]:7778"), Ok(("[::1]:7778".into(), 1)));
        assert_eq!(read("host:1"), Ok(("host:1".into(), 1)));
        for bad in ["host", ":1", "host:0", "host:x", "host:1@0", "host:1@", "host:1@x", "host:1@99999"] {
            assert!(read(bad).is_err_and(|e| e.contains(bad)), "{bad}");
        }
        assert!(endpoints(&[]).is_err());
    }

    #[test]
    fn seconds_may_be_fractions_but_not_nothing() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for bad in ["0", "-1", "x", "nan", "inf", "1e99"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
