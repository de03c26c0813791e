//! The switches of `bond`.

use super::values::{self, Dns, Mark, Nat, Route, Subnet};
use crate::host::uplink::UplinkArg;
use crate::process::args::{seconds, stats};
use clap::ArgAction;
use ropewalk_core::bond::crypto::PublicKey;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

const HELP: &str = "\
Examples, the first two on the server:
  ropewalk bond serve --subnet 10.77.0.0/24
  ropewalk bond invite laptop --server vpn.example.net:4500
  ropewalk bond connect ropewalk1:... --via wlan0 --via usb0
  ropewalk bond connect --mode weighted --via wlan0@75 --via usb0@25";

/// Where keys, enrolments and the control socket are, unless told otherwise.
pub(super) const STATE_DIR: &str = "/var/lib/ropewalk";

/// Carry all traffic of this host over all its links to a server, packet by packet
#[derive(clap::Args, Debug)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(clap::Subcommand, Debug)]
pub(crate) enum Command {
    /// Run the server's end
    Serve(Box<Serve>),
    /// Print a join string: it lets one client in, once, until it expires
    Invite(Invite),
    /// List who may come in
    Clients(Clients),
    /// Shut a client out, or take an invitation back
    Revoke(Revoke),
    /// Run the client's end
    Connect(Box<Connect>),
    /// Tell what a running bond does
    Status(Status),
    /// Change a running client: its mode, its links
    Set(Set),
    /// Put back what a bond that was killed has left: routes, rules, resolvers, filters, the kill
    /// switch
    Restore(Restore),
    /// Print a new secret key and, after it, its public key
    Keygen(Keygen),
}

/// Print a new secret key and, after it, its public key
#[derive(clap::Args, Debug)]
pub(crate) struct Keygen {
    /// Write the secret key to this new file, readable by its owner alone, and print the public key
    /// only
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// Print a join string: it lets one client in, once, until it expires
#[derive(clap::Args, Debug)]
pub(crate) struct Invite {
    /// What the client is called in the log and in `ropewalk bond status`
    #[arg(value_name = "NAME", value_parser = super::registry::name)]
    pub(crate) name: String,

    /// Where the client finds this server
    #[arg(long, value_name = "HOST:PORT", value_parser = super::join::host_and_port)]
    pub(crate) server: String,

    /// How long the join string is good: 30m, 24h or 7d
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = values::span)]
    pub(crate) expires: Duration,

    /// As of the server
    #[arg(long, value_name = "DIR", default_value = STATE_DIR)]
    pub(crate) state_dir: PathBuf,
}

/// List who may come in
#[derive(clap::Args, Debug)]
pub(crate) struct Clients {
    /// As of the server
    #[arg(long, value_name = "DIR", default_value = STATE_DIR)]
    pub(crate) state_dir: PathBuf,
}

/// Shut a client out, or take an invitation back
#[derive(clap::Args, Debug)]
pub(crate) struct Revoke {
    /// Its name, as `ropewalk bond clients` lists it
    #[arg(value_name = "NAME", value_parser = super::registry::name)]
    pub(crate) name: String,

    /// As of the server
    #[arg(long, value_name = "DIR", default_value = STATE_DIR)]
    pub(crate) state_dir: PathBuf,
}

/// Tell what a running bond does
#[derive(clap::Args, Debug)]
pub(crate) struct Status {
    /// As JSON, a line for each end that runs here
    #[arg(long)]
    pub(crate) json: bool,

    /// As of the service
    #[arg(long, value_name = "DIR", default_value = STATE_DIR)]
    pub(crate) state_dir: PathBuf,
}

/// Change a running client: its mode, its links
#[derive(clap::Args, Debug)]
#[command(group(clap::ArgGroup::new("change").required(true).multiple(true)))]
pub(crate) struct Set {
    /// Spread packets in this way from now on
    #[arg(long, value_name = "MODE", value_parser = values::mode, group = "change")]
    pub(crate) mode: Option<ropewalk_core::bond::Strategy>,

    /// Allow this skew from now on, in milliseconds
    #[arg(long, value_name = "MS", value_parser = values::millis, group = "change")]
    pub(crate) max_skew: Option<Duration>,

    /// Use this link too, or with another weight; may be given several times
    #[arg(long, value_name = "LINK", group = "change")]
    pub(crate) via: Vec<UplinkArg>,

    /// Use this link no more; may be given several times
    #[arg(long, value_name = "LINK", group = "change")]
    pub(crate) drop: Vec<String>,

    /// As of the service
    #[arg(long, value_name = "DIR", default_value = STATE_DIR)]
    pub(crate) state_dir: PathBuf,
}

/// Put back what a bond that was killed has left: routes, rules, resolvers, filters, the kill
/// switch
#[derive(clap::Args, Debug)]
pub(crate) struct Restore {
    /// As of the service
    #[arg(long, value_name = "DIR", default_value = STATE_DIR)]
    pub(crate) state_dir: PathBuf,
}

/// What both ends have.
#[derive(clap::Args, Debug)]
pub(crate) struct Common {
    /// Keys, enrolments, the journal and the control socket are here
    #[arg(long, value_name = "DIR", default_value = STATE_DIR)]
    pub(crate) state_dir: PathBuf,

    /// The name of the TUN device, at most 15 bytes
    #[arg(long, value_name = "NAME", default_value = "ropewalk0", value_parser = values::device)]
    pub(crate) tun: String,

    /// The largest packet inside, in bytes
    #[arg(
        long, value_name = "BYTES", default_value_t = ropewalk_core::bond::DEFAULT_MTU,
        value_parser = clap::value_parser!(u16).range(1280..=65_535)
    )]
    pub(crate) mtu: u16,

    /// The mark (SO_MARK) of the bond's own packets, by which rules and filters know them
    #[arg(long, value_name = "N", default_value_t = Mark(super::host::MARK), value_parser = values::mark)]
    pub(crate) mark: Mark,

    /// Take the switches that are not given here from this command's section of this TOML file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Tell figures over HTTP at this address of this host, ADDRESS:PORT or PORT: /metrics for
    /// Prometheus, /stats as JSON [default: off]
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = stats)]
    pub(crate) stats: Option<SocketAddr>,

    /// Say more: -v what happens to each path, -vv more
    #[arg(short, long, action = ArgAction::Count)]
    pub(crate) verbose: u8,

    /// Say less: -q warnings only, -qq errors only
    #[arg(short, long, action = ArgAction::Count, conflicts_with = "verbose")]
    pub(crate) quiet: u8,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Serve {
    /// Where clients come in, ADDRESS:PORT
    #[arg(
        short, long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:4500",
        value_parser = values::listen
    )]
    pub(crate) listen: SocketAddr,

    /// The network inside the tunnel, ADDRESS/BITS, one for IPv4 and one for IPv6; the server has
    /// the first address of each
    #[arg(long, value_name = "PREFIX", default_value = "10.77.0.0/24", value_parser = values::subnet)]
    pub(crate) subnet: Vec<Subnet>,

    /// Let in the client with this public key, without an invitation; may be given several times
    #[arg(long, value_name = "KEY")]
    pub(crate) client: Vec<PublicKey>,

    /// Give clients this host's address on their way out: auto or off
    #[arg(long, value_name = "WHEN", default_value = "auto", value_parser = values::nat)]
    pub(crate) nat: Nat,

    /// Let clients reach each other
    #[arg(long)]
    pub(crate) allow_client_to_client: bool,

    /// Let clients reach private and link-local networks and this host beyond its inner address
    #[arg(long)]
    pub(crate) allow_private: bool,

    /// Clients at the same time
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) max_clients: u16,

    /// Bytes of each of the two buffers of the server's socket in the system. More than what one
    /// way out can hold back, or a way that is stuck holds up the others
    #[arg(
        long, value_name = "BYTES", default_value_t = 4_194_304,
        value_parser = clap::value_parser!(u32).range(65_536..=1_073_741_824)
    )]
    pub(crate) socket_buffer: u32,

    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Connect {
    /// The server: a join string (ropewalk1:...), or HOST:PORT with --server-key
    /// [default: the server that is known]
    #[arg(value_name = "SERVER")]
    pub(crate) server: Option<String>,

    /// The server's public key, where there is no join string
    #[arg(long, value_name = "KEY")]
    pub(crate) server_key: Option<PublicKey>,

    /// A link: INTERFACE, ADDRESS or ADDRESS%INTERFACE, with @WEIGHT (default 1); may be given
    /// several times [default: auto]
    #[arg(long, value_name = "LINK")]
    pub(crate) via: Vec<UplinkArg>,

    /// How packets are spread over the links, in both directions: aggregate, weighted,
    /// lowest-latency, active-backup, redundant, adaptive or flow
    #[arg(long, value_name = "MODE", default_value = "aggregate", value_parser = values::mode)]
    pub(crate) mode: ropewalk_core::bond::Strategy,

    /// A link whose delay is longer than the shortest by more milliseconds carries nothing but what
    /// must
    #[arg(long, value_name = "MS", default_value = "60", value_parser = values::millis)]
    pub(crate) max_skew: Duration,

    /// What goes through the bond: all, none, or ADDRESS/BITS; may be given several times
    #[arg(long, value_name = "PREFIX", default_value = "all", value_parser = values::route)]
    pub(crate) route: Vec<Route>,

    /// The resolver while the bond is up: an address, or keep to leave it as it is; may be given
    /// several times
    #[arg(long, value_name = "ADDRESS", default_value = "keep", value_parser = values::dns)]
    pub(crate) dns: Vec<Dns>,

    /// Let nothing leave but through the bond, from now until a clean end or
    /// `ropewalk bond restore`
    #[arg(long)]
    pub(crate) kill_switch: bool,

    /// With a join string: give up when the server is silent for so many seconds
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub(crate) join_timeout: Duration,

    #[command(flatten)]
    pub(crate) common: Common,
}
