//! The bond on real devices: two namespaces, two links of 40 Mbit/s between them, a file through
//! the tunnel, and once more when one of the links has fallen silent.
//!
//! It needs root, `ip`, `tc` and `curl`, and runs `examples/bond`.

#![cfg(target_os = "linux")]

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Ends what it holds, whatever becomes of the test.
struct Guard {
    children: Vec<Child>,
    namespaces: [String; 2],
}

impl Drop for Guard {
    fn drop(&mut self) {
        for child in &mut self.children {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
        for name in &self.namespaces {
            let _ = Command::new("ip").args(["netns", "delete", name]).output();
        }
    }
}

fn run(line: &str) -> Output {
    let words: Vec<&str> = line.split_whitespace().collect();
    Command::new(words[0]).args(&words[1..]).output().unwrap_or_else(|error| panic!("{line}: {error}"))
}

fn must(line: &str) -> String {
    let output = run(line);
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn have(program: &str) -> bool {
    Command::new(program).arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// What is missing to run this, if anything.
fn missing() -> Option<&'static str> {
    let root =
        std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    match () {
        () if !root => Some("needs root"),
        () if !std::path::Path::new("/dev/net/tun").exists() => Some("needs /dev/net/tun"),
        () if !["ip", "tc", "curl", "python3"].into_iter().all(have) => {
            Some("needs ip, tc, curl and python3")
        }
        () => None,
    }
}

fn example() -> PathBuf {
    let own = std::env::current_exe().expect("a test has a path");
    let path =
        own.parent().and_then(|deps| deps.parent()).expect("target/PROFILE/deps").join("examples/bond");
    assert!(
        path.exists(),
        "{}: run cargo build -p ropewalk-mio --features tun --example bond",
        path.display()
    );
    path
}

/// Waits until `done`, for at most half a minute: a busy machine is slow, a broken one never comes
/// there.
fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < end, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn received(client: &str, device: &str) -> u64 {
    let path = format!("/sys/class/net/{device}/statistics/rx_bytes");
    must(&format!("ip netns exec {client} cat {path}")).trim().parse().expect("a number")
}

/// Two hosts with two links between them of 40 Mbit/s each. The server has 198.51.100.1.
fn connect_hosts(client: &str, server: &str) {
    for name in [client, server] {
        must(&format!("ip netns add {name}"));
        must(&format!("ip -n {name} link set lo up"));
    }
    for link in 1..=2 {
        must(&format!("ip link add c{link} netns {client} type veth peer name s{link} netns {server}"));
        for (name, device, host) in [(client, "c", 2), (server, "s", 1)] {
            must(&format!("ip -n {name} address add 10.9.{link}.{host}/24 dev {device}{link}"));
            must(&format!("ip -n {name} link set {device}{link} up"));
            must(&format!(
                "tc -n {name} qdisc add dev {device}{link} root tbf rate 40mbit burst 20kb limit 150kb"
            ));
        }
        let metric = link * 100;
        must(&format!(
            "ip -n {client} route add 198.51.100.1/32 via 10.9.{link}.1 dev c{link} metric {metric}"
        ));
    }
    must(&format!("ip -n {server} address add 198.51.100.1/32 dev lo"));
}

/// Bytes that nothing can make shorter.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

#[test]
fn a_file_comes_through_two_links_and_through_one_when_the_other_falls_silent() {
    if let Some(why) = missing() {
        eprintln!("SKIP a_file_comes_through_two_links_and_through_one: {why}");
        return;
    }
    let id = std::process::id();
    let (client, server) = (format!("rwbc{id}"), format!("rwbs{id}"));
    let mut guard = Guard { children: Vec::new(), namespaces: [client.clone(), server.clone()] };
    connect_hosts(&client, &server);
    let example = example();
    let keys = || {
        let keys = must(&format!("{} keygen", example.display()));
        let mut lines = keys.lines().map(str::to_owned);
        (lines.next().expect("the secret key"), lines.next().expect("the public key"))
    };
    let ((server_key, server_public), (client_key, client_public)) = (keys(), keys());
    let mut start = |name: &str, line: String| {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", name]).args(line.split_whitespace());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("ip was there before");
        guard.children.push(child);
    };
    let bond = example.display();
    start(&server, format!("{bond} serve 0.0.0.0:4500 {server_key} {client_public} 10.77.0.1/24 10.77.0.2"));
    start(&client, format!("{bond} connect 198.51.100.1:4500 {client_key} {server_public} c1 c2"));
    wait_for("the client's device", || {
        run(&format!("ip -n {client} address show to 10.77.0.2")).stdout.len() > 2
    });

    let folder = std::env::temp_dir().join(format!("ropewalk-bond-{id}"));
    std::fs::create_dir_all(&folder).expect("a folder for the file");
    let file = noise(8_000_000);
    std::fs::write(folder.join("file"), &file).expect("room for the file");
    let serve = format!("python3 -m http.server --bind 10.77.0.1 --directory {} 8000", folder.display());
    start(&server, serve);
    let fetch = || {
        let output = run(&format!("ip netns exec {client} curl -sS -m 60 http://10.77.0.1:8000/file"));
        let (came, said) = (output.stdout.len(), String::from_utf8_lossy(&output.stderr).into_owned());
        assert!(output.stdout == file, "{came} of {} bytes came, or others: {said}", file.len());
    };
    wait_for("the web server", || {
        !run(&format!("ip netns exec {client} curl -sSI -m 5 http://10.77.0.1:8000/")).stdout.is_empty()
    });

    let before = [received(&client, "c1"), received(&client, "c2")];
    fetch();
    for (device, before) in ["c1", "c2"].into_iter().zip(before) {
        let carried = received(&client, device) - before;
        assert!(carried > 800_000, "{device} carried {carried} of {} bytes", file.len());
    }

    // Nothing passes the second link any more, and nobody says so: smaller than any packet.
    for (name, device) in [(&client, "c2"), (&server, "s2")] {
        must(&format!("tc -n {name} qdisc replace dev {device} root tbf rate 8bit burst 10b limit 10b"));
    }
    let before = received(&client, "c2");
    fetch();
    let came = received(&client, "c2") - before;
    assert!(came < 2_000, "{came} bytes came through a silent link");

    std::fs::remove_dir_all(&folder).expect("it was made above");
}
