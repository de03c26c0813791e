//! While others are busy.

use crate::AnyRuntime;
use crate::client::{connect, dial, exactly};
use crate::proxy::{Proxy, eventually};
use crate::target::Target;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Flows that carry as much as they can until they are dropped.
struct Bulk {
    over: Arc<AtomicBool>,
    moved: Arc<AtomicU64>,
    readers: Vec<JoinHandle<()>>,
}

impl Bulk {
    /// All are connected before the first carries, and they carry when this returns.
    fn start(proxy: &Proxy, source: &Target, flows: usize) -> Self {
        let (over, moved) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let open = |_| connect(proxy.address, source.address).expect("answered").open();
        let open: Vec<TcpStream> = (0..flows).map(open).collect();
        let readers = open.into_iter().map(|stream| {
            let (over, moved) = (Arc::clone(&over), Arc::clone(&moved));
            thread::spawn(move || drink(stream, &over, &moved))
        });
        let bulk = Bulk { readers: readers.collect(), over, moved };
        // What is measured before they carry would show nothing.
        assert!(eventually(Duration::from_secs(10), || bulk.moved() > UNDER_WAY), "the flows do not carry");
        bulk
    }

    fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// Does something while the flows carry.
    fn meanwhile<T>(&self, f: impl FnOnce() -> T) -> (T, Lapse) {
        let (began, before) = (Instant::now(), self.moved());
        let result = f();
        (result, Lapse { took: began.elapsed(), moved: self.moved() - before })
    }

    /// Ends them.
    fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        for reader in self.readers {
            reader.join().expect("no panic");
        }
    }
}

/// How long something took, and what the others carried in that time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Lapse {
    took: Duration,
    moved: u64,
}

impl Lapse {
    /// Slow, and for the others' sake: on a machine that is busy otherwise the flows are slow too.
    fn starved(self, limit: Duration) -> bool {
        self.took > limit && self.moved > MUCH
    }
}

/// Bytes a runtime may carry for others before it comes back to a connection with little to send.
const MUCH: u64 = 128 << 20;
/// Bytes after which the flows are under way.
const UNDER_WAY: u64 = 16 << 20;
/// What is copied is recorded, in memory.
const ENOUGH: u64 = 512 << 20;

fn drink(mut stream: TcpStream, over: &AtomicBool, moved: &AtomicU64) {
    let mut buf = vec![0; 256 * 1024];
    while !over.load(Ordering::Relaxed) {
        match stream.read(&mut buf) {
            Ok(len @ 1..) => moved.fetch_add(len as u64, Ordering::Relaxed),
            _ => return,
        };
    }
}

/// Sends for ever.
fn endless() -> Target {
    Target::new(|mut stream| {
        let bytes = vec![b'x'; 256 * 1024];
        loop {
            stream.write_all(&bytes)?;
        }
    })
}

/// 95 of 100 round trips, and the connect before them, do not wait for much of what others carry.
/// Copied and spliced.
pub(super) fn eight_bulk_flows_do_not_starve_a_small_one(runtime: &AnyRuntime) {
    for splice_after in [0, 1] {
        let (source, echo) = (endless(), Target::echo());
        let proxy = Proxy::with(runtime, |plan| plan.config.splice_after = splice_after);
        let bulk = Bulk::start(&proxy, &source, 8);
        let (stream, opened) = bulk.meanwhile(|| connect(proxy.address, echo.address));
        let mut stream = stream.unwrap_or_else(|error| panic!("no answer, {opened:?}: {error}")).open();
        assert!(!opened.starved(Duration::from_secs(1)), "the connect took {opened:?}");
        let began = Instant::now();
        let mut trips = Vec::new();
        while trips.len() < 100 && began.elapsed() < Duration::from_secs(6) {
            let round = || stream.write_all(b"ping").and_then(|()| exactly(&mut stream, 4));
            let (echoed, lapse) = bulk.meanwhile(round);
            assert_eq!(echoed.unwrap_or_else(|error| panic!("no echo, {lapse:?}: {error}")), b"ping");
            trips.push(lapse);
            if splice_after == 0 && bulk.moved() > ENOUGH && trips.len() >= 20 {
                break;
            }
        }
        let moved = bulk.moved();
        bulk.end();
        trips.sort();
        let (count, median, slow) = (trips.len(), trips[trips.len() / 2], trips[trips.len() * 95 / 100]);
        println!(
            "splice_after {splice_after}: {count} trips, opened {opened:?}, p50 {median:?}, p95 {slow:?}"
        );
        assert!(!slow.starved(Duration::from_millis(100)), "p95 of {count}: {slow:?}");
        // A loop that stands still starves all alike.
        assert!(median.took < Duration::from_millis(500), "p50 of {count}: {median:?}");
        assert!(moved > 1 << 20, "the others have carried {moved} bytes");
        drop(stream);
        proxy.wait_for_sockets(0);
        proxy.finish();
    }
}

/// A deadline of 300 ms is kept within 150 ms, in most of five tries.
pub(super) fn a_silent_client_is_closed_at_its_deadline_under_load(runtime: &AnyRuntime) {
    let source = endless();
    let deadline = Duration::from_millis(300);
    let proxy = Proxy::with(runtime, |plan| {
        plan.config.handshake_timeout = deadline;
        plan.config.splice_after = 1;
    });
    let bulk = Bulk::start(&proxy, &source, 4);
    let mut tries: Vec<Lapse> = Vec::new();
    for _ in 0..5 {
        let (end, lapse) = bulk.meanwhile(|| {
            let mut stream = dial(proxy.address).expect("it listens");
            stream.read(&mut [0])
        });
        assert_eq!(end.unwrap_or_else(|error| panic!("not closed, {lapse:?}: {error}")), 0, "an orderly end");
        tries.push(lapse);
    }
    bulk.end();
    tries.sort();
    println!("closed after {tries:?}");
    let Lapse { took, moved } = tries[2];
    // The time of the accept is unknown; it was not before the dial.
    assert!(tries[0].took >= deadline, "early: {tries:?}");
    let late = Lapse { took: took - deadline, moved: moved / 2 };
    assert!(!late.starved(Duration::from_millis(150)) && took < deadline * 3, "late: {tries:?}");
    proxy.wait_for_sockets(0);
    let latest = proxy.finish().found.latest;
    println!("the latest timer was told {latest:?} late");
}
