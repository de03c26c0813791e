//! `ropewalk bond invite`: a join string, for one client.

use super::args::Invite;
use super::control::{self, Role};
use super::join::{Join, Token};
use super::registry::{Registry, unix_time};
use super::serve::KEY;
use super::state;
use crate::process::output::print;
use serde_json::json;

/// Writes the invitation into the state directory, tells the server if it runs, and prints the join
/// string.
pub(super) fn run(args: &Invite) -> Result<(), String> {
    let path = args.state_dir.join(KEY);
    let text = state::read_secret(&path)?.ok_or_else(|| {
        format!(
            "{}: expected the server's key, got no such file: run `ropewalk bond serve` first",
            path.display()
        )
    })?;
    let key: ropewalk_core::bond::crypto::SecretKey =
        text.parse().map_err(|error| format!("{}: {error}", path.display()))?;
    let token = Token(*state::entropy()?.first_chunk().expect("16 of 32 bytes"));
    let now = unix_time();
    let subnets = super::serve::kept_subnets(&args.state_dir)?;
    Registry::change(&args.state_dir, |registry| {
        registry.invite(&args.name, token, now, now + args.expires.as_secs(), &subnets)
    })?;
    let told = control::client::ask(&args.state_dir, Role::Serve, &json!({ "command": "reload" }))?;
    if told.is_none() {
        eprintln!("ropewalk: the server does not run now; the join string is good once it does");
    }
    print(&format!("{}\n", Join { server: args.server.clone(), key: key.public(), token }))
}
