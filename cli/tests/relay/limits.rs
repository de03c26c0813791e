//! The limits that flags set: what is beyond waits or ends, and other connections go on.

use crate::common::proxy::Proxy;
use crate::common::servers::Server;
use crate::common::socks::{self, round_trip};
use crate::common::{assert_pattern, pattern, wait_until};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

#[test]
fn connections_beyond_the_limit_wait_for_their_turn() {
    let server = Server::echo();
    let proxy = Proxy::start(&["--max-connections", "2"]);
    let mut open = [(); 2].map(|()| socks::connect(proxy.address, server.address).expect("a tunnel"));
    proxy.wait_for("2 connections are open in this worker: new ones wait (--max-connections)");
    let mut third = socks::dial(proxy.address);
    third.write_all(&socks::hello(server.address)).expect("the kernel takes it");
    third.set_read_timeout(Some(Duration::from_millis(300))).expect("above zero");
    let early = third.read(&mut [0; 1]).map_err(|error| error.kind());
    assert!(matches!(early, Err(ErrorKind::WouldBlock | ErrorKind::TimedOut)), "got {early:?}");
    open.iter_mut().for_each(round_trip);
    drop(open);
    third.set_read_timeout(Some(Duration::from_secs(5))).expect("above zero");
    socks::read_answers(&mut third).expect("a reply in its turn").expect("a tunnel");
    round_trip(&mut third);
}

#[test]
fn an_idle_tunnel_is_closed_where_that_is_asked_for_and_a_busy_one_lives() {
    let server = Server::echo();
    let proxy = Proxy::start(&["--idle-timeout", "1"]);
    let mut busy = socks::connect(proxy.address, server.address).expect("a tunnel");
    let mut idle = socks::connect(proxy.address, server.address).expect("a tunnel");
    // The read is the pause between two exchanges.
    idle.set_read_timeout(Some(Duration::from_millis(200))).expect("above zero");
    let began = Instant::now();
    loop {
        round_trip(&mut busy);
        match idle.read(&mut [0; 1]) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Ok(0) => break,
            other => panic!("expected silence, then the end, got {other:?}"),
        }
        assert!(began.elapsed() < Duration::from_secs(5), "the limit is 1 s");
    }
    assert!(began.elapsed() > Duration::from_millis(900), "after {:?}", began.elapsed());
    round_trip(&mut busy);
}

#[test]
fn an_idle_tunnel_lives_where_nothing_is_asked_for() {
    let server = Server::echo();
    let proxy = Proxy::start(&["--handshake-timeout", "0.3", "--connect-timeout", "0.3"]);
    let mut tunnel = socks::connect(proxy.address, server.address).expect("a tunnel");
    tunnel.set_read_timeout(Some(Duration::from_secs(2))).expect("above zero");
    let end = tunnel.read(&mut [0; 1]).map_err(|error| error.kind());
    assert!(matches!(end, Err(ErrorKind::WouldBlock | ErrorKind::TimedOut)), "got {end:?}");
    round_trip(&mut tunnel);
}

#[test]
fn many_busy_tunnels_share_two_buffers_and_lose_nothing() {
    const LEN: usize = 4 << 20;
    let server = Server::echo();
    let proxy = Proxy::start(&["--max-buffers", "2"]);
    std::thread::scope(|scope| {
        for n in 0..8 {
            let (proxy, server) = (&proxy, &server);
            scope.spawn(move || {
                let mut tunnel = socks::connect(proxy.address, server.address).expect("a tunnel");
                let mut writer = tunnel.try_clone().expect("a descriptor");
                scope.spawn(move || {
                    writer.write_all(&pattern(n, LEN)).expect("the server reads");
                    writer.shutdown(Shutdown::Write).expect("open until now");
                });
                let mut back = Vec::new();
                tunnel.read_to_end(&mut back).expect("the echo");
                assert_eq!(back.len(), LEN);
                assert_pattern(n, &back);
            });
        }
    });
}

/// A response that is not read holds a buffer. Later clients must be served all the same: a
/// handshake takes some bytes.
#[test]
fn readers_that_stand_still_do_not_keep_the_others_from_being_served() {
    let filled = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&filled);
    let source = Server::on_loopback(move |mut stream| {
        if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n").is_err() {
            return;
        }
        // Until all buffers on the way are full.
        stream.set_write_timeout(Some(Duration::from_millis(500))).expect("above zero");
        while stream.write(&[0; 64 * 1024]).is_ok() {}
        counter.fetch_add(1, Ordering::SeqCst);
        // Held open until the client leaves.
        stream.set_write_timeout(None).expect("a socket");
        while stream.write(&[0; 64 * 1024]).is_ok() {}
    });
    let echo = Server::echo();
    let proxy = Proxy::start(&["--max-buffers", "4"]);
    let still: Vec<TcpStream> = (0..8)
        .map(|_| {
            let mut reader = socks::dial(proxy.address);
            // A small window: little memory, soon full.
            rustix::net::sockopt::set_socket_recv_buffer_size(&reader, 4096).expect("a TCP socket");
            let request = format!("GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n\r\n", source.address);
            reader.write_all(request.as_bytes()).expect("the proxy reads");
            reader
        })
        .collect();
    // Clients without a buffer never get as far as that.
    wait_until("four stand still", Duration::from_secs(20), || filled.load(Ordering::SeqCst) >= 4);
    let mut other = socks::dial(proxy.address);
    other.set_read_timeout(Some(Duration::from_secs(5))).expect("above zero");
    other.write_all(&socks::hello(echo.address)).expect("the kernel takes it");
    let answer = socks::read_answers(&mut other);
    answer.expect("an answer, although the others stand still").expect("a tunnel");
    round_trip(&mut other);
    drop(still);
}

#[test]
fn the_sockets_on_both_sides_have_the_buffers_that_were_asked_for() {
    if !crate::common::has(crate::common::here!(), "ss") {
        return;
    }
    let server = Server::echo();
    let proxy = Proxy::start(&["--socket-buffer", "16384"]);
    let mut tunnel = socks::connect(proxy.address, server.address).expect("a tunnel");
    round_trip(&mut tunnel);
    // socket(7): the system doubles the value that was asked for. (`tb` grows with neither.)
    for filter in
        [format!("sport = :{}", proxy.address.port()), format!("dport = :{}", server.address.port())]
    {
        let output =
            std::process::Command::new("ss").args(["-tmnH", "state", "established", &filter]).output();
        let output = output.expect("looked for above");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("rb32768,") && said.contains("tb32768,"), "{filter}: {said}");
    }
}

#[test]
fn a_mute_origin_is_given_up_when_it_was_said() {
    let server = Server::on_loopback(|mut stream| {
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let proxy = Proxy::start(&["--http-timeout", "1"]);
    let mut client = socks::dial(proxy.address);
    let request = format!("GET http://{}/ HTTP/1.1\r\nHost: x\r\n\r\n", server.address);
    client.write_all(request.as_bytes()).expect("the proxy reads");
    client.set_read_timeout(Some(crate::common::LONG)).expect("above zero");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer and its end");
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
}

/// Descriptors of this process, as many as there may be.
#[cfg(target_os = "linux")]
fn descriptors() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let most = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most });
    most.unwrap_or(u64::MAX)
}

#[cfg(target_os = "linux")]
#[test]
fn ten_thousand_half_open_connections_keep_no_good_client_waiting() {
    const COUNT: usize = 10_000;
    const BOUND: usize = 4_000;
    if descriptors() < COUNT as u64 + 4_000 {
        return crate::common::skip(crate::common::here!(), "14000 descriptors (ulimit -Hn)");
    }
    let server = Server::echo();
    let bound = BOUND.to_string();
    let places = ["--max-connections", "9000", "--max-client-connections", "9000"];
    let proxy =
        Proxy::start(&[&places[..], &["--max-handshakes", &bound, "--handshake-timeout", "600"]].concat());
    // Each says half of a greeting and no more.
    let mut half: Vec<TcpStream> = Vec::with_capacity(COUNT);
    for n in 0..COUNT {
        let mut stream = socks::dial(proxy.address);
        // One that is reset already is one of the oldest.
        assert!(stream.write_all(&[5]).is_ok() || n >= BOUND);
        half.push(stream);
    }
    let line = format!("{BOUND} handshakes are incomplete in this worker: the oldest go for new ones");
    proxy.wait_for(&line);
    // Without the bound they would hold every place for ten minutes.
    for _ in 0..20 {
        let mut tunnel = socks::connect(proxy.address, server.address).expect("a tunnel");
        round_trip(&mut tunnel);
    }
    let ended = |stream: &mut TcpStream| {
        stream.set_nonblocking(true).expect("a socket");
        let end = stream.read(&mut [0; 1]).map_err(|error| error.kind());
        !matches!(end, Err(ErrorKind::WouldBlock))
    };
    let oldest = half[..1000].iter_mut().filter_map(|stream| ended(stream).then_some(())).count();
    let newest = half[COUNT - 1000..].iter_mut().filter_map(|stream| ended(stream).then_some(())).count();
    assert_eq!((oldest, newest), (1000, 0), "the oldest have ended, the newest wait on");
    let resident = crate::common::process::resident(proxy.id());
    assert!(resident < 128 << 20, "{resident} bytes for {BOUND} handshakes");
    drop(half);
    proxy.stop();
}
