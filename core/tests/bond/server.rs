//! The server with many clients, among strangers; and what others got wrong.
//!
//! Bugs that a WireGuard implementation had in the field, and the test that holds each of them
//! here:
//!
//! | bug | test |
//! | --- | --- |
//! | a cookie did not cover the source port | `handshake::tests::cookie::a_cookie_lets_a_client_through_and_covers_its_source_port` |
//! | the limit of handshakes was one for all: a flooder put everybody into cookie mode | `handshake::tests::cookie::one_flooder_does_not_put_others_into_cookie_mode`, `guard::tests::handshake_limits_are_per_source` |
//! | an oversized or merged datagram panicked the receiver | [`a_datagram_of_any_size_alone_or_merged_is_no_panic`], `session::tests::an_oversized_datagram_does_not_panic` |
//! | the nonce's counter had the machine's width | `session::tests::nonce_counters_have_64_bits_on_any_machine` |
//! | the limit of messages for a key was not kept | `session::tests::the_message_limit_is_enforced` |
//! | who owned a network could send as another in it | `server::rules::tests::a_client_has_its_own_source_and_no_other` |
//! | a cookie made the client follow to another address | `handshake::tests::cookie::there_is_no_roaming_on_cookie_replies` |
//! | keepalives were answered with keepalives | `an_idle_bond_sends_keepalives_only_and_lives_on` |
//! | retries of the handshake had no jitter | `handshake::tests::retry::retries_have_jitter_and_back_off` |
//! | session ids counted up | `handshake::tests::session_ids_do_not_count_up` |
//! | a replayed first message took the session over | [`a_replayed_capture_changes_nothing`], `handshake::tests::a_replayed_first_message_changes_nothing_that_lives` |

use super::lab::{Lab, Setup, inside};
use super::link::{Datagram, Dice, Nature};
use super::packet::{Flow, Kind, Way, read};
use ropewalk_core::bond::Tuning;
use ropewalk_core::time::Duration;
use std::net::SocketAddr;

/// Clients with so many links each, all of them alike and without faults.
pub(crate) fn calm(seed: u64, links: usize) -> Setup {
    many(seed, 1, links)
}

fn many(seed: u64, clients: usize, links: usize) -> Setup {
    let nature = Nature {
        rate: 2_500_000,
        delay: Duration::from_millis(10),
        jitter: Duration::ZERO,
        loss: 0,
        twice: 0,
        up: true,
    };
    let clients = vec![vec![[nature; 2]; links]; clients];
    Setup { seed, clients, offload: [true; 2], tuning: Tuning::default() }
}

/// A bond whose clients are all there.
fn joined(setup: Setup) -> Lab {
    let mut lab = Lab::new(setup);
    let all = |lab: &Lab| lab.clients.iter().all(|client| client.io.configured.is_some());
    assert!(lab.run_until(Duration::from_secs(30), all), "not all clients came in");
    lab.run(Duration::from_secs(1));
    lab
}

fn flow(client: usize, way: Way) -> Flow {
    Flow { client, way, kind: Kind::WireGuard, id: 1 }
}

fn down(lab: &mut Lab, client: usize, number: u32) {
    let (packet, offload) = flow(client, Way::Down).packet(number, 1, 1200, 0, true);
    lab.server.ingest(lab.now, packet, offload);
}

/// The numbers that came out at a client.
fn came(lab: &mut Lab, client: usize) -> Vec<u32> {
    let out = std::mem::take(&mut lab.clients[client].io.tun_out);
    out.iter().flat_map(|(packet, offload)| read(packet, *offload).packets().1).collect()
}

#[test]
fn clients_that_stop_reading_cost_no_more_than_their_share() {
    let mut lab = joined(many(1, 200, 1));
    // They are gone, and their users go on asking the internet for more.
    for links in &mut lab.links {
        links.iter_mut().flatten().for_each(|link| link.nature.up = false);
    }
    let mut most = 0;
    for number in 0..450 {
        for client in 0..200 {
            let (packet, offload) = flow(client, Way::Down).packet(number, 1, 1400, 0, true);
            lab.server.ingest(lab.now, packet, offload);
        }
        lab.run(Duration::from_millis(5));
        let all = lab.server.machine.status(lab.now);
        most = most.max(all.iter().map(|(_, status)| status.queued + status.copies + status.held).sum());
    }
    // 126 MB were asked for.
    assert!(most < 96 << 20, "{most} bytes are kept for clients that take nothing");
    // Who comes back is served.
    for links in &mut lab.links {
        links.iter_mut().flatten().for_each(|link| link.nature.up = true);
    }
    lab.run(Duration::from_secs(20));
    (0..200).for_each(|client| drop(came(&mut lab, client)));
    (0..200).for_each(|client| down(&mut lab, client, 1000));
    lab.run(Duration::from_secs(2));
    for client in 0..200 {
        assert_eq!(came(&mut lab, client), [1000], "client {client}");
    }
}

#[test]
fn a_client_gets_its_own_packets_and_no_others() {
    let mut lab = joined(many(2, 20, 2));
    for number in 0..50 {
        (0..20).for_each(|client| down(&mut lab, client, number));
        lab.run(Duration::from_millis(3));
    }
    lab.run(Duration::from_secs(1));
    for client in 0..20 {
        let out = std::mem::take(&mut lab.clients[client].io.tun_out);
        let flows: Vec<(Flow, Vec<u32>)> =
            out.iter().map(|(packet, offload)| read(packet, *offload).packets()).collect();
        assert!(
            flows.iter().all(|(flow, _)| flow.client == client),
            "client {client} ({}) got {flows:?}",
            inside(client)
        );
        let numbers: Vec<u32> = flows.into_iter().flat_map(|(_, numbers)| numbers).collect();
        assert_eq!(numbers, (0..50).collect::<Vec<_>>());
    }
}

/// Plays a quarter of a minute of downloads, with something that a stranger does after each packet.
/// The hash of all that was sent.
fn under(stranger: impl Fn(&mut Lab, &mut Dice)) -> Lab {
    let mut lab = joined(many(3, 2, 2));
    let mut dice = Dice::new(99);
    for number in 0..400 {
        down(&mut lab, 0, number);
        down(&mut lab, 1, number);
        stranger(&mut lab, &mut dice);
        lab.run(Duration::from_millis(2));
    }
    lab.run(Duration::from_secs(13));
    assert_eq!(came(&mut lab, 0), (0..400).collect::<Vec<_>>());
    lab
}

const STRANGER: [u8; 4] = [192, 0, 2, 200];

#[test]
fn strangers_get_no_answer_and_change_no_bit_of_what_is_sent() {
    let undisturbed = under(|_, _| {});
    let disturbed = under(|lab, dice| {
        let heard = &lab.heard[dice.below(lab.heard.len() as u64) as usize];
        let mut data = heard.data.clone();
        match dice.below(4) {
            0 => data.iter_mut().for_each(|byte| *byte = dice.roll() as u8),
            1 => data.truncate(dice.below(data.len() as u64) as usize),
            2 => {
                let at = dice.below(data.len() as u64) as usize;
                data[at] ^= 1 << dice.below(8);
            }
            _ => data.resize(dice.below(1472) as usize, 0),
        }
        let (from, to) = (SocketAddr::new(STRANGER.into(), dice.below(60_000) as u16), heard.to);
        if to.port() == 4500 {
            lab.reach_server(Datagram { from, to, ecn: dice.below(4) as u8, data });
        } else {
            let (from, to) = (heard.from, heard.to);
            lab.reach_client(0, Datagram { from, to, ecn: 0, data });
        }
    });
    assert!(disturbed.answered.is_empty(), "strangers were answered: {:?}", disturbed.answered);
    assert_eq!(undisturbed.hash, disturbed.hash, "what was sent is another");
}

#[test]
fn a_replayed_capture_changes_nothing() {
    let undisturbed = under(|_, _| {});
    // All but first messages, which are answered, from the address of the client and from another.
    let disturbed = under(|lab, dice| {
        for stranger in [true, false] {
            let mut again = lab.heard[dice.below(lab.heard.len() as u64) as usize].clone();
            if again.data[0] >> 1 & 0x1f == 1 {
                continue;
            }
            // What is still under way is no replay.
            if lab.links.iter().flatten().flatten().any(|link| link.carries(&again.data)) {
                continue;
            }
            if again.to.port() != 4500 {
                (0..2).for_each(|client| lab.reach_client(client, again.clone()));
                continue;
            }
            if stranger {
                again.from = SocketAddr::new(STRANGER.into(), 7);
            }
            lab.reach_server(again);
        }
    });
    assert!(disturbed.answered.is_empty());
    assert_eq!(undisturbed.hash, disturbed.hash, "what was sent is another");
}

#[test]
fn first_messages_of_before_draw_little_and_do_not_end_what_lives() {
    let mut lab = Lab::new(many(4, 1, 1));
    let up = |lab: &Lab| lab.clients[0].io.configured.is_some();
    assert!(lab.run_until(Duration::from_secs(10), up));
    let capture: Vec<Datagram> = lab.heard.iter().filter(|d| d.data[0] >> 1 & 0x1f == 1).cloned().collect();
    assert!(!capture.is_empty());
    for round in 0..200 {
        for first in &capture {
            let from = SocketAddr::new(STRANGER.into(), 1 + round);
            lab.reach_server(Datagram { from, ..first.clone() });
        }
        down(&mut lab, 0, round.into());
        lab.run(Duration::from_millis(20));
    }
    lab.run(Duration::from_secs(1));
    assert_eq!(came(&mut lab, 0), (0..200).collect::<Vec<_>>());
    for (address, bytes) in &lab.answered {
        assert!(
            *bytes <= 3 * capture.iter().map(|first| first.data.len()).sum::<usize>(),
            "{address}: {bytes}"
        );
    }
}

#[test]
fn a_server_that_began_anew_takes_no_packet_of_its_former_life() {
    let mut lab = joined(many(5, 1, 1));
    let (packet, offload) = flow(0, Way::Up).packet(0, 1, 900, 0, true);
    lab.clients[0].ingest(lab.now, packet, offload);
    lab.run(Duration::from_secs(1));
    assert_eq!(std::mem::take(&mut lab.server.io.tun_out).len(), 1);
    let capture: Vec<Datagram> = lab.heard.iter().filter(|d| d.to.port() == 4500).cloned().collect();
    lab.restart_server();
    for again in capture {
        lab.reach_server(again);
    }
    lab.run(Duration::from_millis(1));
    assert!(lab.server.io.tun_out.is_empty(), "a packet of the former life came out");
    assert!(lab.server.machine.status(lab.now).is_empty(), "an association came of a capture");
    // And the client finds out by itself: at the latest by its next keepalive.
    lab.run(Duration::from_secs(40));
    down(&mut lab, 0, 5);
    lab.run(Duration::from_secs(1));
    assert_eq!(came(&mut lab, 0), [5]);
}

#[test]
fn a_path_follows_its_client_only_where_the_client_answers() {
    let mut lab = joined(many(6, 1, 1));
    // Somebody on the way has the client's next packet come from an address of his own.
    lab.hijack = Some(SocketAddr::new(STRANGER.into(), 7));
    let (packet, offload) = flow(0, Way::Up).packet(0, 1, 900, 0, true);
    lab.clients[0].ingest(lab.now, packet, offload);
    for number in 0..300 {
        lab.run(Duration::from_millis(2));
        down(&mut lab, 0, number);
    }
    assert_eq!(lab.hijack, None, "there was such a packet");
    lab.run(Duration::from_secs(1));
    assert_eq!(came(&mut lab, 0), (0..300).collect::<Vec<_>>(), "what the client is sent goes to the client");
    let drawn: usize = lab.answered.values().sum();
    assert!(drawn > 0 && drawn <= 3 * 1000, "{drawn} bytes went to an address that has not answered");
}

#[test]
fn a_datagram_of_any_size_alone_or_merged_is_no_panic() {
    let mut lab = joined(many(8, 1, 1));
    let to = super::io::SERVER.parse().expect("literal");
    let from = lab.heard.iter().find(|d| d.to.port() == 4500).expect("the client has sent").from;
    let transport =
        lab.heard.iter().rfind(|d| d.data[0] >> 1 & 0x1f == 4 && d.to == to).expect("heard").clone();
    for len in (0..70).chain([127, 128, 1436, 1472, 1500, 9000, 65_507, 65_535]) {
        for kind in 0..32 {
            let mut data = transport.data.clone();
            data.resize(len, 0xa5);
            if let Some(byte) = data.first_mut() {
                *byte = 1 << 6 | kind << 1;
            }
            lab.burst_to_server([Datagram { from, to, ecn: 3, data: data.clone() }]);
            // As GRO joins them: equal ones, and a shorter one at the end.
            let mut short = data.clone();
            short.truncate(len / 2);
            let datagram = |data: &Vec<u8>| Datagram { from, to, ecn: 3, data: data.clone() };
            if len < 3000 {
                lab.burst_to_server([datagram(&data), datagram(&data), datagram(&data), datagram(&short)]);
            }
        }
    }
    down(&mut lab, 0, 1);
    lab.run(Duration::from_secs(1));
    assert_eq!(came(&mut lab, 0), [1]);
}

#[test]
fn a_farewell_that_cannot_leave_holds_nobody_up() {
    for blocked in [false, true] {
        let mut lab = joined(many(9, 1, 2));
        let now = lab.now;
        (0..2).for_each(|link| lab.clients[0].block(now, link, blocked));
        lab.clients[0].input(now, ropewalk_core::machine::Input::Drain);
        lab.run(Duration::from_millis(1100));
        assert!(lab.clients[0].finished, "blocked: {blocked}");
        lab.server.block(lab.now, 0, blocked);
        let now = lab.now;
        lab.server.input(now, ropewalk_core::machine::Input::Drain);
        lab.run(Duration::from_millis(1100));
        assert!(lab.server.finished, "blocked: {blocked}");
    }
}

#[test]
fn a_device_that_refuses_its_addresses_is_asked_again() {
    let mut lab = Lab::new(many(10, 1, 1));
    lab.clients[0].io.refuse = 3;
    let up = |lab: &Lab| lab.clients[0].io.configured.is_some();
    assert!(lab.run_until(Duration::from_secs(20), up), "it was given up");
}

#[test]
fn a_link_that_answers_only_later_comes_into_use() {
    let mut lab = Lab::new(many(11, 1, 2));
    for link in &mut lab.links[0][1] {
        link.nature.up = false;
    }
    let up = |lab: &Lab| lab.clients[0].io.configured.is_some();
    assert!(lab.run_until(Duration::from_secs(10), up));
    // Its questions are given up long before.
    lab.run(Duration::from_secs(300));
    for link in &mut lab.links[0][1] {
        link.nature.up = true;
    }
    lab.run(Duration::from_secs(10));
    let states = [lab.clients[0].machine.status(lab.now), lab.server.machine.status(lab.now).remove(0).1];
    for status in states {
        let live = status.paths.iter().all(|path| path.state == ropewalk_core::bond::PathState::Live);
        assert!(live && status.paths.len() == 2, "{status:#?}");
    }
}
