//! What is counted, in both forms.

use crate::Watched;
#[cfg(feature = "names")]
use crate::common::dns;
use crate::common::servers::{ClosedPort, Server};
use crate::common::socks::{self, round_trip};
use crate::common::{has, here, skip};
use std::io::Write;
use std::process::{Command, Stdio};

#[test]
fn connections_bytes_and_uplinks_are_counted() {
    let server = Server::echo();
    let watched = Watched::start(&["lo@3"]);
    let before = watched.metrics();
    assert_eq!(before.get("ropewalk_connections_total{service=\"dispatch\"}"), Some(0.0));
    assert_eq!(before.get("ropewalk_uplink_up{uplink=\"lo\"}"), Some(1.0));
    assert_eq!(before.get("ropewalk_uplink_weight{uplink=\"lo\"}"), Some(3.0));
    assert_eq!(before.get("ropewalk_log_lines_lost_total"), Some(0.0));
    let version = format!("ropewalk_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(before.get(&version), Some(1.0));

    let mut tunnels =
        [(); 3].map(|()| socks::connect(watched.proxy.address, server.address).expect("a tunnel"));
    tunnels.iter_mut().for_each(round_trip);
    watched.wait_for("ropewalk_open_connections{service=\"dispatch\"}", 3.0);
    // While they are open, and not twice when they have ended.
    watched.wait_for("ropewalk_bytes_total{service=\"dispatch\",direction=\"sent\"}", 12.0);
    watched.wait_for("ropewalk_bytes_total{service=\"dispatch\",direction=\"received\"}", 12.0);
    drop(tunnels);
    watched.wait_for("ropewalk_open_connections{service=\"dispatch\"}", 0.0);
    for direction in ["sent", "received"] {
        let sample = format!("ropewalk_bytes_total{{service=\"dispatch\",direction=\"{direction}\"}}");
        assert_eq!(watched.metrics().get(&sample), Some(12.0));
    }
    watched.wait_for("ropewalk_connections_total{service=\"dispatch\"}", 3.0);
    let after = watched.metrics();
    assert!(after.get("ropewalk_uptime_seconds") > before.get("ropewalk_uptime_seconds"));
    assert!(before.names().eq(after.names()), "what is not there yet is 0");
}

#[test]
fn an_uplink_has_its_own_account() {
    let server = Server::echo();
    let endpoint = server.address.to_string();
    // Twice the same: two lines of the same name would not be readable.
    let watched = Watched::start(&["--tunnel", &endpoint, &format!("{endpoint}@2")]);
    let mut tunnels = [(); 3].map(|()| socks::dial(watched.proxy.address));
    tunnels.iter_mut().for_each(round_trip);
    let of = |name: &str, nth: &str| format!("ropewalk_uplink_{name}{{uplink=\"{endpoint}{nth}\"}}");
    watched.wait_for(&of("open_connections", ""), 1.0);
    watched.wait_for(&of("open_connections", "#2"), 2.0);
    drop(tunnels);
    watched.wait_for(&of("open_connections", "#2"), 0.0);
    watched.wait_for(&of("connections_total", "#2"), 2.0);
    let bytes = format!("ropewalk_uplink_bytes_total{{uplink=\"{endpoint}#2\",direction=\"received\"}}");
    watched.wait_for(&bytes, 8.0);
}

#[test]
fn refusals_are_counted_by_reason_and_attempts_as_failed() {
    let watched = Watched::start(&["lo"]);
    let closed = ClosedPort::new();
    assert!(socks::connect(watched.proxy.address, closed.1).is_err());
    let refused = |reason| format!("ropewalk_refused_total{{service=\"dispatch\",reason=\"{reason}\"}}");
    watched.wait_for(&refused("unreachable"), 1.0);
    watched.wait_for("ropewalk_dispatch_attempts_failed_total", 1.0);
    assert!(socks::connect(watched.proxy.address, watched.proxy.address).is_err());
    watched.wait_for(&refused("itself"), 1.0);
    socks::dial(watched.proxy.address).write_all(b"\0").expect("it reads");
    watched.wait_for(&refused("malformed"), 1.0);
    socks::dial(watched.proxy.address).write_all(&[5]).expect("it reads");
    watched.wait_for(&refused("left"), 1.0);
    let limit = Watched::start(&["--max-connections", "1"]);
    let _one = socks::dial(limit.proxy.address);
    let _two = socks::dial(limit.proxy.address);
    limit.wait_for("ropewalk_limit_hits_total{service=\"dispatch\",limit=\"connections\"}", 1.0);
}

#[cfg(feature = "names")]
#[test]
fn names_are_counted_as_known_answered_and_failed() {
    let server = Server::echo();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let resolver = format!("lo={}", socket.local_addr().expect("it is bound"));
    let asked = dns::serve(socket, |name| match name {
        "here.example" => vec![std::net::Ipv4Addr::LOCALHOST.into()],
        _ => Vec::new(),
    });
    let watched = Watched::start(&["lo", "--resolver", &resolver]);
    let connect = |name| {
        let mut stream = socks::dial(watched.proxy.address);
        stream.write_all(&socks::hello_name(name, server.address.port())).expect("it reads");
        socks::read_answers(&mut stream).expect("a reply").is_ok()
    };
    assert_eq!(["here.example", "here.example", "not.example"].map(connect), [true, true, false]);
    for result in ["known", "answered", "failed"] {
        watched.wait_for(&format!("ropewalk_dispatch_names_total{{result=\"{result}\"}}"), 1.0);
    }
    watched.wait_for("ropewalk_dispatch_name_questions_total{over=\"udp\"}", 2.0);
    watched.wait_for("ropewalk_dispatch_name_strays_total", 0.0);
    assert_eq!(asked.all().len(), 4, "both families of each name, once: {:?}", asked.all());
}

#[test]
fn no_client_and_no_destination_is_named() {
    let server = Server::echo();
    let watched = Watched::start(&["lo"]);
    let mut tunnel = socks::connect(watched.proxy.address, server.address).expect("a tunnel");
    round_trip(&mut tunnel);
    let client = tunnel.local_addr().expect("connected");
    for page in ["/metrics", "/stats"] {
        let page = watched.page(page);
        for secret in [server.address.port(), client.port()] {
            assert!(!page.contains(&format!(":{secret}")), "{secret} in {page}");
        }
        assert!(!page.contains("127.0.0.1"), "{page}");
    }
}

#[test]
fn the_json_is_one_object_that_another_program_reads() {
    if !has(here!(), "python3") {
        return;
    }
    let watched = Watched::start(&["lo@2"]);
    let program = "\
import json, sys
stats = json.load(sys.stdin)
assert stats['uptime_seconds'] >= 0 and stats['log_lines_lost_total'] == 0, stats
assert stats['uplink_weight'] == [{'uplink': 'lo', 'value': 2}], stats
assert {r['reason'] for r in stats['refused_total']} >= {'left', 'not_allowed', 'other'}, stats
assert [l['limit'] for l in stats['limit_hits_total']] == ['connections', 'descriptors', 'buffers', \
'heads', 'clients', 'lookups', 'requests', 'socket_memory', 'handshakes', 'associations', 'attempts', \
'quarantine', 'names', 'pipes'], stats
";
    let child =
        Command::new("python3").args(["-c", program]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut child) = child else {
        skip(here!(), "a python3 that runs");
        return;
    };
    let mut stdin = child.stdin.take().expect("piped above");
    let page = watched.page("/stats");
    stdin.write_all(page.as_bytes()).expect("python reads");
    drop(stdin);
    let output = child.wait_with_output().expect("our own child");
    assert!(output.status.success(), "{}\n{page}", String::from_utf8_lossy(&output.stderr));
}
