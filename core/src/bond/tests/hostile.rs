//! Peers that keep the protocol and mean ill, and uplinks that come and go faster than sockets
//! open.

use super::pair::{Pair, SERVER, client, key, packet};
use crate::bond::DEFAULT_MTU;
use crate::bond::wire::{ConfigRequest, Frame, PathId};
use crate::machine::{
    DatagramMachine, Fault, Input, Machine, Offload, Output, Rx, SocketId, TunId, TunMachine, UplinkId, Via,
};
use crate::time::{Duration, Instant};
use alloc::collections::BTreeSet;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

#[test]
fn a_tunnel_is_no_smaller_than_ipv6_takes_whatever_a_client_wants() {
    for (wish, got) in [(0, DEFAULT_MTU), (1, 1280), (575, 1280), (1279, 1280), (1300, 1300)] {
        let mut pair = Pair::connected();
        let request = ConfigRequest { epoch: 0, v4: true, v6: true, mtu: wish };
        pair.client.peer_mut().send_frame(Frame::ConfigRequest(request));
        pair.run(Duration::from_secs(1));
        assert_eq!(pair.server.status(pair.now)[0].1.mtu, got, "wanted {wish}");
    }
}

/// The client's second path begins with a datagram from somebody else's address; all others come
/// from its own, which answers nothing.
#[test]
fn an_address_that_has_not_answered_is_sent_three_times_what_came_from_it_at_most() {
    let mut pair = Pair::new(&[key(2).public()], 2, &[]);
    pair.stuck[1] = true;
    pair.run(Duration::from_millis(500));
    let at = |last| SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, last)), 9);
    let (socket, own, victim) = (SocketId::from_parts(1, 0), at(1), at(77));
    let (mut came, mut went, mut buf) = (0, 0, [0; 65_535]);
    for round in 0..40 {
        let path = PathId::new(1).expect("in range");
        let slot = pair.client.peer_mut().slot_mut(path).expect("it has begun");
        (0..64).for_each(|token| slot.push_control(Frame::PathChallenge([token; 8])));
        while let Some(sent) = pair.client.poll_transmit(pair.now, socket, &mut buf) {
            let from = if came == 0 { victim } else { own };
            came += if from == victim { sent.len + 28 } else { 0 };
            let data = &mut buf[..sent.len];
            let to = Some(SERVER.ip());
            let rx = Rx { data, stride: sent.len, from, to, interface: None, ecn: 0 };
            pair.server.handle_datagrams(pair.now, SocketId::from_parts(0, 0), &mut [rx]);
        }
        pair.now += Duration::from_millis(10);
        pair.server.handle_timeout(pair.now);
        while let Some(sent) = pair.server.poll_transmit(pair.now, SocketId::from_parts(0, 0), &mut buf) {
            went += if sent.to == Some(victim) { sent.len + 28 } else { 0 };
        }
        assert!(went <= 3 * came, "round {round}: {went} bytes for {came}");
    }
    assert!(went > 0, "it was asked");
}

#[test]
fn an_uplink_that_comes_and_goes_before_its_socket_is_open_leaves_none_behind() {
    let (now, mut client) = (Instant::ZERO, client(2, 2, &[]));
    for _ in 0..100 {
        client.handle_input(now, Input::UplinkGone { uplink: UplinkId(0) });
        client.handle_input(now, Input::UplinkBack { uplink: UplinkId(0), via: Via::default() });
    }
    let mut open = BTreeSet::new();
    while let Some(output) = client.poll_output() {
        match output {
            Output::OpenSocket { socket, .. } => {
                open.insert(socket);
                let local = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9);
                client.handle_input(now, Input::Opened { socket, local });
            }
            Output::CloseSocket { socket } => {
                open.remove(&socket);
            }
            _ => {}
        }
    }
    assert_eq!(open.len(), 2, "one for each uplink");
}

#[test]
fn a_client_whose_uplinks_are_all_gone_ends_at_once_when_it_is_told_to() {
    let mut pair = Pair::connected();
    for id in 0..2 {
        pair.client.handle_input(pair.now, Input::UplinkGone { uplink: UplinkId(id) });
    }
    pair.run(Duration::from_secs(1));
    pair.client.handle_input(pair.now, Input::Drain);
    let said: alloc::vec::Vec<Output> = core::iter::from_fn(|| pair.client.poll_output()).collect();
    let ends = said.iter().filter(|output| matches!(output, Output::Finished)).count();
    assert_eq!(ends, 1, "{said:?}");
}

#[test]
fn a_datagram_that_the_system_refuses_to_one_client_makes_no_other_path_narrower() {
    let mut pair = Pair::new(&[key(2).public(), key(3).public()], 2, &[]);
    pair.run(Duration::from_secs(1));
    // The first client falls silent, and its association lives on at the server.
    pair.replace(client(3, 3, &[]));
    pair.run(Duration::from_secs(1));
    let mtus = |pair: &Pair| -> alloc::vec::Vec<u16> {
        pair.server
            .status(pair.now)
            .iter()
            .flat_map(|(_, status)| &status.paths)
            .map(|path| path.mtu)
            .collect()
    };
    assert_eq!(mtus(&pair), [1500; 4]);
    // A packet for the second.
    let (mut bytes, mut buf) = (packet(1000), [0; 65_535]);
    bytes[19] += 1;
    pair.server.take_buf(TunId(0))[..1000].copy_from_slice(&bytes);
    pair.server.handle_packet(pair.now, TunId(0), 1000, Offload::None);
    while pair.server.poll_output().is_some() {}
    let socket = SocketId::from_parts(0, 0);
    let sent = core::iter::from_fn(|| pair.server.poll_transmit(pair.now, socket, &mut buf));
    let id = sent.filter(|sent| sent.len > 1000).map(|sent| sent.id).last().expect("it leaves");
    pair.server.handle_input(pair.now, Input::SendFailed { socket, id, sent: 0, fault: Fault::TooLarge });
    let narrow = mtus(&pair).iter().map(|mtu| *mtu < 1500).collect::<alloc::vec::Vec<_>>();
    assert!(narrow == [false, false, true, false] || narrow == [false, false, false, true], "{narrow:?}");
}
