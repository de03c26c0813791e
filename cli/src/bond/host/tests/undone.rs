//! Whatever is killed, and whenever, all comes back.

use super::super::plan::{CLIENT_FILTER, ClientPlan, Dns, ServerPlan};
use super::super::world::World;
use super::super::{ClientHost, client_with, remembered_servers, restore_with, server_with};
use super::lab::{Lab, assert_same, clients, fake_resolved, servers};
use super::stopping::Stopping;
use crate::host::fixtures::ip;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// More changes than any plan has.
const ENOUGH: usize = 200;

/// Runs a client until it has addresses inside, or is killed.
fn run<W: World>(world: W, plan: &ClientPlan, lab: &Lab) -> Result<ClientHost<W>, String> {
    let (mut client, _) = client_with(world, plan.clone(), &lab.state())?;
    client.inside(&[ip("10.77.0.2")])?;
    client.inside(&[ip("10.77.0.2"), ip("fd77::2")])?;
    client.uplinks(&["eth1".into()])?;
    Ok(client)
}

#[test]
fn a_client_that_ends_leaves_everything_as_it_was() {
    let Some(lab) = Lab::new("a_client_that_ends") else { return };
    for plan in clients() {
        for link in [false, true] {
            if link {
                lab.link_resolv_conf()
            } else {
                lab.write_resolv_conf()
            }
            let before = lab.dump();
            lab.tun_comes();
            lab.ns.run(|| {
                run(lab.world(None), &plan, &lab).expect("a sound plan").undo().expect("all goes back")
            });
            lab.tun_goes();
            assert_same(&lab.dump(), &before, &format!("{plan:?}"));
            assert_eq!(lab.journals(), 0);
        }
    }
}

#[test]
fn a_client_that_is_killed_after_any_change_is_put_back_by_restore() {
    let Some(lab) = Lab::new("killed_client_restore") else { return };
    lab.link_resolv_conf();
    let before = lab.dump();
    for plan in clients() {
        let mut steps = 0;
        for left in 0..ENOUGH {
            lab.tun_comes();
            let whole = lab.ns.run(|| run(lab.world(Some(left)), &plan, &lab).is_ok());
            lab.tun_goes();
            lab.ns.run(|| restore_with(|| Ok(lab.world(None)), &lab.state())).expect("all goes back");
            assert_same(&lab.dump(), &before, &format!("after {left} changes of {plan:?}"));
            assert_eq!(lab.journals(), 0);
            steps = left;
            if whole {
                break;
            }
        }
        assert!(steps < ENOUGH - 1);
    }
}

#[test]
fn a_client_that_is_killed_after_any_change_is_put_back_by_the_end_of_the_next() {
    let Some(lab) = Lab::new("killed_client_next") else { return };
    lab.write_resolv_conf();
    let before = lab.dump();
    let all = clients();
    for (first, second) in [(&all[0], &all[0]), (&all[1], &all[0]), (&all[0], &all[1]), (&all[2], &all[1])] {
        for left in 0..ENOUGH {
            lab.tun_comes();
            let whole = lab.ns.run(|| run(lab.world(Some(left)), first, &lab).is_ok());
            lab.tun_goes();
            lab.tun_comes();
            lab.ns
                .run(|| run(lab.world(None), second, &lab).expect("the next start").undo().expect("its end"));
            lab.tun_goes();
            assert_same(&lab.dump(), &before, &format!("after {left} changes of {first:?}, then {second:?}"));
            if whole {
                break;
            }
        }
    }
}

#[test]
fn a_restore_that_is_killed_after_any_change_can_be_done_again() {
    let Some(lab) = Lab::new("killed_restore") else { return };
    lab.link_resolv_conf();
    let before = lab.dump();
    for left in 0..ENOUGH {
        lab.tun_comes();
        lab.ns.run(|| run(lab.world(None), &clients()[0], &lab).map(drop)).expect("a sound plan");
        lab.ns
            .run(|| server_with(lab.world(None), &servers()[0], &lab.state()).map(drop))
            .expect("a sound plan");
        lab.tun_goes();
        let restored = lab.ns.run(|| restore_with(|| Ok(lab.world(Some(left))), &lab.state()));
        lab.ns.run(|| restore_with(|| Ok(lab.world(None)), &lab.state())).expect("all goes back");
        assert_same(&lab.dump(), &before, &format!("after {left} changes"));
        if restored.is_ok() {
            return;
        }
    }
    panic!("a restore of more than {ENOUGH} changes");
}

#[test]
fn a_server_that_ends_or_is_killed_after_any_change_leaves_everything_as_it_was() {
    let Some(lab) = Lab::new("killed_server") else { return };
    lab.write_resolv_conf();
    let before = lab.dump();
    for plan in servers() {
        for left in 0..ENOUGH {
            let apply = |left| server_with(lab.world(left), &plan, &lab.state()).map(|(server, _)| server);
            let whole = lab.ns.run(|| apply(Some(left)).is_ok());
            lab.ns.run(|| restore_with(|| Ok(lab.world(None)), &lab.state())).expect("all goes back");
            assert_same(&lab.dump(), &before, &format!("after {left} changes of {plan:?}"));
            let killed = lab.ns.run(|| apply(Some(left)).map(drop));
            lab.ns.run(|| apply(None).expect("the next start").undo().expect("its end"));
            assert_same(&lab.dump(), &before, &format!("after {left} changes of {plan:?}, and another run"));
            assert_eq!(killed.is_ok(), whole);
            if whole {
                break;
            }
        }
    }
}

#[test]
fn the_kill_switch_of_a_client_that_was_killed_holds_at_each_change_of_the_next_start() {
    let Some(lab) = Lab::new("takeover_holds") else { return };
    lab.write_resolv_conf();
    lab.tun_comes();
    for next in [&clients()[0], &ClientPlan { mark: 77, ..clients()[1].clone() }] {
        lab.ns.run(|| run(lab.world(None), &clients()[0], &lab).map(drop)).expect("a sound plan");
        lab.tun_goes();
        assert_eq!(lab.ns.run(|| remembered_servers(&lab.state()))[0], next.server);
        lab.tun_comes();
        let looked = Arc::new(AtomicUsize::new(0));
        lab.ns.run(|| {
            let mut world: Stopping<_> = lab.world(None);
            let count = Arc::clone(&looked);
            world.watch = Some(Box::new(move |world| {
                assert!(world.has_filter(CLIENT_FILTER), "the filter is away for a moment");
                // Packets without the mark are caught by our table, and it lets none out.
                assert!(world.rules().is_ok_and(|rules| rules.iter().any(|rule| rule.priority == 2934)));
                count.fetch_add(1, Ordering::Relaxed);
            }));
            let (client, notes) = client_with(world, next.clone(), &lab.state()).expect("the next start");
            assert_eq!(notes.iter().any(|note| note.contains("still holds")), !next.kill_switch, "{notes:?}");
            // Its own packets get through, and those of the run before no more.
            let filter = lab.shell("nft list table inet ropewalk_bond_client");
            let marks = |mark: u32| filter.contains(&format!("meta mark {mark:#010x} accept"));
            assert!(
                marks(next.mark) && (next.mark == clients()[0].mark || !marks(clients()[0].mark)),
                "{filter}"
            );
            drop(client);
            restore_with(|| Ok(lab.world(None)), &lab.state()).expect("all goes back");
        });
        assert!(looked.load(Ordering::Relaxed) > 5, "it looked");
    }
}

#[test]
fn who_runs_is_not_put_back_by_others() {
    let Some(lab) = Lab::new("running") else { return };
    lab.write_resolv_conf();
    lab.tun_comes();
    lab.ns.run(|| {
        let client = run(lab.world(None), &clients()[0], &lab).expect("a sound plan");
        let refused = restore_with(|| Ok(lab.world(None)), &lab.state());
        assert!(refused.is_err_and(|error| error.contains("running")));
        let second = client_with(lab.world(None), clients()[0].clone(), &lab.state()).map(|_| ());
        assert!(second.is_err_and(|error| error.contains("runs in this network namespace")));
        let elsewhere =
            client_with(lab.world(None), clients()[0].clone(), &lab.dir().join("other")).map(|_| ());
        assert!(elsewhere.is_err_and(|error| error.contains("another --state-dir")));
        client.undo().expect("all goes back");
    });
}

#[test]
fn what_somebody_changed_since_is_theirs() {
    let Some(lab) = Lab::new("theirs") else { return };
    lab.write_resolv_conf();
    lab.tun_comes();
    lab.ns.run(|| {
        let client = run(lab.world(None), &clients()[0], &lab).expect("a sound plan");
        std::fs::write(lab.resolv_conf(), "nameserver 9.9.9.9\n").expect("ours");
        std::fs::write("/proc/sys/net/ipv4/conf/eth0/rp_filter", "0").expect("root");
        let notes = client.undo().expect("all goes back");
        assert!(notes.iter().any(|note| note.contains("resolv.conf stays")), "{notes:?}");
        assert!(notes.iter().any(|note| note.contains("rp_filter stays 0")), "{notes:?}");
    });
    assert_eq!(std::fs::read(lab.resolv_conf()).expect("ours"), b"nameserver 9.9.9.9\n");
}

#[test]
fn where_resolved_runs_the_name_servers_are_the_devices() {
    let Some(lab) = Lab::new("resolved") else { return };
    lab.tun_comes();
    let told = fake_resolved(lab.dir());
    let stub = "nameserver 127.0.0.53\n";
    std::fs::write(lab.resolv_conf(), stub).expect("ours");
    lab.ns.run(|| {
        let client = run(lab.world(None), &clients()[0], &lab).expect("a sound plan");
        assert_eq!(std::fs::read_to_string(lab.resolv_conf()).expect("ours"), stub);
        client.undo().expect("all goes back");
    });
    let told = std::fs::read_to_string(told).expect("it was told");
    let first: Vec<&str> = told.lines().take(3).collect();
    assert_eq!(first, ["dns rw0 10.77.0.1 fd77::1", "domain rw0 ~.", "default-route rw0 yes"]);
    assert_eq!(told.lines().last(), Some("revert rw0"));
}

#[test]
fn a_plan_that_cannot_be_applied_changes_nothing() {
    let Some(lab) = Lab::new("refused") else { return };
    lab.write_resolv_conf();
    lab.ns.ip("route add unreachable default table 29304 metric 4294967295");
    let before = lab.dump();
    lab.tun_comes();
    let refused = lab.ns.run(|| client_with(lab.world(None), clients()[0].clone(), &lab.state()).map(|_| ()));
    assert!(refused.is_err_and(|error| error.contains("a route that is not ours")));
    lab.tun_goes();
    assert_same(&lab.dump(), &before, "refused");
    let no_tun = ClientPlan { tun: "rw9".into(), dns: Dns::Keep, ..clients()[0].clone() };
    let refused = lab.ns.run(|| client_with(lab.world(None), no_tun, &lab.state()).map(|_| ()));
    assert!(refused.is_err_and(|error| error.contains("rw9")));
    assert_eq!(lab.journals(), 0);
}

#[test]
fn what_others_remove_while_it_runs_is_added_again() {
    let Some(lab) = Lab::new("removed") else { return };
    lab.write_resolv_conf();
    lab.tun_comes();
    lab.ns.run(|| {
        let mut client = run(lab.world(None), &clients()[0], &lab).expect("a sound plan");
        assert_eq!(client.renew(), Ok(0), "nothing is missing");
        let before = lab.dump();
        lab.shell(
            "ip rule del priority 2934; ip -6 rule del priority 2930 fwmark 10544; ip route flush table 29304; \
             nft delete table inet ropewalk_bond_client",
        );
        assert_eq!(client.renew(), Ok(5));
        // nft lists tables in the order in which they came.
        let sorted = |text: String| {
            let mut lines: Vec<&str> = text.lines().collect();
            lines.sort_unstable();
            lines.join("\n")
        };
        assert_same(&sorted(lab.dump()), &sorted(before), "after it was added again");
        client.undo().expect("all goes back");
    });
}

#[test]
fn rules_and_routes_whose_journal_is_lost_are_taken_away_by_restore() {
    let Some(lab) = Lab::new("lost_journal") else { return };
    lab.write_resolv_conf();
    let plan = ClientPlan { dns: Dns::Keep, uplinks: Vec::new(), ..clients()[0].clone() };
    let before = lab.dump();
    lab.tun_comes();
    lab.ns.run(|| run(lab.world(None), &plan, &lab).map(drop)).expect("a sound plan");
    std::fs::rename(lab.state(), lab.dir().join("lost")).expect("ours");
    std::fs::create_dir(lab.state()).expect("ours");
    let restore = || lab.ns.run(|| restore_with(|| Ok(lab.world(None)), &lab.state()));
    let notes = restore().expect("nothing is in the way");
    assert!(notes[0].contains("another --state-dir"), "the device is there: {notes:?}");
    lab.tun_goes();
    let notes = restore().expect("nothing is in the way");
    assert!(notes[0].contains("no journal knows of"), "{notes:?}");
    assert_same(&lab.dump(), &before, "after the sweep");
    assert_eq!(restore(), Ok(Vec::new()));
    // An nft that outlives its client by a moment makes the table after all was undone.
    lab.shell("nft add table inet ropewalk_bond_client");
    let notes = restore().expect("nothing is in the way");
    assert!(notes[0].contains("no journal knows of"), "{notes:?}");
    assert_same(&lab.dump(), &before, "after the filter alone was taken away");
}

#[test]
fn the_journal_of_a_namespace_that_is_gone_changes_no_sysctl_of_the_next_one_with_its_number() {
    let Some(lab) = Lab::new("reused_number") else { return };
    lab.write_resolv_conf();
    lab.ns.run(|| server_with(lab.world(None), &servers()[0], &lab.state()).map(drop)).expect("a sound plan");
    // The next one forwards for reasons of its own, and has nothing of a bond.
    lab.shell("nft delete table inet ropewalk_bond_server");
    let before = lab.dump();
    let notes = lab.ns.run(|| restore_with(|| Ok(lab.world(None)), &lab.state())).expect("all goes back");
    assert!(notes[0].contains("they may be another's"), "{notes:?}");
    assert_same(&lab.dump(), &before, "what another namespace has");
    assert_eq!(lab.journals(), 0);
}

#[test]
fn a_start_that_fails_after_its_changes_leaves_what_was_there_before() {
    let Some(lab) = Lab::new("failed_start") else { return };
    for plan in clients() {
        let before = lab.dump();
        lab.tun_comes();
        lab.ns.run(|| {
            let (client, _) =
                client_with(lab.world(None), plan.clone(), &lab.state()).expect("nothing is in the way");
            assert_eq!(client.give_up("no thread".into()), "no thread");
        });
        lab.tun_goes();
        assert_same(&lab.dump(), &before, &format!("{plan:?}"));
        assert_eq!(lab.journals(), 0);
    }
    for plan in servers() {
        lab.tun_comes();
        let before = lab.dump();
        lab.ns.run(|| {
            let (server, _) =
                server_with(lab.world(None), &plan, &lab.state()).expect("nothing is in the way");
            assert_eq!(server.give_up("no thread".into()), "no thread");
        });
        assert_same(&lab.dump(), &before, &format!("{plan:?}"));
        lab.tun_goes();
    }
    // What a run before has left holds on.
    let [plan, ..] = &clients()[..] else { unreachable!("there are some") };
    lab.tun_comes();
    lab.ns.run(|| {
        drop(client_with(lab.world(None), plan.clone(), &lab.state()).expect("nothing is in the way"))
    });
    let killed = lab.dump();
    lab.ns.run(|| {
        let (client, _) =
            client_with(lab.world(None), plan.clone(), &lab.state()).expect("nothing is in the way");
        client.give_up("no thread".into())
    });
    assert_same(&lab.dump(), &killed, "the kill switch of a run that was killed");
}

#[test]
fn a_second_server_takes_nothing_from_the_first() {
    let Some(lab) = Lab::new("second_server") else { return };
    lab.tun_comes();
    let [plan, ..] = &servers()[..] else { unreachable!("there are some") };
    let first =
        lab.ns.run(|| server_with(lab.world(None), plan, &lab.state()).expect("nothing is in the way"));
    let before = lab.dump();
    lab.ns.ip("tuntap add dev rw1 mode tun");
    let second = ServerPlan { tun: "rw1".into(), addresses: vec![(ip("10.78.0.1"), 24)], ..plan.clone() };
    let other = lab.dir().join("other");
    let told = lab.ns.run(|| server_with(lab.world(None), &second, &other).map(|_| ()));
    assert!(told.is_err_and(|told| told.contains("by rw0 and with another --state-dir")));
    // Both were started in the same moment.
    let told = lab.ns.run(|| {
        let mut world = lab.world(None);
        world.blind = true;
        server_with(world, &second, &other).map(|_| ())
    });
    assert!(told.is_err_and(|told| told.contains("by rw0 and with another --state-dir")));
    let without = ServerPlan { nat: false, ..second };
    lab.ns.run(|| server_with(lab.world(None), &without, &other).map(|_| ())).expect("it changes nothing");
    lab.ns.ip("link del rw1");
    assert_same(&lab.dump(), &before, "the first server's");
    drop(first);
    // One that was killed, and whose journal is lost, is in nobody's way: its device is gone.
    lab.tun_goes();
    lab.ns.ip("tuntap add dev rw1 mode tun");
    let third = ServerPlan { tun: "rw1".into(), ..plan.clone() };
    lab.ns
        .run(|| server_with(lab.world(None), &third, &lab.dir().join("third")).map(|_| ()))
        .expect("it is alone");
}

#[test]
fn each_place_where_the_server_was_is_remembered_the_newest_first() {
    let Some(lab) = Lab::new("places") else { return };
    let [plan, ..] = &clients()[..] else { unreachable!("there are some") };
    let [second, third] =
        ["192.0.2.2:4500", "[2001:db8::1]:4500"].map(|text| text.parse().expect("an address"));
    lab.tun_comes();
    lab.ns.run(|| {
        let (mut client, _) =
            client_with(lab.world(None), plan.clone(), &lab.state()).expect("nothing is in the way");
        for server in [second, third, second] {
            client.server(server).expect("the journal can be written");
        }
    });
    assert_eq!(lab.ns.run(|| remembered_servers(&lab.state())), [third, second, plan.server]);
    lab.tun_goes();
}
