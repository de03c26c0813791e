//! What stalled clients leave in the system's socket buffers has a bound.

use crate::common::proxy::Proxy;
use crate::common::servers::Server;
use crate::common::{LONG, here, socks};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const LIMIT: u64 = 16 << 20;
const CLIENTS: usize = 40;
/// Each client is sent so much, a piece at a time.
const EACH: usize = 6 << 20;
const PIECE: usize = 32 * 1024;
const PAUSE: Duration = Duration::from_millis(50);

/// Bytes of memory in the buffers of this proxy's sockets, by `ss`: those of clients, and those to
/// the server at `port`.
fn kept(proxy: &Proxy, port: u16) -> u64 {
    let filter = format!("sport = :{} or dport = :{port}", proxy.address.port());
    let said = std::process::Command::new("ss").args(["-tmnH", "state", "established", &filter]).output();
    let said = String::from_utf8(said.expect("looked for before").stdout).expect("numbers");
    // skmem:(r0,rb131072,t0,tb2626560,f0,w0,o0,bl0,d0)
    let fields = said.split("skmem:(").skip(1).filter_map(|rest| rest.split(')').next());
    let of = |field: &str, name: &str| field.strip_prefix(name).and_then(|number| number.parse::<u64>().ok());
    fields
        .flat_map(|fields| fields.split(','))
        .filter_map(|field| ["r", "f", "w", "bl"].iter().find_map(|name| of(field, name)))
        .sum()
}

/// A server that sends [`EACH`] to each client, without haste.
fn patient() -> Server {
    Server::on_loopback(|mut stream| {
        for _ in 0..EACH / PIECE {
            if stream.write_all(&[7; PIECE]).is_err() {
                return;
            }
            std::thread::sleep(PAUSE);
        }
        // Held open until the client leaves.
        let _ = stream.read(&mut [0]);
    })
}

fn stalled(proxy: &Proxy, server: &Server) -> Vec<TcpStream> {
    let connect = |_| {
        let client = socks::dial(proxy.address);
        rustix::net::sockopt::set_socket_recv_buffer_size(&client, 4096).expect("a TCP socket");
        let mut client = client;
        client.write_all(&socks::hello(server.address)).expect("the proxy reads");
        client
    };
    (0..CLIENTS).map(connect).collect()
}

#[test]
fn clients_that_read_nothing_cannot_take_the_hosts_socket_memory() {
    if !crate::common::has(here!(), "ss") {
        return;
    }
    let (server, echo) = (patient(), Server::echo());
    let limit = LIMIT.to_string();
    let proxy = Proxy::start(&["--max-socket-memory", &limit]);
    let clients = stalled(&proxy, &server);
    let mut reader = socks::connect(proxy.address, server.address).expect("a tunnel");
    let good = std::thread::spawn(move || {
        let mut all = vec![0; EACH];
        reader.read_exact(&mut all).map(|()| all.iter().all(|byte| *byte == 7))
    });
    let (mut most, mut last, began) = (0, 0, Instant::now());
    // All that could come has come, and what stood still has been looked at.
    while !good.is_finished() && began.elapsed() < LONG {
        last = kept(&proxy, server.address.port());
        most = most.max(last);
        std::thread::sleep(Duration::from_millis(200));
    }
    // What a link brings in the second that makes a stall comes on top: here 26 MB in a second, and
    // half as much again to hold it.
    let sent = (CLIENTS * PIECE * 20) as u64;
    assert!(most <= LIMIT + 3 * sent, "{most} bytes at the most");
    assert!(last <= LIMIT, "{last} bytes in the end");
    assert!(most > LIMIT, "{most} bytes: the limit was not met");
    assert!(good.join().expect("no panic").expect("a whole transfer"), "who reads is left alone");
    let line = proxy.wait_for("--max-socket-memory");
    assert!(line.contains("stalled connections were reset"), "{line}");
    // Who comes now is served.
    let mut late = socks::connect(proxy.address, echo.address).expect("a tunnel");
    late.set_read_timeout(Some(LONG)).expect("above zero");
    late.write_all(b"word").expect("open");
    late.read_exact(&mut [0; 4]).expect("the echo");
    drop(clients);
}

/// The counterpart: without a bound the same clients have several times as much.
#[test]
fn without_a_bound_the_same_clients_have_all_that_the_system_gives() {
    if !crate::common::has(here!(), "ss") {
        return;
    }
    let server = patient();
    let proxy = Proxy::start(&["--max-socket-memory", "0"]);
    let clients = stalled(&proxy, &server);
    let wanted = 2 * LIMIT + (CLIENTS * PIECE * 20 * 3) as u64;
    let began = Instant::now();
    while kept(&proxy, server.address.port()) < wanted {
        assert!(began.elapsed() < LONG, "{} bytes", kept(&proxy, server.address.port()));
        std::thread::sleep(Duration::from_millis(200));
    }
    drop(clients);
}
