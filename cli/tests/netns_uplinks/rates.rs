//! `--rate`: what an uplink may carry in a second. How exactly it is kept is told in virtual time
//! (`core/tests/rates.rs`); here that it is, by the built binary.

use crate::common::proxy::Proxy;
use crate::common::servers::Server;
use crate::common::{Scratch, assert_pattern, here, pattern, process};
use crate::world::World;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

const FILE: usize = 1_000_000;

/// Hands out a file, on the far side of uplink 1.
fn files(world: &World) -> Server {
    let listener = world.far(1).run(|| TcpListener::bind("203.0.113.1:8080")).expect("a free port");
    Server::of(listener, |mut stream| drop(stream.write_all(&pattern(0, FILE))))
}

/// How long the file takes, whole.
#[track_caller]
fn download(world: &World, proxy: &Proxy, from: SocketAddr) -> Duration {
    let began = Instant::now();
    let mut all = Vec::new();
    let mut stream = world.connect(proxy, from).expect("an uplink that works");
    stream.read_to_end(&mut all).expect("to its end");
    assert_eq!(all.len(), FILE);
    assert_pattern(0, &all);
    began.elapsed()
}

#[test]
fn an_uplink_with_a_rate_takes_its_time_alone_and_shared_and_a_reload_takes_it_back() {
    let Some(world) = World::new(here!(), 2) else { return };
    let (files, conf) = (files(&world), Scratch::new());
    let write = |rate: &str| {
        let text = format!(
            "[dispatch]\nlisten = \"127.0.0.1:0\"\nuplinks = [\"up1\"]\nworkers = 1\nrate = [{rate}]\n"
        );
        conf.file("ropewalk.toml", text.as_bytes())
    };
    let config = write("\"up1=4Mbit\"");
    let proxy = world.dispatch(&["--config", &config]);
    proxy.wait_for("up1 carries at most 4 Mbit/s each way");
    // 8 Mbit at 4 Mbit/s. Only a busy machine takes longer.
    let took = download(&world, &proxy, files.address);
    assert!(took > Duration::from_millis(1850), "{took:?}");
    // Two at once share it.
    let began = Instant::now();
    std::thread::scope(|scope| {
        (0..2).for_each(|_| drop(scope.spawn(|| download(&world, &proxy, files.address))));
    });
    assert!(began.elapsed() > Duration::from_millis(3700), "{:?}", began.elapsed());
    // Taken back while a download goes on: the rest comes at once.
    let began = Instant::now();
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| download(&world, &proxy, files.address));
        write("");
        process::hang_up(proxy.id());
        proxy.wait_for("SIGHUP: the configuration was read again");
        let held = slow.join().expect("all of it");
        assert!(held < Duration::from_millis(1850), "{held:?}");
    });
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn the_other_uplink_is_as_fast_as_it_can() {
    let Some(world) = World::new(here!(), 2) else { return };
    let files = files(&world);
    let proxy = world.dispatch(&["up1", "up2", "--rate", "up1=2Mbit"]);
    let mut took = [download(&world, &proxy, files.address), download(&world, &proxy, files.address)];
    took.sort_unstable();
    assert!(took[1] > Duration::from_millis(3700) && took[0] < took[1] / 3, "{took:?}");
}
