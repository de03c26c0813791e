//! What idle connections cost a proxy: memory and descriptors, each connection having carried
//! something before.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::common::host;
use crate::common::proc;
use crate::common::route::{Route, awaiting};

/// Descriptors for all else.
const OTHERS: u64 = 200;
/// Connections that carry their bytes at the same time: some proxies leave Nagle's algorithm on and
/// take 40 ms each.
const BATCH: usize = 100;
/// Bytes each of them carries before it is idle; sockets hold as much, so that writing first and
/// reading then is safe.
const CARRIED: usize = 64 * 1024;
/// How long they are idle before memory is read.
const QUIET: Duration = Duration::from_secs(1);
/// The longest it may take to open them all.
const DEADLINE: Duration = Duration::from_secs(120);

/// What the idle connections cost.
pub(crate) struct Measured {
    /// How many connections were idle.
    pub(crate) count: usize,
    /// The proportional set before the first connection.
    pub(crate) fresh_kib: f64,
    /// What was added to it, for each connection.
    pub(crate) kib_each: f64,
    /// Descriptors added, for each connection.
    pub(crate) descriptors_each: f64,
}

/// Opens `wanted` connections through `route`, or as many as the descriptors allow; `None` without
/// a `proxy` process.
pub(crate) fn measure(route: &Route, proxy: Option<u32>, wanted: usize) -> Result<Option<Measured>, String> {
    let Some(pid) = proxy else { return Ok(None) };
    // This process holds both ends of each; so does the proxy, which has the same limit.
    let most = host::descriptor_limit().saturating_sub(OTHERS) / 2;
    let count = wanted.min(usize::try_from(most).unwrap_or(wanted));
    let deadline = Instant::now() + DEADLINE;
    let memory = || proc::pss_kib(pid).map_err(|e| format!("reading the proportional set: {e}"));
    let (fresh_kib, fresh_descriptors) = (memory()?, proc::descriptors(pid) as f64);
    let mut streams = Vec::with_capacity(count);
    while streams.len() < count {
        let first = streams.len();
        if Instant::now() > deadline {
            return Err(format!("{DEADLINE:?} were up after {first} of {count} connections"));
        }
        for turn in first..count.min(first + BATCH) {
            streams.push(route.open(turn).map_err(|e| format!("opening {} of {count}: {e}", turn + 1))?);
        }
        carry(&mut streams[first..])
            .map_err(|e| format!("a connection after the first {first} of {count}: {e}"))?;
    }
    thread::sleep(QUIET);
    let each = |more: f64| more / count as f64;
    Ok(Some(Measured {
        count,
        fresh_kib,
        kib_each: each(memory()? - fresh_kib),
        descriptors_each: each(proc::descriptors(pid) as f64 - fresh_descriptors),
    }))
}

/// Sends on each and compares the echo.
fn carry(streams: &mut [TcpStream]) -> std::io::Result<()> {
    let (data, mut back) = (vec![b'P'; CARRIED], vec![0; CARRIED]);
    for stream in &mut *streams {
        stream.write_all(&data).map_err(awaiting("room to send"))?;
    }
    for stream in streams {
        stream.read_exact(&mut back).map_err(awaiting("the echo"))?;
        if back != data {
            return Err(std::io::Error::other("the echo differs from what was sent"));
        }
    }
    Ok(())
}
