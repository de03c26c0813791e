//! Which way a destination's datagrams take: asked of the pool once, kept while it stands.

use super::{Asking, Association, Destination, Held, Lead, Route};
use crate::dispatch::Cx;
use crate::machine::event::{Dropped, Event, FlowEnd};
use crate::machine::{Assign, Assignment, Fault, HostKey, Output, Report, SocketId, UplinkSet};
use crate::service::{Address, FlowId, Side};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

impl Association {
    /// A new destination; the pool is asked for its way.
    pub(super) fn begin(&mut self, to: SocketAddr, lead: Lead, held: Held, cx: &mut Cx) -> FlowId {
        let limit = cx.config.max_destinations.max(1);
        while self.flows.len() >= limit
            && let Some(oldest) = self.flows.longest_idle(cx.config.flow_idle_timeout)
        {
            self.end(oldest, FlowEnd::Evicted { limit }, cx);
        }
        // A proxy carries connections only.
        let tried = cx.config.upstream_set();
        let what = Destination { to, at: to, route: Route::Sought(held), tried, lead };
        let id = self.flows.insert(cx.now, cx.config.flow_idle_timeout, what);
        self.by_address.insert(to, id);
        self.ask(id, cx);
        id
    }

    /// Asks the pool for the way of a destination.
    pub(super) fn ask(&mut self, id: FlowId, cx: &mut Cx) {
        let Some(flow) = self.flows.get(id) else { return };
        let Destination { to, tried, ref lead, .. } = flow.what;
        let host = HostKey::of_ip(to.ip());
        let mut only = UplinkSet::EMPTY;
        lead.by.into_iter().for_each(|(uplink, _)| only.insert(uplink));
        let tried = match lead.by {
            Some(_) => UplinkSet::from_bits(tried.to_bits() | !only.to_bits()),
            None => tried,
        };
        self.asking.push_back(Asking::Flow(id));
        cx.push_output(Output::Assign(Assign { conn: self.conn, destination: Some(to), tried, host }));
    }

    /// Takes in the pool's answer to the oldest question.
    pub(in crate::dispatch) fn assigned(&mut self, assignment: Option<Assignment>, cx: &mut Cx) {
        let id = match self.asking.pop_front() {
            None => return,
            Some(Asking::Name(name)) => return self.name_assigned(&name, assignment, cx),
            Some(Asking::Flow(id)) => id,
        };
        let Some(flow) = self.flows.get_mut(id) else { return };
        // (Nor does a proxy of a reload that has not reached this worker yet.)
        let assignment = assignment.filter(|assignment| assignment.endpoint.is_none());
        let Some(given) = assignment else { return self.elsewhere(id, cx) };
        let Assignment { uplink, via, .. } = given;
        let to = given.translated(flow.what.to);
        flow.what.at = to;
        let v6 = to.is_ipv6();
        let known = self.ways.find(|way| (way.uplink, way.via, way.v6) == (uplink, via, v6));
        let socket = known.unwrap_or_else(|| {
            let any = if v6 { Ipv6Addr::UNSPECIFIED.into() } else { IpAddr::from(Ipv4Addr::UNSPECIFIED) };
            let local = SocketAddr::new(via.source.unwrap_or(any), 0);
            let socket = cx.bind_socket(self.conn, local, to, via);
            self.ways.insert(socket, uplink, via, v6);
            socket
        });
        let Some(way) = self.ways.get_mut(socket) else { return };
        way.prefix64 = given.prefix64.or(way.prefix64);
        if way.open {
            self.take(id, socket, cx);
        } else {
            way.waiting.push(id);
        }
    }

    /// No uplink carries this address, or the one by which its name was looked up does not: perhaps
    /// it carries the next address of the name, or another carries any.
    fn elsewhere(&mut self, id: FlowId, cx: &mut Cx) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        let to = flow.what.to;
        let mut lead = core::mem::take(&mut flow.what.lead);
        if let Some((uplink, left)) = lead.by {
            // By turns, so that all of them are left for others.
            lead.others.push(to);
            lead.by = left.checked_sub(1).filter(|left| *left > 0).map(|left| (uplink, left));
        }
        if lead.others.is_empty() {
            flow.what.lead = lead;
            return self.end(id, FlowEnd::NoUplink, cx);
        }
        let route = core::mem::replace(&mut flow.what.route, Route::Lost);
        let Route::Sought(held) = route else { return };
        lead.names.iter().for_each(|name| self.names.forget(name, id));
        self.end(id, FlowEnd::NoUplink, cx);
        self.lead(lead, held, cx);
    }

    /// These names lead to the first of these addresses: what has waited for them goes there.
    pub(super) fn lead(&mut self, mut lead: Lead, held: Held, cx: &mut Cx) {
        if lead.others.is_empty() {
            return;
        }
        let (to, names) = (lead.others.remove(0), lead.names.clone());
        let id = match self.by_address.get(&to).copied() {
            None => self.begin(to, lead, held, cx),
            Some(id) => {
                if let Some(flow) = self.flows.get_mut(id) {
                    flow.what.lead.names.extend(names.iter().cloned());
                }
                for (ecn, data) in held.datagrams {
                    if let Err(why) = self.send(id, ecn, &data, cx) {
                        self.dropped(self.client.unwrap_or(self.peer), why, cx);
                    }
                }
                id
            }
        };
        names.into_iter().for_each(|name| self.names.leads_to(name, id));
    }

    /// A destination has its way, and what waits for it leaves.
    fn take(&mut self, id: FlowId, socket: SocketId, cx: &mut Cx) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        let Some(way) = self.ways.get_mut(socket) else { return };
        way.users += 1;
        let (to, uplink) = (flow.what.to, way.uplink);
        let before = core::mem::replace(&mut flow.what.route, Route::Way(socket));
        flow.what.lead.by = None;
        cx.event(Event::DestinationAssigned { conn: self.conn, to, uplink });
        let Route::Sought(held) = before else { return };
        for (ecn, data) in held.datagrams {
            if let Err(why) = self.send(id, ecn, &data, cx) {
                self.dropped(self.client.unwrap_or(self.peer), why, cx);
            }
        }
    }

    /// Sends a datagram to its destination, or lets it wait for the way.
    pub(super) fn send(&mut self, id: FlowId, ecn: u8, data: &[u8], cx: &mut Cx) -> Result<(), Dropped> {
        self.flows.touch(cx.now, id, cx.config.flow_idle_timeout);
        let Some(flow) = self.flows.get_mut(id) else { return Err(Dropped::NoFlow) };
        let to = flow.what.at;
        match &mut flow.what.route {
            Route::Way(socket) => {
                let uplink = self.ways.get(*socket).and_then(|way| way.uplink);
                if uplink.is_some_and(|uplink| !cx.admits(uplink, Side::Client, data.len())) {
                    return Err(Dropped::Rate);
                }
                let address = Address { to: Some(to), from: None, ecn };
                let limit = cx.config.max_queue;
                if !cx.sockets.push(*socket, address, [&[], data], limit) {
                    return Err(Dropped::QueueFull { limit });
                }
                if let Some(way) = self.ways.get_mut(*socket) {
                    way.sent += data.len() as u64;
                }
                flow.sent += 1;
                self.tally.sent += 1;
                Ok(())
            }
            Route::Sought(held) => held.push(ecn, data),
            route @ Route::Lost => {
                let mut held = Held::default();
                held.push(ecn, data)?;
                *route = Route::Sought(held);
                self.ask(id, cx);
                Ok(())
            }
        }
    }

    /// One destination less leaves by this way. Its socket is closed behind the last.
    pub(super) fn leave(&mut self, socket: SocketId, cx: &mut Cx) {
        let Some(way) = self.ways.get_mut(socket) else { return };
        way.users = way.users.saturating_sub(1);
        if way.users == 0 && way.waiting.is_empty() {
            self.ways.remove(socket, cx);
            cx.close_socket(socket);
        }
    }

    pub(super) fn way_opened(&mut self, socket: SocketId, cx: &mut Cx) {
        let Some(way) = self.ways.get_mut(socket) else { return };
        way.open = true;
        for id in core::mem::take(&mut way.waiting) {
            self.take(id, socket, cx);
        }
        // All that waited may have ended meanwhile.
        if self.ways.get(socket).is_some_and(|way| way.users == 0) {
            self.ways.remove(socket, cx);
            cx.close_socket(socket);
        }
    }

    /// The socket of a way could not be opened: its destinations try another.
    pub(super) fn way_failed(&mut self, socket: SocketId, fault: Fault, cx: &mut Cx) {
        let Some(way) = self.ways.remove(socket, cx) else { return };
        if let Some(uplink) = way.uplink {
            cx.report(Report::Failed { uplink, fault });
        }
        for id in way.waiting {
            match (way.uplink, self.flows.get_mut(id)) {
                (_, None) => {}
                (Some(uplink), Some(flow)) => {
                    flow.what.tried.insert(uplink);
                    flow.what.lead.by = None;
                    self.ask(id, cx);
                }
                (None, Some(_)) => self.end(id, FlowEnd::Failed(fault), cx),
            }
        }
    }

    /// A way is no more: its destinations ask for another when there is something to send.
    pub(super) fn lose(&mut self, socket: SocketId, cx: &mut Cx) {
        let Some(way) = self.ways.remove(socket, cx) else { return };
        cx.close_socket(socket);
        let mut count = 0;
        for id in self.flows.ids() {
            let Some(flow) = self.flows.get_mut(id) else { continue };
            if matches!(flow.what.route, Route::Way(other) if other == socket) {
                flow.what.route = Route::Lost;
                flow.what.tried = cx.config.upstream_set();
                count += 1;
            }
        }
        for id in way.waiting {
            if let Some(flow) = self.flows.get_mut(id) {
                flow.what.lead.by = None;
            }
            self.ask(id, cx);
        }
        if count > 0 {
            cx.event(Event::DestinationsMoved { conn: self.conn, uplink: way.uplink, count });
        }
    }
}
