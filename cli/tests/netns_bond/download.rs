//! A download by curl that has no end, so that no test depends on its length.

use crate::common::{assert_pattern, pattern};
use crate::world::World;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

pub(crate) struct Download {
    curl: Child,
    received: Arc<AtomicU64>,
    reader: Option<JoinHandle<()>>,
}

impl Download {
    /// Begins on the client's host. Each byte is looked at.
    pub(crate) fn new(world: &World, from: SocketAddr) -> Self {
        let url = format!("http://{from}/endless");
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-N", &url]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut curl = world.client.run(|| curl.spawn().expect("looked for before"));
        let mut stdout = curl.stdout.take().expect("piped");
        let received = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&received);
        let reader = std::thread::spawn(move || {
            let (mut at, mut buf) = (0, vec![0; 65_536]);
            while let Ok(len @ 1..) = stdout.read(&mut buf) {
                assert_pattern(at, &buf[..len]);
                at += len as u64;
                count.store(at, Ordering::Relaxed);
            }
        });
        Download { curl, received, reader: Some(reader) }
    }

    /// Bytes that have come so far.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Ends it: it has gone on until now, and every byte was right.
    #[track_caller]
    pub(crate) fn end(mut self) {
        assert!(self.curl.try_wait().expect("our own child").is_none(), "the download has ended");
        self.stop().expect("every byte is right");
    }

    fn stop(&mut self) -> std::thread::Result<()> {
        let _ = self.curl.kill();
        let _ = self.curl.wait();
        self.reader.take().map_or(Ok(()), JoinHandle::join)
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

/// What the server does.
pub(crate) fn answer(mut stream: TcpStream) {
    let _ = stream.read(&mut [0; 4096]);
    let _ = write!(stream, "HTTP/1.0 200 OK\r\n\r\n");
    let (mut at, piece) = (0, 65_536);
    // Until the client leaves.
    while stream.write_all(&pattern(at, piece)).is_ok() {
        at += piece as u64;
    }
}
