//! This runtime passes the same conformance kit as the one that ships.

#![cfg(unix)]

use ropewalk_async_std::{Listeners, Shared, Watch, Worker, listen, listen_datagrams};
use ropewalk_conformance::{self as conformance, Events, Running, Runtime, Subject};
use ropewalk_core::machine::event::Event;
use ropewalk_core::time::Instant;
use ropewalk_core::uplink::Pool;
use std::io::Result;
use std::net::{SocketAddr, TcpListener, UdpSocket};

struct AsyncStd;

struct Told(Events);

impl Watch for Told {
    fn event(&self, now: Instant, event: &Event) {
        (self.0)(now, event);
    }
}

impl Runtime for AsyncStd {
    const NAME: &'static str = "async-std";

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

ropewalk_conformance::conformance!(AsyncStd);
ropewalk_conformance::conformance_datagrams!(AsyncStd);
