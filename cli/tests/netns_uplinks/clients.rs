//! Programs that people use, in a client's namespace with two uplinks: each gets what it asks for
//! through the proxy, from a server that no other way leads to.

use crate::common::proxy::{Launch, Proxy};
use crate::common::{LONG, Scratch, has, here, pattern, skip, wait_until};
use crate::world::{SERVER, World, ip};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// Ended on drop.
struct Program(Child);

impl Program {
    /// Starts it on the far side of uplink 1 and waits until its port is open.
    fn start(world: &World, port: u16, command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let program = Program(world.far(1).run(|| command.spawn()).expect("asked for before"));
        let listens = || world.far(1).run(|| TcpStream::connect((SERVER.ip(), port)).is_ok());
        wait_until("the server listens", LONG, listens);
        program
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A web server with these files.
fn web(world: &World, root: &Path) -> Program {
    let at = SERVER.ip().to_string();
    let args = ["-m", "http.server", "8000", "--bind", &at, "--directory"];
    Program::start(world, 8000, Command::new("python3").args(args).arg(root))
}

const URL: &str = "http://203.0.113.1:8000";

/// Two uplinks, and the proxy, which has a word for each connection.
fn two(test: &str) -> Option<(World, Proxy)> {
    let world = World::new(test, 2)?;
    let proxy = world.dispatch(&["up1", "up2", "-v"]);
    Some((world, proxy))
}

/// Without a proxy of the environment, and with no home that has settings.
fn clean(program: &str, home: &Path) -> Command {
    let mut command = Command::new(program);
    for variable in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        command.env_remove(variable).env_remove(variable.to_uppercase());
    }
    command.env("HOME", home).stdin(Stdio::null());
    command
}

/// Runs it in the client's namespace; it must succeed.
#[track_caller]
fn run(world: &World, command: &mut Command) -> Output {
    let output = world.client.run(|| command.output()).expect("asked for before");
    let (out, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {} {out} {said}", output.status);
    output
}

/// What it was for came through the proxy, as often as this at least.
#[track_caller]
fn came(proxy: Proxy, at_least: usize, to: &str) {
    let log = proxy.stop();
    let by = |n: usize| {
        let line = |line: &&String| line.contains(&format!("connected to {to} through up{n}"));
        log.iter().filter(line).count()
    };
    assert!(by(1) + by(2) >= at_least, "{at_least} connections to {to}: {log:#?}");
    assert!(at_least < 2 || (by(1) > 0 && by(2) > 0), "both uplinks carry: {log:#?}");
}

#[test]
fn curl_comes_by_every_protocol() {
    if !has(here!(), "curl") || !has(here!(), "python3") {
        return;
    }
    let Some((world, proxy)) = two(here!()) else { return };
    let scratch = Scratch::new();
    let file = pattern(0, 300_000);
    scratch.file("file", &file);
    let users = scratch.file("users", b"ann:secret\n");
    let _web = web(&world, scratch.path());
    let url = format!("{URL}/file");
    let closed = world.client.run(|| Launch::new(&["up1", "up2", "--auth-file", &users]).start());
    let (open_at, closed_at) = (proxy.at(), closed.at());
    for (forms, at) in [
        (
            &[
                &["--socks5"][..],
                &["--socks5-hostname"],
                &["--socks4"],
                &["--socks4a"],
                &["-x"],
                &["-p", "-x"],
            ][..],
            &open_at,
        ),
        (
            &[
                &["-U", "ann:secret", "--socks5"][..],
                &["-U", "ann:secret", "--socks5-hostname"],
                &["-U", "ann:secret", "-x"],
                &["-U", "ann:secret", "-p", "-x"],
            ],
            &closed_at,
        ),
    ] {
        for form in forms {
            let mut curl = clean("curl", scratch.path());
            curl.args(["-q", "-sS", "--fail", "--max-time", "20", "--noproxy", ""]);
            let output = run(&world, curl.args(*form).args([at, &url]));
            assert!(output.stdout == file, "{form:?}: {} bytes", output.stdout.len());
        }
    }
    came(proxy, 6, "203.0.113.1:8000");
}

#[test]
fn proxychains_and_nc_come_through() {
    if !["proxychains4", "curl", "nc", "python3"].into_iter().all(|program| has(here!(), program)) {
        return;
    }
    let Some((world, proxy)) = two(here!()) else { return };
    let scratch = Scratch::new();
    scratch.file("file", b"through\n");
    let _web = web(&world, scratch.path());
    let port = proxy.address.port();
    let text = format!("strict_chain\n[ProxyList]\nsocks5 127.0.0.1 {port}\n");
    let conf = scratch.file("proxychains.conf", text.as_bytes());
    let mut chained = clean("proxychains4", scratch.path());
    let url = format!("{URL}/file");
    chained.args(["-q", "-f", &conf, "curl", "-q", "-sS", "--max-time", "20", "--noproxy", "*", &url]);
    assert_eq!(run(&world, &mut chained).stdout, b"through\n");
    // The server of the world speaks first.
    let mut nc = clean("nc", scratch.path());
    nc.args(["-w", "20", "-X", "5", "-x", &proxy.at(), "203.0.113.1", "80"]);
    let told = String::from_utf8_lossy(&run(&world, &mut nc).stdout).into_owned();
    let sources = [1, 2].map(|n| format!("{} 1\n", ip(n)));
    assert!(sources.contains(&told), "{told:?}");
    came(proxy, 1, "203.0.113.1:8000");
}

#[test]
fn git_clones_and_aria2_fetches_pieces() {
    if !["git", "aria2c", "python3"].into_iter().all(|program| has(here!(), program)) {
        return;
    }
    let Some((world, proxy)) = two(here!()) else { return };
    let scratch = Scratch::new();
    let at = scratch.path();
    let git = |directory: &Path, args: &[&str]| {
        let mut git = clean("git", at);
        git.current_dir(directory).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        git.args(["-c", "user.name=nobody", "-c", "user.email=nobody@localhost"]).args(args);
        run(&world, &mut git)
    };
    git(at, &["init", "--quiet", "source"]);
    let file = pattern(9, 3_000_000);
    scratch.file("source/file", &file);
    git(&at.join("source"), &["add", "."]);
    git(&at.join("source"), &["commit", "--quiet", "--message", "a file"]);
    git(at, &["clone", "--quiet", "--bare", "source", "served.git"]);
    git(&at.join("served.git"), &["update-server-info"]);
    let _web = web(&world, at);
    for scheme in ["http", "socks5h"] {
        let (setting, into) = (format!("http.proxy={scheme}://{}", proxy.address), format!("clone-{scheme}"));
        git(at, &["-c", &setting, "clone", "--quiet", &format!("{URL}/served.git"), &into]);
        assert!(std::fs::read(at.join(&into).join("file")).expect("cloned") == file);
    }
    // Pieces of one file by several connections.
    let mut aria = clean("aria2c", at);
    aria.args(["--no-conf", "--quiet", "--split=4", "--max-connection-per-server=4", "--min-split-size=1M"]);
    aria.args(["--connect-timeout=20", "--timeout=20", "--max-tries=1", "--out=by-aria2", "--dir"]).arg(at);
    run(&world, aria.arg(format!("--all-proxy=http://{}", proxy.address)).arg(format!("{URL}/source/file")));
    assert!(std::fs::read(at.join("by-aria2")).expect("fetched") == file);
    came(proxy, 4, "203.0.113.1:8000");
}

#[test]
fn ssh_comes_through() {
    if !["ssh", "ssh-keygen", "nc"].into_iter().all(|program| has(here!(), program)) {
        return;
    }
    let sshd = ["/usr/sbin/sshd", "/usr/bin/sshd"].into_iter().find(|path| Path::new(path).exists());
    let Some(sshd) = sshd else { return skip(here!(), "sshd in /usr/sbin") };
    let Some((world, proxy)) = two(here!()) else { return };
    let scratch = Scratch::new();
    let path = |name: &str| scratch.path().join(name).display().to_string();
    for name in ["host", "user"] {
        let args = ["-q", "-t", "ed25519", "-N", "", "-f", &path(name)];
        run(&world, clean("ssh-keygen", scratch.path()).args(args));
    }
    std::fs::copy(path("user.pub"), path("authorized")).expect("our own folder");
    // It wants this directory, which Debian's service makes.
    let _ = std::fs::create_dir("/run/sshd");
    let options = [
        format!("HostKey={}", path("host")),
        format!("AuthorizedKeysFile={}", path("authorized")),
        // The folder for temporary files is everybody's.
        "StrictModes=no".into(),
        "UsePAM=no".into(),
        "PermitRootLogin=yes".into(),
        "PidFile=none".into(),
    ];
    let mut server = Command::new(sshd);
    server.args(["-D", "-f", "/dev/null", "-p", "2222"]);
    server.args(options.iter().flat_map(|option| ["-o", option]));
    let _server = Program::start(&world, 2222, &mut server);
    let mut client = clean("ssh", scratch.path());
    client.args(["-F", "/dev/null", "-p", "2222", "-i", &path("user"), "-o", "BatchMode=yes"]);
    client.args([
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
        "-o",
        "ConnectTimeout=20",
    ]);
    client.args(["-o", &format!("ProxyCommand=nc -X 5 -x {} %h %p", proxy.address)]);
    // A mebibyte there and back.
    client.args(["root@203.0.113.1", "head -c 1048576 /dev/zero | tr '\\0' x; echo end"]);
    let output = run(&world, &mut client);
    assert_eq!((output.stdout.len(), output.stdout.ends_with(b"xend\n")), (1_048_580, true));
    came(proxy, 1, "203.0.113.1:2222");
}

/// A Python that has this module.
fn python(test: &str, module: &str) -> Option<&'static str> {
    // Where python3 is not Debian's, Debian's modules are not its own.
    let found = ["python3", "/usr/bin/python3"].into_iter().find(|python| {
        let output = Command::new(python).args(["-c", &format!("import {module}")]).output();
        output.is_ok_and(|output| output.status.success())
    });
    if found.is_none() {
        skip(test, &format!("Python's {module}"));
    }
    found
}

#[test]
fn requests_come_through_with_pysocks() {
    let Some(python) = python(here!(), "requests, socks") else { return };
    let Some((world, proxy)) = two(here!()) else { return };
    let scratch = Scratch::new();
    scratch.file("file", b"through\n");
    let _web = web(&world, scratch.path());
    let program = format!(
        "import requests\n\
         session = requests.Session()\n\
         session.trust_env = False\n\
         for scheme in ['http', 'socks5', 'socks5h', 'socks4', 'socks4a']:\n    \
             proxies = {{'http': scheme + '://{}'}}\n    \
             print(session.get('{URL}/file', proxies=proxies, timeout=20).text, end='')\n",
        proxy.address
    );
    let output = run(&world, clean(python, scratch.path()).args(["-c", &program]));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "through\n".repeat(5));
    came(proxy, 5, "203.0.113.1:8000");
}

/// Two sessions of libtorrent: one has a file and sits on the far side, the other fetches it by
/// uTP, which is UDP, through the association. No TCP connection to the peer is allowed.
const TORRENT: &str = "
import libtorrent, os, sys, time

role, folder, proxy_port, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), 60
quiet = {'min_reconnect_time': 1, 'enable_dht': False, 'enable_lsd': False, 'enable_upnp': False,
         'enable_natpmp': False,
         'enable_outgoing_tcp': False, 'enable_incoming_tcp': False,
         'out_enc_policy': libtorrent.enc_policy.disabled, 'in_enc_policy': libtorrent.enc_policy.disabled}
if role == 'make':
    files = libtorrent.file_storage()
    libtorrent.add_files(files, os.path.join(folder, 'seed', 'file'))
    torrent = libtorrent.create_torrent(files)
    libtorrent.set_piece_hashes(torrent, os.path.join(folder, 'seed'))
    with open(os.path.join(folder, 'torrent'), 'wb') as out:
        out.write(libtorrent.bencode(torrent.generate()))
    sys.exit(0)
info = libtorrent.torrent_info(os.path.join(folder, 'torrent'))
if role == 'seed':
    session = libtorrent.session(quiet | {'listen_interfaces': '203.0.113.9:6881'})
    session.add_torrent({'ti': info, 'save_path': os.path.join(folder, 'seed')})
    while not session.is_listening():
        time.sleep(0.05)
    with open(os.path.join(folder, 'ready'), 'w'):
        pass
    # Until the test has what it wants.
    time.sleep(3 * seconds)
    sys.exit(1)
session = libtorrent.session(quiet | {
    'proxy_type': libtorrent.proxy_type_t.socks5, 'proxy_hostname': '127.0.0.1', 'proxy_port': proxy_port,
    'proxy_peer_connections': True, 'listen_interfaces': '127.0.0.1:0'})
handle = session.add_torrent({'ti': info, 'save_path': os.path.join(folder, 'got')})
end = time.time() + seconds
asked = 0
while not handle.status().is_seeding:
    if time.time() > end:
        sys.exit('got %d of %d bytes' % (handle.status().total_done, info.total_size()))
    if time.time() > asked + 2 and handle.status().num_peers == 0:
        asked = time.time()
        handle.connect_peer(('203.0.113.9', 6881))
    time.sleep(0.1)
";

#[test]
fn a_torrent_comes_over_udp_associate() {
    let Some(python) = python(here!(), "libtorrent") else { return };
    let Some(world) = World::new(here!(), 1) else { return };
    // It binds to the device that has the address, and hears only what comes by that.
    world.far(1).ip("addr add 203.0.113.9/32 dev far1\n");
    let proxy = world.dispatch(&["up1", "-v"]);
    let scratch = Scratch::new();
    let (folder, port) = (scratch.path().display().to_string(), proxy.address.port().to_string());
    for name in ["seed", "got"] {
        std::fs::create_dir(scratch.path().join(name)).expect("our own folder");
    }
    let file = pattern(5, 4_000_000);
    scratch.file("seed/file", &file);
    let program = |role: &str| {
        let mut command = clean(python, scratch.path());
        command.args(["-c", TORRENT, role, &folder, &port]);
        command
    };
    run(&world, &mut program("make"));
    let mut seed = program("seed");
    seed.stdout(Stdio::null());
    let _seed = Program(world.far(1).run(|| seed.spawn()).expect("asked for before"));
    wait_until("the seed listens", LONG, || scratch.path().join("ready").exists());
    run(&world, &mut program("fetch"));
    assert!(std::fs::read(scratch.path().join("got/file")).expect("fetched") == file);
    let log = proxy.stop();
    let summary = log.last().expect("the summary");
    let passed: u64 = summary
        .split_once(" datagrams up, ")
        .and_then(|(_, rest)| rest.split(' ').next()?.parse().ok())
        .unwrap_or_else(|| panic!("expected datagrams in {summary:?}"));
    assert!(passed > 1000, "4 MB in datagrams: {summary}");
}

#[test]
fn chromium_shows_a_page_and_what_its_script_fetches() {
    let name = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| {
        Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success())
    });
    let Some(name) = name else { return skip(here!(), "chromium") };
    if !has(here!(), "python3") {
        return;
    }
    let Some((world, proxy)) = two(here!()) else { return };
    let scratch = Scratch::new();
    let page =
        "<body><p id=p></p><script>fetch('/part').then(r => r.text()).then(t => p.textContent = t)</script>";
    scratch.file("page.html", page.as_bytes());
    scratch.file("part", b"fetched through it");
    let _web = web(&world, scratch.path());
    for scheme in ["http", "socks5"] {
        let mut browser = clean("timeout", scratch.path());
        browser.args(["120", name, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]);
        browser.arg(format!("--proxy-server={scheme}://{}", proxy.address));
        browser.arg(format!("--user-data-dir={}", scratch.path().join(scheme).display()));
        browser.args(["--virtual-time-budget=10000", "--dump-dom", &format!("{URL}/page.html")]);
        let shown = String::from_utf8_lossy(&run(&world, &mut browser).stdout).into_owned();
        assert!(shown.contains("fetched through it"), "{scheme}: {shown}");
    }
    came(proxy, 2, "203.0.113.1:8000");
}
