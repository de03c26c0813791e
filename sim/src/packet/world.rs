//! The run itself.

use super::agenda::Agenda;
use super::frame::{Datagram, Frame};
use super::host::{Host, Setting};
use super::io::{self, Port, SimIo};
use super::meter::{FlowMeter, LinkMeter, since};
use super::node::{Driven, Node};
use super::shape::{self, config};
use super::toy::Toy;
use super::trace::{Step, Tracer};
use super::{Options, RunError, SIDES, Side, bond};
use crate::link::{Link, Payload};
use crate::report::Measured;
use crate::scenario::{Change, Direction, Event, HostSettings, Scenario, Shape, State, Tunnel};
use ropewalk_core::machine::{Event as CoreEvent, Input, UplinkId};
use ropewalk_core::time::{Duration, Instant};
use std::net::{IpAddr, Ipv4Addr};

/// The client's address inside, where no server gives another.
pub(super) const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// The client's peer: a host behind the server.
const TARGET: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// How long after the end what is on the way may still come.
const DRAIN: Duration = Duration::from_secs(2);
/// How often windows are looked at.
const LOOK: Duration = Duration::from_millis(100);

pub(super) struct World<'s> {
    scenario: &'s Scenario,
    now: Instant,
    agenda: Agenda,
    links: Vec<[Link<Frame>; 2]>,
    /// What each direction is like now.
    shapes: Vec<[Shape; 2]>,
    link_meters: Vec<[LinkMeter; 2]>,
    hosts: [Host; 2],
    nodes: Option<[Box<dyn Node>; 2]>,
    flow_meters: Vec<FlowMeter>,
    setting: Setting,
    begun: bool,
    next_event: usize,
    events: Vec<(Duration, String)>,
    /// The reported states of each machine's paths: when, which link, whether it carries data.
    states: [Vec<(Duration, usize, bool)>; 2],
    tracer: Tracer,
    /// The host or machine that may have something to send.
    host_dirty: [bool; 2],
    node_dirty: [bool; 2],
    queue_drops: u64,
}

/// Parts behind the links: hosts, nodes, the scenario's events, the look at the windows, sockets
/// that refused.
const OTHERS: usize = 8;
/// How often a socket that refused is looked at: a system tells so soon that there is room.
const ROOM: Duration = Duration::from_micros(250);

/// The place of what passes a TUN device, in the trace.
const TUN: usize = 0xff;

/// Which way goes what leaves a side.
fn out_of(side: Side) -> Direction {
    match side {
        Side::Client => Direction::Up,
        Side::Server => Direction::Down,
    }
}

/// Which way goes what comes to a side.
fn into(side: Side) -> Direction {
    match side {
        Side::Client => Direction::Down,
        Side::Server => Direction::Up,
    }
}

/// Twice the bandwidth-delay product of all links, which a TCP with real buffers needs.
fn buffer(scenario: &Scenario) -> usize {
    let rate: u64 = scenario.links.iter().map(|link| link.down.rate.max(link.up.rate)).sum();
    let rtt = scenario.links.iter().map(|link| link.down.delay + link.up.delay).max().unwrap_or_default();
    let bytes = u128::from(rate) / 8 * (rtt + Duration::from_millis(20)).as_nanos() * 2 / 1_000_000_000;
    bytes.clamp(1 << 16, 1 << 26) as usize
}

impl<'s> World<'s> {
    pub(super) fn new(scenario: &'s Scenario, options: Options) -> Result<Self, RunError> {
        let mut seeds = crate::link::Rng::new(scenario.seed);
        let shapes: Vec<[Shape; 2]> = scenario.links.iter().map(|link| [link.down, link.up]).collect();
        let mut links = Vec::new();
        for spec in &scenario.links {
            let mut both =
                Direction::BOTH.map(|direction| Link::new(config(spec.shape(direction)), seeds.bits()));
            if !spec.present {
                both.iter_mut().for_each(|link| link.change(Instant::ZERO, crate::link::LinkChange::Down));
            }
            links.push(both);
        }
        let setting = Setting {
            inside: options.inside,
            addresses: [CLIENT, TARGET],
            // A host somewhere in the internet knows nothing of the bond, which clamps its
            // segments.
            mtu: match scenario.tunnel {
                Tunnel::Bond => [scenario.inner_mtu(), 1500],
                Tunnel::Toy | Tunnel::None => [scenario.inner_mtu(); 2],
            },
            buffer: buffer(scenario),
            seed: seeds.bits(),
        };
        let ios = SIDES.map(|side| {
            let ports = scenario.links.iter().map(Port::new).collect();
            // The plain tunnel knows no superpackets.
            let offload = scenario.host.offload && scenario.tunnel == Tunnel::Bond;
            let host = HostSettings { offload, ..scenario.host.clone() };
            SimIo::new(side, host, ports, seeds.bits())
        });
        let nodes = nodes(scenario, ios)?;
        let parts = links.len() * 2 + OTHERS;
        let mut world = World {
            scenario,
            now: Instant::ZERO,
            agenda: Agenda::new(parts),
            shapes,
            link_meters: scenario.links.iter().map(|_| Default::default()).collect(),
            links,
            hosts: SIDES.map(Host::new),
            nodes,
            flow_meters: vec![FlowMeter::default(); scenario.flows.len()],
            setting,
            begun: false,
            next_event: 0,
            events: Vec::new(),
            states: Default::default(),
            tracer: Tracer::new(options.trace),
            host_dirty: [false; 2],
            node_dirty: [true; 2],
            queue_drops: 0,
        };
        world.arm_event();
        world.agenda.arm(world.look_part(), Some(Instant::ZERO + LOOK));
        if world.nodes.is_none() {
            world.begin();
        }
        world.settle();
        Ok(world)
    }

    fn others(&self) -> usize {
        self.links.len() * 2
    }

    fn look_part(&self) -> usize {
        self.others() + 5
    }

    fn arm_event(&mut self) {
        let at = self.scenario.events.get(self.next_event).map(|event| Instant::ZERO + event.at);
        self.agenda.arm(self.others() + 4, at);
    }

    /// Runs to the end of the scenario, and on until what is on the way has arrived.
    pub(super) fn run(&mut self) {
        let end = Instant::ZERO + self.scenario.duration;
        // What would be sent at the end itself is not sent any more.
        self.until(Instant::from_nanos(end.as_nanos() - 1));
        self.now = end;
        for (meter, flow) in self.flow_meters.iter_mut().zip(&self.scenario.flows) {
            let stop = flow.stop.map_or(end, |stop| end.min(Instant::ZERO + stop));
            meter.finish(stop);
        }
        self.hosts.iter_mut().for_each(Host::drain);
        self.until(end + DRAIN);
    }

    fn until(&mut self, end: Instant) {
        while let Some((at, part)) = self.agenda.pop(end) {
            self.now = at;
            self.wake(part);
            self.settle();
        }
    }

    fn wake(&mut self, part: usize) {
        let now = self.now;
        match part.checked_sub(self.others()) {
            None => {
                let (index, direction) = (part / 2, part % 2);
                while let Some(frame) = self.links[index][direction].poll(now) {
                    self.arrive(index, Direction::BOTH[direction], frame);
                }
                self.arm_link(index, direction);
            }
            Some(side @ 0..=1) => {
                self.hosts[side].handle_timeout(now, &mut self.flow_meters);
                self.host_dirty[side] = true;
            }
            Some(node @ 2..=3) => self.node_dirty[node - 2] = true,
            Some(4) => {
                while let Some(event) =
                    self.scenario.events.get(self.next_event).filter(|e| Instant::ZERO + e.at <= now)
                {
                    self.next_event += 1;
                    self.happen(event);
                }
                self.arm_event();
            }
            Some(side @ 6..=7) => self.make_room(SIDES[side - 6]),
            Some(_) => {
                self.hosts.iter().for_each(|host| host.look(now, &mut self.flow_meters));
                let part = self.look_part();
                self.agenda.arm(part, Some(now + LOOK));
            }
        }
    }

    fn arm_link(&mut self, index: usize, direction: usize) {
        let next = self.links[index][direction].next().map(|at| at.max(self.now));
        self.agenda.arm(index * 2 + direction, next);
    }

    /// A packet has come out of a link.
    fn arrive(&mut self, index: usize, direction: Direction, frame: Frame) {
        let size = frame.size();
        self.link_meters[index][direction as usize].carried.add(self.now, size as u64);
        self.trace(Step::Leave, index, direction, size, &[]);
        let side = match direction {
            Direction::Down => Side::Client,
            Direction::Up => Side::Server,
        };
        match frame {
            Frame::Plain(packet) => self.hear(side, &packet),
            Frame::Outer(datagram) => self.datagram(index, side, direction, size, datagram),
        }
    }

    fn datagram(&mut self, index: usize, side: Side, direction: Direction, size: usize, datagram: Datagram) {
        let Some(nodes) = &mut self.nodes else { return };
        let node = &mut nodes[side as usize];
        match node.io().arrive(index, datagram) {
            Some(socket) => {
                node.socket_ready(socket);
                self.node_dirty[side as usize] = true;
            }
            None => self.trace(Step::Unheard, index, direction, size, &[]),
        }
    }

    /// A packet comes to a host.
    fn hear(&mut self, side: Side, packet: &[u8]) {
        self.hosts[side as usize].handle_packet(self.now, packet, &mut self.flow_meters);
        self.host_dirty[side as usize] = true;
    }

    fn trace(&mut self, step: Step, index: usize, direction: Direction, size: usize, content: &[u8]) {
        let name = self.scenario.links.get(index).map_or("tun", |link| &link.name);
        self.tracer.step(self.now, step, (index, name), direction, size, content);
    }

    /// Puts a packet on a link.
    fn send(&mut self, index: usize, direction: Direction, frame: Frame) {
        let size = frame.size();
        self.trace(Step::Enter, index, direction, size, frame.bytes());
        let link = &mut self.links[index][direction as usize];
        let dropped = |link: &Link<Frame>| link.counters().tail.packets + link.counters().down.packets;
        let before = dropped(link);
        link.push(self.now, frame);
        let drop = dropped(link) > before;
        let wait = link.queue_delay();
        if drop {
            self.trace(Step::Drop, index, direction, size, &[]);
        } else {
            let sample = (since(self.now), wait);
            self.link_meters[index][direction as usize].waits.push(sample);
        }
        self.arm_link(index, direction as usize);
    }

    /// Takes from every host and machine what it has to send, until none has more.
    fn settle(&mut self) {
        let mut touched = [false; 2];
        while self.host_dirty != [false; 2] || self.node_dirty != [false; 2] {
            for side in SIDES {
                let at = side as usize;
                if std::mem::take(&mut self.host_dirty[at]) {
                    touched[at] = true;
                    while let Some(packet) = self.hosts[at].poll_transmit(self.now, &mut self.flow_meters) {
                        self.leave(side, packet);
                    }
                }
                if std::mem::take(&mut self.node_dirty[at]) {
                    self.turn(side);
                }
            }
        }
        for side in SIDES {
            let at = side as usize;
            if touched[at] {
                let alarm = self.hosts[at].poll_timeout(self.now);
                self.agenda.arm(self.others() + at, alarm);
            }
        }
    }

    /// A host has sent a packet.
    fn leave(&mut self, side: Side, packet: Vec<u8>) {
        let direction = out_of(side);
        if self.nodes.is_none() {
            return self.send(0, direction, Frame::Plain(packet));
        }
        self.trace(Step::Take, TUN, direction, packet.len(), &[]);
        let Some(nodes) = &mut self.nodes else { return };
        let node = &mut nodes[side as usize];
        if node.io().send_into_tun(packet) {
            node.tun_ready();
            self.node_dirty[side as usize] = true;
        } else {
            self.queue_drops += 1;
        }
    }

    /// A machine takes its turns, and what it has sent goes on.
    fn turn(&mut self, side: Side) {
        let (at, now) = (side as usize, self.now);
        let Some(nodes) = &mut self.nodes else { return };
        let direction = out_of(side);
        measure(nodes[at].io(), &mut self.links, direction, now);
        let timeout = nodes[at].turn(now);
        let refused = nodes[at].io().is_refused();
        self.agenda.arm(self.others() + 2 + at, timeout.map(|at| at.max(now)));
        if refused {
            self.look_for_room(at);
        }
        while let Some((link, frame)) =
            self.nodes.as_mut().and_then(|nodes| nodes[at].io().outbox.pop_front())
        {
            self.send(link, direction, frame);
        }
        while let Some((link, frame)) =
            self.nodes.as_mut().and_then(|nodes| nodes[at].io().vanished.pop_front())
        {
            self.trace(Step::Drop, link, direction, frame.size(), frame.bytes());
        }
        while let Some(packet) = self.nodes.as_mut().and_then(|nodes| nodes[at].io().given.pop_front()) {
            self.trace(Step::Give, TUN, into(side), packet.len(), &[]);
            self.hear(side, &packet);
        }
        let Some(nodes) = &mut self.nodes else { return };
        let io = nodes[at].io();
        for (when, event) in io.events.drain(..) {
            let CoreEvent::Bond { news, .. } = event else { continue };
            let (text, state) = bond::described(news, side, self.scenario);
            self.events.push((since(when), text));
            if let Some((link, live)) = state {
                self.states[at].push((since(when), link, live));
            }
        }
        if side == Side::Client
            && !self.begun
            && let Some(configuration) = &io.configured
        {
            let v4 = |(address, _): &(IpAddr, u8)| match address {
                IpAddr::V4(address) => Some(*address),
                IpAddr::V6(_) => None,
            };
            if let Some(address) = configuration.addresses.iter().find_map(v4) {
                self.setting.addresses[0] = address;
                self.setting.mtu[0] = configuration.mtu;
                self.begin();
            }
        }
    }

    /// Tells a machine which of its sockets take more.
    fn make_room(&mut self, side: Side) {
        let (at, now) = (side as usize, self.now);
        let Some(nodes) = &mut self.nodes else { return };
        measure(nodes[at].io(), &mut self.links, out_of(side), now);
        for socket in nodes[at].io().writable() {
            nodes[at].socket_writable(socket);
            self.node_dirty[at] = true;
        }
        if nodes[at].io().is_refused() {
            self.look_for_room(at);
        }
    }

    fn look_for_room(&mut self, at: usize) {
        let part = self.others() + 6 + at;
        if !self.agenda.is_armed(part) {
            self.agenda.arm(part, Some(self.now + ROOM));
        }
    }

    /// The client has an address: the flows may begin.
    fn begin(&mut self) {
        self.begun = true;
        for host in &mut self.hosts {
            host.begin(self.now, &self.scenario.flows, &self.setting);
        }
        self.host_dirty = [true; 2];
    }

    /// Something happens to a link.
    fn happen(&mut self, event: &Event) {
        let (index, now) = (event.link, self.now);
        if !event.step {
            self.events.push((event.at, event.to_string_of(&self.scenario.links[index].name)));
        }
        for direction in Direction::BOTH.into_iter().filter(|direction| event.which.covers(*direction)) {
            let shape = &mut self.shapes[index][direction as usize];
            let Some(change) = shape::changed(shape, event.change) else { continue };
            self.links[index][direction as usize].change(now, change);
            self.arm_link(index, direction as usize);
        }
        let Some(nodes) = &mut self.nodes else { return };
        let client = &mut nodes[Side::Client as usize];
        let uplink = UplinkId(index as u16);
        match event.change {
            Change::Rebind => client.io().ports[index].rebinds += 1,
            Change::State(State::Gone) => {
                client.io().ports[index].present = false;
                client.input(now, Input::UplinkGone { uplink });
                self.node_dirty[Side::Client as usize] = true;
            }
            Change::State(State::Back) => {
                client.io().ports[index].present = true;
                let via = io::via(index, &self.scenario.links[index]);
                client.input(now, Input::UplinkBack { uplink, via });
                self.node_dirty[Side::Client as usize] = true;
            }
            _ => {}
        }
    }

    /// What the sockets and devices of both ends have met.
    #[cfg(test)]
    pub(super) fn met(&mut self) -> [io::Met; 2] {
        let nodes = self.nodes.as_mut();
        nodes.map_or_else(Default::default, |nodes| nodes.each_mut().map(|node| node.io().met))
    }

    /// What was measured.
    ///
    /// # Errors
    /// The trace could not be written.
    pub(super) fn finish(mut self) -> std::io::Result<Measured> {
        for (links, meters) in self.links.iter().zip(&mut self.link_meters) {
            for (link, meter) in links.iter().zip(meters) {
                let counters = link.counters();
                meter.given = counters.pushed.packets;
                meter.dropped = counters.dropped();
                meter.lost = counters.lost.packets;
            }
        }
        let hash = self.tracer.finish()?;
        self.events.sort_by_key(|(at, _)| *at);
        let (flows, links, events, states) = (self.flow_meters, self.link_meters, self.events, self.states);
        Ok(Measured { hash, flows, links, events, states, queue_drops: self.queue_drops })
    }
}

/// Tells the sockets what waits at the links, where that matters to them.
fn measure(io: &mut SimIo, links: &mut [[Link<Frame>; 2]], direction: Direction, now: Instant) {
    if !io.has_send_buffer() {
        return;
    }
    for (port, link) in io.ports.iter_mut().zip(links) {
        let link = &mut link[direction as usize];
        link.advance(now);
        port.waiting = link.queued();
    }
}

/// The two machines of the tunnel.
fn nodes(scenario: &Scenario, ios: [SimIo; 2]) -> Result<Option<[Box<dyn Node>; 2]>, RunError> {
    let [client, server] = ios;
    let granularity = scenario.granularity;
    match scenario.tunnel {
        Tunnel::None => Ok(None),
        Tunnel::Toy => {
            let via = io::via(0, &scenario.links[0]);
            let toy = Toy::client(via, CLIENT, scenario.inner_mtu());
            Ok(Some([
                Box::new(Driven::new(toy, client, granularity)),
                Box::new(Driven::new(Toy::server(), server, granularity)),
            ]))
        }
        Tunnel::Bond => {
            let (here, there) = bond::machines(scenario)?;
            Ok(Some([
                Box::new(Driven::new(here, client, granularity)),
                Box::new(Driven::new(there, server, granularity)),
            ]))
        }
    }
}
