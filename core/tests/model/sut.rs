//! The system under test: the machine in its in-memory world, to which a transition is done.

use super::reference::{BOTH, Client, Link, PLACES, QUIET, Reference, SPEAKER, Uplink, speech, words};
use super::transition::{Coming, Destination, Mode, Place, Protocol, Setting, Transition};
use super::util::lab::device;
use super::util::place::{Ev, Link as RealLink};
use super::util::{Act, Answer, Behave, Lab, Person, Reading, Setup, SpliceMode, Target, ms};
use ropewalk_core::machine::{Fault, Input, UplinkId};
use ropewalk_core::uplink::{Networks, UplinkConfig};
use std::net::SocketAddr;

pub(crate) struct Sut {
    pub(crate) lab: Lab,
}

fn target(place: Place, mode: Mode) -> Target {
    let script = match (mode, place) {
        (Mode::Resetting, _) => vec![Act::Pause(ms(40)), Act::Reset],
        (_, SPEAKER) => vec![Act::Send(speech()), Act::Fin, Act::AwaitEnd],
        (_, _) => vec![Act::Echo],
    };
    let behave = match mode {
        Mode::Listening | Mode::Resetting => Behave::Listen,
        Mode::Refusing => Behave::Refuse,
        Mode::Silent => Behave::Silent,
    };
    Target { behave, ..Target::new(Person::new(script)) }
}

impl Sut {
    pub(crate) fn new(setting: &Setting) -> Self {
        let mut setup = Setup::new(setting.weights.len());
        for (index, weight) in setting.weights.iter().enumerate() {
            let device = Some(device(index));
            setup.uplinks[index] =
                UplinkConfig { device, weight: *weight, ..UplinkConfig::new(format!("up{index}")) };
        }
        setup.seed = setting.seed;
        setup.fuel = setting.fuel;
        setup.exact_more = setting.exact_more;
        setup.rumours = setting.rumours;
        setup.splice = match (setting.splice, setting.moody) {
            (None, _) => SpliceMode::Never,
            (Some(size), false) => SpliceMode::Pipe(size),
            (Some(size), true) => SpliceMode::Moody(size),
        };
        setup.config.buffer_size = setting.buffer_size;
        setup.config.buffer_limit = setting.buffer_limit;
        // With the clients' addresses the assertions know which connection is whose.
        setup.config.request_events = true;
        let mut lab = setup.build();
        lab.machine.quiet = true;
        let ip = |place: Place| PLACES[place].parse::<SocketAddr>().expect("an address").ip();
        for (place, at) in PLACES.iter().enumerate() {
            lab.target(at, target(place, Mode::Listening));
            lab.name(&format!("p{place}.example"), [Answer { after: ms(10), result: Ok(vec![ip(place)]) }]);
        }
        lab.name("both.example", [Answer { after: ms(10), result: Ok(BOTH.map(ip).to_vec()) }]);
        lab.name("nobody.example", [Answer { after: ms(10), result: Err(Fault::NameNotFound) }]);
        Sut { lab }
    }

    /// Does it, and writes it down in the reference's books.
    pub(crate) fn apply(&mut self, reference: &mut Reference, transition: &Transition) {
        let count = reference.clients.len();
        let client = |who: &usize| (count > 0).then(|| who % count.max(1));
        match transition {
            Transition::Comes(coming) => self.comes(reference, coming, 100),
            Transition::ComesPartly(coming, part) => self.comes(reference, coming, *part),
            Transition::Crowd(place) => self.crowd(reference, *place),
            Transition::Sends(who, len) => self.sends(reference, client(who), *len),
            Transition::HalfCloses(who) => self.half_closes(reference, client(who)),
            Transition::Resets(who) => self.resets(reference, client(who)),
            Transition::StopsReading(who) => self.reads(reference, client(who), Reading::Stopped),
            Transition::ReadsAgain(who) => self.reads(reference, client(who), Reading::Fast),
            Transition::TargetBecomes(place, mode) => {
                reference.turn(|conditions| conditions.modes[*place] = *mode);
                self.lab.target(PLACES[*place], target(*place, *mode));
            }
            Transition::UplinkDies(uplink) => {
                let uplink = uplink % reference.weights.len();
                reference.turn(|conditions| conditions.uplinks[uplink].link = Link::Dead);
                self.lab.link(uplink, RealLink::BlackHole);
            }
            Transition::UplinkVanishes(uplink) => {
                let uplink = uplink % reference.weights.len();
                reference.turn(|conditions| conditions.uplinks[uplink].link = Link::Gone);
                reference.vanished.push((reference.now, uplink));
                self.lab.link(uplink, RealLink::Broken(Fault::NoDevice));
                self.lab.input(Input::UplinkGone { uplink: UplinkId(uplink as u16) });
            }
            Transition::UplinkLosesFamily(uplink, v6) => {
                let uplink = uplink % reference.weights.len();
                reference.turn(|conditions| {
                    let uplink = &mut conditions.uplinks[uplink];
                    *(if *v6 { &mut uplink.v6 } else { &mut uplink.v4 }) = false;
                });
                self.networks(reference);
            }
            Transition::UplinkComesBack(uplink) => {
                let uplink = uplink % reference.weights.len();
                reference.turn(|conditions| conditions.uplinks[uplink] = Uplink::WELL);
                self.lab.link(uplink, RealLink::Up);
                self.networks(reference);
            }
            Transition::TimePasses(millis) => {
                self.lab.run_for(ms(*millis));
                reference.now = self.lab.now();
            }
            Transition::Drain => {
                reference.draining = true;
                self.lab.input(Input::Drain);
            }
        }
        self.lab.run_for(ms(0));
    }

    /// So many clients that each uplink has its share, at once.
    fn crowd(&mut self, reference: &mut Reference, place: Place) {
        let coming = Coming {
            protocol: Protocol::Socks5,
            destination: Destination::Address(place),
            early: 10,
            segment: 1448,
            window: 20_000,
            stopped: false,
        };
        for _ in 0..reference.weights.iter().sum() {
            self.comes(reference, &coming, 100);
        }
    }

    fn sends(&mut self, reference: &mut Reference, at: Option<usize>, len: usize) {
        let Some(at) = at else { return };
        let client = &mut reference.clients[at];
        if client.asked() && !client.fin && !client.reset {
            let bytes = client.more(len);
            self.act(reference, at, Act::Send(bytes));
        }
    }

    fn half_closes(&mut self, reference: &mut Reference, at: Option<usize>) {
        let Some(at) = at else { return };
        let client = &mut reference.clients[at];
        if !client.fin && !client.reset {
            client.fin = true;
            self.act(reference, at, Act::Fin);
        }
    }

    fn resets(&mut self, reference: &mut Reference, at: Option<usize>) {
        let Some(at) = at else { return };
        let client = &mut reference.clients[at];
        if !client.reset {
            client.reset = true;
            let sock = &mut self.lab.world.socks[client.who];
            sock.person.script.clear();
            sock.progress = 0;
            self.act(reference, at, Act::Reset);
        }
    }

    /// All clients read, send the rest and leave; then the machine is drained, and everything must
    /// end.
    pub(crate) fn farewell(&mut self, reference: &mut Reference) {
        for at in 0..reference.clients.len() {
            self.reads(reference, Some(at), Reading::Fast);
        }
        self.apply(reference, &Transition::TimePasses(25_000));
        for at in 0..reference.clients.len() {
            self.apply(reference, &Transition::HalfCloses(at));
        }
        self.apply(reference, &Transition::TimePasses(QUIET.as_millis() as u64 + 1000));
        if !reference.draining {
            self.apply(reference, &Transition::Drain);
        }
        self.lab.run();
        reference.now = self.lab.now();
    }

    fn comes(&mut self, reference: &mut Reference, coming: &Coming, part: u8) {
        // The number is in the first byte of all it sends.
        if reference.clients.len() >= 250 {
            return;
        }
        let words = words(coming);
        let said = (words.len() * usize::from(part) / 100).max(1);
        let mut client = Client {
            who: 0,
            number: reference.clients.len() as u8,
            protocol: coming.protocol,
            destination: coming.destination,
            came: reference.now,
            since: reference.since(),
            too_late: reference.draining,
            words,
            said,
            payload: Vec::new(),
            fin: false,
            reset: false,
            reads: !coming.stopped,
            read_always: !coming.stopped,
            touched: reference.now,
        };
        let mut opening = client.words[..said].to_vec();
        if client.asked() {
            opening.extend(client.more(coming.early));
        }
        let mut person =
            Person::new([Act::Send(opening), Act::Pace(1448, ms(0))]).windows(coming.window, coming.window);
        person.segment = coming.segment;
        person.polite = false;
        if coming.stopped {
            person.reading = Reading::Stopped;
        }
        client.who = self.lab.person(person);
        reference.clients.push(client);
    }

    fn act(&mut self, reference: &mut Reference, at: usize, act: Act) {
        let client = &mut reference.clients[at];
        client.touched = reference.now;
        self.lab.world.socks[client.who].person.script.push_back(act);
        self.lab.world.after(ms(0), Ev::Wake(client.who));
    }

    fn reads(&mut self, reference: &mut Reference, at: Option<usize>, reading: Reading) {
        let Some(client) = at.map(|at| &mut reference.clients[at]) else { return };
        client.reads = reading == Reading::Fast;
        client.read_always &= client.reads;
        client.touched = reference.now;
        // At once, whatever it is about to send.
        self.lab.world.socks[client.who].person.reading = reading;
        self.lab.world.notice(client.who);
    }

    fn networks(&mut self, reference: &Reference) {
        let all = reference.conditions().uplinks.iter();
        let all =
            all.map(|uplink| Networks { v4: uplink.v4, v6: uplink.v6, ..Networks::default() }).collect();
        self.lab.world.pool.set_networks(all, Vec::new());
    }
}
