//! The UDP server behind the proxies: one thread that sends back whatever comes.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::net::{SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::SockRef;

use super::batch::Batch;

/// Bytes asked for to hold what comes in a burst; the system may give fewer.
pub(crate) const BUFFER: usize = 4 << 20;
/// How often the thread looks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    peers: Mutex<BTreeSet<SocketAddrV4>>,
}

/// The running server; it ends when this is dropped.
pub(crate) struct Echo {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Echo {
    pub(crate) fn start(address: SocketAddrV4) -> io::Result<Self> {
        let socket = UdpSocket::bind(address)?;
        SockRef::from(&socket).set_recv_buffer_size(BUFFER)?;
        socket.set_read_timeout(Some(LOOK))?;
        let shared = Arc::new(Shared::default());
        let state = Arc::clone(&shared);
        let thread = thread::Builder::new().name("echo".into()).spawn(move || run(&socket, &state))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// All addresses from which something came.
    pub(crate) fn peers(&self) -> BTreeSet<SocketAddrV4> {
        self.shared.peers.lock().map(|peers| peers.clone()).unwrap_or_default()
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Err(e))) => eprintln!("the echo server ended early: {e}"),
            Some(Err(_)) => eprintln!("the echo server panicked"),
            Some(Ok(Ok(()))) | None => {}
        }
    }
}

fn run(socket: &UdpSocket, shared: &Shared) -> io::Result<()> {
    let mut batch = Batch::new();
    let mut known = BTreeSet::new();
    while !shared.stop.load(Ordering::Acquire) {
        match batch.receive(socket) {
            Ok(()) => {}
            // Nothing came; or what was sent to a proxy that has ended comes back as an error.
            Err(e) if passes(&e) => continue,
            Err(e) => return Err(e),
        }
        for (_, peer) in batch.came() {
            if let Some(peer) = peer
                && known.insert(peer)
                && let Ok(mut peers) = shared.peers.lock()
            {
                peers.insert(peer);
            }
        }
        match batch.send_back(socket) {
            Err(e) if !passes(&e) => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

/// Whether the socket can be used after this error.
pub(crate) fn passes(error: &io::Error) -> bool {
    use ErrorKind::{ConnectionRefused, Interrupted, WouldBlock};
    matches!(error.kind(), WouldBlock | Interrupted | ConnectionRefused)
}
