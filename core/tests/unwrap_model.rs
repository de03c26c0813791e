//! UDP against a model: balancers, clients, datagrams, faults and time, in any order. A few lines
//! that know no sockets predict which datagram arrives where; each run is replayed from its
//! recording.

mod util;

use proptest::prelude::*;
use ropewalk_core::machine::{Fault, Input, SocketId};
use ropewalk_core::time::{Duration, Instant};
use ropewalk_core::unwrap::emit::{self, Transport};
use ropewalk_core::unwrap::{Config, PortConflict, UdpHeader};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use util::manual::{LISTEN, ManualDriver, SERVER_V4, SERVER_V6, udp};
use util::{addr, ms, pattern};

const MAX_FLOWS: usize = 3;

/// Each with an address of its own; the last one is no balancer.
const BALANCERS: [&str; 4] = ["10.0.0.1:7000", "10.0.0.2:7000", "10.0.0.3:7000", "192.0.2.66:7000"];

/// Each with an address of its own; the last cannot be one.
const CLIENTS: [&str; 6] = [
    "192.0.2.1:5000",
    "192.0.2.2:5000",
    "192.0.2.3:5000",
    "192.0.2.4:53",
    "[2001:db8::1]:5000",
    "127.0.0.1:5000",
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    V2,
    Simple,
    /// The balancer itself.
    Local,
    /// No header at all.
    Bare,
    /// The header's first half.
    Half,
}

#[derive(Clone, Debug)]
enum Step {
    /// To listener 0 (a header in each) or 1 (in the first).
    Datagram {
        listener: u16,
        balancer: usize,
        client: usize,
        kind: Kind,
        len: usize,
    },
    Answer {
        flow: usize,
        len: usize,
    },
    Wait(u64),
    /// The next open fails.
    OpenFault(Fault),
    SocketFault {
        flow: usize,
    },
    Drain,
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![
        4 => Just(Kind::V2), 2 => Just(Kind::Simple), 1 => Just(Kind::Local),
        4 => Just(Kind::Bare), 1 => Just(Kind::Half)
    ];
    let fault = prop_oneof![Just(Fault::AddressInUse), Just(Fault::NoDescriptors)];
    let balancer = prop_oneof![20 => 0usize..3, 1 => Just(3usize)];
    let client = prop_oneof![20 => 0usize..5, 1 => Just(5usize)];
    prop_oneof![
        20 => (0u16..2, balancer, client, kind, 0usize..40)
            .prop_map(|(listener, balancer, client, kind, len)| {
                Step::Datagram { listener, balancer, client, kind, len }
            }),
        10 => (0usize..6, 0usize..40).prop_map(|(flow, len)| Step::Answer { flow, len }),
        4 => prop_oneof![1u64..500, 1_000u64..5_000, 10_000u64..70_000, Just(60_000)].prop_map(Step::Wait),
        1 => fault.prop_map(Step::OpenFault),
        1 => (0usize..6).prop_map(|flow| Step::SocketFault { flow }),
        1 => prop_oneof![9 => Just(Step::Wait(1)), 1 => Just(Step::Drain)],
    ]
}

fn written(kind: Kind, client: usize) -> Vec<u8> {
    let (client, v6) = (addr(CLIENTS[client]), addr("[2001:db8::ffff]:443"));
    let to = if client.is_ipv4() { addr(LISTEN) } else { v6 };
    let v2 = emit::v2(client, to, Transport::Datagram, &[], true);
    match kind {
        Kind::V2 => v2,
        Kind::Simple => emit::simple(client, to).to_vec(),
        Kind::Local => emit::v2_local(&[]),
        Kind::Bare => Vec::new(),
        Kind::Half => v2[..14].to_vec(),
    }
}

// ---- the model ----

#[derive(Clone, Debug)]
struct Flow {
    /// Where its client is answered: listener, balancer, and what stands before.
    answers: (u16, SocketAddr, Vec<u8>),
    active: Instant,
}

#[derive(Default)]
struct Model {
    flows: BTreeMap<IpAddr, Flow>,
    /// The client that a balancer's port stands for.
    ports: BTreeMap<SocketAddr, IpAddr>,
    /// Ports that have lost their client, or never had an accepted one: until they were silent for
    /// this long.
    orphans: BTreeMap<SocketAddr, Instant>,
    open_fault: Option<Fault>,
    ephemeral: bool,
    draining: bool,
    dropped: u64,
}

impl Model {
    fn end(&mut self, client: IpAddr) {
        self.flows.remove(&client);
        self.ports.retain(|_, of| *of != client);
    }

    fn idle(&self) -> Duration {
        ms(if self.draining { 3_000 } else { 60_000 })
    }

    /// What `port` sends now is its client's own.
    fn orphan(&mut self, port: SocketAddr, now: Instant) {
        self.orphans.insert(port, now + self.idle());
    }

    fn wait(&mut self, now: Instant) {
        let idle = self.idle();
        let over = |flow: &Flow| flow.active + idle <= now;
        let idle: Vec<IpAddr> = self.flows.iter().filter(|(_, f)| over(f)).map(|(ip, _)| *ip).collect();
        idle.into_iter().for_each(|client| self.end(client));
    }

    /// What the server gets, and from which client.
    fn datagram(
        &mut self,
        now: Instant,
        step: (u16, usize, usize, Kind),
        data: &[u8],
    ) -> Option<(IpAddr, Vec<u8>)> {
        let (listener, balancer, client, kind) = step;
        let from = addr(BALANCERS[balancer]);
        let whole = [&written(kind, client)[..], data].concat();
        if balancer == 3 {
            return None;
        }
        if listener == 1
            && let Some(&client) = self.ports.get(&from)
        {
            self.flows.get_mut(&client)?.active = now;
            return Some((client, whole));
        }
        if listener == 1 && self.orphans.get(&from).is_some_and(|until| *until > now) {
            self.orphan(from, now);
            return None;
        }
        let client = match kind {
            Kind::Bare => return None,
            Kind::V2 | Kind::Simple if client != 5 => addr(CLIENTS[client]).ip(),
            Kind::Half | Kind::V2 | Kind::Simple => {
                if listener == 1 {
                    self.orphan(from, now);
                }
                return None;
            }
            Kind::Local => from.ip(),
        };
        if !self.flows.contains_key(&client) {
            if self.draining {
                return None;
            }
            if self.flows.len() >= MAX_FLOWS {
                let oldest = self.flows.iter().min_by_key(|(_, flow)| flow.active).map(|(ip, _)| *ip)?;
                let port = self.ports.iter().find(|(_, of)| **of == oldest).map(|(port, _)| *port);
                port.into_iter().for_each(|port| self.orphan(port, now));
                self.end(oldest);
            }
            let fault = self.open_fault.take();
            if fault.is_some_and(|fault| fault != Fault::AddressInUse || !self.ephemeral) {
                // It was taken, and is lost with its flow.
                self.dropped = self.dropped.wrapping_sub(1);
                if listener == 1 {
                    self.orphan(from, now);
                }
                return None;
            }
        }
        let before = if kind == Kind::Simple { whole[..38].to_vec() } else { Vec::new() };
        self.ports.retain(|_, of| *of != client);
        if listener == 1 {
            self.ports.insert(from, client);
        }
        self.flows.insert(client, Flow { answers: (listener, from, before), active: now });
        Some((client, data.to_vec()))
    }
}

// ---- the machine under test ----

/// The open flow of this client.
fn socket_of(driver: &ManualDriver, client: IpAddr) -> Option<SocketId> {
    driver.flows().into_iter().find(|flow| driver.via(*flow).transparent.map(|a| a.ip()) == Some(client))
}

/// The machine, and the model that says what it should do.
struct Both {
    driver: ManualDriver,
    model: Model,
    listeners: [SocketId; 2],
}

impl Both {
    fn new(ephemeral: bool) -> Self {
        let mut config = Config { max_flows: MAX_FLOWS, ..udp(UdpHeader::Each) };
        config.datagram_listeners.extend(udp(UdpHeader::First).datagram_listeners);
        config.datagram_listeners[1].address = addr("198.51.100.1:25599");
        if ephemeral {
            config.on_port_conflict = PortConflict::Ephemeral;
        }
        let driver = ManualDriver::new(config);
        let listeners = [driver.listener_socket(0), driver.listener_socket(1)];
        Both { driver, model: Model { ephemeral, ..Model::default() }, listeners }
    }

    /// Takes step number `n`.
    fn step(&mut self, n: usize, step: Step) -> Result<(), TestCaseError> {
        let (driver, model) = (&mut self.driver, &mut self.model);
        match step {
            Step::Datagram { listener, balancer, client, kind, len } => {
                self.datagram((listener, balancer, client, kind), &pattern(len, n as u8))?;
            }
            Step::Answer { flow, len } => self.answer(flow, pattern(len, n as u8))?,
            Step::Wait(millis) => {
                driver.advance(ms(millis));
                model.wait(driver.now);
            }
            Step::OpenFault(fault) => {
                model.open_fault = Some(fault);
                driver.open_faults = [fault].into();
            }
            Step::SocketFault { flow } => {
                if let Some(&client) = model.flows.keys().nth(flow) {
                    let socket = socket_of(driver, client).expect("the model has this flow");
                    driver.input(Input::SocketFailed { socket, fault: Fault::Refused });
                }
            }
            Step::Drain => {
                model.draining = true;
                driver.drain();
                // What was silent for too long already ends at this very moment.
                driver.advance(ms(0));
                model.wait(driver.now);
            }
        }
        Ok(())
    }

    /// A balancer sends a header of a client, and `data`.
    fn datagram(
        &mut self,
        (listener, balancer, client, kind): (u16, usize, usize, Kind),
        data: &[u8],
    ) -> Result<(), TestCaseError> {
        let Both { driver, model, .. } = self;
        let wanted = model.datagram(driver.now, (listener, balancer, client, kind), data);
        model.dropped = model.dropped.wrapping_add(u64::from(wanted.is_none()));
        driver.datagram_at(listener, BALANCERS[balancer], &[&written(kind, client), data]);
        driver.open_faults.clear();
        driver.open_faults.extend(model.open_fault);
        let sent = driver.sent().into_iter();
        let got: Vec<_> = sent.map(|sent| (sent.from, sent.to, sent.data)).collect();
        let server = |client: IpAddr| addr(if client.is_ipv4() { SERVER_V4 } else { SERVER_V6 });
        let wanted: Vec<_> =
            wanted.into_iter().map(|(client, data)| (Some(client), server(client), data)).collect();
        prop_assert_eq!(got, wanted);
        Ok(())
    }

    /// The server answers by the flow of this number, if there is one.
    fn answer(&mut self, flow: usize, data: Vec<u8>) -> Result<(), TestCaseError> {
        let Both { driver, model, listeners } = self;
        let Some((&client, entry)) = model.flows.iter_mut().nth(flow) else { return Ok(()) };
        entry.active = driver.now;
        let (listener, to, before) = entry.answers.clone();
        let socket = socket_of(driver, client).expect("the model has this flow");
        driver.answer(socket, &data);
        let sent = driver.sent().into_iter();
        let got: Vec<_> = sent.map(|sent| (sent.socket, sent.to, sent.data)).collect();
        prop_assert_eq!(got, [(listeners[usize::from(listener)], to, [before, data].concat())]);
        Ok(())
    }

    /// The machine has the flows that the model has, and has dropped as many datagrams.
    fn compare(&self) -> Result<(), TestCaseError> {
        let Both { driver, model, .. } = self;
        let flows = driver.flows();
        let mut open: Vec<_> =
            flows.iter().map(|flow| driver.via(*flow).transparent.map(|a| a.ip())).collect();
        open.sort();
        prop_assert_eq!(open, model.flows.keys().copied().map(Some).collect::<Vec<_>>());
        prop_assert_eq!(driver.counters().dropped, model.dropped);
        Ok(())
    }
}

fn run(steps: Vec<Step>, ephemeral: bool) -> Result<(), TestCaseError> {
    let mut both = Both::new(ephemeral);
    for (n, step) in steps.into_iter().enumerate() {
        // No two things at the same time: which of two is the longest idle must be sure.
        both.driver.advance(ms(1));
        both.model.wait(both.driver.now);
        if both.driver.finished > 0 {
            break;
        }
        let said = format!("step {n}: {step:?}");
        let result = both.step(n, step).and_then(|()| both.compare());
        result.map_err(|error| TestCaseError::fail(format!("{said}: {error}")))?;
    }
    both.driver.drain();
    both.driver.advance(ms(60_000));
    prop_assert_eq!((both.driver.finished, both.driver.machine_timeout()), (1, None));
    Ok(())
}

proptest! {
    #![proptest_config(util::cases(400))]

    #[test]
    fn each_gets_what_is_its_own_once_and_in_order(
        steps in proptest::collection::vec(step(), 1..150),
        ephemeral in any::<bool>(),
    ) {
        run(steps, ephemeral)?;
    }
}
