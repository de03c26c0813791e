//! Names that UDP ASSOCIATE sends to: looked up through the uplink that carries their datagrams.

mod util;

use ropewalk_core::dispatch::Config;
use ropewalk_core::machine::event::{Dropped, Refusal};
use ropewalk_core::machine::{Fault, Input, SocketId};
use ropewalk_core::uplink::Networks;
use simple_dns::RCODE;
use std::collections::BTreeMap;
use util::desk::{CLIENT, Desk, FAR, PORT, Sent, uplinks, wrapped_name};
use util::servers::{NameServer, Serve};
use util::{addr, ms, secs};

/// The name servers of uplinks a and b.
const SERVERS: [&str; 2] = ["198.51.100.11:53", "198.51.100.12:53"];

/// A desk with name servers that answer when they are told to.
struct Named {
    desk: Desk,
    servers: BTreeMap<&'static str, NameServer>,
    /// Which server was asked through which uplink, question by question.
    asked: Vec<(String, String)>,
}

/// Whether a name leads anywhere, and where, is for `servers` to say.
fn named(servers: [&[&str]; 2], config: Config) -> Named {
    let mut config = config;
    config.names.resolvers = servers.map(|its| its.iter().map(|server| addr(server)).collect()).into();
    let desk = Desk::new(config, uplinks(&[("a", 1), ("b", 1)]));
    let servers = SERVERS.map(|server| (server, NameServer::new(&[("host.example", &["192.0.2.1"])])));
    Named { desk, servers: servers.into(), asked: Vec::new() }
}

fn each_its_own() -> Named {
    named([&SERVERS[..1], &SERVERS[1..]], Config::default())
}

impl Named {
    fn serves(&mut self, server: &str, serve: Serve) {
        self.servers.get_mut(server).expect("it is there").serve = serve;
    }

    /// Lets servers answer until nobody is asked any more: what was sent else.
    fn settle(&mut self) -> Vec<Sent> {
        let mut others = Vec::new();
        loop {
            let sent = self.desk.sent();
            if sent.is_empty() {
                return others;
            }
            // An answer may end what has asked for more.
            let bounds: Vec<_> = sent.iter().map(|sent| self.desk.sockets[&sent.socket].clone()).collect();
            for (sent, bound) in sent.into_iter().zip(bounds) {
                if bound.only.is_none() {
                    others.push(sent);
                    continue;
                }
                let device = bound.via.device.map(|device| device.to_string());
                let server = sent.to.to_string();
                self.asked.push((device.unwrap_or_default(), server.clone()));
                for reply in self.servers[server.as_str()].replies(&sent.data) {
                    if self.desk.sockets.contains_key(&sent.socket) {
                        self.desk.datagram(sent.socket, &server, &reply);
                    }
                }
            }
        }
    }

    /// The client sends to a name: by which uplink it leaves, and where to.
    #[track_caller]
    fn sends(&mut self, socket: SocketId, name: &str) -> (String, String) {
        self.desk.datagram(socket, PORT, &wrapped_name(name, 53, b"x"));
        let sent = self.settle();
        let [sent] = &sent[..] else { panic!("{sent:?} {:?}", self.desk.events) };
        let device = self.desk.sockets[&sent.socket].via.device;
        (device.map(|device| device.to_string()).unwrap_or_default(), sent.to.to_string())
    }

    fn asked_of(&self) -> Vec<&str> {
        self.asked.iter().map(|(_, server)| server.as_str()).collect()
    }
}

#[test]
fn a_name_is_asked_for_through_the_uplink_that_carries_its_datagrams() {
    let mut named = each_its_own();
    let (_, socket) = named.desk.associate(CLIENT);
    let all = (0..6u8).map(|n| (format!("n{n}.example"), vec![[192, 0, 2, 10 + n].into()]));
    named.servers.values_mut().for_each(|server| server.names.extend(all.clone()));
    let mut ways = Vec::new();
    for n in 0..6 {
        let before = named.asked.len();
        let (way, to) = named.sends(socket, &format!("n{n}.example"));
        assert_eq!(to, format!("192.0.2.{}:53", 10 + n));
        let own = if way == "a" { SERVERS[0] } else { SERVERS[1] };
        assert_eq!(named.asked[before..], [(way.clone(), own.to_owned()), (way.clone(), own.to_owned())]);
        ways.push(way);
    }
    assert_eq!(ways, ["a", "b", "a", "b", "a", "b"], "each destination moves the policy on once");
    assert!(named.desk.asked.is_empty(), "the system is not asked");
    // It stays where it led, and asks nobody again.
    assert_eq!(named.sends(socket, "n0.example").0, "a");
    assert_eq!(named.asked.len(), 12);
}

#[test]
fn names_that_only_the_system_knows_and_uplinks_without_name_servers_have_the_system_asked() {
    let mut named = named([&SERVERS[..1], &[]], Config::default());
    let (_, socket) = named.desk.associate(CLIENT);
    named.desk.datagram(socket, PORT, &wrapped_name("printer.local", 53, b"x"));
    named.desk.resolved("printer.local", &["192.0.2.77"]);
    assert_eq!(named.settle().len(), 1);
    // The second uplink's turn has come after the first has taken that.
    named.desk.datagram(socket, PORT, &wrapped_name("host.example", 53, b"y"));
    assert!(named.settle().is_empty() && named.asked.is_empty());
    named.desk.resolved("host.example", &["192.0.2.1"]);
    let sent = named.settle();
    assert_eq!((sent.len(), sent[0].socket), (1, named.desk.way("b")));
}

#[test]
fn where_servers_are_silent_another_uplinks_are_asked_and_the_datagrams_keep_to_the_first() {
    let mut named = each_its_own();
    let (_, socket) = named.desk.associate(CLIENT);
    named.serves(SERVERS[0], Serve::Silent);
    named.desk.datagram(socket, PORT, &wrapped_name("host.example", 53, b"x"));
    assert!(named.settle().is_empty());
    assert_eq!(named.asked_of(), [SERVERS[0]; 2]);
    named.desk.advance(ms(200));
    let sent = named.settle();
    assert_eq!(named.asked_of()[2..], [SERVERS[1]; 2]);
    assert_eq!((sent.len(), sent[0].to, sent[0].socket), (1, addr(FAR), named.desk.way("a")));
    // Nobody waits for the silent one any more.
    let askers = named.desk.sockets.values().filter(|bound| bound.only.is_some()).count();
    assert_eq!(askers, 0);
}

#[test]
fn a_server_that_cannot_say_is_passed_over_at_once_and_where_none_can_what_waits_is_dropped() {
    let mut named = each_its_own();
    let (_, socket) = named.desk.associate(CLIENT);
    named.serves(SERVERS[0], Serve::Fail(RCODE::ServerFailure));
    assert_eq!(named.sends(socket, "host.example").1, FAR);
    named.serves(SERVERS[1], Serve::Fail(RCODE::Refused));
    for data in [&b"x"[..], b"y"] {
        named.desk.datagram(socket, PORT, &wrapped_name("other.example", 53, data));
    }
    assert!(named.settle().is_empty());
    named.desk.advance(secs(8));
    assert!(named.settle().is_empty());
    let why = Dropped::Refused(Refusal::Name(Fault::NameUnavailable));
    assert_eq!(named.desk.drops(), [why, why]);
    assert!(named.desk.asked.is_empty(), "no question leaves by another way");
}

#[test]
fn a_name_that_is_not_there_is_believed() {
    let mut named = each_its_own();
    let (_, socket) = named.desk.associate(CLIENT);
    named.desk.datagram(socket, PORT, &wrapped_name("missing.example", 53, b"x"));
    assert!(named.settle().is_empty());
    assert_eq!(named.desk.drops(), [Dropped::Refused(Refusal::Name(Fault::NameNotFound))]);
    assert_eq!(named.asked_of(), [SERVERS[0]; 2]);
}

#[test]
fn the_uplink_that_was_asked_carries_the_family_that_it_can_and_else_another_does() {
    let mut named = each_its_own();
    let (_, socket) = named.desk.associate(CLIENT);
    let both: Vec<_> = ["2001:db8::1", "192.0.2.1"].map(|ip| ip.parse().expect("literal")).into();
    named.servers.values_mut().for_each(|server| {
        server.names.insert("both.example".into(), both.clone());
        server.names.insert("six.example".into(), both[..1].to_vec());
    });
    let v4_only = Networks { v6: false, ..Networks::default() };
    named.desk.pool.set_networks(vec![v4_only.clone(), Networks::default()], Vec::new());
    assert_eq!(named.sends(socket, "both.example"), ("a".into(), FAR.into()));
    assert_eq!(named.sends(socket, "both.example").0, "a");
    // The turn is b's; then a's, which cannot.
    assert_eq!(named.sends(socket, "host.example").0, "a", "it leads to a destination that is there");
    assert_eq!(named.sends(socket, "six.example"), ("b".into(), "[2001:db8::1]:53".into()));
}

#[test]
fn the_guard_judges_what_an_uplinks_server_says() {
    let mut named = each_its_own();
    let (_, socket) = named.desk.associate(CLIENT);
    let inside = vec!["127.0.0.1".parse().expect("literal")];
    named.servers.values_mut().for_each(|server| {
        server.names.insert("rebound.example".into(), inside.clone());
    });
    named.desk.datagram(socket, PORT, &wrapped_name("rebound.example", 53, b"x"));
    assert!(named.settle().is_empty());
    assert_eq!(named.desk.drops(), [Dropped::Refused(Refusal::NotAllowed(addr("127.0.0.1:53")))]);
}

#[test]
fn hanging_names_of_one_client_delay_no_other_client_and_end_with_its_association() {
    let mut named = named([&SERVERS[..1], &SERVERS[..1]], Config { max_lookups: 16, ..Config::default() });
    let (stream, greedy) = named.desk.associate(CLIENT);
    let (_, other) = named.desk.associate("203.0.113.6:40000");
    named.serves(SERVERS[0], Serve::Silent);
    for n in 0..80 {
        named.desk.datagram(greedy, PORT, &wrapped_name(&format!("n{n}.example"), 53, b"x"));
    }
    assert!(named.settle().is_empty());
    assert_eq!(named.desk.drops(), vec![Dropped::NamesFull { limit: 64 }; 16]);
    let askers = |desk: &Desk| desk.sockets.values().filter(|bound| bound.only.is_some()).count();
    assert_eq!(askers(&named.desk), 4, "a quarter of its share is asked at once");
    named.desk.advance(secs(3));
    named.settle();
    assert!(askers(&named.desk) <= 2 * 16, "never more than its share: {}", askers(&named.desk));
    named.serves(SERVERS[0], Serve::Answer);
    named.desk.datagram(other, "203.0.113.6:5000", &wrapped_name("host.example", 53, b"mine"));
    let sent = named.settle();
    assert_eq!(sent.iter().filter(|sent| sent.data == b"mine").count(), 1, "{sent:?}");
    named.desk.input(Input::ReadClosed { stream });
    assert_eq!(askers(&named.desk), 0, "nobody waits any more");
}

#[test]
fn a_name_under_way_through_an_uplink_that_vanishes_goes_on_through_another() {
    let mut named = each_its_own();
    let (_, socket) = named.desk.associate(CLIENT);
    named.serves(SERVERS[0], Serve::Silent);
    named.desk.datagram(socket, PORT, &wrapped_name("host.example", 53, b"x"));
    assert!(named.settle().is_empty());
    named.desk.pool.set_networks(
        vec![Networks { v4: false, v6: false, ..Networks::default() }, Networks::default()],
        Vec::new(),
    );
    named.desk.gone(0);
    let sent = named.settle();
    assert_eq!((sent.len(), sent[0].to, sent[0].socket), (1, addr(FAR), named.desk.way("b")));
}
