//! The switches of `dispatch`.

use super::cap::CapArg;
use super::probe::ProbeArg;
use super::rate::RateArg;
#[cfg(feature = "names")]
use super::resolver::ResolverArg;
use crate::host::uplink::{self, UplinkArg};
use crate::process::args::{Common, listen, seconds, seconds_or_none};
use crate::process::record::RecordArgs;
use ropewalk_core::uplink::Policy;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

const HELP: &str = "\
Examples:
  ropewalk dispatch                                all usable uplinks, on 127.0.0.1:8080
  ropewalk dispatch 10.81.201.18@3 192.168.1.2@2   by address, 3 to 2
  ropewalk dispatch wlan0@3 usb0@2 --listen 127.0.0.1:5566
  ropewalk dispatch wlan0@2 socks5://127.0.0.1:1080   a link and what `ssh -D 1080` serves
  ropewalk dispatch --tunnel 127.0.0.1:7777@2 127.0.0.1:7778

Then, for instance: curl --socks5-hostname 127.0.0.1:8080 https://example.org/";

/// Run a SOCKS5, SOCKS4 and HTTP proxy whose connections leave by several uplinks
#[derive(clap::Args, Debug)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// Ways out: INTERFACE, ADDRESS, ADDRESS%INTERFACE, `auto` or another proxy, each with @WEIGHT
    /// (default 1) [default: auto]
    ///
    /// A proxy is socks5://[USER:PASSWORD@]HOST:PORT or http://[USER:PASSWORD@]HOST:PORT (CONNECT),
    /// with %INTERFACE behind it to be reached through that.
    ///
    /// With --tunnel: upstream endpoints, ADDRESS:PORT or NAME:PORT, each with @WEIGHT.
    #[allow(rustdoc::broken_intra_doc_links, reason = "the brackets are those of a usage line")]
    #[arg(value_name = "UPLINK")]
    pub(crate) uplinks: Vec<String>,

    /// Where to listen, ADDRESS:PORT or PORT; may be given several times
    #[arg(short, long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080", value_parser = listen)]
    pub(crate) listen: Vec<SocketAddr>,

    /// Relay bytes as they come to the endpoints given instead of uplinks; a dead one is passed
    /// over
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

    /// An HTTP exchange on which nothing moves for so many seconds ends
    #[arg(long, value_name = "SECONDS", default_value = "900", value_parser = seconds)]
    pub(crate) http_timeout: Duration,

    /// What leaves by an uplink and is not acknowledged for so many seconds breaks its connection
    /// (TCP_USER_TIMEOUT); 0: as the system has it
    #[arg(long, value_name = "SECONDS", default_value = "120", value_parser = seconds_or_none)]
    pub(crate) user_timeout: Duration,

    /// Connections of one client open at once; more are reset
    /// [default: three quarters of --max-connections]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_client_connections: Option<u32>,

    /// Names that one client may have looked up at the same time, in each worker; more wait
    #[arg(
        long, value_name = "N", default_value_t = 64,
        value_parser = clap::value_parser!(u32).range(1..=256)
    )]
    pub(crate) max_lookups: u32,

    /// A name must be looked up after this many seconds
    #[arg(long, value_name = "SECONDS", default_value = "8", value_parser = seconds)]
    pub(crate) lookup_timeout: Duration,

    /// Who is asked for names through an uplink: ADDRESS, ADDRESS:PORT or `system`, with UPLINK=
    /// before it for one of them; may be given several times [default: those that this host knows
    /// for its link, else system]
    #[cfg(feature = "names")]
    #[arg(
        long, value_name = "[UPLINK=]ADDRESS", value_parser = super::resolver::parse,
        conflicts_with = "tunnel"
    )]
    pub(crate) resolver: Vec<ResolverArg>,

    /// Answers of such resolvers that are kept, in each worker, for as long as they hold. 0: none
    #[cfg(feature = "names")]
    #[arg(
        long, value_name = "N", default_value_t = 4096,
        value_parser = clap::value_parser!(u32).range(..=1_048_576)
    )]
    pub(crate) name_cache: u32,

    /// Ask uplinks whether they carry: HOST:PORT or http://HOST/PATH, with ,period=5 ,timeout=2
    /// ,fall=2 ,rise=1 or ,status=204 behind it, with UPLINK= before it for one of them; may be
    /// given several times
    #[arg(
        long, value_name = "[UPLINK=]TARGET", value_parser = super::probe::parse,
        conflicts_with = "tunnel"
    )]
    pub(crate) probe: Vec<ProbeArg>,

    /// Use this uplink only while no other is well, UPLINK or UPLINK=TIER (2 to 9); may be given
    /// several times
    #[arg(long, value_name = "UPLINK", conflicts_with = "tunnel")]
    pub(crate) backup: Vec<String>,

    /// How the next uplink is chosen: round-robin, least-connections, least-latency, adaptive or
    /// sticky
    #[arg(long, value_name = "POLICY", default_value_t, value_parser = policy)]
    pub(crate) policy: Policy,

    /// Bytes that this uplink may carry in a month, UPLINK=50GB or UPLINK=50GB,reset-day=15;
    /// beyond that it takes no new connections. Needs --usage-file; may be given several times
    #[arg(long, value_name = "UPLINK=SIZE", value_parser = super::cap::parse, conflicts_with = "tunnel")]
    pub(crate) cap: Vec<CapArg>,

    /// Keep here what uplinks with a --cap have carried [default: `usage` in $STATE_DIRECTORY]
    #[arg(long, value_name = "FILE")]
    pub(crate) usage_file: Option<PathBuf>,

    /// What this uplink may carry in a second, UPLINK=20Mbit each way or UPLINK=20Mbit,up=5Mbit;
    /// shared out evenly among the workers. May be given several times
    #[arg(long, value_name = "UPLINK=RATE", value_parser = super::rate::parse)]
    pub(crate) rate: Vec<RateArg>,

    /// UDP associations (SOCKS5) open at once, shared out evenly among the workers; more are
    /// refused. 0: none is served [default: 1024, of small systems a quarter of the descriptors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=65_536))]
    pub(crate) max_associations: Option<u32>,

    /// Destinations that one UDP association remembers; beyond that the longest idle one is
    /// forgotten
    #[arg(
        long, value_name = "N", default_value_t = 1024,
        value_parser = clap::value_parser!(u32).range(1..=65_536)
    )]
    pub(crate) max_destinations: u32,

    /// Forget a destination of a UDP association after so many seconds in which nothing moves
    #[arg(long, value_name = "SECONDS", default_value = "120", value_parser = seconds)]
    pub(crate) close_after: Duration,

    /// Bytes that may wait to be sent on one UDP socket; what comes beyond that is dropped
    #[arg(
        long, value_name = "BYTES", default_value_t = 1 << 20,
        value_parser = clap::value_parser!(u32).range(65536..)
    )]
    pub(crate) max_queue: u32,

    /// Bytes of requests kept before their connections stand, in each worker; beyond that 4 KiB of
    /// each, and the rest waits
    #[arg(
        long, value_name = "BYTES", default_value_t = 16_777_216,
        value_parser = clap::value_parser!(u32).range(65_536..)
    )]
    pub(crate) max_request_memory: u32,

    /// The largest head of an HTTP request or response, in bytes
    #[arg(
        long, value_name = "BYTES", default_value_t = 262_144,
        value_parser = clap::value_parser!(u32).range(1024..=16_777_216)
    )]
    pub(crate) max_head_size: u32,

    /// The most header fields in such a head
    #[arg(
        long, value_name = "N", default_value_t = 2000,
        value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    pub(crate) max_header_fields: u32,

    #[command(flatten)]
    pub(crate) record: RecordArgs,

    #[command(flatten)]
    pub(crate) common: Common,
}

fn policy(text: &str) -> Result<Policy, String> {
    let all = Policy::ALL;
    all.into_iter().find(|policy| policy.name() == text).ok_or_else(|| {
        let names = all.map(Policy::name).join(", ");
        format!("expected one of {names}, got '{text}'")
    })
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
}
