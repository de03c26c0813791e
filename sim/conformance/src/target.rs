//! What clients want to reach: servers in threads, and addresses that do not answer.

use super::client::{impatient, narrow};
use std::io::{Read, Result, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A server that serves each connection in a thread.
#[derive(Debug)]
pub struct Target {
    /// Where it listens.
    pub address: SocketAddr,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Target {
    /// Serves with `serve`. A connection that breaks is its client's affair.
    ///
    /// # Panics
    /// When no port is free.
    pub fn new(serve: impl Fn(TcpStream) -> Result<()> + Send + Sync + 'static) -> Self {
        Target::bound((Ipv4Addr::LOCALHOST, 0).into(), serve)
    }

    fn bound(at: SocketAddr, serve: impl Fn(TcpStream) -> Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(at).expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        let serve = Arc::new(serve);
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let serve = Arc::clone(&serve);
                thread::spawn(move || impatient(&stream).and_then(|()| serve(stream)));
            }
        });
        Target { address, over, thread: Some(thread) }
    }

    /// Gives back what it gets, until its client ends.
    pub fn echo() -> Self {
        Target::new(echo)
    }

    /// Sends `bytes` and ends; the kernel keeps little of it.
    pub fn source(bytes: Vec<u8>) -> Self {
        Target::new(move |mut stream| {
            narrow(&stream, 128 * 1024)?;
            stream.write_all(&bytes)?;
            stream.shutdown(Shutdown::Write)?;
            // Until the client has taken it.
            stream.read(&mut [0]).map(|_| ())
        })
    }

    /// Takes all and says nothing.
    pub fn sink() -> Self {
        Target::new(|mut stream| {
            let mut buf = vec![0; 64 * 1024];
            while stream.read(&mut buf)? > 0 {}
            Ok(())
        })
    }

    /// Answers with the address of its peer.
    pub fn mirror() -> Self {
        Target::new(|mut stream| {
            let peer = stream.peer_addr()?.ip().to_string();
            stream.write_all(peer.as_bytes())
        })
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // The thread waits for a connection: this is one.
        let woken = TcpStream::connect(self.address);
        if let (Ok(_), Some(thread)) = (woken, self.thread.take()) {
            let _ = thread.join();
        }
    }
}

/// Gives back what it gets, until its client ends.
///
/// # Errors
/// What the system says.
pub fn echo(mut stream: TcpStream) -> Result<()> {
    let mut buf = vec![0; 16 * 1024];
    loop {
        match stream.read(&mut buf)? {
            0 => return Ok(()),
            len => stream.write_all(&buf[..len])?,
        }
    }
}

/// An address of this host where no server listens.
///
/// # Panics
/// When no port is free.
pub fn nobody() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    listener.local_addr().expect("it is bound")
}

/// An address of this host that does not answer: its backlog is full.
#[derive(Debug)]
pub struct BlackHole {
    /// Where.
    pub address: SocketAddr,
    listener: TcpListener,
    _fillers: Vec<TcpStream>,
}

impl BlackHole {
    /// Fills a backlog.
    ///
    /// # Panics
    /// When 64 connections do not fill it.
    pub fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        // listen(2) again: a new backlog for the same socket.
        rustix::net::listen(&listener, 0).expect("a socket that listens");
        let mut fillers = Vec::new();
        while let Ok(filler) = TcpStream::connect_timeout(&address, Duration::from_millis(150)) {
            fillers.push(filler);
            assert!(fillers.len() < 64, "the backlog does not fill");
        }
        BlackHole { address, listener, _fillers: fillers }
    }

    /// From now on it accepts what comes.
    pub fn open(&self) {
        let listener = self.listener.try_clone().expect("descriptors are left");
        thread::spawn(move || listener.incoming().for_each(drop));
    }
}

impl Default for BlackHole {
    fn default() -> Self {
        BlackHole::new()
    }
}
