//! What other programs do to a running bond's device and filters, and a signal while it starts.

use crate::common::proxy::run;
use crate::common::{LONG, here, wait_until};
use crate::host::{Hosts, assert_same, dump};
use std::path::Path;
use std::process::Command;

/// Runs nft on the server's host, or on the client's.
#[track_caller]
fn nft(ns: &crate::common::ns::Ns, args: &[&str]) -> bool {
    ns.run(|| Command::new("nft").args(args).output()).expect("nft is there").status.success()
}

#[test]
fn a_device_that_was_switched_off_or_lost_its_address_is_put_back() {
    let Some(hosts) = Hosts::new(here!()) else { return };
    let _web = hosts.web();
    let server = hosts.serve();
    let join = hosts.world.invite("laptop", &[]);
    let client = hosts.connect(&[&join]);
    let ends = [(&hosts.world.client, &client), (&hosts.world.server, &server)];
    for (nth, what) in ["link set ropewalk0 down\n", "addr flush dev ropewalk0\n"].into_iter().enumerate() {
        for (ns, end) in ends {
            ns.ip(what);
            end.wait_for_nth(
                "ropewalk0 was off or had lost an address, by another program: put back",
                nth + 1,
            );
            wait_until("the client's traffic goes through the bond", LONG, || {
                hosts.who_fetches_within("2").as_deref() == Some("203.0.113.1")
            });
        }
    }
}

#[test]
fn a_device_that_was_removed_ends_the_bond_in_words_and_nothing_is_left() {
    let Some(hosts) = Hosts::new(here!()) else { return };
    let before = [dump(&hosts.world.client), dump(&hosts.world.server)];
    let mut server = hosts.serve();
    let join = hosts.world.invite("laptop", &[]);
    let mut client = hosts.connect(&[&join]);
    for (ns, end) in [(&hosts.world.client, &mut client), (&hosts.world.server, &mut server)] {
        ns.ip("link del ropewalk0\n");
        end.wait_for("another program has removed ropewalk0: the bond has ended");
        assert_eq!(end.wait_for_end().code(), Some(1));
    }
    assert_same(&dump(&hosts.world.client), &before[0], "the client's host");
    assert_same(&dump(&hosts.world.server), &before[1], "the server's host");
}

#[test]
fn a_filter_that_a_firewall_has_flushed_is_put_back() {
    let Some(hosts) = Hosts::new(here!()) else { return };
    let _web = hosts.web();
    let server = hosts.serve();
    let join = hosts.world.invite("laptop", &[]);
    let client = hosts.connect(&[&join, "--kill-switch"]);
    assert!(nft(&hosts.world.server, &["flush", "ruleset"]));
    server.wait_for("had removed the bond's filter and NAT: put back");
    assert_eq!(hosts.who_fetches().as_deref(), Some("203.0.113.1"));
    assert!(nft(&hosts.world.client, &["flush", "ruleset"]));
    client.wait_for("had been removed by another program: added again");
    assert!(nft(&hosts.world.client, &["list", "table", "inet", "ropewalk_bond_client"]));
}

#[test]
fn doctor_tells_of_a_firewall_that_lets_no_client_through_and_its_cure_helps() {
    let Some(hosts) = Hosts::new(here!()) else { return };
    let _web = hosts.web();
    let _server = hosts.serve();
    let join = hosts.world.invite("laptop", &[]);
    let _client = hosts.connect(&[&join]);
    let server = &hosts.world.server;
    let state = hosts.world.state("serve");
    let doctor = || server.run(|| run(&["doctor", "bond", "--server", "--state-dir", &state])).stdout;
    assert!(doctor().contains("ok    firewall: "), "{}", doctor());
    assert!(nft(server, &["add", "table", "inet", "mine"]));
    let chain = "add chain inet mine forward { type filter hook forward priority 0; policy drop; }";
    assert!(nft(server, &[chain]));
    assert_eq!(hosts.who_fetches_within("2"), None, "it is closed");
    let cure = |chain: &str, end: &str| {
        let said = doctor();
        let line =
            said.lines().find(|line| line.starts_with(&format!("warn  firewall: inet mine {chain} drops")));
        let (_, cure) = line.and_then(|line| line.split_once(end)).unwrap_or_else(|| panic!("{said}"));
        for command in cure.split("; ") {
            assert!(nft(server, &command.split(' ').skip(1).collect::<Vec<_>>()), "{command}");
        }
        assert_eq!(hosts.who_fetches().as_deref(), Some("203.0.113.1"));
        assert!(doctor().contains("ok    firewall: "), "{}", doctor());
    };
    cure("forward", "ropewalk0: ");
    // What comes to the server's port.
    assert!(nft(server, &["add chain inet mine input { type filter hook input priority 0; policy drop; }"]));
    cure("input", "port 4500: ");
}

#[test]
fn a_server_names_the_firewall_that_keeps_clients_out_when_it_starts() {
    let Some(hosts) = Hosts::new(here!()) else { return };
    assert!(nft(&hosts.world.server, &["add table inet mine"]));
    for hook in ["input", "forward"] {
        let chain =
            format!("add chain inet mine {hook} {{ type filter hook {hook} priority 0; policy drop; }}");
        assert!(nft(&hosts.world.server, &[&chain]));
    }
    let server = hosts.serve();
    server.wait_for(
        "inet mine input drops what comes in and does not know port 4500: nft insert rule inet mine input",
    );
    server.wait_for("inet mine forward drops what is forwarded and does not know ropewalk0: nft insert rule");
}

#[test]
fn a_signal_while_it_starts_leaves_nothing() {
    let Some(hosts) = Hosts::new(here!()) else { return };
    // The first start makes keys and learns the server.
    let mut server = hosts.serve();
    let join = hosts.world.invite("laptop", &[]);
    let mut client = hosts.connect(&[&join]);
    for end in [&mut client, &mut server] {
        end.terminate();
        assert!(end.wait_for_end().success());
    }
    for (kind, ns, args) in [
        ("connect", &hosts.world.client, &["--via", "c1", "--kill-switch"][..]),
        ("serve", &hosts.world.server, &[]),
    ] {
        let before = dump(ns);
        for _ in 0..5 {
            let mut end = hosts.begin(kind, args);
            // Its journal is on the disk: changes of the host begin.
            wait_until("it changes the host", LONG, || {
                std::fs::read_dir(hosts.world.state(kind))
                    .is_ok_and(|mut all| all.any(|one| one.is_ok_and(|one| is_journal(&one.path()))))
            });
            end.terminate();
            assert!(end.wait_for_end().success(), "{kind}");
            assert_same(&dump(ns), &before, kind);
        }
    }
}

fn is_journal(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("host-"))
}
