//! This runtime passes the cases of TUN devices of the conformance kit, and the kit sees when a
//! driver is broken.

#![cfg(target_os = "linux")]

use ropewalk_conformance::tuns::{Device, Tun as Asked};
use ropewalk_conformance::{self as conformance, Events, Running, Runtime, Subject};
use ropewalk_core::machine::event::Event;
use ropewalk_core::time::Instant;
use ropewalk_core::uplink::Pool;
use ropewalk_mio::{Listeners, Shared, Tun, Watch, Worker, listen_datagrams};
use std::io::Result;
use std::net::{SocketAddr, UdpSocket};

struct Mio;

struct Told(Events);

impl Watch for Told {
    fn event(&self, now: Instant, event: &Event) {
        (self.0)(now, event);
    }
}

fn open(asked: Asked) -> Result<Tun> {
    let tun = match asked.device {
        Device::Named(name) => Tun::create(Some(&name), asked.offload)?,
        Device::Given(fd) => Tun::given(fd, asked.offload)?,
    };
    Ok(tun.configured_by(asked.configure))
}

impl Runtime for Mio {
    const NAME: &'static str = "mio";

    fn listen_datagrams(address: SocketAddr) -> Result<UdpSocket> {
        listen_datagrams(address)
    }

    fn start(
        machine: Subject,
        listeners: conformance::Listeners,
        pool: Pool,
        events: Events,
    ) -> Result<Running> {
        let conformance::Listeners { streams, datagrams, tuns } = listeners;
        let tuns = tuns.into_iter().map(open).collect::<Result<_>>()?;
        let shared = Shared::new(pool, Box::new(Told(events)));
        let (worker, handle) = Worker::new(machine, Listeners { streams, datagrams, tuns }, shared)?;
        let stopper = handle.clone();
        Running::spawn(move || worker.run(), move || handle.drain(), move || stopper.stop())
    }
}

ropewalk_conformance::conformance_tuns!(Mio);

mod faults {
    ropewalk_conformance::conformance_tun_faults!(super::Mio);
}
