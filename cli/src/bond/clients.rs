//! `ropewalk bond clients` and `bond revoke`: who may come in, and who may no more.

use super::args::{Clients, Revoke};
use super::control::{self, Role};
use super::registry::{self, Registry, unix_time};
use super::serve::kept_subnets;
use super::values::Subnet;
use crate::process::output::print;
use serde_json::json;
use std::net::IpAddr;

/// Prints the clients and the open invitations.
pub(super) fn list(args: &Clients) -> Result<(), String> {
    let registry = Registry::read(&args.state_dir)?;
    let subnets = kept_subnets(&args.state_dir)?;
    let rows = rows(&registry, &subnets, unix_time());
    if rows.is_empty() {
        return print(
            "nobody may come in yet: `ropewalk bond invite NAME --server HOST:PORT` lets somebody in\n",
        );
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let (first, second) = (width(0), width(1));
    let line = |[name, addresses, how]: &[String; 3]| format!("{name:first$}  {addresses:second$}  {how}\n");
    print(&rows.iter().map(line).collect::<String>())
}

/// Name, addresses and key of each client; of an invitation how long it is good.
fn rows(registry: &Registry, subnets: &[Subnet], now: u64) -> Vec<[String; 3]> {
    let addresses = |number| {
        let all = registry::addresses(subnets, number);
        all.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" ")
    };
    let clients = registry.clients.iter();
    let clients = clients.map(|one| [one.name.clone(), addresses(one.number), one.key.to_string()]);
    let open = registry.invitations.iter().filter(|one| !one.used && one.expires > now);
    let open = open.map(|one| {
        let minutes = (one.expires - now).div_ceil(60);
        [one.name.clone(), addresses(one.number), format!("invited, for {minutes} minutes yet")]
    });
    clients.chain(open).collect()
}

/// Takes a client or an invitation away, and tells the server if it runs.
pub(super) fn revoke(args: &Revoke) -> Result<(), String> {
    Registry::change(&args.state_dir, |registry| registry.revoke(&args.name, unix_time()))?;
    let request = json!({ "command": "revoke", "name": args.name });
    match control::client::ask(&args.state_dir, Role::Serve, &request)? {
        Some(_) => print(&format!("{} is shut out\n", args.name)),
        None => print(&format!("{} is shut out; the server does not run now\n", args.name)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::join::Token;
    use super::*;
    use crate::bond::values::subnet;
    use ropewalk_core::bond::crypto::{Rng, SecretKey};

    #[test]
    fn clients_come_before_invitations_and_both_can_be_revoked() {
        let subnets = [subnet("10.77.0.0/24").expect("a network")];
        let key = SecretKey::generate(&mut Rng::new([1; 32])).public();
        let mut registry = Registry::default();
        registry.add(key, &subnets).expect("room");
        registry.invite("phone", Token([2; 16]), 100, 161, &subnets).expect("room");
        let expected = [
            ["client-2".to_owned(), "10.77.0.2".to_owned(), key.to_string()],
            ["phone".to_owned(), "10.77.0.3".to_owned(), "invited, for 2 minutes yet".to_owned()],
        ];
        assert_eq!(rows(&registry, &subnets, 100), expected);
        assert!(registry.revoke("tablet", 100).is_err_and(|error| error.contains("client-2, phone")));
        registry.revoke("phone", 100).expect("it is there");
        registry.revoke("client-2", 100).expect("it is there");
        assert!(rows(&registry, &subnets, 100).is_empty());
        assert!(registry.enrol(1, key).is_none(), "who came in at that very moment is not kept");
        registry.invite("phone", Token([3; 16]), 100, 161, &subnets).expect("the name is free");
        assert_eq!(registry.invitations.last().map(|one| one.serial), Some(2), "a serial is used once");
    }
}
