//! A name server that answers as a test has it.

use super::udp;
use simple_dns::rdata::{A, AAAA, RData};
use simple_dns::{CLASS, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};

/// What a name server was asked, in its order: name, type, and by whom.
#[derive(Clone, Default)]
pub(crate) struct Asked(Arc<Mutex<Vec<(String, TYPE, SocketAddr)>>>);

impl Asked {
    pub(crate) fn all(&self) -> Vec<(String, TYPE, SocketAddr)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Answers on `socket`, for a minute each, with what `addresses` gives; none: there is no such
/// name.
pub(crate) fn serve(socket: UdpSocket, addresses: impl Fn(&str) -> Vec<IpAddr> + Send + 'static) -> Asked {
    let asked = Asked::default();
    let kept = asked.clone();
    udp::serve(socket, move |from, bytes| {
        let Ok(query) = Packet::parse(bytes) else { return Vec::new() };
        let name = query.questions[0].qname.to_string();
        let QTYPE::TYPE(kind) = query.questions[0].qtype else { return Vec::new() };
        kept.0.lock().unwrap_or_else(PoisonError::into_inner).push((name.clone(), kind, from));
        reply(&query, kind, &addresses(&name))
    });
    asked
}

fn reply(query: &Packet<'_>, kind: TYPE, all: &[IpAddr]) -> Vec<u8> {
    let mut reply = Packet::new_reply(query.id());
    reply.set_flags(PacketFlag::RECURSION_DESIRED | PacketFlag::RECURSION_AVAILABLE);
    reply.questions.clone_from(&query.questions);
    if all.is_empty() {
        *reply.rcode_mut() = RCODE::NameError;
    }
    for ip in all {
        let data = match (ip, kind) {
            (IpAddr::V4(ip), TYPE::A) => RData::A(A { address: (*ip).into() }),
            (IpAddr::V6(ip), TYPE::AAAA) => RData::AAAA(AAAA { address: (*ip).into() }),
            _ => continue,
        };
        let name = query.questions[0].qname.clone();
        reply.answers.push(ResourceRecord::new(name, CLASS::IN, 60, data));
    }
    reply.build_bytes_vec().expect("a short message")
}
