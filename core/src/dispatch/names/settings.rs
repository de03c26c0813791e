//! What can be set: who is asked for names, through which uplink.

use crate::machine::{UplinkId, UplinkSet};
use crate::name::Name;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;

/// Which names are looked up through the uplink that will carry their connection, and by whom.
/// Default: none is, the system looks them up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamesConfig {
    /// The name servers of each uplink, best first, in the pool's order. Of more than 3 the first 3
    /// are asked. None: the system looks up the names of what this uplink carries.
    pub resolvers: Vec<Vec<SocketAddr>>,
    /// Names whose answers are kept, of all uplinks together; beyond that the one goes that would
    /// be the first to expire. 0: none is kept. Default 4,096.
    pub cache: usize,
    /// Uplinks that have IPv6 and no IPv4: their name servers are asked how their networks
    /// translate IPv4 destinations (RFC 7050), and the pool is told. For one worker of a process.
    /// Default: none.
    pub v6_only: UplinkSet,
    /// Names that only the system knows, such as those of its hosts file: in lower case, without a
    /// dot at the end. `.corp.example` stands for this domain and all names in it.
    pub system: BTreeSet<String>,
}

impl Default for NamesConfig {
    fn default() -> Self {
        NamesConfig { resolvers: Vec::new(), cache: 4096, v6_only: UplinkSet::EMPTY, system: BTreeSet::new() }
    }
}

impl NamesConfig {
    /// Any uplink has name servers of its own.
    pub(in crate::dispatch) fn is_used(&self) -> bool {
        self.resolvers.iter().any(|servers| !servers.is_empty())
    }

    /// The name servers of an uplink.
    pub(in crate::dispatch) fn servers(&self, uplink: UplinkId) -> &[SocketAddr] {
        self.resolvers.get(usize::from(uplink.0)).map_or(&[], |servers| servers)
    }

    fn is_the_systems(&self, name: &str) -> bool {
        let dotted = [".", name].concat();
        let mut domains = dotted.match_indices('.').filter_map(|(at, _)| dotted.get(at..));
        self.system.contains(name) || domains.any(|domain| self.system.contains(domain))
    }

    /// Whether name servers may be asked for a name: some are the system's alone.
    pub(in crate::dispatch) fn may_ask(&self, name: &Name) -> bool {
        let name = canonical(name);
        // RFC 6762 section 3: `.local` is asked on the link. A single label is completed by the
        // system's search list. What is not ASCII is encoded by the system, where it can.
        let last = name.rsplit('.').next().unwrap_or(&name);
        name.is_ascii() && last.len() < name.len() && last != "local" && !self.is_the_systems(&name)
    }
}

/// A name as it is compared: in lower case, without a dot at the end (RFC 4343).
pub(in crate::dispatch) fn canonical(name: &Name) -> String {
    let name = name.as_str();
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Host;

    #[test]
    fn names_that_only_the_system_knows_are_left_to_it() {
        let config = NamesConfig { system: ["nas.home.example".into()].into(), ..NamesConfig::default() };
        let asks = |text: &str| match Host::parse(text.as_bytes()) {
            Ok(Host::Name(name)) => config.may_ask(&name),
            other => panic!("{other:?}"),
        };
        assert!(["host.example", "Host.Example.", "a.local.example"].into_iter().all(asks));
        let not = ["nas", "nas.", "NAS.home.example.", "printer.local", "b\u{fc}cher.example"];
        assert!(!not.into_iter().any(asks));
    }

    #[test]
    fn names_in_a_domain_of_the_systems_are_left_to_it() {
        let config = NamesConfig { system: [".corp.example".into()].into(), ..NamesConfig::default() };
        let asks = |text: &str| match Host::parse(text.as_bytes()) {
            Ok(Host::Name(name)) => config.may_ask(&name),
            other => panic!("{other:?}"),
        };
        assert!(!["corp.example", "git.corp.example", "a.b.Corp.Example."].into_iter().any(asks));
        assert!(["example.com", "notcorp.example", "corp.example.com"].into_iter().all(asks));
    }
}
