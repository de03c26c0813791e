//! This runtime passes the conformance kit, and the kit sees when a driver is broken.

#![cfg(unix)]

use ropewalk_conformance::{self as conformance, Events, Running, Runtime, Subject};
use ropewalk_core::machine::event::Event;
use ropewalk_core::time::Instant;
use ropewalk_core::uplink::Pool;
use ropewalk_mio::{Listeners, Shared, Watch, Worker, listen, listen_datagrams};
use std::io::Result;
use std::net::{SocketAddr, TcpListener, UdpSocket};

struct Mio;

struct Told(Events);

impl Watch for Told {
    fn event(&self, now: Instant, event: &Event) {
        (self.0)(now, event);
    }
}

impl Runtime for Mio {
    const NAME: &'static str = "mio";

    fn listen(address: SocketAddr) -> Result<TcpListener> {
        listen(address, false)
    }

    fn listen_datagrams(address: SocketAddr) -> Result<UdpSocket> {
        listen_datagrams(address)
    }

    fn start(
        machine: Subject,
        listeners: conformance::Listeners,
        pool: Pool,
        events: Events,
    ) -> Result<Running> {
        let conformance::Listeners { streams, datagrams, .. } = listeners;
        let shared = Shared::new(pool, Box::new(Told(events)));
        let (worker, handle) = Worker::new(machine, Listeners::new(streams, datagrams), shared)?;
        let (stopper, measurer) = (handle.clone(), handle.clone());
        Running::spawn(move || worker.run(), move || handle.drain(), move || stopper.stop())
            .map(|running| running.measuring(move |limit| measurer.measure_memory(limit)))
    }
}

ropewalk_conformance::conformance!(Mio);
ropewalk_conformance::conformance_datagrams!(Mio);

mod faults {
    ropewalk_conformance::conformance_faults!(super::Mio);
}
