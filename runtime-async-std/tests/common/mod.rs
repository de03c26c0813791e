//! What the tests share: a running worker, a small SOCKS5 client, servers in threads.
#![allow(dead_code, reason = "each test binary takes a part of it")]

use ropewalk_async_std::{Handle, Shared, Watch, Worker, listen};
use ropewalk_core::dispatch::{Config, Dispatch};
use ropewalk_core::machine::event::Event;
use ropewalk_core::machine::{Input, Layer, Machine};
use ropewalk_core::time::Instant;
use ropewalk_core::uplink::{Pool, PoolConfig};
use socket2::SockRef;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;
use std::time::Duration;

/// No step of these tests takes this long unless it hangs.
pub(crate) const LONG: Duration = Duration::from_secs(20);

pub(crate) const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

struct Nobody;

impl Watch for Nobody {
    fn event(&self, _: Instant, _: &Event) {}
}

/// The dispatch machine, with a record of the driver's inputs.
pub(crate) struct Watched {
    pub(crate) machine: Dispatch,
    pub(crate) spliced: u64,
    pub(crate) read: u64,
    /// What came from a handle.
    pub(crate) commands: Vec<String>,
}

impl Layer for Watched {
    type Inner = Dispatch;

    fn inner(&self) -> &Dispatch {
        &self.machine
    }

    fn inner_mut(&mut self) -> &mut Dispatch {
        &mut self.machine
    }

    fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Spliced { given, .. } => self.spliced += given as u64,
            Input::Read { len, .. } => self.read += len as u64,
            Input::LocalAddresses { .. } | Input::UplinkGone { .. } | Input::Drain => {
                self.commands.push(format!("{input:?}"));
            }
            _ => {}
        }
        self.inner_mut().handle_input(now, input);
    }
}

/// A worker that runs in a thread of its own.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    pub(crate) handle: Handle,
    ended: Mutex<Receiver<Watched>>,
    _thread: JoinHandle<()>,
}

impl Proxy {
    pub(crate) fn start() -> Self {
        Proxy::with(Config::default())
    }

    pub(crate) fn with(config: Config) -> Self {
        Proxy::on(listen(LOOPBACK, false).expect("a free port of loopback"), config)
    }

    pub(crate) fn on(listener: TcpListener, config: Config) -> Self {
        let address = listener.local_addr().expect("it is bound");
        let shared = Shared::new(Pool::new(PoolConfig::default()).expect("no uplinks"), Box::new(Nobody));
        let machine = Dispatch::new(Config { listeners: vec![address], ..config }).expect("a configuration");
        let machine = Watched { machine, spliced: 0, read: 0, commands: Vec::new() };
        let (worker, handle) = Worker::new(machine, vec![listener], shared).expect("a reactor");
        let (tell, ended) = mpsc::channel();
        let run = move || {
            let _ = tell.send(worker.run().expect("a worker's run ends well"));
        };
        let thread = std::thread::Builder::new().name("worker".into()).spawn(run).expect("a thread");
        Proxy { address, handle, ended: Mutex::new(ended), _thread: thread }
    }

    /// The machine, once the run has ended.
    #[track_caller]
    pub(crate) fn ended(&self) -> Watched {
        self.receiver().recv_timeout(LONG).expect("the run ends in time")
    }

    pub(crate) fn runs(&self) -> bool {
        self.receiver().try_recv().is_err()
    }

    fn receiver(&self) -> std::sync::MutexGuard<'_, Receiver<Watched>> {
        self.ended.lock().expect("no test panics with it")
    }

    #[track_caller]
    pub(crate) fn stop(&self) -> Watched {
        self.handle.stop();
        self.ended()
    }

    pub(crate) fn dial(&self) -> TcpStream {
        patient(TcpStream::connect_timeout(&self.address, LONG).expect("the proxy listens"))
    }

    /// A tunnel to `target`, or the code of the refusal.
    pub(crate) fn connect(&self, target: SocketAddr) -> Result<TcpStream, u8> {
        let SocketAddr::V4(v4) = target else { panic!("expected an IPv4 target, got {target}") };
        let mut request = vec![5, 1, 0, 5, 1, 0, 1];
        request.extend(v4.ip().octets());
        self.request(request, target.port())
    }

    pub(crate) fn connect_name(&self, name: &str, port: u16) -> Result<TcpStream, u8> {
        let mut request = vec![5, 1, 0, 5, 1, 0, 3, name.len() as u8];
        request.extend(name.as_bytes());
        self.request(request, port)
    }

    fn request(&self, mut request: Vec<u8>, port: u16) -> Result<TcpStream, u8> {
        request.extend(port.to_be_bytes());
        let mut stream = self.dial();
        stream.write_all(&request).expect("the proxy reads");
        let mut head = [0; 6];
        stream.read_exact(&mut head).expect("a reply, never silence");
        assert_eq!(&head[..3], [5, 0, 5], "the choice and the version");
        let rest = if head[5] == 4 { 18 } else { 6 };
        stream.read_exact(&mut vec![0; rest]).expect("the bound address");
        if head[3] == 0 { Ok(stream) } else { Err(head[3]) }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.handle.stop();
    }
}

/// A socket on which nothing hangs for ever.
pub(crate) fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(LONG)).expect("a time above zero");
    stream.set_write_timeout(Some(LONG)).expect("a time above zero");
    stream.set_nodelay(true).expect("a TCP socket");
    stream
}

/// A server that serves each connection with `serve`, in a thread. Its clients notice its failures
/// by what they miss.
pub(crate) fn server(serve: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> SocketAddr {
    let listener = TcpListener::bind(LOOPBACK).expect("a free port of loopback");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = serve.clone();
            std::thread::spawn(move || serve(patient(stream)));
        }
    });
    address
}

pub(crate) fn echo() -> SocketAddr {
    server(|mut stream| {
        let mut reader = stream.try_clone().expect("a descriptor");
        let _ = std::io::copy(&mut reader, &mut stream);
        let _ = stream.shutdown(Shutdown::Write);
    })
}

#[track_caller]
pub(crate) fn round_trip(tunnel: &mut TcpStream, word: &[u8]) {
    tunnel.write_all(word).expect("the tunnel stands");
    let mut back = vec![0; word.len()];
    tunnel.read_exact(&mut back).expect("the echo");
    assert_eq!(back, word);
}

/// Ends with a reset.
pub(crate) fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a TCP socket");
}

/// Whether reading ends with a reset; what comes before is passed over.
pub(crate) fn ends_reset(stream: &mut TcpStream) -> Result<(), String> {
    match std::io::copy(stream, &mut std::io::sink()) {
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
        other => Err(format!("expected a reset, got {other:?}")),
    }
}

/// Bytes in which no part looks like another.
pub(crate) struct Pattern(u64);

impl Pattern {
    pub(crate) fn new(seed: u64) -> Self {
        Pattern(seed | 1)
    }

    fn fill(&mut self, buf: &mut [u8]) {
        for chunk in buf.chunks_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            chunk.copy_from_slice(&self.0.to_le_bytes()[..chunk.len()]);
        }
    }

    /// Writes the next `len` bytes, a multiple of 64 KiB; `wrote` is called after each part.
    pub(crate) fn send(
        &mut self,
        stream: &mut TcpStream,
        len: usize,
        wrote: impl Fn(usize),
    ) -> Result<(), String> {
        let mut chunk = vec![0; 64 * 1024];
        for at in (0..len).step_by(chunk.len()) {
            self.fill(&mut chunk);
            stream.write_all(&chunk).map_err(|error| format!("writing at {at} of {len}: {error}"))?;
            wrote(chunk.len());
        }
        Ok(())
    }

    /// Reads the next `len` bytes, a multiple of 64 KiB, and compares.
    pub(crate) fn expect(&mut self, stream: &mut TcpStream, len: usize) -> Result<(), String> {
        let (mut chunk, mut wanted) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
        for at in (0..len).step_by(chunk.len()) {
            self.fill(&mut wanted);
            stream.read_exact(&mut chunk).map_err(|error| format!("reading at {at} of {len}: {error}"))?;
            if chunk != wanted {
                return Err(format!("other bytes than were sent, at {at} of {len}"));
            }
        }
        Ok(())
    }
}

/// Whether the other side has ended its half, with nothing more to read.
pub(crate) fn at_end(stream: &mut TcpStream) -> Result<(), String> {
    match stream.read(&mut [0; 1]) {
        Ok(0) => Ok(()),
        other => Err(format!("expected the end, got {other:?}")),
    }
}
