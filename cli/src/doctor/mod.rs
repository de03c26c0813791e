//! `ropewalk doctor`: what a service needs of this host. The checks of a service stand in its own
//! folder; `report` is what they find, and how it is printed.

#[cfg(target_os = "linux")]
pub(crate) mod report;

#[cfg(all(feature = "bond", target_os = "linux"))]
use crate::bond;
#[cfg(all(feature = "dispatch", target_os = "linux"))]
use crate::dispatch;
#[cfg(feature = "unwrap")]
use crate::unwrap;

/// Look for what is missing, and say what to do
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    service: Service,
}

/// A line for each service that has a doctor.
#[derive(clap::Subcommand, Debug)]
enum Service {
    #[cfg(all(feature = "dispatch", target_os = "linux"))]
    /// Try whether connections can leave by each uplink, and say what keeps them from it
    Dispatch(dispatch::doctor::Args),
    #[cfg(feature = "unwrap")]
    /// Try whether a server on this host can get its clients' real addresses
    Unwrap(unwrap::doctor::Args),
    #[cfg(all(feature = "bond", target_os = "linux"))]
    /// Try whether this host can be an end of a bond, and whether a bond has left something
    Bond(bond::doctor::Args),
}

/// Looks.
///
/// # Errors
/// What is missing, as a sentence.
pub(crate) fn run(all: Vec<Args>) -> Result<(), String> {
    all.iter().try_for_each(|args| match &args.service {
        #[cfg(all(feature = "dispatch", target_os = "linux"))]
        Service::Dispatch(args) => dispatch::doctor::run(args),
        #[cfg(feature = "unwrap")]
        Service::Unwrap(args) => unwrap::doctor::run(args),
        #[cfg(all(feature = "bond", target_os = "linux"))]
        Service::Bond(args) => bond::doctor::run(args),
    })
}
