//! UDP, what comes and where it goes: from a balancer to the flow of its client, from a server
//! back.

use super::{Flow, Flows, Owner, idle_time};
use crate::machine::event::{Dropped, Event, Refusal};
use crate::machine::{Output, Rx, SocketId, Target};
use crate::service::{Address, FlowId};
use crate::time::Instant;
use crate::unwrap::admission::{self, Admission};
use crate::unwrap::config::{Config, DatagramListener, UdpHeader};
use crate::wire::Unparsed;
use crate::wire::proxy::{self, Header, Rules, Transport, Version};
use core::net::SocketAddr;

/// The largest payload of a UDP datagram, in bytes (over IPv6).
const MAX_DATAGRAM: usize = 65_527;

impl Flows {
    pub(in crate::unwrap) fn handle_datagrams(
        &mut self,
        now: Instant,
        socket: SocketId,
        rx: &mut [Rx<'_>],
        config: &Config,
    ) {
        self.now = now;
        match self.sockets.owner(socket).copied() {
            Some(Owner::Listener(index)) => rx.iter().for_each(|rx| self.balancer_sent(index, rx, config)),
            Some(Owner::Flow(id)) => rx.iter().for_each(|rx| self.server_sent(id, rx, config)),
            None => {}
        }
        if self.tally.is_due(now) {
            self.tell_traffic();
        }
    }

    /// How many of this datagram's first bytes are read: a balancer's header.
    pub(in crate::unwrap) fn reads_of(
        &self,
        socket: SocketId,
        from: SocketAddr,
        datagram: &[u8],
        config: &Config,
    ) -> usize {
        let Some(Owner::Listener(index)) = self.sockets.owner(socket).copied() else { return 0 };
        let Some(listener) = config.datagram_listeners.get(index) else { return 0 };
        let first = listener.header == UdpHeader::First;
        if first && self.by_balancer.contains_key(&(index, from)) {
            return 0;
        }
        let Config { max_header, mixed_families, .. } = *config;
        let rules = Rules { transport: Transport::Datagram, max_length: max_header, mixed_families };
        match proxy::parse(datagram, &rules) {
            Ok((_, used)) => used,
            // That it begins otherwise is all that is read of it.
            Err(_) if first && !datagram.starts_with(&proxy::SIGNATURE) => datagram.len().min(1),
            Err(_) => proxy::looked_at(datagram),
        }
    }

    fn balancer_sent(&mut self, index: usize, rx: &Rx<'_>, config: &Config) {
        let Some(listener) = config.datagram_listeners.get(index) else { return };
        let ip = rx.from.ip().to_canonical();
        // Anybody can write this address on a datagram: the list keeps out the careless, a packet
        // filter the others.
        if !listener.allowed.iter().any(|prefix| prefix.contains(ip)) {
            rx.datagrams().for_each(|_| self.dropped(rx.from, Dropped::Refused(Refusal::PeerNotAllowed)));
            return;
        }
        for datagram in rx.datagrams() {
            if let Err(why) = self.datagram(index, listener, rx, datagram, config) {
                self.dropped(rx.from, why);
            }
        }
    }

    fn datagram(
        &mut self,
        index: usize,
        listener: &DatagramListener,
        rx: &Rx<'_>,
        datagram: &[u8],
        config: &Config,
    ) -> Result<(), Dropped> {
        let port = (index, rx.from);
        if listener.header == UdpHeader::First {
            // Whatever it looks like: the client wrote it, and must not name itself.
            if let Some(id) = self.by_balancer.get(&port) {
                return self.forward(*id, rx, datagram, config);
            }
            if self.quarantine.heard(self.now, port, self.silent_at(config)) {
                return Err(Dropped::NoFlow);
            }
        }
        let (header, used, admitted) = match read(listener, rx.from, datagram, config) {
            Ok(read) => read,
            Err(why) => {
                // What comes next from this port is its client's, which must not begin with a
                // header of its own.
                if listener.header == UdpHeader::First && why != Dropped::NoFlow {
                    self.put_in_quarantine(port, self.silent_at(config));
                }
                return Err(why);
            }
        };
        let id = self.flow_of(index, rx, &admitted, config)?;
        if config.request_events && self.flows.get(id).is_some_and(|flow| flow.sent == 0) {
            let text = header.describe(datagram);
            self.outputs.push_back(Output::Event(Event::DatagramHeader { peer: rx.from, text }));
        }
        self.heard_from(port, id, listener);
        if let Some(flow) = self.flows.get_mut(id).map(|flow| &mut flow.what) {
            (flow.listener, flow.balancer, flow.local) = (index, rx.from, rx.to);
            // Cloudflare, "Enable Simple Proxy Protocol for UDP": answers carry the same header.
            flow.header = match header.version {
                Version::Simple => datagram.first_chunk().copied(),
                Version::V1 | Version::V2 => None,
            };
        }
        self.forward(id, rx, &datagram[used..], config)
    }

    /// When a port that says nothing from now on is taken for another's.
    fn silent_at(&self, config: &Config) -> Instant {
        self.now + idle_time(config, self.draining)
    }

    /// The flow of a client and its server; a new one where there is none.
    fn flow_of(
        &mut self,
        index: usize,
        rx: &Rx<'_>,
        admitted: &Admission,
        config: &Config,
    ) -> Result<FlowId, Dropped> {
        let Target::Address(to) = admitted.to else { return Err(Dropped::NoFlow) };
        if let Some(id) = self.by_client.get(&(admitted.client, to)) {
            return Ok(*id);
        }
        if self.draining {
            return Err(Dropped::Draining);
        }
        let flow = Flow {
            client: admitted.client,
            to,
            via: admitted.via,
            listener: index,
            balancer: rx.from,
            local: rx.to,
            header: None,
            // It is given its own as it begins.
            socket: SocketId::from_parts(u32::MAX, 0),
        };
        Ok(self.begin(flow, config))
    }

    /// Maps this balancer's port to the flow, and drops the flow's old mapping.
    fn heard_from(&mut self, port: (usize, SocketAddr), id: FlowId, listener: &DatagramListener) {
        let Some(flow) = self.flows.get(id).map(|flow| &flow.what) else { return };
        let before = (flow.listener, flow.balancer);
        if before != port || self.by_balancer.get(&port) != Some(&id) {
            self.by_balancer.remove(&before);
            if listener.header == UdpHeader::First {
                self.by_balancer.insert(port, id);
            }
        }
    }

    fn forward(&mut self, id: FlowId, rx: &Rx<'_>, payload: &[u8], config: &Config) -> Result<(), Dropped> {
        self.flows.touch(self.now, id, idle_time(config, self.draining));
        let Some(flow) = self.flows.get_mut(id) else { return Err(Dropped::NoFlow) };
        flow.what.local = rx.to.or(flow.what.local);
        let address = Address { to: None, from: None, ecn: rx.ecn };
        if !self.sockets.push(flow.what.socket, address, [&[], payload], config.max_queue) {
            return Err(Dropped::QueueFull { limit: config.max_queue });
        }
        flow.sent += 1;
        self.tally.sent += 1;
        Ok(())
    }

    fn server_sent(&mut self, id: FlowId, rx: &Rx<'_>, config: &Config) {
        self.flows.touch(self.now, id, idle_time(config, self.draining));
        let Some(flow) = self.flows.get_mut(id) else { return };
        let Flow { header, balancer: peer, local: from, listener, .. } = flow.what;
        let address = Address { to: Some(peer), from, ecn: rx.ecn };
        let Some(&listener) = self.listeners.get(listener) else { return };
        let mut count = 0;
        for datagram in rx.datagrams() {
            let head = header.as_ref().map_or(&[][..], |header| header);
            if head.len() + datagram.len() > MAX_DATAGRAM {
                self.dropped(peer, Dropped::TooLong(head.len() + datagram.len()));
            } else if self.sockets.push(listener, address, [head, datagram], config.max_queue) {
                count += 1;
            } else {
                self.dropped(peer, Dropped::QueueFull { limit: config.max_queue });
            }
        }
        self.tally.received += count;
        if let Some(flow) = self.flows.get_mut(id) {
            flow.received += count;
        }
    }
}

/// What the header of a datagram says, how long it is, and where it leads.
fn read(
    listener: &DatagramListener,
    peer: SocketAddr,
    datagram: &[u8],
    config: &Config,
) -> Result<(Header, usize, Admission), Dropped> {
    let Config { max_header, mixed_families, .. } = *config;
    let rules = Rules { transport: Transport::Datagram, max_length: max_header, mixed_families };
    let (header, used) = match proxy::parse(datagram, &rules) {
        Ok(parsed) => parsed,
        // A datagram without a header belongs to a flow, and there is none.
        Err(_) if listener.header == UdpHeader::First && !datagram.starts_with(&proxy::SIGNATURE) => {
            return Err(Dropped::NoFlow);
        }
        // A header does not go on in the next datagram.
        Err(Unparsed::Incomplete) => return Err(Dropped::CutShort(datagram.len())),
        Err(Unparsed::Malformed(why)) => return Err(Dropped::Refused(Refusal::BadHeader(why))),
    };
    let admitted = admission::find_datagram(config, listener, peer, &header).map_err(Dropped::Refused)?;
    Ok((header, used, admitted))
}
