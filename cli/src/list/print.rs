//! `ropewalk list`: the interfaces of this host, and what `auto` makes of each.
//!
//! ```text
//! INTERFACE  STATE  KIND      ADDRESSES         DEFAULT V4  DEFAULT V6  AUTO
//! lo         up     loopback  127.0.0.1/8       no          no          loopback: it leads back to this host
//!                             ::1/128
//! eth0       up     hardware  192.168.1.7/24    yes         no          used
//! ```

use super::Account;
use crate::host::links::{Address, Link, Reach};
use crate::host::obstacles::{self, Obstacle, System};
use crate::host::select;
use ropewalk_core::json::{array, object, optional, string};
use std::fmt::Write as _;
use std::io;

const HEADER: [&str; 7] = ["INTERFACE", "STATE", "KIND", "ADDRESSES", "DEFAULT V4", "DEFAULT V6", "AUTO"];

/// Writes the list to `out`: a table, or one JSON array.
pub(super) fn print(
    links: &[Link],
    accounts: &[Account],
    system: System<'_>,
    json: bool,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let used = links.iter().filter(|link| select::judge(link, links).is_ok());
    let used: Vec<&str> = used.map(|link| link.name.as_str()).collect();
    let obstacles = obstacles::find(links, &used, system);
    let text = match json {
        true => as_json(links, accounts, &obstacles),
        false => as_table(links, accounts, &obstacles),
    };
    out.write_all(text.as_bytes())
}

fn as_table(links: &[Link], accounts: &[Account], obstacles: &[Obstacle]) -> String {
    let mut rows: Vec<[String; 7]> = vec![HEADER.map(str::to_string)];
    for link in links {
        let mut addresses = link.addresses.iter().map(written);
        rows.push([
            link.name.clone(),
            link.state().to_string(),
            kind(link).to_string(),
            addresses.next().unwrap_or_else(|| "-".to_string()),
            yes_no(link.default_v4()).to_string(),
            yes_no(link.default_v6()).to_string(),
            auto(link, links),
        ]);
        let more = addresses.map(|address| ["", "", "", &address, "", "", ""].map(str::to_string));
        rows.extend(more);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEADER.len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    if links.iter().flat_map(|link| &link.addresses).any(is_marked) {
        text.push_str("* no source for what leaves its link: link-local, tentative or deprecated\n");
    }
    for link in links.iter().filter(|link| link.is_v6_only() && select::judge(link, links).is_ok()) {
        let _ = writeln!(
            text,
            "{} has no IPv4: IPv4 destinations go by it where its network translates them (NAT64)",
            link.name
        );
    }
    for account in accounts {
        let _ = writeln!(text, "{}", account.said);
    }
    for obstacle in obstacles {
        let _ = writeln!(text, "! {obstacle}");
    }
    text
}

fn is_marked(address: &Address) -> bool {
    !address.usable && !address.ip.is_loopback()
}

fn kind(link: &Link) -> &str {
    match &link.kind {
        Some(kind) => kind,
        None if link.loopback => "loopback",
        None if link.physical => "hardware",
        None => "-",
    }
}

fn written(address: &Address) -> String {
    let note = if is_marked(address) { " *" } else { "" };
    match address.peer {
        Some(peer) => format!("{} to {peer}/{}{note}", address.ip, address.prefix_len),
        None => format!("{}/{}{note}", address.ip, address.prefix_len),
    }
}

fn yes_no(known: Option<bool>) -> &'static str {
    match known {
        Some(true) => "yes",
        Some(false) => "no",
        None => "?",
    }
}

fn auto(link: &Link, links: &[Link]) -> String {
    match select::judge(link, links) {
        Ok(uplink) if uplink.label == link.name => "used".to_string(),
        Ok(uplink) => format!("used as {}", uplink.label),
        Err(why) => why,
    }
}

fn as_json(links: &[Link], accounts: &[Account], obstacles: &[Obstacle]) -> String {
    let mut text = array(links.iter().map(|link| {
        let used = select::judge(link, links);
        let own = obstacles.iter().filter(|obstacle| obstacle.interface == link.name);
        object(&[
            ("interface", string(&link.name)),
            ("index", link.index.to_string()),
            ("state", string(link.state())),
            ("up", link.up.to_string()),
            ("kind", optional(link.kind.as_deref().map(string))),
            (
                "master",
                optional(links.iter().find(|m| Some(m.index) == link.master).map(|m| string(&m.name))),
            ),
            ("loopback", link.loopback.to_string()),
            ("physical", link.physical.to_string()),
            ("addresses", array(link.addresses.iter().map(address_json))),
            ("default_v4", optional(link.default_v4().map(|known| known.to_string()))),
            ("default_v6", optional(link.default_v6().map(|known| known.to_string()))),
            ("default_routes", optional(link.defaults.as_ref().map(|_| routes_json(link)))),
            ("v6_only", link.is_v6_only().to_string()),
            ("auto", used.is_ok().to_string()),
            ("uplink", optional(used.as_ref().ok().map(|uplink| string(&uplink.label)))),
            ("left_out_because", optional(used.as_ref().err().map(|why| string(why)))),
            ("obstacles", array(own.map(|obstacle| string(&obstacle.to_string())))),
            ("account", optional(accounts.iter().find(|one| one.label == link.name).map(account_json))),
        ])
    }));
    text.push('\n');
    text
}

fn account_json(account: &Account) -> String {
    object(&[
        ("used", account.bytes.to_string()),
        ("cap", optional(account.cap.map(|cap| cap.to_string()))),
        ("since", string(&account.since)),
    ])
}

fn address_json(address: &Address) -> String {
    object(&[
        ("address", string(&address.ip.to_string())),
        ("prefix_len", address.prefix_len.to_string()),
        ("peer", optional(address.peer.map(|peer| string(&peer.to_string())))),
        ("usable", address.usable.to_string()),
    ])
}

fn routes_json(link: &Link) -> String {
    array(link.defaults.iter().flatten().map(|route| {
        let (open, from) = match route.reach {
            Reach::Always => ("always", None),
            Reach::From((ip, len)) => ("source", Some(string(&format!("{ip}/{len}")))),
            Reach::Never => ("never", None),
        };
        object(&[
            ("family", string(if route.v6 { "ipv6" } else { "ipv4" })),
            ("gateway", optional(route.gateway.map(|gateway| string(&gateway.to_string())))),
            ("table", route.table.to_string()),
            ("metric", route.metric.to_string()),
            ("reached", string(open)),
            ("source", optional(from)),
        ])
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fixtures::{eth, lo, of_kind, ppp, via};

    fn printed(links: &[Link], json: bool) -> String {
        let mut out = Vec::new();
        let silent = System { setting: &|_, _| None, back: &|_| obstacles::Back::Unknown };
        print(links, &[], silent, json, &mut out).expect("a Vec takes all");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn the_table_has_a_row_for_each_address_and_says_what_auto_does() {
        let links = [
            lo(),
            via(eth("eth0", &["192.168.1.7/24", "fe80::7/64"]), "192.168.1.1"),
            ppp("ppp0", "203.0.113.9", "198.51.100.1"),
        ];
        let expected = "\
INTERFACE  STATE  KIND      ADDRESSES                       DEFAULT V4  DEFAULT V6  AUTO
lo         up     loopback  127.0.0.1/8                     no          no          loopback: it leads back to this host
                            ::1/128
eth0       up     hardware  192.168.1.7/24                  yes         no          used
                            fe80::7/64 *
ppp0       up     ppp       203.0.113.9 to 198.51.100.1/32  no          no          no default route of its own
* no source for what leaves its link: link-local, tentative or deprecated
";
        assert_eq!(printed(&links, false), expected);
    }

    #[test]
    fn the_manual_shows_the_list_of_a_machine_with_two_links() {
        let lan = |name: &str, address: &str, gateway: &str| via(eth(name, &[address]), gateway);
        let bridge = Link {
            addresses: eth("", &["172.17.0.1/16"]).addresses,
            ..of_kind(eth("docker0", &[]), "bridge")
        };
        let links = [
            lo(),
            lan("wlan0", "192.168.1.7/24", "192.168.1.1"),
            lan("usb0", "192.168.42.5/24", "192.168.42.129"),
            bridge,
        ];
        let expected = format!("```console\n$ ropewalk list\n{}```\n", printed(&links, false));
        let manual = include_str!("../../docs/dispatch.md");
        assert!(manual.contains(&expected), "cli/docs/dispatch.md does not show\n{expected}");
    }

    #[test]
    fn what_the_system_does_not_tell_is_a_question_mark_or_null() {
        let links = [Link { defaults: None, ..eth("en0", &["10.0.0.2/24"]) }];
        assert!(printed(&links, false).contains(" ?           ?           used"));
        assert!(
            printed(&links, true).contains(r#""default_v4":null,"default_v6":null,"default_routes":null"#)
        );
    }

    #[test]
    fn the_json_is_one_array_of_objects() {
        let bridge = of_kind(eth("br0", &[]), "bridge");
        let port = Link { master: Some(bridge.index), ..eth("eth1", &[]) };
        let text = printed(&[via(eth("eth0", &["10.0.0.2/24"]), "10.0.0.1"), bridge, port], true);
        assert!(text.starts_with(r#"[{"interface":"eth0","index":"#) && text.ends_with("}]\n"), "{text}");
        assert!(
            text.contains(
                r#""addresses":[{"address":"10.0.0.2","prefix_len":24,"peer":null,"usable":true}]"#
            )
        );
        assert!(
            text.contains(
                r#""gateway":"10.0.0.1","table":254,"metric":100,"reached":"always","source":null"#
            )
        );
        assert!(text.contains(
            r#""auto":true,"uplink":"eth0","left_out_because":null,"obstacles":[],"account":null"#
        ));
        assert!(text.contains(r#""master":"br0""#), "{text}");
        assert!(text.contains(r#""left_out_because":"a port of the bridge br0""#), "{text}");
    }

    #[test]
    fn a_link_without_ipv4_is_told() {
        let links = [via(eth("wwan0", &["2001:db8::7/64", "fe80::7/64"]), "fe80::1")];
        assert!(printed(&links, false).contains("\nwwan0 has no IPv4: IPv4 destinations go by it where"));
        assert!(printed(&links, true).contains(r#""v6_only":true,"auto":true"#), "{}", printed(&links, true));
    }

    #[test]
    fn no_links_are_an_empty_array_and_a_bare_header() {
        assert_eq!(printed(&[], true), "[]\n");
        assert_eq!(printed(&[], false).lines().count(), 1);
    }
}
