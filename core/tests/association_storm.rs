//! UDP ASSOCIATE in whatever order things happen: nothing panics, the contract holds (the desk
//! checks it at each call, and replays each run), and in the end nothing is left.

mod util;

use proptest::prelude::*;
use ropewalk_core::dispatch::Config;
use ropewalk_core::machine::{Fault, Input, SocketId, StreamId, UplinkId};
use ropewalk_core::uplink::Networks;
use util::desk::{Desk, uplinks, wrapped, wrapped_name};
use util::{addr, cases, ms, secs};

#[derive(Clone, Debug)]
enum Op {
    Associate { client: u8, says: bool },
    Client { whose: u8, port: u8, to: u8, kind: u8, len: u16 },
    Noise { whose: u8, bytes: Vec<u8> },
    Server { which: u8, from: u8, len: u16 },
    Answer { which: u8, addresses: u8 },
    End { whose: u8 },
    Gone { uplink: u8 },
    Networks { up: u8 },
    SendFailed { which: u8, fault: u8 },
    OpensFail { faults: u8 },
    Wait { ms: u32 },
    Take,
    Drain,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0u8..3, any::<bool>()).prop_map(|(client, says)| Op::Associate { client, says }),
        12 => (any::<u8>(), 0u8..3, 0u8..6, 0u8..6, 0u16..2000)
            .prop_map(|(whose, port, to, kind, len)| Op::Client { whose, port, to, kind, len }),
        2 => (any::<u8>(), prop::collection::vec(any::<u8>(), 0..30))
            .prop_map(|(whose, bytes)| Op::Noise { whose, bytes }),
        6 => (any::<u8>(), 0u8..8, 0u16..2000).prop_map(|(which, from, len)| Op::Server { which, from, len }),
        4 => (any::<u8>(), 0u8..5).prop_map(|(which, addresses)| Op::Answer { which, addresses }),
        2 => any::<u8>().prop_map(|whose| Op::End { whose }),
        1 => (0u8..2).prop_map(|uplink| Op::Gone { uplink }),
        1 => (0u8..4).prop_map(|up| Op::Networks { up }),
        1 => (any::<u8>(), 0u8..3).prop_map(|(which, fault)| Op::SendFailed { which, fault }),
        1 => (0u8..8).prop_map(|faults| Op::OpensFail { faults }),
        3 => (0u32..200_000).prop_map(|ms| Op::Wait { ms }),
        4 => Just(Op::Take),
        1 => Just(Op::Drain),
    ]
}

const FAULTS: [Fault; 3] = [Fault::NoDevice, Fault::NoRoute, Fault::NoDescriptors];
/// Few, so that they meet again.
const TO: [&str; 6] =
    ["192.0.2.1:1", "192.0.2.1:2", "192.0.2.2:1", "[2001:db8::1]:1", "10.0.0.1:1", "127.0.0.1:1"];

struct Storm {
    desk: Desk,
    associations: Vec<(StreamId, SocketId, u8)>,
    drained: bool,
}

impl Storm {
    fn step(&mut self, op: &Op) {
        match op {
            Op::Associate { .. } if self.drained => {}
            Op::Associate { client, says } => self.associate(*client, *says),
            Op::Client { whose, port, to, kind, len } => self.client(*whose, *port, *to, *kind, *len),
            Op::Noise { whose, bytes } => {
                if let Some((_, socket, client)) = self.whose(*whose) {
                    self.desk.datagram(socket, &format!("203.0.113.{client}:1"), bytes);
                }
            }
            Op::Server { which, from, len } => self.server(*which, *from, *len),
            Op::Answer { which, addresses } => self.answer(*which, *addresses),
            Op::End { whose } => {
                if let Some((stream, ..)) = self.whose(*whose) {
                    self.desk.input(Input::ReadClosed { stream });
                }
            }
            Op::Gone { uplink } => self.desk.input(Input::UplinkGone { uplink: UplinkId((*uplink).into()) }),
            Op::Networks { up } => {
                let networks =
                    |n: u8| Networks { v4: up & (1 << n) != 0, v6: up & 1 != 0, ..Networks::default() };
                self.desk.pool.set_networks(vec![networks(0), networks(1)], Vec::new());
            }
            Op::SendFailed { which, fault } => {
                if let Some(socket) = self.which(*which) {
                    let fault = FAULTS[usize::from(*fault)];
                    self.desk.input(Input::SendFailed { socket, id: 0, sent: 0, fault });
                }
            }
            Op::OpensFail { faults } => {
                let fault = |n: u8| (faults & (1 << n) != 0).then_some(FAULTS[usize::from(n)]);
                self.desk.open_faults = (0..3).map(fault).collect();
            }
            Op::Wait { ms: time } => self.desk.advance(ms((*time).into())),
            Op::Take => {
                for sent in self.desk.sent() {
                    assert!(sent.data.len() <= 65_527);
                }
            }
            Op::Drain => {
                self.drained = true;
                self.desk.input(Input::Drain);
            }
        }
        let closed = &self.desk.closed;
        self.associations.retain(|(stream, ..)| !closed.iter().any(|(other, _)| other == stream));
    }

    /// One of the open associations.
    fn whose(&self, n: u8) -> Option<(StreamId, SocketId, u8)> {
        let all = &self.associations;
        all.get(usize::from(n) % all.len().max(1)).copied()
    }

    /// One of the open sockets.
    fn which(&self, n: u8) -> Option<SocketId> {
        let all: Vec<SocketId> = self.desk.sockets.keys().copied().collect();
        all.get(usize::from(n) % all.len().max(1)).copied()
    }

    fn associate(&mut self, client: u8, says: bool) {
        let desk = &mut self.desk;
        let before: Vec<SocketId> = desk.sockets.keys().copied().collect();
        let from = if says { format!("203.0.113.{client}:1") } else { "0.0.0.0:0".into() };
        let (stream, answer) = desk.asks(&format!("203.0.113.{client}:9"), &from);
        if answer[1] == 0 {
            let new = desk.sockets.keys().find(|id| !before.contains(id));
            self.associations.push((stream, *new.expect("a socket"), client));
        } else {
            desk.input(Input::ReadClosed { stream });
        }
    }

    /// A client sends a datagram; of kind 0 to a name, of kind 1 as a fragment.
    fn client(&mut self, whose: u8, port: u8, to: u8, kind: u8, len: u16) {
        let Some((_, socket, client)) = self.whose(whose) else { return };
        let data = vec![to; usize::from(len)];
        let mut datagram = match kind {
            0 => wrapped_name(&format!("{to}.example"), 1, &data),
            _ => wrapped(TO[usize::from(to)], &data),
        };
        datagram[2] = u8::from(kind == 1);
        self.desk.datagram(socket, &format!("203.0.113.{client}:{port}"), &datagram);
    }

    /// Something comes on a socket from outside.
    fn server(&mut self, which: u8, from: u8, len: u16) {
        let Some(socket) = self.which(which) else { return };
        let v6 = self.desk.sockets[&socket].local.is_ipv6();
        let from = if v6 { "[2001:db8::1]:1".into() } else { format!("192.0.2.{}:{from}", from % 3) };
        self.desk.receive(socket, &from, 700, &vec![1; usize::from(len)]);
    }

    /// A name is answered, with so many addresses.
    fn answer(&mut self, which: u8, addresses: u8) {
        let desk = &mut self.desk;
        let Some((query, _)) = desk.asked.get(usize::from(which) % desk.asked.len().max(1)) else { return };
        let query = *query;
        desk.asked.retain(|(asked, _)| *asked != query);
        let all: Vec<_> = TO.iter().rev().take(usize::from(addresses)).map(|to| addr(to).ip()).collect();
        match all.is_empty() {
            true => desk.input(Input::ResolveFailed { query, fault: Fault::NameNotFound }),
            false => desk.input(Input::Resolved { query, addresses: &all }),
        }
    }
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn whatever_happens_nothing_is_left_in_the_end(ops in prop::collection::vec(op(), 0..120)) {
        let config = Config {
            max_associations: 3,
            max_destinations: 3,
            max_queue: 8192,
            max_lookups: 4,
            idle_timeout: Some(secs(600)),
            ..Config::default()
        };
        let desk = Desk::new(config, uplinks(&[("a", 2), ("b", 1)]));
        let mut storm = Storm { desk, associations: Vec::new(), drained: false };
        for op in &ops {
            if storm.desk.finished {
                break;
            }
            storm.step(op);
        }
        let desk = &mut storm.desk;
        if !desk.finished {
            desk.input(Input::Drain);
            desk.advance(secs(700));
        }
        prop_assert!(desk.finished && desk.sockets.is_empty() && desk.asked.is_empty());
        prop_assert_eq!(desk.machine.machine().counters().open, 0);
    }
}
