//! Bytes and endings, through the real dispatch machine over loopback.

mod common;

use common::{LONG, Pattern, Proxy, at_end, echo, ends_reset, reset, round_trip, server};
use ropewalk_core::dispatch::Config;
use std::io::Read;
use std::net::{Shutdown, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

const MIB: usize = 1024 * 1024;

#[test]
fn what_is_sent_through_a_socks5_tunnel_comes_back() {
    let (proxy, target) = (Proxy::start(), echo());
    let mut tunnel = proxy.connect(target).expect("the target listens");
    for word in ["one", "two", "three"] {
        round_trip(&mut tunnel, word.as_bytes());
    }
    tunnel.shutdown(Shutdown::Write).expect("it is open");
    at_end(&mut tunnel).expect("the end comes back too");
}

#[test]
fn a_half_close_leaves_the_other_half_open() {
    let target = server(|mut stream| {
        let (mut up, mut down) = (Pattern::new(1), Pattern::new(2));
        up.expect(&mut stream, 8 * MIB).expect("all of the question");
        at_end(&mut stream).expect("the end of the question");
        down.send(&mut stream, MIB, |_| ()).expect("room for the answer");
    });
    let proxy = Proxy::start();
    let mut tunnel = proxy.connect(target).expect("the target listens");
    Pattern::new(1).send(&mut tunnel, 8 * MIB, |_| ()).expect("room for the question");
    tunnel.shutdown(Shutdown::Write).expect("it is open");
    Pattern::new(2).expect(&mut tunnel, MIB).expect("all of the answer");
    at_end(&mut tunnel).expect("the end of the answer");
}

#[test]
fn a_reset_of_the_client_reaches_the_target_as_a_reset() {
    let (tell, told) = mpsc::channel();
    let target = server(move |mut stream| {
        let _ = tell.send(ends_reset(&mut stream));
    });
    let proxy = Proxy::start();
    let tunnel = proxy.connect(target).expect("the target listens");
    reset(tunnel);
    told.recv_timeout(LONG).expect("the target hears of it").expect("as a reset");
}

#[test]
fn a_reset_of_the_target_reaches_the_client_as_a_reset() {
    let target = server(|mut stream| {
        let _ = stream.read(&mut [0; 1]);
        reset(stream);
    });
    let proxy = Proxy::start();
    let mut tunnel = proxy.connect(target).expect("the target listens");
    std::io::Write::write_all(&mut tunnel, b"!").expect("it is open");
    ends_reset(&mut tunnel).expect("as a reset");
}

#[test]
fn a_target_that_refuses_is_told_as_code_5() {
    let listener = TcpListener::bind(common::LOOPBACK).expect("a free port of loopback");
    let nobody = listener.local_addr().expect("it is bound");
    drop(listener);
    assert_eq!(Proxy::start().connect(nobody).err(), Some(5));
}

#[test]
fn a_slow_reader_holds_its_sender_back_and_loses_nothing() {
    const ALL: usize = 64 * MIB;
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let target = server(move |mut stream| {
        let wrote = |len| {
            count.fetch_add(len, Ordering::Relaxed);
        };
        Pattern::new(3).send(&mut stream, ALL, wrote).expect("room in the end");
    });
    let proxy = Proxy::start();
    let mut tunnel = proxy.connect(target).expect("the target listens");
    // A client without progress for half a second counts as held back.
    let (began, mut before) = (Instant::now(), usize::MAX);
    loop {
        let now = sent.load(Ordering::Relaxed);
        if now == before && now > 0 {
            break;
        }
        before = now;
        assert!(began.elapsed() < LONG, "the sender goes on and on");
        std::thread::sleep(Duration::from_millis(500));
    }
    assert!(before < ALL, "all went out while nobody read");
    Pattern::new(3).expect(&mut tunnel, ALL).expect("all of it");
    at_end(&mut tunnel).expect("the end");
    assert_eq!(sent.load(Ordering::Relaxed), ALL);
}

#[test]
fn two_hundred_connections_at_once_each_get_their_own_bytes() {
    let (proxy, target) = (Proxy::start(), echo());
    let mut tunnels: Vec<_> = (0..200).map(|_| proxy.connect(target).expect("the target listens")).collect();
    for turn in 0..3 {
        for (number, tunnel) in tunnels.iter_mut().enumerate() {
            round_trip(tunnel, format!("turn {turn} of number {number}").as_bytes());
        }
    }
    std::thread::scope(|scope| {
        for (number, tunnel) in tunnels.iter_mut().enumerate() {
            scope.spawn(move || {
                let mut back = tunnel.try_clone().expect("a descriptor");
                let seed = number as u64 + 100;
                let sender = scope.spawn(move || Pattern::new(seed).send(tunnel, MIB / 2, |_| ()));
                Pattern::new(seed).expect(&mut back, MIB / 2).expect("its own bytes");
                sender.join().expect("no panic").expect("room for all");
            });
        }
    });
    let machine = proxy.stop().machine;
    assert_eq!(machine.counters().accepted, 200);
}

/// Bulk both ways at once; gives how many bytes were spliced and how many read.
fn bulk(config: Config) -> (u64, u64) {
    const ALL: usize = 64 * MIB;
    let (proxy, target) = (Proxy::with(config), echo());
    let mut tunnel = proxy.connect(target).expect("the target listens");
    let mut up = tunnel.try_clone().expect("a descriptor");
    let sender = std::thread::spawn(move || {
        Pattern::new(4).send(&mut up, ALL, |_| ())?;
        up.shutdown(Shutdown::Write).map_err(|error| error.to_string())
    });
    Pattern::new(4).expect(&mut tunnel, ALL).expect("all of it");
    sender.join().expect("no panic").expect("room for all");
    at_end(&mut tunnel).expect("the end");
    let watched = proxy.stop();
    (watched.spliced, watched.read)
}

#[cfg(target_os = "linux")]
#[test]
fn bulk_that_is_spliced_is_byte_exact() {
    let (spliced, _) = bulk(Config { splice_after: 1, ..Config::default() });
    assert!(spliced > 32 * MIB as u64, "only {spliced} bytes of 128 MiB were spliced");
}

#[test]
fn bulk_that_is_copied_is_byte_exact() {
    let (spliced, read) = bulk(Config { splice_after: 0, ..Config::default() });
    assert_eq!(spliced, 0);
    assert!(read >= 128 * MIB as u64);
}

#[test]
fn a_client_that_says_nothing_is_closed_when_its_time_is_over() {
    let config =
        Config { handshake_timeout: ropewalk_core::time::Duration::from_millis(200), ..Config::default() };
    let proxy = Proxy::with(config);
    // An earlier, longer time must not hide a shorter one, nor the first ring be the last.
    for _ in 0..3 {
        let began = Instant::now();
        let mut silent = proxy.dial();
        assert!(matches!(silent.read(&mut [0; 1]), Ok(0) | Err(_)), "it says nothing either");
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(200) && took < LONG, "closed after {took:?}");
    }
}
