//! What it may still do once it serves.

use crate::common::proxy::{Launch, Proxy};
use crate::common::{LONG, has, here, wait_until};
use crate::host::{CLIENT, Host, USUAL, serves};

const NET_BIND_SERVICE: u64 = 1 << 10;
const NET_RAW: u64 = 1 << 13;

/// Looks at every thread of it: ids, capabilities, and that it cannot get any back.
#[track_caller]
fn expect_threads(proxy: &Proxy, least: usize, user: u32, capabilities: u64) {
    let tasks = || std::fs::read_dir(format!("/proc/{}/task", proxy.id())).expect("it runs");
    wait_until("all threads are there", LONG, || tasks().count() >= least);
    for task in tasks() {
        let path = task.expect("it runs").path();
        // A thread that has ended just now can do nothing any more.
        let Ok(text) = std::fs::read_to_string(path.join("status")) else { continue };
        let field = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
            line.unwrap_or_else(|| panic!("expected {key} in {text}")).trim().to_owned()
        };
        let capability = |key: &str| u64::from_str_radix(&field(key), 16).expect("hexadecimal");
        let ids = [user; 4].map(|id| id.to_string()).join("\t");
        assert_eq!((field("Uid"), field("Gid")), (ids.clone(), ids), "{text}");
        assert_eq!(field("Groups"), "", "{text}");
        assert_eq!((capability("CapPrm"), capability("CapEff")), (capabilities, capabilities), "{text}");
        assert_eq!((capability("CapInh"), capability("CapAmb")), (0, 0), "{text}");
        assert_eq!(field("NoNewPrivs"), "1", "{text}");
    }
}

/// Two workers, the stats, the log, and any other thread; all of them at work.
const BUSY: &str = "--workers 2 --stats 9090 -p tcp -p udp -vv";

#[track_caller]
fn check(host: &Host, proxy: &Proxy, user: u32, capabilities: u64) {
    let server = host.listen(crate::host::SERVER);
    for port in 40_000..40_008 {
        serves(host, &server, &format!("192.0.2.7:{port}"));
    }
    assert_eq!(host.metric("ropewalk_connections_total{service=\"unwrap\"}"), 8);
    expect_threads(proxy, 4, user, capabilities);
}

#[test]
fn started_as_root_it_goes_on_as_nobody_with_two_capabilities() {
    let Some(host) = Host::new(here!()) else { return };
    let proxy = host.usual(BUSY);
    proxy.wait_for("going on as user 65534");
    check(&host, &proxy, 65534, NET_RAW | NET_BIND_SERVICE);
}

#[test]
fn where_ports_may_change_it_keeps_one_capability() {
    let Some(host) = Host::new(here!()) else { return };
    let proxy = host.usual(&format!("{BUSY} --on-port-conflict ephemeral"));
    check(&host, &proxy, 65534, NET_RAW);
}

#[test]
fn another_user_can_be_named_by_number_or_name() {
    let Some(host) = Host::new(here!()) else { return };
    for (user, id) in [("12345", 12345), ("daemon", 1), ("0", 0)] {
        let proxy = host.usual(&format!("{BUSY} --user {user}"));
        check(&host, &proxy, id, NET_RAW | NET_BIND_SERVICE);
    }
}

#[test]
fn a_mark_needs_nothing_more() {
    let Some(host) = Host::bare(here!()) else { return };
    host.setup("--mark 5");
    let proxy = host.usual("--workers 2 --stats 9090 -vv --mark 5");
    check(&host, &proxy, 65534, NET_RAW | NET_BIND_SERVICE);
}

#[test]
fn what_only_root_may_read_and_listen_on_is_had_before() {
    let Some(host) = Host::new(here!()) else { return };
    let list = host.file("subnets", "127.0.0.0/8\n");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&list, mode).expect("our own");
    let server = host.listen(crate::host::SERVER);
    let proxy = host.unwrap(&format!("-l 127.0.0.1:443 -4 {} -a {list} --workers 2", crate::host::SERVER));
    expect_threads(&proxy, 3, 65534, NET_RAW | NET_BIND_SERVICE);
    let _outer = host.send_to("127.0.0.1:443", &crate::host::v2(CLIENT));
    server.accept();
}

/// As the user `nobody`, with the `capabilities` of the program or the `inherited` ones.
fn nobody(host: &Host, inherited: &[&str], capabilities: Option<&str>, more: &str) -> Proxy {
    let mut by = vec!["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
    by.extend(inherited);
    let words: Vec<&str> = USUAL.split_ascii_whitespace().chain(more.split_ascii_whitespace()).collect();
    host.start(Launch::unwrap_by(&by, capabilities, &words))
}

#[test]
fn started_as_nobody_with_an_ambient_capability_it_serves() {
    if !has(here!(), "setpriv") {
        return;
    }
    let Some(host) = Host::new(here!()) else { return };
    let inherited = ["--inh-caps", "+net_raw", "--ambient-caps", "+net_raw"];
    let proxy = nobody(&host, &inherited, None, BUSY);
    check(&host, &proxy, 65534, NET_RAW);
    drop(proxy);
    // What it has and does not need it gives up.
    let all = "+net_raw,+net_bind_service,+net_admin";
    let proxy = nobody(&host, &["--inh-caps", all, "--ambient-caps", all], None, BUSY);
    check(&host, &proxy, 65534, NET_RAW | NET_BIND_SERVICE);
}

#[test]
fn started_as_nobody_with_a_capability_of_the_program_it_serves() {
    if !has(here!(), "setpriv") || !has(here!(), "setcap") {
        return;
    }
    let Some(host) = Host::new(here!()) else { return };
    for (capabilities, has) in
        [("cap_net_raw+ep", NET_RAW), ("cap_net_raw,cap_net_bind_service+ep", NET_RAW | NET_BIND_SERVICE)]
    {
        let proxy = nobody(&host, &[], Some(capabilities), BUSY);
        check(&host, &proxy, 65534, has);
    }
}
