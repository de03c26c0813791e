//! `ropewalk doctor bond`: what a bond needs, looked at one after another; what one has left.
//!
//! | module | is |
//! | --- | --- |
//! | `checks` | what can be known without sending anything |
//! | `probe` | a handshake with the server, by each link |

mod checks;
mod probe;

use super::args::STATE_DIR;
use super::control::{self, Role};
use crate::doctor::report::Report;
use crate::host::uplink::UplinkArg;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Look at what a client needs; without either, at what both need
    #[arg(long)]
    pub(crate) client: bool,

    /// Look at what a server needs
    #[arg(long)]
    pub(crate) server: bool,

    /// A link of the client: INTERFACE, ADDRESS or ADDRESS%INTERFACE; may be given several times
    /// [default: auto]
    #[arg(long, value_name = "LINK")]
    pub(crate) via: Vec<UplinkArg>,

    /// As of the service
    #[arg(long, value_name = "DIR", default_value = STATE_DIR)]
    pub(crate) state_dir: PathBuf,
}

/// Where the server that runs is reached; where none does, where one usually is.
fn listen(state_dir: &Path) -> SocketAddr {
    let usual = SocketAddr::from(([0, 0, 0, 0], 4500));
    let status = control::client::ask(state_dir, Role::Serve, &serde_json::json!({ "command": "status" }));
    let told = status.ok().flatten().and_then(|answer| answer["listen"].as_str()?.parse().ok());
    told.unwrap_or(usual)
}

/// Prints what it finds. An error where a bond cannot work.
pub(crate) fn run(args: &Args) -> Result<(), String> {
    let both = args.client == args.server;
    let mut report = Report::new(std::io::stdout());
    checks::capabilities(&mut report);
    checks::tun(&mut report);
    checks::filters(&mut report);
    let running = checks::left(&args.state_dir, &mut report);
    let links = checks::links(&mut report);
    if both || args.client {
        checks::uplinks(&args.via, &links, &mut report);
        checks::name_servers(&mut report);
        if !running {
            probe::run(&args.state_dir, &args.via, &links, &mut report);
        }
    }
    if both || args.server {
        checks::forwarding(&links, &mut report);
        checks::firewall(listen(&args.state_dir), &mut report);
    }
    report.verdict()
}
