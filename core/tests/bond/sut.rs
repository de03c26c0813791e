//! The bond to which it is done.

use super::lab::{HEADERS, Lab, Setup};
use super::link::{Datagram, Nature};
use super::packet::{self, Flow, Kind, Way};
use super::reference::Reference;
use super::transition::{Forgery, Transition};
use ropewalk_core::bond::{Drops, Status};
use ropewalk_core::machine::{Device, Input, Offload, UplinkId, Via};
use ropewalk_core::time::Duration;
use std::collections::BTreeMap;
use std::net::SocketAddr;

pub(crate) struct Sut {
    pub(crate) lab: Lab,
    pub(crate) reference: Reference,
    /// Nothing ended an association: its counters are those of all that was sent.
    pub(crate) whole: bool,
    /// Bytes that came from each address that is no client's.
    pub(crate) asked: BTreeMap<SocketAddr, usize>,
    /// Those of which all bytes were bytes of chance, or changed ones.
    nonsense: Vec<SocketAddr>,
    natures: Vec<[Nature; 2]>,
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

impl Sut {
    /// A bond that is up: all its links answer.
    pub(crate) fn new(setup: &Setup) -> Sut {
        let rough = setup.clients[0].clone();
        let calm = |nature: &Nature| Nature { loss: 0, twice: 0, ..*nature };
        let mut calmed = setup.clone();
        calmed.clients[0].iter_mut().flatten().for_each(|nature| *nature = calm(nature));
        let mut lab = Lab::new(calmed);
        let up = lab.run_until(Duration::from_secs(20), |lab| lab.clients[0].io.configured.is_some());
        assert!(up, "the bond did not come up over clean links");
        lab.run(ms(200));
        let mut sut = Sut {
            lab,
            reference: Reference::default(),
            whole: true,
            asked: BTreeMap::new(),
            nonsense: Vec::new(),
            natures: rough,
        };
        for link in 0..sut.natures.len() {
            for way in [Way::Up, Way::Down] {
                sut.lab.links[0][link][way as usize].nature = sut.natures[link][way as usize];
            }
        }
        sut
    }

    pub(crate) fn client(&self) -> Status {
        self.lab.clients[0].machine.status(self.lab.now)
    }

    pub(crate) fn server(&self) -> Option<Status> {
        self.lab.server.machine.status(self.lab.now).pop().map(|(_, status)| status)
    }

    pub(crate) fn apply(&mut self, transition: &Transition) {
        let (now, links) = (self.lab.now, self.natures.len());
        let of = |link: u8| usize::from(link) % links;
        let ways = |way: Option<Way>| way.map_or(vec![Way::Up, Way::Down], |way| vec![way]);
        match *transition {
            Transition::Send { flow, count, size, joined } => {
                self.send(flow, count.into(), size.into(), joined)
            }
            Transition::Wait(time) => self.lab.run(ms(time.into())),
            Transition::Link { link, way, nature } => {
                for way in ways(way) {
                    let up = self.lab.links[0][of(link)][way as usize].nature.up;
                    self.natures[of(link)][way as usize] = nature;
                    self.lab.links[0][of(link)][way as usize].nature = Nature { up, ..nature };
                }
            }
            Transition::Silent { link, way, silent } => {
                for way in ways(way) {
                    self.lab.links[0][of(link)][way as usize].nature.up = !silent;
                }
            }
            Transition::Block { link: Some(link), blocked } => {
                self.lab.clients[0].block(now, of(link), blocked)
            }
            Transition::Block { link: None, blocked } => self.lab.server.block(now, 0, blocked),
            Transition::Gone(link) => self.gone(of(link)),
            Transition::Back(link) => self.back(of(link)),
            Transition::Rebind(link) => self.lab.rebinds[0][of(link)] += 1,
            Transition::Forge { which, to_server, stranger, how } => {
                self.forge(which, to_server, stranger, how)
            }
            Transition::Restart(Way::Up) => {
                self.whole = false;
                self.lab.restart_client(0);
            }
            Transition::Restart(Way::Down) => {
                self.whole = false;
                self.lab.restart_server();
            }
            Transition::StopReading { at: Way::Up, stop } => self.lab.clients[0].stop_reading(now, stop),
            Transition::StopReading { at: Way::Down, stop } => self.lab.server.stop_reading(now, stop),
        }
        self.collect();
    }

    fn send(&mut self, flow: Flow, count: u32, size: usize, joined: bool) {
        let now = self.lab.now;
        let offload = self.lab.setup.offload[usize::from(flow.way == Way::Down)];
        // A superpacket has at most 64 KiB; one of a flow that nobody joins is sent one by one.
        let joined = joined && offload && flow.kind != Kind::WireGuard;
        let step = if joined { count.min((65_000 / size) as u32) } else { 1 };
        let mut left = count;
        while left > 0 {
            let count = left.min(step);
            left -= count;
            let (number, seq) = self.reference.send(flow, count, size);
            let (packet, kind) = flow.packet(number, count, size, seq, offload);
            match flow.way {
                Way::Up => self.lab.clients[0].ingest(now, packet, kind),
                Way::Down => self.lab.server.ingest(now, packet, kind),
            }
        }
    }

    fn gone(&mut self, link: usize) {
        self.lab.clients[0].io.uplinks[link].present = false;
        self.lab.clients[0].input(self.lab.now, Input::UplinkGone { uplink: UplinkId(link as u16) });
    }

    fn back(&mut self, link: usize) {
        self.lab.clients[0].io.uplinks[link].present = true;
        let via = Via { device: Device::new(&format!("up{link}")), ..Via::default() };
        self.lab.clients[0].input(self.lab.now, Input::UplinkBack { uplink: UplinkId(link as u16), via });
    }

    fn forge(&mut self, which: u8, to_server: bool, stranger: bool, how: Forgery) {
        let server: SocketAddr = super::io::SERVER.parse().expect("literal");
        let towards = |datagram: &&Datagram| (datagram.to == server) == to_server;
        let of_that_way: Vec<&Datagram> = self.lab.heard.iter().filter(towards).collect();
        if of_that_way.is_empty() {
            return;
        }
        let mut datagram = of_that_way[usize::from(which) % of_that_way.len()].clone();
        let len = datagram.data.len();
        match how {
            Forgery::Flip(at) => datagram.data[usize::from(at) / 8 % len] ^= 1 << (at % 8),
            Forgery::Cut(at) => datagram.data.truncate(usize::from(at) % len),
            Forgery::Replay => {}
            Forgery::Noise(len) => {
                let dice = &mut self.lab.dice;
                datagram.data = std::iter::repeat_with(|| dice.roll() as u8).take(len.into()).collect();
            }
        }
        if !to_server {
            return self.lab.reach_client(0, datagram);
        }
        if stranger {
            let port = 1000 + u16::from(which);
            datagram.from = SocketAddr::new([192, 0, 2, 200].into(), port);
            *self.asked.entry(datagram.from).or_default() += datagram.data.len() + HEADERS;
            // The cookie at the end of a first message is not looked at where none is asked for.
            let first = datagram.data.first().is_some_and(|byte| byte >> 1 & 0x1f == 1);
            let cookie = matches!(how, Forgery::Flip(at) if first && usize::from(at) / 8 % len >= len - 16);
            if matches!(how, Forgery::Replay) || cookie {
                self.nonsense.retain(|address| *address != datagram.from);
            } else if !self.nonsense.contains(&datagram.from)
                && !self.lab.answered.contains_key(&datagram.from)
            {
                self.nonsense.push(datagram.from);
            }
        }
        self.lab.reach_server(datagram);
    }

    /// Takes what has come out.
    pub(crate) fn collect(&mut self) {
        let out = std::mem::take(&mut self.lab.clients[0].io.tun_out);
        self.take(Way::Down, out);
        let out = std::mem::take(&mut self.lab.server.io.tun_out);
        self.take(Way::Up, out);
    }

    fn take(&mut self, way: Way, out: Vec<(Vec<u8>, Offload)>) {
        for (packet, offload) in out {
            assert!(
                offload == Offload::None || self.lab.setup.offload[usize::from(way == Way::Up)],
                "{offload:?} for a device without offload"
            );
            self.reference.take(way, packet::read(&packet, offload));
        }
    }

    /// All faults end, and there is time for everything to be found out.
    pub(crate) fn heal(&mut self) {
        let now = self.lab.now;
        self.lab.server.block(now, 0, false);
        self.lab.clients[0].stop_reading(now, false);
        self.lab.server.stop_reading(now, false);
        for link in 0..self.natures.len() {
            for way in [Way::Up, Way::Down] {
                let nature = &mut self.lab.links[0][link][way as usize].nature;
                *nature = Nature { up: true, loss: 0, twice: 0, jitter: Duration::ZERO, ..*nature };
            }
            self.lab.clients[0].block(now, link, false);
            if !self.lab.clients[0].io.uplinks[link].present {
                self.back(link);
            }
        }
        self.lab.run(Duration::from_secs(40));
        self.collect();
    }

    /// Sends something both ways, a packet at a time, and gives it time. How many have come of how
    /// many.
    pub(crate) fn exchange(&mut self) -> (u64, u64) {
        let flows = [Way::Up, Way::Down].map(|way| Flow { client: 0, way, kind: Kind::WireGuard, id: 77 });
        let delivered = |reference: &Reference| {
            let of = |flow: Flow| reference.flows.get(&flow).map_or(0, |sent| sent.delivered.len() as u64);
            flows.map(of).iter().sum::<u64>()
        };
        let before = delivered(&self.reference);
        for _ in 0..20 {
            for flow in flows {
                self.send(flow, 1, 500, false);
            }
            self.lab.run(ms(5));
        }
        self.lab.run(Duration::from_secs(3));
        self.collect();
        (delivered(&self.reference) - before, 40)
    }
}

/// All that was dropped under a name.
pub(crate) fn named(drops: &Drops) -> u64 {
    let Drops { malformed, foreign, too_large, queue_delay, queue_full, copy_gone, repairs_spent, tun_full } =
        *drops;
    malformed + foreign + too_large + queue_delay + queue_full + copy_gone + repairs_spent + tun_full
}

impl Sut {
    /// Addresses that sent nothing that was ever authentic, and were answered.
    pub(crate) fn answered_nonsense(&self) -> Option<SocketAddr> {
        self.nonsense.iter().copied().find(|address| self.lab.answered.contains_key(address))
    }
}
