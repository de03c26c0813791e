//! Two associations joined by toy links, in virtual time.

mod again;

use super::*;
use crate::bond::PathState;
use crate::bond::crypto::Cipher;
use crate::bond::schedule::Strategy;
use crate::bond::session::{Secrets, Session};
use crate::bond::wire::{
    Config, ConfigRequest, HEADER, PacketWriter, PathStatus, PeerPathState, TAG, Timestamp, Wish,
};
use crate::machine::{Offload, SocketId};
use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;

/// One direction of a link: a rate, a delay, a queue of bytes.
struct Link {
    rate: u64,
    delay: Duration,
    queue: u64,
    free: Instant,
    up: bool,
    /// One packet in so many is lost; 0: none.
    lose: u64,
    count: u64,
    packets: VecDeque<(Instant, Vec<u8>)>,
}

impl Link {
    fn new(mbit: u64, delay_ms: u64) -> Self {
        let rate = mbit * 125_000;
        let delay = Duration::from_millis(delay_ms);
        let queue = (rate * delay_ms * 3 / 1000).max(20_000);
        let free = Instant::ZERO;
        Link { rate, delay, queue, free, up: true, lose: 0, count: 0, packets: VecDeque::new() }
    }

    fn send(&mut self, now: Instant, packet: &[u8]) {
        self.count += 1;
        let bytes = packet.len() as u64 + 28;
        let waiting = u64::try_from((self.free - now).as_nanos()).expect("small") * self.rate / 1_000_000_000;
        if !self.up || waiting + bytes > self.queue || self.lose > 0 && self.count.is_multiple_of(self.lose) {
            return;
        }
        self.free = self.free.max(now) + Duration::from_nanos(bytes * 1_000_000_000 / self.rate);
        self.packets.push_back((self.free + self.delay, packet.to_vec()));
    }
}

/// What the client sends arrives at the server, and the other way round.
struct World {
    now: Instant,
    client: Peer,
    server: Peer,
    up: Vec<Link>,
    down: Vec<Link>,
    /// What came out of the server's and of the client's side, in order.
    out: (Give, Give),
    received: (u64, u64),
    last: Vec<u32>,
}

fn remote() -> Remote {
    let to: SocketAddr = "192.0.2.1:4500".parse().expect("literal");
    Remote { socket: SocketId::from_parts(0, 0), to, from: None, named: false }
}

impl World {
    fn new(links: &[(u64, u64)]) -> World {
        let now = Instant::from_nanos(1_000_000_000);
        let tuning = Tuning::default();
        let mut client = Peer::new(now, Role::Initiator, tuning, true, 1436);
        let mut server = Peer::new(now, Role::Responder, tuning, true, 1436);
        let cipher = Cipher::ChaCha20Poly1305;
        let secrets = |seal, open, local, remote| {
            let (seal, open) = ([seal; 32], [open; 32]);
            Session::new(now, &Secrets { cipher, seal, open, local, remote, generation: 0 })
        };
        client.keys.install(secrets(1, 2, 1, 2));
        server.keys.install(secrets(2, 1, 2, 1));
        for index in 0..links.len() {
            for peer in [&mut client, &mut server] {
                peer.add_path(now, slot_id(index), remote(), 1).validated = true;
            }
            client.slots[index].as_mut().expect("just made").ping = true;
        }
        let make = || links.iter().map(|(mbit, ms)| Link::new(*mbit, *ms)).collect();
        let out = (Give::new(true), Give::new(true));
        World { now, client, server, up: make(), down: make(), out, received: (0, 0), last: Vec::new() }
    }

    fn flush(&mut self) {
        let mut buf = vec![0; 65_535];
        for (peer, links) in [(&mut self.client, &mut self.up), (&mut self.server, &mut self.down)] {
            peer.pump_fed(self.now);
            while let Some(id) = peer.poll_dirty() {
                while let Some(sent) = peer.poll_transmit(self.now, id, &mut buf) {
                    let size = sent.segment.unwrap_or(sent.len);
                    buf[..sent.len].chunks(size).for_each(|packet| links[id.index()].send(self.now, packet));
                }
            }
        }
    }

    /// Moves to the next event, at most to `until`. False when there is none before.
    fn step(&mut self, until: Instant) -> bool {
        self.flush();
        let arrivals = self.up.iter().chain(&self.down).filter_map(|link| link.packets.front());
        let timers = [self.client.poll_timeout(), self.server.poll_timeout()];
        let next = arrivals.map(|(at, _)| *at).chain(timers.into_iter().flatten()).min();
        let next = next.map_or(until, |next| next.max(self.now)).min(until);
        let moved = next > self.now;
        self.now = next;
        let sides = [
            (&mut self.server, &mut self.up, &mut self.out.0, &mut self.received.0),
            (&mut self.client, &mut self.down, &mut self.out.1, &mut self.received.1),
        ];
        for (peer, links, give, received) in sides {
            let mut came = false;
            for link in links.iter_mut() {
                while link.packets.front().is_some_and(|(at, _)| *at <= next) {
                    let Some((_, mut packet)) = link.packets.pop_front() else { break };
                    peer.receive(next, &mut packet, 28, 0, |_| true, give).expect("the links change nothing");
                    came = true;
                }
            }
            if came {
                peer.finish_batch(next, give);
            }
            if peer.poll_timeout().is_some_and(|at| at <= next) {
                peer.handle_timeout(next, give);
            }
            while let Some((packet, offload)) = give.front() {
                let mut at = 28;
                let step = match offload {
                    Offload::Udp { size, .. } => usize::from(size),
                    _ => packet.len() - 28,
                };
                while at < packet.len() {
                    let number = u32::from_be_bytes(packet[at..at + 4].try_into().expect("four"));
                    self.last.push(number);
                    at += step;
                }
                *received += packet.len() as u64;
                give.pop();
            }
        }
        moved || self.now < until
    }

    /// The client sends as much as it can for so long.
    fn upload(&mut self, time: Duration) -> u64 {
        let end = self.now + time;
        let before = self.received.0;
        let mut number = self.last.iter().max().map_or(0, |last| last + 1) + 10_000_000;
        while self.now < end {
            while self.client.memory().0 < 400_000 {
                let packet = udp(number, 1400);
                number += 1;
                self.client.ingest(
                    self.now,
                    &mut packet.clone(),
                    packet.len(),
                    Offload::None,
                    &mut self.out.1,
                );
            }
            self.step(end);
        }
        (self.received.0 - before) * 8_000 / u64::try_from(time.as_micros()).expect("short")
    }
}

impl World {
    /// Asks and is answered with ten packets, one after the other, `count` times. How often it was
    /// within 10 s.
    fn exchange(&mut self, count: usize) -> usize {
        let end = self.now + Duration::from_secs(10);
        for done in 0..count {
            let (asked, answered) = (self.received.0, self.received.1);
            self.client.ingest(self.now, &mut udp(0, 100), 100, Offload::None, &mut self.out.1);
            while self.received.0 == asked {
                if !self.step(end) {
                    return done;
                }
            }
            for _ in 0..10 {
                self.server.ingest(self.now, &mut udp(0, 1400), 1400, Offload::None, &mut self.out.0);
            }
            while self.received.1 < answered + 14_000 {
                if !self.step(end) {
                    return done;
                }
            }
        }
        count
    }
}

/// A UDP datagram of one flow that carries a number.
fn udp(number: u32, len: usize) -> Vec<u8> {
    let mut packet = vec![0; len];
    packet[..20].copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1]);
    packet[2..4].copy_from_slice(&(len as u16).to_be_bytes());
    // WireGuard's port: its packets are always ordered.
    packet[20..24].copy_from_slice(&[0x10, 0, 0xca, 0x6c]);
    packet[24..26].copy_from_slice(&((len - 20) as u16).to_be_bytes());
    packet[28..32].copy_from_slice(&number.to_be_bytes());
    packet
}

#[test]
fn one_link_is_filled_and_nothing_is_lost_or_out_of_order() {
    let mut world = World::new(&[(50, 10)]);
    world.upload(Duration::from_secs(1));
    let kbit = world.upload(Duration::from_secs(4));
    // 64 bytes of 1464 are header, and the pacer keeps 2% below the rate.
    assert!(kbit > 46_000, "{kbit} kbit/s");
    assert!(world.last.windows(2).all(|pair| pair[0] < pair[1]), "out of order");
}

#[test]
fn two_links_are_filled_in_order() {
    for (links, least) in [(&[(50, 10), (50, 10)][..], 92_000), (&[(50, 10), (20, 40)], 64_000)] {
        let mut world = World::new(links);
        world.upload(Duration::from_secs(2));
        let kbit = world.upload(Duration::from_secs(4));
        assert!(kbit > least, "{links:?}: {kbit} kbit/s");
        assert!(world.last.windows(2).all(|pair| pair[0] < pair[1]), "{links:?}: out of order");
    }
}

#[test]
fn a_dead_link_costs_a_short_gap_and_no_packet() {
    let mut world = World::new(&[(50, 10), (50, 10)]);
    world.upload(Duration::from_secs(2));
    world.up[1].up = false;
    world.down[1].up = false;
    let before = world.last.len();
    let kbit = world.upload(Duration::from_secs(2));
    let order = world.server.order();
    assert!(kbit > 44_000, "{kbit} kbit/s");
    assert_eq!(order.passed + order.expired, 0, "holes reached the inside");
    assert!(world.last[before..].windows(2).all(|pair| pair[0] < pair[1]), "out of order");
    world.up[1].up = true;
    world.down[1].up = true;
    world.upload(Duration::from_secs(2));
    let kbit = world.upload(Duration::from_secs(2));
    assert!(kbit > 88_000, "after its return {kbit} kbit/s");
}

#[test]
fn a_link_that_died_while_nothing_moved_is_found_out_by_what_comes_next() {
    for dead in [0, 1] {
        let mut world = World::new(&[(50, 10), (50, 10)]);
        world.upload(Duration::from_secs(1));
        let end = world.now + Duration::from_secs(3);
        while world.step(end) {}
        world.up[dead].up = false;
        world.down[dead].up = false;
        let kbit = world.upload(Duration::from_secs(2));
        assert!(kbit > 40_000, "{kbit} kbit/s without link {dead}");
    }
}

/// Both ends know the dead link as the quicker one, and have proof of it that is just too old to be
/// true: what they acknowledge goes that way for a while.
#[test]
fn a_link_that_died_between_two_exchanges_does_not_take_the_other_with_it() {
    for dead in [0, 1] {
        for delay in [0, 1, 2, 5, 20] {
            for idle in [0, 1, 20, 100, 300, 600, 5_000] {
                let mut world = World::new(&[(40, delay), (40, delay)]);
                world.exchange(20);
                let end = world.now + Duration::from_millis(idle);
                while world.step(end) {}
                world.up[dead].up = false;
                world.down[dead].up = false;
                let done = world.exchange(200);
                assert!(done == 200, "link {dead} of {delay} ms, idle for {idle} ms: {done} of 200");
            }
        }
    }
}

#[test]
fn a_link_that_loses_half_is_left_out_and_comes_back_when_it_is_well() {
    let mut world = World::new(&[(30, 15), (30, 15)]);
    world.upload(Duration::from_secs(1));
    world.up[1].lose = 2;
    world.upload(Duration::from_secs(1));
    let before = (world.up[1].count, world.last.len());
    let kbit = world.upload(Duration::from_secs(2));
    assert!(world.up[1].count - before.0 < 100, "only questions go there: {}", world.up[1].count - before.0);
    assert!(kbit > 26_000, "{kbit} kbit/s by the well one");
    assert!(world.last[before.1..].windows(2).all(|pair| pair[0] < pair[1]), "out of order");
    world.up[1].lose = 0;
    world.upload(Duration::from_secs(3));
    let kbit = world.upload(Duration::from_secs(1));
    assert!(kbit > 52_000, "{kbit} kbit/s after it is well again");
}

#[test]
fn events_and_status_say_the_same_of_a_link_that_loses_half() {
    let mut world = World::new(&[(30, 15), (30, 15)]);
    let mut told = vec![path::State::Live];
    // Uploads until link 1 is so, for 10 s at most.
    let mut until = |world: &mut World, wanted: PathState| {
        for _ in 0..200 {
            world.upload(Duration::from_millis(50));
            let news = core::iter::from_fn(|| world.client.poll_news());
            told.extend(news.filter_map(|news| match news {
                News::Path(id, state) if id == slot_id(1) => Some(state),
                _ => None,
            }));
            assert!(told.windows(2).all(|pair| pair[0] != pair[1]), "told twice: {told:?}");
            let slot = world.client.slots[1].as_ref().expect("it is there");
            let status = crate::bond::PathStatus::of(world.now, slot, None).state;
            let event = match status {
                PathState::Live | PathState::Unproven => path::State::Live,
                PathState::Suspect | PathState::Sick => path::State::Suspect,
                PathState::Down => path::State::Down,
            };
            assert_eq!(told.last(), Some(&event), "{status:?}: {told:?}");
            if status == wanted {
                return;
            }
        }
        panic!("not {wanted:?} within 10 s: {told:?}");
    };
    world.upload(Duration::from_secs(1));
    world.up[1].lose = 2;
    until(&mut world, PathState::Sick);
    (world.up[1].up, world.down[1].up) = (false, false);
    until(&mut world, PathState::Down);
    // What comes back has still to show that it is well.
    world.up[1].lose = 0;
    (world.up[1].up, world.down[1].up) = (true, true);
    until(&mut world, PathState::Sick);
    until(&mut world, PathState::Live);
}

#[test]
fn a_path_that_carries_nothing_has_no_queue() {
    let mut world = World::new(&[(30, 15)]);
    world.upload(Duration::from_secs(1));
    let queue = |world: &World| {
        let slot = world.client.slots[0].as_ref().expect("it is there");
        crate::bond::PathStatus::of(world.now, slot, None).queue
    };
    assert!(queue(&world) > Duration::ZERO);
    let end = world.now + Duration::from_secs(12);
    while world.step(end) {}
    assert_eq!(queue(&world), Duration::ZERO);
}

#[test]
fn the_death_of_one_link_makes_nobody_doubt_the_other() {
    for dead in [0, 1] {
        let mut world = World::new(&[(50, 10), (50, 10)]);
        world.upload(Duration::from_secs(1));
        (world.up[dead].up, world.down[dead].up) = (false, false);
        world.upload(Duration::from_secs(1));
        let states =
            [0, 1].map(|index| world.client.slots[index].as_ref().map(|slot| slot.path.counters().timeouts));
        assert_eq!(states[1 - dead], Some(0), "time-outs of the link that lives");
        assert!(states[dead] > Some(0));
    }
}

#[test]
fn a_link_alone_carries_on_whatever_it_loses() {
    let mut world = World::new(&[(30, 15)]);
    world.upload(Duration::from_secs(1));
    world.up[0].lose = 4;
    world.upload(Duration::from_secs(3));
    let kbit = world.upload(Duration::from_secs(4));
    assert!(kbit > 15_000, "{kbit} kbit/s of 22,500 that arrive");
}

#[test]
fn a_link_that_loses_much_is_used_when_the_well_one_dies() {
    let mut world = World::new(&[(30, 15), (30, 15)]);
    world.up[1].lose = 4;
    world.upload(Duration::from_secs(2));
    (world.up[0].up, world.down[0].up) = (false, false);
    world.upload(Duration::from_secs(1));
    let kbit = world.upload(Duration::from_secs(4));
    assert!(kbit > 15_000, "{kbit} kbit/s of 22,500 that arrive");
}

/// What the server has news of after a packet of as many of these frames as fit.
fn told(frame: impl Fn(u32) -> Frame) -> Vec<News> {
    let mut world = World::new(&[(50, 10)]);
    let mut buf = vec![0; 1472];
    let mut writer =
        PacketWriter::new(&mut buf[HEADER..1472 - TAG], Timestamp::at(world.now)).expect("it has room");
    let frames = (1..).take_while(|serial| writer.push(&frame(*serial)).is_ok()).count();
    assert!(frames > 30, "{frames} frames");
    let len = writer.finish().expect("frames are in it");
    let sealed = world.client.keys.seal(world.now, slot_id(0), &mut buf, len).expect("there are keys");
    let datagram = &mut buf[..sealed.len];
    world.server.receive(world.now, datagram, 28, 0, |_| true, &mut world.out.0).expect("it is whole");
    core::iter::from_fn(|| world.server.poll_news()).collect()
}

#[test]
fn a_packet_full_of_one_wish_is_obeyed_once_for_each_path() {
    let state = |serial: u32| if serial % 32 < 16 { PeerPathState::Gone } else { PeerPathState::Available };
    let status = |serial: u32| {
        let path = slot_id(serial as usize % 16);
        Frame::PathStatus(PathStatus { serial, path, state: state(serial), weight: serial as u16 })
    };
    let news = told(status);
    assert_eq!(news.len(), 16);
    for news in news {
        let News::Status(status) = news else { panic!("{news:?}") };
        assert!(status.serial > 100, "the last of a path counts: {status:?}");
    }
    let skew = Duration::from_millis(60);
    let wish = |serial| Frame::Mode(Wish { serial, strategy: Strategy::Weighted, max_skew: skew });
    assert_eq!(told(wish).len(), 1);
    let request = |mtu: u32| ConfigRequest { epoch: 0, v4: true, v6: true, mtu: mtu as u16 };
    assert_eq!(told(|mtu| Frame::ConfigRequest(request(mtu))).len(), 1);
}

#[test]
fn frames_of_the_other_side_and_answers_that_nobody_asked_for_are_no_news() {
    assert_eq!(told(|epoch| Frame::Config(Config::new(epoch, 1400).expect("in range"))), []);
    assert_eq!(told(|_| Frame::Rekey), []);
    assert_eq!(told(|token| Frame::PathResponse(u64::from(token).to_be_bytes())), []);
}
