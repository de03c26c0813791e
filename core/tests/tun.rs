//! The TUN half of a turn, with a device in memory.

use ropewalk_core::drive::{Drive, Io, TryError};
use ropewalk_core::machine::*;
use ropewalk_core::record::{Divergence, Recorder, replay};
use ropewalk_core::time::Instant;
use std::collections::VecDeque;

const TUN: TunId = TunId(0);

/// Gives each packet back, `room` at most at a time.
struct Mirror {
    room: usize,
    buf: Vec<u8>,
    held: VecDeque<(Vec<u8>, Offload)>,
    outputs: VecDeque<Output>,
    dirty: bool,
    lost: Vec<Fault>,
    entropy: Option<[u8; 32]>,
}

impl Mirror {
    fn new(room: usize) -> Self {
        Mirror {
            room,
            buf: vec![0; 65_535],
            held: VecDeque::new(),
            outputs: VecDeque::new(),
            dirty: true,
            lost: Vec::new(),
            entropy: None,
        }
    }
}

impl Machine for Mirror {
    fn handle_input(&mut self, _: Instant, input: Input<'_>) {
        match input {
            Input::ConfigureFailed { fault, .. } => self.lost.push(fault),
            Input::Entropy { bytes } => self.entropy = Some(*bytes),
            other => panic!("not for a mirror: {other:?}"),
        }
    }
    fn handle_timeout(&mut self, _: Instant) {}
    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

impl StreamMachine for Mirror {}
impl DatagramMachine for Mirror {}

impl TunMachine for Mirror {
    fn poll_dirty_tun(&mut self) -> Option<TunId> {
        std::mem::take(&mut self.dirty).then_some(TUN)
    }
    fn take_buf(&mut self, _: TunId) -> &mut [u8] {
        if self.held.len() < self.room { &mut self.buf } else { &mut [] }
    }
    fn handle_packet(&mut self, _: Instant, _: TunId, len: usize, offload: Offload) {
        self.held.push_back((self.buf[..len].to_vec(), offload));
        self.dirty = true;
    }
    fn give_buf(&self, _: TunId) -> Option<(&[u8], Offload)> {
        self.held.front().map(|(packet, offload)| (&packet[..], *offload))
    }
    fn handle_given(&mut self, _: Instant, _: TunId, result: Result<(), Fault>) {
        self.held.pop_front();
        self.lost.extend(result.err());
        self.dirty = true;
    }
}

/// A device: what the system sends into it, what it was given, and how much more it takes.
#[derive(Default)]
struct Device {
    sent: VecDeque<Vec<u8>>,
    given: Vec<Vec<u8>>,
    room: usize,
    broken: Option<Fault>,
    calls: usize,
    secrets: bool,
}

impl Io for Device {
    fn now(&mut self) -> Instant {
        Instant::ZERO
    }
    fn try_take(&mut self, _: TunId, buf: &mut [u8]) -> Result<(usize, Offload), TryError> {
        self.calls += 1;
        let packet = self.sent.pop_front().ok_or(TryError::WouldBlock)?;
        buf[..packet.len()].copy_from_slice(&packet);
        Ok((packet.len(), Offload::None))
    }
    fn try_give(&mut self, _: TunId, packet: &[u8], _: Offload) -> Result<(), TryError> {
        self.calls += 1;
        if let Some(fault) = self.broken.take() {
            return Err(TryError::Fault(fault));
        }
        if self.room == 0 {
            return Err(TryError::WouldBlock);
        }
        self.room -= 1;
        self.given.push(packet.to_vec());
        Ok(())
    }
    fn entropy(&mut self, bytes: &mut [u8; 32]) -> bool {
        bytes.fill(7);
        self.secrets
    }
}

fn packets(count: usize) -> VecDeque<Vec<u8>> {
    (0..count).map(|n| vec![n as u8; 20 + n]).collect()
}

fn run(machine: &mut impl Application, io: &mut Device, drive: &mut Drive) {
    while drive.turn(machine, io, 64).more {}
}

#[test]
fn packets_come_back_in_their_order_however_many_the_machine_holds() {
    for room in [1, 2, 100] {
        let (mut machine, mut drive) = (Mirror::new(room), Drive::new());
        let mut io = Device { sent: packets(50), room: 50, ..Device::default() };
        run(&mut machine, &mut io, &mut drive);
        assert_eq!(io.given, Vec::from(packets(50)), "room {room}");
    }
}

#[test]
fn what_the_device_would_not_take_is_kept_and_the_system_keeps_the_rest() {
    let (mut machine, mut drive) = (Mirror::new(3), Drive::new());
    let mut io = Device { sent: packets(10), room: 4, ..Device::default() };
    run(&mut machine, &mut io, &mut drive);
    assert_eq!(io.given.len(), 4);
    assert_eq!(machine.held.len(), 3, "it takes no more than it has room for");
    assert_eq!(io.sent.len(), 3, "the rest waits in the system");
    let calls = io.calls;
    run(&mut machine, &mut io, &mut drive);
    assert_eq!(io.calls, calls, "a device that would block is not tried again before it is ready");
    io.room = 10;
    drive.tun_ready(TUN, false, true);
    run(&mut machine, &mut io, &mut drive);
    assert_eq!(io.given, Vec::from(packets(10)));
}

#[test]
fn an_empty_device_is_tried_once_for_each_hint() {
    let (mut machine, mut drive) = (Mirror::new(3), Drive::new());
    let mut io = Device { room: 10, ..Device::default() };
    run(&mut machine, &mut io, &mut drive);
    run(&mut machine, &mut io, &mut drive);
    assert_eq!(io.calls, 1);
    io.sent = packets(1);
    run(&mut machine, &mut io, &mut drive);
    assert_eq!(io.given.len(), 0, "nobody said that it is ready");
    drive.tun_ready(TUN, true, false);
    run(&mut machine, &mut io, &mut drive);
    assert_eq!(io.given.len(), 1);
}

#[test]
fn a_fault_loses_one_packet_and_says_why() {
    let (mut machine, mut drive) = (Mirror::new(3), Drive::new());
    let mut io = Device { sent: packets(3), room: 10, broken: Some(Fault::NetworkDown), ..Device::default() };
    run(&mut machine, &mut io, &mut drive);
    assert_eq!(machine.lost, [Fault::NetworkDown]);
    assert_eq!(io.given, [vec![1; 21], vec![2; 22]]);
}

#[test]
fn a_turn_of_packets_is_bounded() {
    let (mut machine, mut drive) = (Mirror::new(1000), Drive::new());
    let mut io = Device { sent: packets(200), room: 1000, ..Device::default() };
    assert!(drive.turn(&mut machine, &mut io, 8).more);
    // A share of 64 takes and as many gives, and the fuel is used up.
    assert!(io.given.len() <= 128, "{} packets in one turn", io.given.len());
    run(&mut machine, &mut io, &mut drive);
    assert_eq!(io.given.len(), 200);
}

#[test]
fn large_packets_cost_more_fuel_than_small_ones() {
    let turns = |size: usize| {
        let (mut machine, mut drive) = (Mirror::new(1000), Drive::new());
        let mut io = Device { sent: vec![vec![1; size]; 256].into(), room: 1000, ..Device::default() };
        (1..).find(|_| !drive.turn(&mut machine, &mut io, 64).more).expect("it ends")
    };
    assert!(turns(65_000) > turns(100), "{} and {} turns", turns(65_000), turns(100));
}

#[test]
fn a_runtime_without_tun_devices_says_so() {
    let (mut machine, mut drive) = (Mirror::new(1), Drive::new());
    let configuration = TunConfiguration { addresses: Vec::new(), mtu: 1400 };
    machine.outputs.push_back(Output::Configure { tun: TUN, configuration });
    run(&mut machine, &mut Device::default(), &mut drive);
    assert_eq!(machine.lost, [Fault::Unsupported]);
}

#[test]
fn entropy_is_given_at_once_and_never_recorded() {
    for secrets in [false, true] {
        let mut mirror = Mirror::new(1);
        mirror.outputs.push_back(Output::Entropy);
        let (mut machine, mut drive) = (Recorder::new(mirror), Drive::new());
        run(&mut machine, &mut Device { secrets, ..Device::default() }, &mut drive);
        assert_eq!(machine.machine().entropy, secrets.then_some([7; 32]));
        let recording = machine.take();
        assert!(!recording.windows(8).any(|window| window == [7; 8]), "the bytes are in the recording");
        let mut fresh = Mirror::new(1);
        fresh.outputs.push_back(Output::Entropy);
        assert!(replay(&recording, fresh).is_ok());
    }
}

#[test]
fn a_run_of_packets_is_recorded_and_replayed() {
    let (mut machine, mut drive) = (Recorder::new(Mirror::new(2)), Drive::new());
    let mut io = Device { sent: packets(20), room: 20, broken: Some(Fault::TooLarge), ..Device::default() };
    run(&mut machine, &mut io, &mut drive);
    let recording = machine.take();
    let replayed = replay(&recording, Mirror::new(2)).expect("the same machine says the same");
    assert_eq!((replayed.inputs, replayed.compared), (40, 20));

    // A machine that holds fewer would not take them; one that turns bits gives others.
    assert!(matches!(replay(&recording, Mirror::new(0)), Err(Divergence::Taken { .. })));
    let mut other = recording.clone();
    let at = recording.windows(22).position(|window| window == [2; 22]).expect("the third packet");
    other[at] ^= 1;
    assert!(matches!(replay(&other, Mirror::new(2)), Err(Divergence::Given { .. })));
}

#[test]
fn an_offload_is_held_against_the_packets_length() {
    for (offload, least) in [
        (Offload::None, 0),
        (Offload::Checksum { start: 20, offset: 16 }, 38),
        (Offload::Checksum { start: u16::MAX, offset: u16::MAX }, 131_072),
        (Offload::Tcp { header: 40, size: 1, v6: false }, 41),
        (Offload::Tcp { header: 60, size: 1400, v6: true }, 61),
        (Offload::Udp { header: 28, size: 9 }, 29),
    ] {
        assert!(offload.fits(least), "{offload:?} in {least}");
        assert!(least == 0 || !offload.fits(least - 1), "{offload:?} in {}", least - 1);
    }
    for never in [
        Offload::Tcp { header: 39, size: 1400, v6: false },
        Offload::Tcp { header: 40, size: 1400, v6: true },
        Offload::Tcp { header: 40, size: 0, v6: false },
        Offload::Udp { header: 27, size: 9 },
        Offload::Udp { header: 28, size: 0 },
    ] {
        assert!(!never.fits(65_535), "{never:?}");
    }
}
