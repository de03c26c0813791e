//! Servers in threads, each ended on drop.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    listener: TcpListener,
    accepted: Arc<AtomicUsize>,
}

impl Server {
    /// Serves one connection after another, on the accepting thread. The sockets stay in the
    /// network namespace that the listener was made in.
    pub(crate) fn in_turn(listener: TcpListener, mut serve: impl FnMut(TcpStream) + Send + 'static) -> Self {
        let address = listener.local_addr().expect("it listens");
        let accepted = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&accepted);
        let acceptor = listener.try_clone().expect("a descriptor");
        std::thread::spawn(move || {
            loop {
                match acceptor.accept() {
                    Ok((stream, _)) => {
                        counter.fetch_add(1, Ordering::SeqCst);
                        serve(stream);
                    }
                    // Its end would be the end of all that `serve` holds, in the middle of a test.
                    Err(error) if is_lack(&error) => std::thread::sleep(std::time::Duration::from_millis(10)),
                    Err(_) => return,
                }
            }
        });
        Server { address, listener, accepted }
    }

    /// Serves each connection on a thread of its own.
    pub(crate) fn of(listener: TcpListener, serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let serve = Arc::new(serve);
        Server::in_turn(listener, move |stream| {
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(stream));
        })
    }

    /// On a free port of 127.0.0.1.
    pub(crate) fn on_loopback(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        Server::of(TcpListener::bind("127.0.0.1:0").expect("a free port"), serve)
    }

    /// Gives back what it gets, and the end after it.
    pub(crate) fn echo() -> Self {
        Server::on_loopback(|mut stream| {
            let Ok(mut writer) = stream.try_clone() else { return };
            // A client that leaves early is no fault of the server.
            let _ = io::copy(&mut stream, &mut writer);
            let _ = writer.shutdown(std::net::Shutdown::Write);
        })
    }

    /// How many connections it has taken.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

/// Other tests of this process have taken what there is: for a while.
fn is_lack(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]
        .map(|errno| Some(errno.raw_os_error()))
        .contains(&error.raw_os_error())
}

impl Drop for Server {
    fn drop(&mut self) {
        // On Linux this ends the accept; elsewhere the thread ends with the process.
        #[cfg(unix)]
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
    }
}

/// A port of 127.0.0.1 that is bound, so that no other process gets it, and does not listen.
pub(crate) struct ClosedPort(rustix::fd::OwnedFd, pub(crate) SocketAddr);

impl ClosedPort {
    pub(crate) fn new() -> Self {
        use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a descriptor");
        bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let address = getsockname(&socket).ok().and_then(|address| address.try_into().ok());
        ClosedPort(socket, address.expect("an IPv4 address, as bound"))
    }
}

/// A port of 127.0.0.1 that never answers: it listens, its backlog is full, and Linux drops what
/// comes then.
pub(crate) struct DeafPort {
    pub(crate) address: SocketAddr,
    _listener: TcpListener,
    _backlog: Vec<TcpStream>,
}

impl DeafPort {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        // listen(2) again changes the backlog; 0 still takes one.
        rustix::net::listen(&listener, 0).expect("it listens already");
        let address = listener.local_addr().expect("it listens");
        let dial = || TcpStream::connect_timeout(&address, std::time::Duration::from_millis(100)).ok();
        let backlog: Vec<TcpStream> = std::iter::from_fn(dial).take(16).collect();
        assert!(backlog.len() < 16, "expected a backlog that fills up");
        DeafPort { address, _listener: listener, _backlog: backlog }
    }
}
