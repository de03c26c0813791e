//! The example runtime of the porting guide, taken for a walk: a name, a relay, a drain.
#![cfg(unix)]

#[path = "../examples/poll_proxy/runtime.rs"]
mod poll_proxy;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

#[test]
fn the_example_relays_both_ways_and_drains() -> std::io::Result<()> {
    let target = TcpListener::bind("127.0.0.1:0")?;
    let port = target.local_addr()?.port();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let proxy = listener.local_addr()?;
    let (stop, stopped) = UnixStream::pair()?;
    let served = std::thread::spawn(move || poll_proxy::serve(listener, stopped));
    // More than fits into the buffers of sockets, so that both directions block.
    let sent: Vec<u8> = (0..16_u32 << 20).map(|n| (n % 251) as u8).collect();
    let expected = sent.clone();
    let echo = std::thread::spawn(move || -> std::io::Result<()> {
        let (stream, _) = target.accept()?;
        let mut heard = Vec::new();
        (&stream).read_to_end(&mut heard)?;
        (&stream).write_all(&heard)
    });

    let mut client = TcpStream::connect(proxy)?;
    client.set_read_timeout(Some(Duration::from_secs(20)))?;
    client.write_all(b"\x05\x01\x00")?;
    let mut method = [0; 2];
    client.read_exact(&mut method)?;
    assert_eq!(method, [5, 0]);
    client.write_all(b"\x05\x01\x00\x03\x09localhost")?;
    client.write_all(&port.to_be_bytes())?;
    let mut reply = [0; 10];
    client.read_exact(&mut reply)?;
    assert_eq!(reply[1], 0, "{reply:?}");

    // The proxy is drained while the relay goes on: it must finish it.
    drop(stop);
    client.write_all(&sent)?;
    client.shutdown(Shutdown::Write)?;
    let mut heard = Vec::new();
    client.read_to_end(&mut heard)?;
    assert!(heard == expected, "{} of {} bytes came back right", heard.len(), expected.len());
    drop(client);
    assert!(served.join().is_ok_and(|ended| ended.is_ok()));
    assert!(echo.join().is_ok_and(|ended| ended.is_ok()));
    assert!(TcpStream::connect(proxy).is_err(), "nobody listens after a drain");
    Ok(())
}
