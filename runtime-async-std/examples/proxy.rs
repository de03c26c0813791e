//! The dispatch machine on this runtime, with no uplinks: all goes out as the system routes it.
//!
//! ```text
//! proxy PORT
//! proxy dispatch --listen ADDRESS:PORT -q     (as the benchmark of the command line calls it)
//! ```

use ropewalk_async_std::{Shared, Watch, Worker, listen};
use ropewalk_core::dispatch::{Config, Dispatch};
use ropewalk_core::machine::event::Event;
use ropewalk_core::time::Instant;
use ropewalk_core::uplink::{Pool, PoolConfig};
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};

struct Nobody;

impl Watch for Nobody {
    fn event(&self, _: Instant, _: &Event) {}
}

/// The first argument that is a port or an address.
fn address(arguments: impl Iterator<Item = String>) -> Option<SocketAddr> {
    let mut found = arguments.filter_map(|argument| match argument.parse::<u16>() {
        Ok(port) => Some((Ipv4Addr::LOCALHOST, port).into()),
        Err(_) => argument.parse().ok(),
    });
    found.next()
}

fn main() -> Result<(), Box<dyn Error>> {
    let address = address(std::env::args().skip(1)).ok_or("usage: proxy PORT")?;
    let listener = listen(address, false)?;
    let bound = listener.local_addr()?;
    let shared = Shared::new(Pool::new(PoolConfig::default())?, Box::new(Nobody));
    let config = Config { listeners: vec![bound], ..Config::default() };
    let (worker, _handle) = Worker::new(Dispatch::new(config)?, vec![listener], shared)?;
    eprintln!("listening on {bound}");
    worker.run()?;
    Ok(())
}
