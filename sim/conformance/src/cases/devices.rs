//! The system's own TUN devices: two of them, in two network namespaces, and the worker between.
//!
//! ```text
//!   near 10.98.0.1 ── rwk0 ══ worker: what one gives the other takes ══ rwk1 ── 10.98.0.2 far
//! ```
//!
//! Only root can make them; elsewhere each case says what it lacks, and passes.

use crate::client::{accept, all, dial, pattern, socket_deadline};
use crate::ferry::{Ferry, Plan};
use crate::ns::Ns;
use crate::process::{processor_time, skip};
use crate::run::{End, Run, eventually};
use crate::tuns::{Device, Tun};
use crate::{AnyRuntime, Listeners};
use ropewalk_core::machine::{Fault, TunConfiguration, TunId};
use ropewalk_core::uplink::{Pool, PoolConfig};
use std::io::Write;
use std::net::{Ipv4Addr, Shutdown, TcpListener, UdpSocket};
use std::process::Command;
use std::thread;
use std::time::Duration;

const NEAR: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 2);
const MTU: u16 = 1400;

/// Two namespaces, and a worker that carries packets between them.
struct Strait {
    near: Ns,
    far: Ns,
    run: Run,
    plan: Plan,
}

impl Strait {
    /// Sets all up; `None` where this system cannot, which is said then.
    fn open(runtime: &AnyRuntime, offload: bool) -> Option<Strait> {
        let (near, far) = match Ns::new().and_then(|near| Ok((near, Ns::new()?))) {
            Ok(both) => both,
            Err(needs) => {
                skip(&needs);
                return None;
            }
        };
        // A system without IPv6 has nothing to be turned off. Else it greets its neighbours.
        let quiet = || std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
        let _ = (near.run(quiet), far.run(quiet));
        // The machine learns what the first is to be; nobody else sets it up.
        let configuration = TunConfiguration { addresses: vec![(NEAR.into(), 24)], mtu: MTU };
        let plan = Plan { room: 256, configurations: vec![configuration], ..Plan::ways(&[1, 0]) };
        let first = Tun {
            device: Device::Named("rwk0".into()),
            offload,
            configure: configure(near.name().to_owned()),
        };
        let second = Tun { device: Device::Named("rwk1".into()), offload, configure: Box::new(|_| Ok(())) };
        let listeners = Listeners { tuns: vec![first, second], ..Listeners::default() };
        let pool = Pool::new(PoolConfig::default()).expect("a valid pool");
        let machine = Ferry::new(plan.clone());
        let run = near.run(|| Run::start(runtime, machine, listeners, pool));
        near.ip(&format!("link set rwk1 netns {}", far.name()));
        far.ip(&format!("address add {FAR}/24 dev rwk1\nlink set rwk1 mtu {MTU} up"));
        let has_address =
            || String::from_utf8_lossy(&near.try_ip("address show dev rwk0").stdout).contains("10.98.0.1");
        assert!(eventually(Duration::from_secs(5), has_address), "the machine's address is set");
        Some(Strait { near, far, run, plan })
    }

    fn finish(self) -> End<Ferry> {
        self.run.finish(Ferry::new(self.plan))
    }

    /// A datagram there and back, for as long as it takes.
    fn is_open(&self) -> bool {
        let (near, far) = (bound(&self.near, NEAR), bound(&self.far, FAR));
        near.set_read_timeout(Some(Duration::from_millis(300))).expect("a socket option");
        far.set_read_timeout(Some(Duration::from_millis(300))).expect("a socket option");
        eventually(Duration::from_secs(5), || {
            let mut buf = [0; 16];
            let to = far.local_addr().expect("it is bound");
            near.send_to(b"there", to).is_ok()
                && far.recv_from(&mut buf).is_ok_and(|(_, from)| far.send_to(b"back", from).is_ok())
                && near.recv_from(&mut buf).is_ok()
        })
    }
}

/// Sets a device's addresses and MTU by `ip`.
pub(super) fn configure(ns: String) -> crate::tuns::Configure {
    Box::new(move |configuration| {
        let ip = |line: String| {
            let status = Command::new("ip").args(["-n", &ns]).args(line.split(' ')).status();
            if status.is_ok_and(|status| status.success()) { Ok(()) } else { Err(Fault::NoDevice) }
        };
        for (address, bits) in &configuration.addresses {
            ip(format!("address add {address}/{bits} dev rwk0"))?;
        }
        ip(format!("link set rwk0 mtu {} up", configuration.mtu))
    })
}

fn bound(ns: &Ns, ip: Ipv4Addr) -> UdpSocket {
    let socket = ns.run(|| UdpSocket::bind((ip, 0))).expect("the address is there");
    socket.set_read_timeout(Some(socket_deadline())).expect("a socket option");
    socket
}

pub(super) fn datagrams_of_the_system_pass_between_two_devices(runtime: &AnyRuntime) {
    let Some(strait) = Strait::open(runtime, true) else { return };
    assert!(strait.is_open());
    let (near, far) = (bound(&strait.near, NEAR), bound(&strait.far, FAR));
    let to = far.local_addr().expect("it is bound");
    let mut buf = vec![0; 65_536];
    // The last one is more than a packet, and arrives in pieces.
    for (round, len) in [1, 100, 1000, 1372, 4000].into_iter().cycle().take(100).enumerate() {
        let bytes = pattern(len, round as u8);
        near.send_to(&bytes, to).expect("the way is open");
        let (came, from) = far.recv_from(&mut buf).expect("it comes in time");
        assert!(buf[..came] == bytes, "{came} of {len} bytes, or others");
        far.send_to(&bytes, from).expect("the way is open");
        let (came, _) = near.recv_from(&mut buf).expect("it comes back in time");
        assert!(buf[..came] == bytes, "{came} of {len} bytes, or others, on the way back");
    }
    let mtu = String::from_utf8_lossy(&strait.near.try_ip("link show dev rwk0").stdout).into_owned();
    assert!(mtu.contains(&format!("mtu {MTU} ")), "the machine's MTU is set: {mtu}");
    let end = strait.finish();
    assert!(end.machine.lost.is_empty(), "lost: {:?}", end.machine.lost);
}

/// A file each way; gives how many packets and superpackets were taken.
fn carry(strait: &Strait) -> (u64, u64) {
    const FILE: usize = 8 << 20;
    let listener = strait.far.run(|| TcpListener::bind((FAR, 0))).expect("the address is there");
    let to = listener.local_addr().expect("it is bound");
    let [there, back] = [1, 2].map(|salt| pattern(FILE, salt));
    thread::scope(|scope| {
        let server = scope.spawn(|| {
            let mut stream = accept(&listener).expect("somebody comes");
            let came = all(&mut stream).expect("an orderly end");
            stream.write_all(&back).expect("it is taken");
            came
        });
        let mut stream = strait.near.run(|| dial(to)).expect("it listens");
        stream.write_all(&there).expect("it is taken");
        stream.shutdown(Shutdown::Write).expect("the way is open");
        assert!(all(&mut stream).expect("an orderly end") == back, "the way back");
        assert!(server.join().expect("it has answered") == there, "the way there");
    });
    strait.run.found().taken
}

pub(super) fn a_stream_of_the_system_passes_in_superpackets(runtime: &AnyRuntime) {
    let Some(strait) = Strait::open(runtime, true) else { return };
    let (packets, superpackets) = carry(&strait);
    println!("{packets} packets, {superpackets} of them superpackets");
    assert!(superpackets > 100, "{superpackets} of {packets} are superpackets");
    strait.finish();
}

pub(super) fn without_offload_a_stream_passes_packet_by_packet(runtime: &AnyRuntime) {
    let Some(strait) = Strait::open(runtime, false) else { return };
    let (packets, superpackets) = carry(&strait);
    assert_eq!(superpackets, 0);
    assert!(packets > 12_000, "{packets} packets for 16 MiB");
    strait.finish();
}

pub(super) fn a_device_that_was_down_goes_on_when_it_is_up(runtime: &AnyRuntime) {
    let Some(strait) = Strait::open(runtime, true) else { return };
    assert!(strait.is_open());
    strait.near.ip("link set rwk0 down");
    let far = bound(&strait.far, FAR);
    for _ in 0..5 {
        far.send_to(b"to nobody", (NEAR, 9)).expect("this side is up");
    }
    let asked = strait.run.found().looks;
    let used = processor_time(Duration::from_millis(500));
    let looks = strait.run.found().looks - asked;
    assert!(looks < 50, "the driver came back {looks} times for a device that is down");
    assert!(used < Duration::from_millis(50), "{used:?} of processor time in half a second");
    strait.near.ip("link set rwk0 up");
    assert!(strait.is_open(), "the device is up again");
    let lost = strait.finish().machine.lost;
    assert!(lost.iter().filter(|(tun, _)| *tun == TunId(0)).count() >= 5, "lost by name: {lost:?}");
}

pub(super) fn a_device_that_vanishes_costs_nothing(runtime: &AnyRuntime) {
    let Some(strait) = Strait::open(runtime, true) else { return };
    assert!(strait.is_open());
    strait.near.ip("link delete rwk0");
    let far = bound(&strait.far, FAR);
    for _ in 0..5 {
        far.send_to(b"to nobody", (NEAR, 9)).expect("this side is up");
    }
    let asked = strait.run.found().looks;
    let used = processor_time(Duration::from_secs(1));
    let looks = strait.run.found().looks - asked;
    assert!(looks < 100, "the driver came back {looks} times for a device that is gone");
    assert!(used < Duration::from_millis(50), "{used:?} of processor time in one second");
    let lost = strait.finish().machine.lost;
    assert!(lost.iter().filter(|(tun, _)| *tun == TunId(0)).count() >= 5, "lost by name: {lost:?}");
}
