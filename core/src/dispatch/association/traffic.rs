//! What comes: from the client with a header, from servers without.

use super::names::Known;
use super::{Association, Held, Lead, NamedPort};
use crate::dispatch::{Cx, guard};
use crate::machine::event::{Dropped, Refusal};
use crate::machine::{Fault, QueryId, Rx, SocketId};
use crate::name::Host;
use crate::service::{Address, FlowId, Side};
use crate::wire::{Unparsed, socks5};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The largest payload of a UDP datagram, in bytes (over IPv6).
const MAX_DATAGRAM: usize = 65_527;
/// Addresses of a name that are considered.
const MAX_ADDRESSES: usize = 8;

impl Association {
    pub(in crate::dispatch) fn received(&mut self, socket: SocketId, rx: &[Rx<'_>], cx: &mut Cx) {
        self.active = cx.now;
        match socket == self.socket {
            true => rx.iter().for_each(|rx| self.client_sent(rx, cx)),
            false => rx.iter().for_each(|rx| self.server_sent(socket, rx, cx)),
        }
        if self.tally.is_due(cx.now) {
            self.tell_traffic(cx);
        }
    }

    /// How many of this datagram's first bytes are read: a client's header.
    pub(in crate::dispatch) fn reads_of(&self, socket: SocketId, datagram: &[u8]) -> usize {
        match socks5::datagram::parse(datagram) {
            _ if socket != self.socket => 0,
            Ok((_, used)) => used,
            // RFC 1928 section 7: the longest that a header may be.
            Err(_) => datagram.len().min(4 + 1 + 255 + 2),
        }
    }

    fn client_sent(&mut self, rx: &Rx<'_>, cx: &mut Cx) {
        let from = SocketAddr::new(rx.from.ip().to_canonical(), rx.from.port());
        // RFC 1928 section 7: the relay server drops what comes from any other address than the
        // client's.
        let is_client = match self.client {
            Some(client) => client == from,
            None => self.peer.ip().to_canonical() == from.ip(),
        };
        if !is_client {
            return rx.datagrams().for_each(|_| self.dropped(rx.from, Dropped::NotClient, cx));
        }
        // Its answers go where it sent from, scope and all.
        self.client = Some(from);
        self.client_at = rx.from;
        for datagram in rx.datagrams() {
            if let Err(why) = self.datagram(datagram, rx.ecn, cx) {
                self.dropped(from, why, cx);
            }
        }
    }

    fn datagram(&mut self, datagram: &[u8], ecn: u8, cx: &mut Cx) -> Result<(), Dropped> {
        let (header, used) = socks5::datagram::parse(datagram).map_err(|why| match why {
            Unparsed::Incomplete => Dropped::CutShort(datagram.len()),
            Unparsed::Malformed(why) => Dropped::Refused(Refusal::BadHeader(why)),
        })?;
        // RFC 1928 section 7: an implementation that does not support fragmentation MUST drop any
        // datagram whose FRAG field is other than X'00'.
        if header.fragment != 0 {
            return Err(Dropped::Fragment(header.fragment));
        }
        let (data, port) = (&datagram[used..], header.port);
        let host = match header.address {
            socks5::Address::Ip(ip) => Host::Ip(ip),
            socks5::Address::Name(name) => {
                Host::parse(name).map_err(|why| Dropped::Refused(Refusal::BadHost(why)))?
            }
            socks5::Address::Unknown(code) => return Err(Dropped::Refused(Refusal::AddressType(code))),
        };
        match host {
            Host::Ip(ip) => self.forward(SocketAddr::new(ip.to_canonical(), port), ecn, data, cx),
            // RFC 6761 section 6.3: these names are loopback's, and no resolver is asked.
            Host::Name(name) if name.is_localhost() => {
                self.forward(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port), ecn, data, cx)
            }
            Host::Name(name) => self.forward_to_name((name, port), ecn, data, cx),
        }
    }

    fn forward(&mut self, to: SocketAddr, ecn: u8, data: &[u8], cx: &mut Cx) -> Result<(), Dropped> {
        // Each datagram is judged: what this host is may have changed since the last.
        guard::allowed(&cx.config, self.peer.ip(), to).map_err(Dropped::Refused)?;
        match self.by_address.get(&to).copied() {
            Some(id) => self.send(id, ecn, data, cx),
            None if self.draining => Err(Dropped::Draining),
            None => {
                let mut held = Held::default();
                held.push(ecn, data)?;
                self.begin(to, Lead::default(), held, cx);
                Ok(())
            }
        }
    }

    fn forward_to_name(&mut self, name: NamedPort, ecn: u8, data: &[u8], cx: &mut Cx) -> Result<(), Dropped> {
        match self.names.known(&name) {
            Known::Asked(held) => return held.push(ecn, data),
            Known::Flow(id) => {
                if let Some(to) = self.flows.get(id).map(|flow| flow.what.to) {
                    guard::allowed(&cx.config, self.peer.ip(), to).map_err(Dropped::Refused)?;
                    return self.send(id, ecn, data, cx);
                }
            }
            Known::No => {}
        }
        if self.draining {
            return Err(Dropped::Draining);
        }
        self.names.room()?;
        let mut held = Held::default();
        held.push(ecn, data)?;
        self.seek(name, held, cx);
        Ok(())
    }

    /// A name was looked up.
    pub(in crate::dispatch) fn resolved(
        &mut self,
        query: QueryId,
        answer: Result<&[IpAddr], Fault>,
        cx: &mut Cx,
    ) {
        let Some((name, held, chosen)) = self.name_answered(query, answer.err(), cx) else { return };
        let mut why = Refusal::Name(answer.err().unwrap_or(Fault::NameNotFound));
        let mut open: Vec<SocketAddr> = Vec::new();
        for ip in answer.unwrap_or_default().iter().take(MAX_ADDRESSES) {
            let to = SocketAddr::new(ip.to_canonical(), name.1);
            match guard::allowed(&cx.config, self.peer.ip(), to) {
                Ok(()) if open.contains(&to) => {}
                Ok(()) => open.push(to),
                Err(refusal) => why = refusal,
            }
        }
        if open.is_empty() {
            return self.drop_held(held, Dropped::Refused(why), cx);
        }
        let lead = Lead { by: chosen.map(|uplink| (uplink, open.len())), others: open, names: [name].into() };
        self.lead(lead, held, cx);
    }

    fn server_sent(&mut self, socket: SocketId, rx: &Rx<'_>, cx: &mut Cx) {
        let from = SocketAddr::new(rx.from.ip().to_canonical(), rx.from.port());
        // Behind NAT64 an answer comes from the translated address, of which the client knows the
        // IPv4 one. An IPv6 destination that the client has spoken to itself comes first.
        let before = self.ways.get(socket).and_then(|way| way.before(from));
        let known = |from| self.spoken_to(from).map(|id| (id, from));
        let Some((id, from)) = known(from).or_else(|| before.and_then(known)) else {
            return rx.datagrams().for_each(|_| self.dropped(rx.from, Dropped::Stranger, cx));
        };
        let (head, len) = socks5::datagram::emit(from);
        let address = Address { to: Some(self.client_at), from: None, ecn: rx.ecn };
        let limit = cx.config.max_queue;
        let (mut count, mut bytes) = (0, 0);
        let uplink = self.ways.get(socket).and_then(|way| way.uplink);
        for datagram in rx.datagrams() {
            if len + datagram.len() > MAX_DATAGRAM {
                self.dropped(rx.from, Dropped::TooLong(len + datagram.len()), cx);
            } else if uplink.is_some_and(|uplink| !cx.admits(uplink, Side::Target, datagram.len())) {
                self.dropped(rx.from, Dropped::Rate, cx);
            } else if cx.sockets.push(self.socket, address, [&head[..len], datagram], limit) {
                count += 1;
                bytes += datagram.len() as u64;
            } else {
                self.dropped(rx.from, Dropped::QueueFull { limit }, cx);
            }
        }
        self.tally.received += count;
        self.flows.touch(cx.now, id, cx.config.flow_idle_timeout);
        if let Some(flow) = self.flows.get_mut(id) {
            flow.received += count;
        }
        if let Some(way) = self.ways.get_mut(socket) {
            way.received += bytes;
        }
    }

    /// The destination that this is, or another port of its address.
    fn spoken_to(&self, from: SocketAddr) -> Option<FlowId> {
        if let Some(id) = self.by_address.get(&from) {
            return Some(*id);
        }
        let port = |port| SocketAddr::new(from.ip(), port);
        self.by_address.range(port(0)..=port(u16::MAX)).next().map(|(_, id)| *id)
    }
}
