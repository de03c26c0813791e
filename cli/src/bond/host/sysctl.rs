//! The sysctls that a bond sets, by name.

use std::fmt;
use std::path::{Path, PathBuf};

/// A sysctl below `net`, as a path: `ipv4/conf/eth0/rp_filter`. A device's name may have dots.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Sysctl(String);

/// The last words of those that an interface has, with their family.
const OF_INTERFACE: [(&str, &str); 5] = [
    ("ipv4", "rp_filter"),
    ("ipv4", "forwarding"),
    ("ipv4", "accept_redirects"),
    ("ipv6", "forwarding"),
    ("ipv6", "accept_ra"),
];

impl Sysctl {
    /// Whether this host forwards IPv4.
    pub(super) fn ip_forward() -> Self {
        Sysctl("ipv4/ip_forward".into())
    }

    /// One that `device` has; `all` and `default` count as devices.
    pub(super) fn of(family: &str, device: &str, word: &str) -> Self {
        Sysctl(format!("{family}/conf/{device}/{word}"))
    }

    /// One that stands in a journal: nothing but what is ours to set is taken from it.
    pub(super) fn read(text: &str) -> Option<Self> {
        let known = match text.split('/').collect::<Vec<_>>()[..] {
            ["ipv4", "ip_forward"] => true,
            [family, "conf", device, word] => {
                OF_INTERFACE.contains(&(family, word)) && !matches!(device, "" | "." | "..")
            }
            _ => false,
        };
        known.then(|| Sysctl(text.to_owned()))
    }

    /// Where the kernel shows it; `root` is /proc/sys/net.
    pub(super) fn path(&self, root: &Path) -> PathBuf {
        root.join(&self.0)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// As sysctl(8) takes it.
impl fmt::Display for Sysctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "net/{}", self.0)
    }
}

/// A value that a sysctl of ours can have.
pub(super) fn value(text: &str) -> Option<String> {
    text.parse::<i32>().ok().map(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_bond_sets_is_read_from_a_journal() {
        for good in ["ipv4/ip_forward", "ipv4/conf/eth0.100/rp_filter", "ipv6/conf/all/forwarding"] {
            assert_eq!(Sysctl::read(good).map(|sysctl| sysctl.0).as_deref(), Some(good));
        }
        for bad in [
            "",
            "ipv4/conf/../rp_filter",
            "ipv4/conf//rp_filter",
            "ipv4/conf/a/b/rp_filter",
            "../kernel/core_pattern",
            "ipv6/conf/eth0/rp_filter",
            "ipv4/tcp_ecn",
        ] {
            assert_eq!(Sysctl::read(bad), None, "{bad}");
        }
    }
}
