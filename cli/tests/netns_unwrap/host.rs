//! A host whose server is to see its clients, and the balancer in front of it.
//!
//! ```text
//!   balancer 127.0.0.1, ::1 ── LISTEN ─▶ ropewalk unwrap ── from CLIENT ─▶ SERVER
//! ```
//!
//! All of it is in one network namespace; `beyond` adds a second, with a balancer on another host.

use crate::common::ns::Ns;
use crate::common::proxy::{Launch, Outcome, Proxy, run};
use crate::common::{LONG, Scratch, skip, socks, wait_until};
use ropewalk_core::unwrap::emit::{self, Transport};
use socket2::{Domain, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// Where clients come in.
pub(crate) const LISTEN: &str = "127.0.0.1:25577";
pub(crate) const LISTEN_V6: &str = "[::1]:25577";
/// Where the server is.
pub(crate) const SERVER: &str = "127.0.0.1:25578";
pub(crate) const SERVER_V6: &str = "[::1]:25578";
/// The client that the header names.
pub(crate) const CLIENT: &str = "192.0.2.7:40000";
/// Where the header says the client wanted to go.
pub(crate) const WANTED: &str = "198.51.100.2:443";
pub(crate) const WANTED_V6: &str = "[2001:db8:ff::2]:443";

/// Both listeners, both servers, and the balancers' addresses.
pub(crate) const USUAL: &str = "-l 127.0.0.1:25577 -l [::1]:25577 -4 127.0.0.1:25578 -6 [::1]:25578 \
                                --allow-from 127.0.0.0/8 --allow-from ::1/128";

pub(crate) fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap_or_else(|_| panic!("expected an address and a port, got {text:?}"))
}

/// A header of version 1 for a client; it wanted to go to [`WANTED`].
pub(crate) fn v1(client: &str) -> Vec<u8> {
    emit::v1(addr(client), wanted(client))
}

/// A header of version 2 for a TCP client, with its checksum.
pub(crate) fn v2(client: &str) -> Vec<u8> {
    emit::v2(addr(client), wanted(client), Transport::Stream, &[], true)
}

fn wanted(client: &str) -> SocketAddr {
    addr(if addr(client).is_ipv4() { WANTED } else { WANTED_V6 })
}

pub(crate) struct Host {
    pub(crate) ns: Ns,
    scratch: Scratch,
}

impl Host {
    /// With routes for both servers. `None`: skipped, and said so.
    pub(crate) fn new(test: &str) -> Option<Self> {
        let host = Host::bare(test)?;
        host.setup(&format!("-4 {SERVER} -6 {SERVER_V6} -p tcp -p udp"));
        Some(host)
    }

    /// Without any route.
    pub(crate) fn bare(test: &str) -> Option<Self> {
        let ns = Ns::new().inspect_err(|needs| skip(test, needs)).ok()?;
        Some(Host { ns, scratch: Scratch::new() })
    }

    /// Writes a file that everybody may read; gives its path.
    pub(crate) fn file(&self, name: &str, content: &str) -> String {
        self.scratch.file(name, content.as_bytes())
    }

    /// A directory of our own.
    pub(crate) fn dir(&self) -> &std::path::Path {
        self.scratch.path()
    }

    /// Runs `ropewalk unwrap setup`, which must succeed.
    #[track_caller]
    pub(crate) fn setup(&self, switches: &str) {
        let state = self.scratch.path().join("state");
        let state = state.to_str().expect("an ASCII name");
        let outcome = self.attempt(&format!("setup {switches} --state-dir {state}"));
        assert_eq!(outcome.code, Some(0), "unwrap setup {switches}: {}", outcome.stderr);
    }

    /// Runs `ropewalk unwrap`, which must end by itself.
    #[track_caller]
    pub(crate) fn attempt(&self, switches: &str) -> Outcome {
        let mut line = vec!["unwrap"];
        line.extend(switches.split_ascii_whitespace());
        self.ns.run(|| run(&line))
    }

    /// Starts `ropewalk unwrap`, and waits until it listens.
    #[track_caller]
    pub(crate) fn unwrap(&self, switches: &str) -> Proxy {
        let words: Vec<&str> = switches.split_ascii_whitespace().collect();
        self.start(Launch::unwrap(&words))
    }

    /// The same with [`USUAL`] in front.
    #[track_caller]
    pub(crate) fn usual(&self, more: &str) -> Proxy {
        self.unwrap(&format!("{USUAL} {more}"))
    }

    #[track_caller]
    pub(crate) fn start(&self, launch: Launch) -> Proxy {
        self.ns.run(|| launch.start())
    }

    /// A TCP server at `at`.
    pub(crate) fn listen(&self, at: &str) -> Server {
        let listener = self.ns.run(|| {
            let at = addr(at);
            let domain = if at.is_ipv6() { Domain::IPV6 } else { Domain::IPV4 };
            let socket = Socket::new(domain, Type::STREAM, None).expect("a descriptor");
            socket.set_reuse_address(true).expect("a TCP socket");
            if at.is_ipv6() {
                socket.set_only_v6(true).expect("an IPv6 socket");
            }
            bind(&socket, at);
            socket.listen(4096).expect("bound");
            socket
        });
        // On Linux this holds for accept too.
        listener.set_read_timeout(Some(LONG)).expect("a time above zero");
        Server(listener.into())
    }

    /// The servers for both families.
    pub(crate) fn servers(&self) -> [Server; 2] {
        [self.listen(SERVER), self.listen(SERVER_V6)]
    }

    /// A connection of the balancer to `to`.
    #[track_caller]
    pub(crate) fn dial(&self, to: &str) -> TcpStream {
        self.ns.run(|| socks::dial(addr(to)))
    }

    /// The same from this address.
    #[track_caller]
    pub(crate) fn dial_from(&self, from: &str, to: &str) -> TcpStream {
        self.try_dial_from(from, to).expect("ropewalk listens")
    }

    pub(crate) fn try_dial_from(&self, from: &str, to: &str) -> std::io::Result<TcpStream> {
        self.ns.run(|| {
            let from = addr(from);
            let domain = if from.is_ipv6() { Domain::IPV6 } else { Domain::IPV4 };
            let socket = Socket::new(domain, Type::STREAM, None)?;
            socket.bind(&from.into())?;
            socket.connect_timeout(&addr(to).into(), LONG)?;
            Ok(patient(socket.into()))
        })
    }

    /// A connection of the balancer to [`LISTEN`] on which this was sent.
    #[track_caller]
    pub(crate) fn send(&self, bytes: &[u8]) -> TcpStream {
        self.send_to(LISTEN, bytes)
    }

    #[track_caller]
    pub(crate) fn send_to(&self, to: &str, bytes: &[u8]) -> TcpStream {
        let mut stream = self.dial(to);
        stream.write_all(bytes).expect("ropewalk reads, or the system's buffers have room");
        stream
    }

    /// What the stats endpoint at 127.0.0.1:9090 says of the sample with this name and these
    /// labels.
    #[track_caller]
    pub(crate) fn metric(&self, sample: &str) -> u64 {
        let mut stream = self.send_to("127.0.0.1:9090", b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
        let mut page = String::new();
        stream.read_to_string(&mut page).expect("an answer and its end");
        let line = page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        line.and_then(|line| line.parse().ok()).unwrap_or_else(|| panic!("no {sample} in {page}"))
    }
}

/// A balancer on another host, 10.9.0.2 and fd09::2; `host` is 10.9.0.1 and fd09::1.
pub(crate) fn beyond(host: &Host) -> Ns {
    let far = Ns::new().expect("there is one already");
    host.ns.ip(&format!(
        "link add near type veth peer name far netns {}\n\
         link set near addrgenmode none\n\
         addr add 10.9.0.1/24 dev near\n\
         addr add fd09::1/64 dev near nodad\n\
         link set near up\n",
        far.name()
    ));
    far.ip("link set far addrgenmode none\n\
         addr add 10.9.0.2/24 dev far\n\
         addr add fd09::2/64 dev far nodad\n\
         link set far up\n");
    far
}

/// A TCP server, which the test plays itself.
pub(crate) struct Server(pub(crate) TcpListener);

impl Server {
    /// The next connection, and the client that it is from.
    #[track_caller]
    pub(crate) fn accept(&self) -> (TcpStream, SocketAddr) {
        let (stream, peer) = self.0.accept().expect("a connection, soon");
        (patient(stream), peer)
    }

    /// The server has no connection that the test has not taken.
    #[track_caller]
    pub(crate) fn expect_nobody(&self) {
        self.0.set_nonblocking(true).expect("a socket");
        let came = self.0.accept();
        self.0.set_nonblocking(false).expect("a socket");
        let kind = came.as_ref().map_err(std::io::Error::kind);
        assert!(matches!(kind, Err(ErrorKind::WouldBlock)), "expected nobody at the server, got {came:?}");
    }
}

/// Binds it. A child of another test, forked just before, may keep a copy of a closed socket until
/// it execs.
#[track_caller]
pub(crate) fn bind(socket: &Socket, at: SocketAddr) {
    wait_until(&format!("{at} is free"), LONG, || match socket.bind(&at.into()) {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::AddrInUse => false,
        Err(error) => panic!("{at}: {error}"),
    });
}

/// Nothing hangs for ever on it.
fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(LONG)).expect("a time above zero");
    stream.set_write_timeout(Some(LONG)).expect("a time above zero");
    stream.set_nodelay(true).expect("a TCP socket");
    stream
}

/// How the other side ended the stream, without another byte.
#[track_caller]
pub(crate) fn end_of(stream: &mut TcpStream) -> End {
    loop {
        match stream.read(&mut [0; 64]) {
            Ok(0) => return End::Closed,
            Ok(n) => panic!("expected the end, got {n} bytes"),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return End::Reset,
            // signal(7): a socket with a time-out is not restarted.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("expected the end, got {error}"),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    Closed,
    Reset,
}

/// Sends `bytes` on the one, and they come out of the other.
#[track_caller]
pub(crate) fn carries(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) {
    from.write_all(bytes).expect("the relay reads");
    expect(to, bytes);
}

/// The next bytes are these.
#[track_caller]
pub(crate) fn expect(stream: &mut TcpStream, bytes: &[u8]) {
    let mut got = vec![0; bytes.len()];
    stream.read_exact(&mut got).expect("as many bytes as were sent");
    assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(bytes));
}

/// Ends a connection by a reset.
pub(crate) fn reset(stream: TcpStream) {
    Socket::from(stream).set_linger(Some(Duration::ZERO)).expect("a TCP socket");
}

/// A whole connection from `client` by a header in front of a payload: what a user of it hopes for.
#[track_caller]
pub(crate) fn serves(host: &Host, server: &Server, client: &str) {
    let mut outer = host.send(&[&v2(client), &b"hello"[..]].concat());
    let (mut inner, peer) = server.accept();
    assert_eq!(peer, addr(client));
    expect(&mut inner, b"hello");
    carries(&mut inner, &mut outer, b"welcome");
}
