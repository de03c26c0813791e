//! `ropewalk bond invite`: a join string, for one client.

use super::args::Invite;
use super::control::{self, Role};
use super::join::{Join, Token};
use super::registry::{Registry, unix_time};
use super::serve::KEY;
use super::state;
use crate::process::output::print;
use serde_json::json;
use std::net::SocketAddr;

/// What to say if the server does not listen in the family of the address that clients are told. A
/// name may have addresses of both.
fn apart(server: &str, listen: &str) -> Option<String> {
    let (to, at): (SocketAddr, SocketAddr) = (server.parse().ok()?, listen.parse().ok()?);
    let all = if to.is_ipv4() { "0.0.0.0" } else { "[::]" };
    (to.is_ipv4() != at.is_ipv4()).then(|| {
        format!(
            "the server listens on {at}, so nobody reaches it at {to}: ropewalk bond serve --listen {all}:{}",
            at.port()
        )
    })
}

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
    let status = control::client::ask(&args.state_dir, Role::Serve, &json!({ "command": "status" }));
    if let Some(told) =
        status.ok().flatten().and_then(|status| apart(&args.server, status["listen"].as_str()?))
    {
        eprintln!("ropewalk: {told}");
    }
    print(&format!("{}\n", Join { server: args.server.clone(), key: key.public(), token }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_the_other_family_than_the_servers_is_told() {
        let told = apart("[2001:db8::1]:4500", "0.0.0.0:4500");
        assert!(told.is_some_and(|told| told.ends_with(": ropewalk bond serve --listen [::]:4500")));
        assert!(
            apart("192.0.2.1:4500", "[::]:443").is_some_and(|told| told.ends_with("--listen 0.0.0.0:443"))
        );
        assert_eq!(apart("192.0.2.1:4500", "0.0.0.0:4500"), None);
        assert_eq!(apart("vpn.example.net:4500", "0.0.0.0:4500"), None);
    }
}
