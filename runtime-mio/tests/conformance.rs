//! This runtime passes the conformance kit, and the kit sees when a driver is broken.

#![cfg(unix)]

use ropewalk_core::event::Event;
use ropewalk_core::time::Instant;
use ropewalk_core::uplink::Pool;
use ropewalk_mio::{Shared, Watch, Worker, listen};
use ropewalk_sim::conformance::{Events, Running, Runtime, Subject};
use std::io::Result;
use std::net::{SocketAddr, TcpListener};

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

    fn start(machine: Subject, listeners: Vec<TcpListener>, pool: Pool, events: Events) -> Result<Running> {
        let shared = Shared::new(pool, Box::new(Told(events)));
        let (worker, handle) = Worker::new(machine, listeners, shared)?;
        let stopper = handle.clone();
        Running::spawn(move || worker.run(), move || handle.drain(), move || stopper.stop())
    }
}

ropewalk_sim::conformance!(Mio);

mod faults {
    ropewalk_sim::conformance_faults!(super::Mio);
}
