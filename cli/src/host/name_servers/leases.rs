//! Leases that DHCP clients keep in files, and the name servers in them.
//!
//! Files outlive what they tell of. A lease counts only if it has not ended and its address is on
//! the link; and none does where a server on this host was set in resolv.conf(5), or NetworkManager
//! was told to ignore their servers.

use super::{files, is_true, leads_back, pairs, read, values};
use crate::host::links::Link;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// Days from the first of March of the year 0 to the first of January 1970.
const TO_1970: u64 = 719_468;
const DAY: u64 = 86_400;

/// What systemd-resolved has in resolv.conf(5) for programs that read it: itself.
const STUBS: [&str; 2] = ["127.0.0.53", "127.0.0.54"];

/// One lease.
#[derive(Default, Debug)]
struct Lease {
    address: Option<IpAddr>,
    /// In seconds since 1970; `None`: never, or it is not told.
    ends: Option<u64>,
    servers: Vec<String>,
}

/// The servers of the link's newest lease that holds.
pub(super) fn servers(root: &Path, link: &Link, now: u64) -> Vec<String> {
    let text = read(&root.join("etc/resolv.conf"));
    let mut set = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver")).map(str::trim);
    if set.any(|server| leads_back(server) && !STUBS.contains(&server)) {
        return Vec::new();
    }
    let networkd = root.join(format!("run/systemd/netif/leases/{}", link.index));
    let mut all =
        [networkd].into_iter().chain(of(root, &link.name)).flat_map(|path| leases(&path, &link.name));
    let holds = |lease: &Lease| {
        let is_here = lease.address.is_some_and(|ip| link.addresses.iter().any(|its| its.ip == ip));
        is_here && lease.ends.is_none_or(|ends| ends > now) && !lease.servers.is_empty()
    };
    all.find(holds).map(|lease| lease.servers).unwrap_or_default()
}

/// The files in which NetworkManager and dhclient keep the leases of an interface, newest first.
fn of(root: &Path, interface: &str) -> Vec<PathBuf> {
    let folders = ["var/lib/NetworkManager", "var/lib/dhcp", "var/lib/dhclient"];
    let is_its = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let stem = name.strip_suffix(".lease").or_else(|| name.strip_suffix(".leases"));
        stem.is_some_and(|stem| {
            let ours = [format!("-{interface}"), format!(".{interface}")];
            ours.iter().any(|end| stem.ends_with(end)) && !is_ignored(root, stem)
        })
    };
    let mut all: Vec<PathBuf> =
        folders.iter().flat_map(|folder| files(&root.join(folder))).filter(is_its).collect();
    all.sort_by_key(|path| std::cmp::Reverse(written(path)));
    all
}

/// When a file was written, in seconds since 1970.
fn written(path: &Path) -> Option<u64> {
    let at = path.metadata().and_then(|metadata| metadata.modified()).ok()?;
    at.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

/// Whether NetworkManager was told to ignore the servers of this lease: the name of its file has
/// the id of its profile, which says `ignore-auto-dns` (nm-settings(5)).
fn is_ignored(root: &Path, stem: &str) -> bool {
    let folders =
        ["etc", "run", "usr/lib"].map(|folder| format!("{folder}/NetworkManager/system-connections"));
    let ignores = |path: PathBuf| {
        let text = read(&path);
        let is_its = pairs(&text).any(|(key, id)| key == "uuid" && !id.is_empty() && stem.contains(id));
        let ipv4 = text.split("[ipv4]").nth(1).and_then(|rest| rest.split("\n[").next());
        is_its && pairs(ipv4.unwrap_or_default()).any(|(key, on)| key == "ignore-auto-dns" && is_true(on))
    };
    folders.iter().flat_map(|folder| files(&root.join(folder))).any(ignores)
}

/// The leases of a file, newest first: dhclient.leases(5), or lines as systemd-networkd and
/// NetworkManager have them.
fn leases(path: &Path, interface: &str) -> Vec<Lease> {
    let text = read(path);
    let word = |key| values(&text, key).and_then(|words| words.into_iter().next());
    if let Some(address) = word("ADDRESS") {
        let lasts = word("LIFETIME").and_then(|seconds| seconds.parse::<u64>().ok());
        let ends = lasts.and_then(|lasts| written(path)?.checked_add(lasts));
        let servers = values(&text, "DNS").unwrap_or_default();
        return [Lease { address: address.parse().ok(), ends, servers }].into();
    }
    let mut all = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while lines.by_ref().any(|line| line == "lease {") {
        let its: Vec<&str> = lines.by_ref().take_while(|line| *line != "}").collect();
        let value =
            |key| its.iter().find_map(|line| line.strip_prefix(key)).and_then(|it| it.split(';').next());
        if value("interface ").is_some_and(|named| named.trim_matches('"') != interface) {
            continue;
        }
        let servers = value("option domain-name-servers ").unwrap_or_default();
        all.push(Lease {
            address: value("fixed-address ").and_then(|ip| ip.parse().ok()),
            ends: value("expire ").and_then(time),
            servers: servers.split(',').map(|word| word.trim().to_owned()).collect(),
        });
    }
    all.reverse();
    all
}

/// A time in dhclient.leases(5), in seconds since 1970: `4 2026/11/27 15:20:00` (UTC) or `epoch
/// 1795792800`; `None`: `never`.
fn time(text: &str) -> Option<u64> {
    let mut words = text.split_whitespace();
    let (first, second) = (words.next()?, words.next()?);
    if first == "epoch" {
        return second.parse().ok();
    }
    let numbers = |word: &str, between| {
        let all: Option<Vec<u64>> = word.split(between).map(|part| part.parse().ok()).collect();
        <[u64; 3]>::try_from(all?).ok()
    };
    let ([year, month, day], [hours, minutes, seconds]) =
        (numbers(second, '/')?, numbers(words.next()?, ':')?);
    if !(1970..10_000).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // A year begins in March here, so that the day of a leap year is its last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    Some((days - TO_1970) * DAY + (hours.min(23) * 60 + minutes.min(59)) * 60 + seconds.min(60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_dhclient_is_in_utc_or_in_seconds() {
        assert_eq!(time("4 1970/01/01 00:00:00"), Some(0));
        assert_eq!(time("2 2024/02/29 12:34:56"), Some(1_709_210_096));
        assert_eq!(time("5 2026/11/27 15:20:00"), Some(1_795_792_800));
        assert_eq!(time("epoch 1795792800"), Some(1_795_792_800));
        for never in ["never", "", "4 2026/13/01 00:00:00", "4 2026/11 00:00:00", "4 1/1/1 0:0:0"] {
            assert_eq!(time(never), None, "{never}");
        }
    }

    #[test]
    fn years_have_their_leap_days_and_what_is_no_day_is_no_time() {
        for (text, seconds) in [
            ("2000/02/29 00:00:00", 951_782_400),
            ("2100/03/01 23:59:59", 4_107_628_799),
            ("1972/12/31 00:00:01", 94_608_001),
            ("2023/01/01 00:00:00", 1_672_531_200),
            ("2023/07/31 12:00:00", 1_690_804_800),
            ("9999/12/31 00:00:00", 253_402_214_400),
            // A leap second, and what no clock shows.
            ("1972/12/31 23:59:60", 94_694_400),
            ("1972/12/31 99:99:99", 94_694_400),
        ] {
            assert_eq!(time(&format!("4 {text}")), Some(seconds), "{text}");
        }
        for bad in
            ["1969/12/31", "10000/01/01", "2023/00/01", "2023/01/00", "2023/01/32", "2023/1", "2023/a/1"]
        {
            assert_eq!(time(&format!("4 {bad} 00:00:00")), None, "{bad}");
        }
    }
}
