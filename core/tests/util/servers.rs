//! Name servers of the world: asked by datagram, each answers in its way.

use super::place::{Ev, Link};
use super::world::World;
use ropewalk_core::drive::{Received, TransmitError, TryError};
use ropewalk_core::machine::{Device, Fault, Rx, SocketId, Transmit, Via};
use ropewalk_core::time::{Duration, Instant};
use simple_dns::rdata::{A, AAAA, RData};
use simple_dns::{CLASS, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

/// How a server answers what it is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Serve {
    Answer,
    Silent,
    /// With this code.
    Fail(RCODE),
    /// Says that it does not fit into a datagram.
    Truncate,
    /// Only for this type; for the other it is silent.
    Half(TYPE),
    /// Another speaks first, who knows neither id nor question.
    Forged,
    /// Says more than fits into a datagram first, with addresses that lead elsewhere.
    Huge,
    /// Nobody listens.
    Nobody,
}

/// One server.
#[derive(Clone, Debug)]
pub(crate) struct NameServer {
    pub(crate) serve: Serve,
    pub(crate) after: Duration,
    pub(crate) ttl: u32,
    pub(crate) names: BTreeMap<String, Vec<IpAddr>>,
}

impl NameServer {
    /// One that answers after 10 ms, for a minute each.
    pub(crate) fn new(names: &[(&str, &[&str])]) -> Self {
        let ip = |text: &&str| text.parse().expect("the test wrote an address");
        let named = |(name, ips): &(&str, &[&str])| ((*name).to_owned(), ips.iter().map(ip).collect());
        let names = names.iter().map(named).collect();
        NameServer { serve: Serve::Answer, after: Duration::from_millis(10), ttl: 60, names }
    }

    pub(crate) fn that(serve: Serve) -> Self {
        NameServer { serve, ..NameServer::new(&[]) }
    }

    /// What it says to a question; nothing where it is silent.
    pub(crate) fn replies(&self, question: &[u8]) -> Vec<Vec<u8>> {
        let query = Packet::parse(question).expect("a well-formed question");
        let name = query.questions[0].qname.to_string();
        let QTYPE::TYPE(kind) = query.questions[0].qtype else { panic!("{:?}", query.questions) };
        let mut reply = Packet::new_reply(query.id());
        reply.set_flags(PacketFlag::RECURSION_DESIRED | PacketFlag::RECURSION_AVAILABLE);
        reply.questions.clone_from(&query.questions);
        for ip in self.names.get(&name).into_iter().flatten() {
            let data = match (ip, kind) {
                (IpAddr::V4(ip), TYPE::A) => RData::A(A { address: (*ip).into() }),
                (IpAddr::V6(ip), TYPE::AAAA) => RData::AAAA(AAAA { address: (*ip).into() }),
                _ => continue,
            };
            let name = query.questions[0].qname.clone();
            reply.answers.push(ResourceRecord::new(name, CLASS::IN, self.ttl, data));
        }
        if !self.names.contains_key(&name) {
            *reply.rcode_mut() = RCODE::NameError;
        }
        let bytes = |packet: &Packet<'_>| packet.build_bytes_vec().expect("a short message");
        match self.serve {
            Serve::Silent | Serve::Nobody => Vec::new(),
            Serve::Half(only) if only != kind => Vec::new(),
            Serve::Answer | Serve::Half(_) => vec![bytes(&reply)],
            Serve::Fail(code) => {
                reply.answers.clear();
                *reply.rcode_mut() = code;
                vec![bytes(&reply)]
            }
            Serve::Truncate => {
                reply.answers.clear();
                reply.set_flags(PacketFlag::TRUNCATION);
                vec![bytes(&reply)]
            }
            Serve::Huge => {
                let mut huge = reply.clone();
                let name = || query.questions[0].qname.clone();
                let elsewhere = |n: u32| RData::A(A { address: 0xcb00_7100 + n });
                huge.answers = (0..200)
                    .map(|n| ResourceRecord::new(name(), CLASS::IN, self.ttl, elsewhere(n)))
                    .collect();
                vec![bytes(&huge), bytes(&reply)]
            }
            Serve::Forged => {
                let mut forged = reply.clone();
                forged.set_id(query.id().wrapping_add(1));
                let mut other = reply.clone();
                other.questions[0].qname = "other.example".try_into().expect("a name");
                vec![bytes(&forged), bytes(&other), vec![0xff; 40], Vec::new(), bytes(&reply)]
            }
        }
    }
}

/// A socket of the machine's that speaks with one server.
#[derive(Debug)]
pub(crate) struct Asker {
    socket: SocketId,
    to: SocketAddr,
    via: Via,
    inbox: VecDeque<Result<Vec<u8>, Fault>>,
}

/// A question that left.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Question {
    pub(crate) at: Instant,
    pub(crate) to: SocketAddr,
    pub(crate) device: Option<Device>,
    pub(crate) bytes: Vec<u8>,
}

impl Question {
    pub(crate) fn is_v6(&self) -> bool {
        let query = Packet::parse(&self.bytes).expect("a well-formed question");
        query.questions[0].qtype == QTYPE::TYPE(TYPE::AAAA)
    }
}

impl World {
    pub(crate) fn asker_opens(
        &mut self,
        socket: SocketId,
        to: SocketAddr,
        via: &Via,
    ) -> Result<SocketAddr, Fault> {
        if self.askers.len() >= self.fd_limit {
            return Err(Fault::NoDescriptors);
        }
        if let Link::Broken(fault) = self.link_of(via) {
            return Err(fault);
        }
        let asker = Asker { socket, to, via: *via, inbox: VecDeque::new() };
        assert!(self.askers.insert(socket.index(), asker).is_none(), "a slot that is in use was given again");
        Ok(SocketAddr::new(IpAddr::from([192, 0, 2, 200]), 30_000))
    }

    fn link_of(&self, via: &Via) -> Link {
        let link = self.links.iter().find(|(device, _)| Some(*device) == via.device);
        link.map_or(Link::Up, |(_, link)| *link)
    }

    pub(crate) fn asker_closes(&mut self, socket: SocketId) {
        let asker = self.askers.remove(&socket.index()).expect("an open socket");
        assert_eq!(asker.socket, socket);
    }

    pub(crate) fn asker_receives(
        &mut self,
        socket: SocketId,
        sink: &mut dyn FnMut(&mut [Rx<'_>]),
    ) -> Result<Received, TryError> {
        let asker = self.askers.get_mut(&socket.index()).expect("an open socket");
        let from = asker.to;
        match asker.inbox.pop_front() {
            None => Err(TryError::WouldBlock),
            Some(Err(fault)) => Err(TryError::Fault(fault)),
            Some(Ok(mut data)) => {
                let stride = data.len();
                sink(&mut [Rx { data: &mut data, stride, from, to: None, interface: None, ecn: 0 }]);
                Ok(Received { count: 1, more: true })
            }
        }
    }

    pub(crate) fn asker_sends(
        &mut self,
        socket: SocketId,
        source: &mut dyn FnMut(&mut [u8]) -> Option<Transmit>,
    ) -> Result<usize, TransmitError> {
        let mut buf = vec![0; 65_527];
        let Some(transmit) = source(&mut buf) else { return Ok(0) };
        let asker = &self.askers[&socket.index()];
        let (to, via) = (asker.to, asker.via);
        assert_eq!((transmit.to, transmit.from), (None, None), "M8");
        for bytes in buf[..transmit.len].chunks(transmit.segment.unwrap_or(transmit.len)) {
            let question = Question { at: self.now, to, device: via.device, bytes: bytes.to_vec() };
            self.questions.push(question);
            if self.link_of(&via) != Link::Up {
                continue;
            }
            let Some(server) = self.name_servers.get(&to).cloned() else { continue };
            if server.serve == Serve::Nobody {
                self.after(server.after, Ev::Datagram(socket, Err(Fault::Refused)));
            }
            for reply in server.replies(bytes) {
                self.after(server.after, Ev::Datagram(socket, Ok(reply)));
            }
        }
        Ok(1)
    }

    /// Something has come for a socket.
    pub(crate) fn datagram(&mut self, socket: SocketId, what: Result<Vec<u8>, Fault>) {
        let asker = self.askers.get_mut(&socket.index()).filter(|asker| asker.socket == socket);
        if let Some(asker) = asker {
            asker.inbox.push_back(what);
            self.socket_hints.push(socket.index());
        }
    }
}
