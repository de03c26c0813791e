//! `ropewalk doctor dispatch`: what each uplink needs, looked at one after another, and where the
//! user names a target, a connection there by each.
//!
//! | module | is |
//! | --- | --- |
//! | `checks` | what can be known without sending anything |
//! | `probe` | the connections |

mod checks;
mod probe;

use super::args::uplinks;
use super::probe::ProbeArg;
use crate::doctor::report::Report;
use crate::process::args::listen;
use std::net::SocketAddr;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Ways out, as `dispatch` takes them [default: auto]
    #[arg(value_name = "UPLINK")]
    pub(crate) uplinks: Vec<String>,

    /// Ask this by each uplink, as `dispatch --probe` does: HOST:PORT or http://HOST/PATH, with
    /// ,status=204 a captive portal shows; may be given several times
    #[arg(long, value_name = "TARGET", value_parser = super::probe::parse)]
    pub(crate) probe: Vec<ProbeArg>,

    /// Where `dispatch` is to listen
    #[arg(short, long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080", value_parser = listen)]
    pub(crate) listen: Vec<SocketAddr>,
}

/// Prints what it finds.
///
/// # Errors
/// An uplink cannot work as this host is.
pub(crate) fn run(args: &Args) -> Result<(), String> {
    let wanted = uplinks(&args.uplinks)?;
    let mut report = Report::new(std::io::stdout());
    checks::descriptors(&mut report);
    checks::listeners(&args.listen, &mut report);
    checks::resolvers(&mut report);
    let links = checks::links(&mut report);
    let found = checks::uplinks(&wanted, &links, &mut report);
    checks::settings(&found, &links, &mut report);
    // A proxy is asked by the service itself: a connection from here would pass it by.
    for uplink in found.iter().filter(|uplink| uplink.upstream.is_none()) {
        #[cfg(feature = "names")]
        checks::names(uplink, &links, &mut report);
        if checks::binding(uplink, &mut report) {
            probe::ask(uplink, &args.probe, &mut report);
        }
    }
    report.verdict()
}
