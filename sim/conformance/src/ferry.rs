//! A machine that carries packets between TUN devices, and does what else a machine may do with
//! them.

use ropewalk_core::machine::{
    DatagramMachine, Fault, Input, Machine, Offload, Output, StreamMachine, TunConfiguration, TunId,
    TunMachine,
};
use ropewalk_core::time::{Duration, Instant};
use std::collections::VecDeque;

/// What it does.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where what comes out of each device goes, by their numbers.
    pub ways: Vec<u16>,
    /// How many packets it holds for one device before it takes no more for it.
    pub room: usize,
    /// It takes nothing for so long.
    pub rest: Duration,
    /// It has always more to give to this device, and ticks every [`TICK`].
    pub endless: Option<TunId>,
    /// What device 0 is to be set to: the first at once, each other with a packet.
    pub configurations: Vec<TunConfiguration>,
    /// It asks for random bytes at once, and with each packet.
    pub curious: bool,
}

impl Plan {
    /// What comes out of each device goes to the one of the number beside it, and nothing else.
    pub fn ways(ways: &[u16]) -> Self {
        Plan {
            ways: ways.to_vec(),
            room: 64,
            rest: Duration::ZERO,
            endless: None,
            configurations: Vec::new(),
            curious: false,
        }
    }
}

/// Between two ticks.
pub const TICK: Duration = Duration::from_millis(20);
/// Bytes of the largest packet.
const LARGEST: usize = 65_535;
/// What an endless machine gives: the beginning of an IPv4 packet, and zeros.
const MORE: [u8; 1400] = {
    let mut packet = [0; 1400];
    packet[0] = 0x45;
    packet
};

/// The machine.
#[derive(Debug)]
pub struct Ferry {
    plan: Plan,
    outputs: VecDeque<Output>,
    dirty: VecDeque<TunId>,
    buf: Vec<u8>,
    held: Vec<VecDeque<(Vec<u8>, Offload)>>,
    next: Option<Instant>,
    resting: bool,
    drained: bool,
    configured: usize,
    /// Packets that were taken, and those of them that were superpackets.
    pub taken: (u64, u64),
    /// Packets that the system took.
    pub given: u64,
    /// Why others were lost.
    pub lost: Vec<(TunId, Fault)>,
    /// Why devices could not be set.
    pub not_configured: Vec<(TunId, Fault)>,
    /// Random bytes that came.
    pub entropy: Vec<[u8; 32]>,
    /// Ticks of the clock.
    pub ticks: u64,
}

impl Ferry {
    /// A machine with devices as in the plan.
    pub fn new(plan: Plan) -> Self {
        let devices = plan.ways.len();
        let resting = plan.rest > Duration::ZERO;
        let clock = resting || plan.endless.is_some();
        let mut ferry = Ferry {
            outputs: VecDeque::new(),
            dirty: (0..devices as u16).map(TunId).collect(),
            buf: vec![0; LARGEST],
            held: vec![VecDeque::new(); devices],
            // The first look at the clock begins the rest.
            next: clock.then_some(Instant::ZERO),
            resting,
            drained: false,
            configured: 0,
            taken: (0, 0),
            given: 0,
            lost: Vec::new(),
            not_configured: Vec::new(),
            entropy: Vec::new(),
            ticks: 0,
            plan,
        };
        ferry.ask();
        ferry
    }

    /// The next configuration, and random bytes.
    fn ask(&mut self) {
        if let Some(configuration) = self.plan.configurations.get(self.configured) {
            let configuration = configuration.clone();
            self.outputs.push_back(Output::Configure { tun: TunId(0), configuration });
            self.configured += 1;
        }
        if self.plan.curious {
            self.outputs.push_back(Output::Entropy);
        }
    }

    fn way(&self, tun: TunId) -> usize {
        usize::from(self.plan.ways[usize::from(tun.0)])
    }

    fn mark(&mut self, tun: TunId) {
        if !self.dirty.contains(&tun) {
            self.dirty.push_back(tun);
        }
    }
}

impl Machine for Ferry {
    fn handle_input(&mut self, _: Instant, input: Input<'_>) {
        match input {
            Input::ConfigureFailed { tun, fault } => self.not_configured.push((tun, fault)),
            Input::Entropy { bytes } => self.entropy.push(*bytes),
            Input::Drain if !self.drained => {
                self.drained = true;
                self.next = None;
                self.outputs.push_back(Output::Finished);
            }
            _ => {}
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        let first = self.next == Some(Instant::ZERO);
        if self.plan.endless.is_some() {
            self.ticks += 1;
            self.next = Some(now + TICK);
        } else if first {
            self.next = Some(now + self.plan.rest);
        } else {
            self.next = None;
            self.resting = false;
            (0..self.held.len() as u16).for_each(|tun| self.mark(TunId(tun)));
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }

    /// Its random bytes are no key's.
    fn entropy_is_secret(&self) -> bool {
        false
    }
}

impl TunMachine for Ferry {
    fn poll_dirty_tun(&mut self) -> Option<TunId> {
        self.dirty.pop_front()
    }

    fn take_buf(&mut self, tun: TunId) -> &mut [u8] {
        let full = self.held[self.way(tun)].len() >= self.plan.room;
        if full || self.resting || self.drained { &mut [] } else { &mut self.buf }
    }

    fn handle_packet(&mut self, _: Instant, tun: TunId, len: usize, offload: Offload) {
        self.taken.0 += 1;
        self.taken.1 += u64::from(matches!(offload, Offload::Tcp { .. } | Offload::Udp { .. }));
        let to = self.way(tun);
        self.held[to].push_back((self.buf[..len].to_vec(), offload));
        self.mark(TunId(to as u16));
        self.ask();
    }

    fn give_buf(&self, tun: TunId) -> Option<(&[u8], Offload)> {
        if self.drained {
            return None;
        }
        if self.plan.endless == Some(tun) {
            return Some((&MORE, Offload::None));
        }
        let (packet, offload) = self.held[usize::from(tun.0)].front()?;
        Some((packet, *offload))
    }

    fn handle_given(&mut self, _: Instant, tun: TunId, result: Result<(), Fault>) {
        match result {
            Ok(()) => self.given += 1,
            Err(fault) => self.lost.push((tun, fault)),
        }
        if self.plan.endless == Some(tun) {
            return self.mark(tun);
        }
        self.held[usize::from(tun.0)].pop_front();
        if self.held[usize::from(tun.0)].len() + 1 == self.plan.room {
            let sources = (0..self.plan.ways.len() as u16).map(TunId);
            let sources: Vec<TunId> = sources.filter(|from| self.way(*from) == usize::from(tun.0)).collect();
            sources.into_iter().for_each(|from| self.mark(from));
        }
    }
}

/// It has no streams.
impl StreamMachine for Ferry {}

/// And no sockets.
impl DatagramMachine for Ferry {}
