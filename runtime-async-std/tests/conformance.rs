//! This runtime passes the same conformance kit as the one that ships.

#![cfg(unix)]

use ropewalk_async_std::{Shared, Watch, Worker, listen};
use ropewalk_core::event::Event;
use ropewalk_core::time::Instant;
use ropewalk_core::uplink::Pool;
use ropewalk_sim::conformance::{Events, Running, Runtime, Subject};
use std::io::Result;
use std::net::{SocketAddr, TcpListener};

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

    fn start(machine: Subject, listeners: Vec<TcpListener>, pool: Pool, events: Events) -> Result<Running> {
        let shared = Shared::new(pool, Box::new(Told(events)));
        let (worker, handle) = Worker::new(machine, listeners, shared)?;
        let stopper = handle.clone();
        Running::spawn(move || worker.run(), move || handle.drain(), move || stopper.stop())
    }
}

ropewalk_sim::conformance!(AsyncStd);
