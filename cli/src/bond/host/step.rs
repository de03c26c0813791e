//! A change of the host, and the record by which it is undone.

use super::dns::ResolvConf;
use super::sysctl::{self, Sysctl};
use crate::host::policy::{Route, Rule};
use std::net::{IpAddr, SocketAddr};

/// How a change is undone, whether or not it was made. A line of the journal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Record {
    /// Where the server was. Nothing to undo.
    Server(SocketAddr),
    /// A table of nftables goes.
    Filter(String),
    /// All rules and routes with our tag go.
    Routes,
    /// A sysctl gets its old value back, if it has the new one.
    Sysctl { name: Sysctl, old: String, new: String },
    /// The kernel changes this one along with the next: it goes back with it.
    Along { name: Sysctl, old: String },
    /// resolv.conf gets what was there, if it has what we wrote.
    ResolvConf { old: ResolvConf, ours: Vec<u8> },
    /// The name servers of this device go.
    LinkDns(String),
}

/// What is done to the host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Change {
    /// A text for `nft -f -`.
    Filter(String),
    Rule(Rule),
    Route(Route),
    Sysctl {
        name: Sysctl,
        new: String,
    },
    ResolvConf(Vec<u8>),
    LinkDns {
        device: String,
        servers: Vec<IpAddr>,
    },
}

/// A record that is written, then a change that is made. Each may be missing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Step {
    pub(super) record: Option<Record>,
    pub(super) change: Option<Change>,
}

impl Step {
    pub(super) fn record(record: Record) -> Self {
        Step { record: Some(record), change: None }
    }

    pub(super) fn both(record: Record, change: Change) -> Self {
        Step { record: Some(record), change: Some(change) }
    }

    /// A change that a record before it undoes.
    pub(super) fn change(change: Change) -> Self {
        Step { record: None, change: Some(change) }
    }

    /// Sets a sysctl that is `old` now.
    pub(super) fn sysctl(name: Sysctl, old: String, new: &str) -> Self {
        let record = Record::Sysctl { name: name.clone(), old, new: new.into() };
        Step::both(record, Change::Sysctl { name, new: new.into() })
    }
}

impl Step {
    pub(super) fn sets_sysctl(&self) -> bool {
        matches!(self.change, Some(Change::Sysctl { .. }))
    }
}

impl Record {
    /// Whether `older` undoes as much: what was there before us is what it tells, not this one.
    pub(super) fn is_covered_by(&self, older: &Record) -> bool {
        match (self, older) {
            (Record::Sysctl { name, new, .. }, Record::Sysctl { name: other, new: before, .. }) => {
                name == other && new == before
            }
            (Record::Along { name, .. }, Record::Along { name: other, .. }) => name == other,
            (one, other) => one == other,
        }
    }

    /// A line, without its end.
    pub(super) fn line(&self) -> String {
        match self {
            Record::Server(address) => format!("server {address}"),
            Record::Filter(table) => format!("filter {table}"),
            Record::Routes => "routes".into(),
            Record::Sysctl { name, old, new } => format!("sysctl {} {old} {new}", name.as_str()),
            Record::Along { name, old } => format!("along {} {old}", name.as_str()),
            Record::ResolvConf { old, ours } => format!("resolv.conf {} {}", old.words(), escaped(ours)),
            Record::LinkDns(device) => format!("link-dns {device}"),
        }
    }

    /// The record in a line; `None` where we never write such.
    pub(super) fn read(line: &str) -> Option<Self> {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["server", address] => address.parse().ok().map(Record::Server),
            ["filter", table] => super::filter::is_ours(table).then(|| Record::Filter(table.into())),
            ["routes"] => Some(Record::Routes),
            ["sysctl", name, old, new] => Some(Record::Sysctl {
                name: Sysctl::read(name)?,
                old: sysctl::value(old)?,
                new: sysctl::value(new)?,
            }),
            ["along", name, old] => {
                Some(Record::Along { name: Sysctl::read(name)?, old: sysctl::value(old)? })
            }
            ["resolv.conf", ref old @ .., ours] => {
                Some(Record::ResolvConf { old: ResolvConf::read_words(old)?, ours: unescaped(ours)? })
            }
            ["link-dns", device] => {
                super::plan::check_device(device).is_ok().then(|| Record::LinkDns(device.into()))
            }
            _ => None,
        }
    }
}

/// Bytes as one word: what is not plain is `%` and two hexadecimal digits, as in URIs (RFC 3986
/// section 2.1).
pub(super) fn escaped(bytes: &[u8]) -> String {
    let mut word = String::from("=");
    for &byte in bytes {
        if byte.is_ascii_graphic() && byte != b'%' {
            word.push(char::from(byte));
        } else {
            word.push_str(&format!("%{byte:02x}"));
        }
    }
    word
}

/// The bytes in a word of [`escaped`].
pub(super) fn unescaped(word: &str) -> Option<Vec<u8>> {
    let mut rest = word.strip_prefix('=')?.as_bytes();
    let mut bytes = Vec::new();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let file =
            |mode| ResolvConf::File { mode, owner: 0, group: 5, content: b"# 100%\nnameserver ::1\n".into() };
        let ours = b"nameserver 10.77.0.1\n".to_vec();
        let resolv = |old| Record::ResolvConf { old, ours: ours.clone() };
        let name = Sysctl::of("ipv4", "eth0", "rp_filter");
        for record in [
            Record::Server("[2001:db8::1]:4500".parse().expect("an address")),
            Record::Filter(super::super::plan::CLIENT_FILTER.into()),
            Record::Routes,
            Record::Sysctl { name: name.clone(), old: "1".into(), new: "2".into() },
            Record::Along { name, old: "0".into() },
            resolv(file(0o644)),
            resolv(file(0o2664)),
            resolv(ResolvConf::Link(b"../run/a b".into())),
            resolv(ResolvConf::Missing),
            Record::LinkDns("rw0".into()),
        ] {
            assert_eq!(Record::read(&record.line()), Some(record.clone()), "{}", record.line());
        }
    }

    #[test]
    fn what_no_bond_writes_is_no_record() {
        for bad in [
            "",
            "filter docker",
            "sysctl ipv4/conf/../x 1 0",
            "sysctl ipv4/ip_forward 1",
            "sysctl ipv4/ip_forward 1 x",
            "link-dns a;b",
            "resolv.conf file 644 0 =a",
            "resolv.conf file 644 0 0 =a =%zz",
            "routes all",
        ] {
            assert_eq!(Record::read(bad), None, "{bad}");
        }
    }

    #[test]
    fn any_bytes_are_one_word() {
        let all: Vec<u8> = (0..=255).collect();
        let word = escaped(&all);
        assert!(!word.contains([' ', '\n']));
        assert_eq!(unescaped(&word), Some(all));
        assert_eq!(unescaped("=%4"), None);
        assert_eq!(unescaped("=%é"), None);
        assert_eq!(unescaped("x"), None);
    }
}
