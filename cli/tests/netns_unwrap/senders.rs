//! Real balancers in front, and real servers behind.

use crate::common::ns::Ns;
use crate::common::{LONG, has, here, skip, socks, wait_until};
use crate::host::{CLIENT, End, Host, LISTEN, SERVER, addr, beyond, carries, end_of, expect, v1, v2};
use crate::programs::Program;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

/// A client on another host, by this address of ours.
fn client(far: &Ns, to: &str) -> TcpStream {
    far.run(|| socks::dial(addr(to)))
}

/// A client on another host is seen by the server, and what it says gets there and back.
#[track_caller]
fn sees(far: &Ns, to: &str, server: &crate::host::Server) {
    let mut outer = client(far, to);
    outer.write_all(b"question").expect("the balancer reads");
    let (mut inner, peer) = server.accept();
    assert_eq!(peer, outer.local_addr().expect("connected"), "by {to}");
    expect(&mut inner, b"question");
    carries(&mut inner, &mut outer, b"answer");
}

#[test]
fn haproxy_sends_each_of_its_headers() {
    if !has(here!(), "haproxy") {
        return;
    }
    let Some(host) = Host::new(here!()) else { return };
    let far = beyond(&host);
    let [server, server_v6] = host.servers();
    let kinds = [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2 proxy-v2-options crc32c",
        "send-proxy-v2 proxy-v2-options ssl,cert-cn,ssl-cipher,cert-sig,cert-key,authority,crc32c,unique-id",
        "send-proxy-v2-ssl",
        "send-proxy-v2-ssl-cn",
    ];
    let mut text = String::from(
        "global\n\
         defaults\n mode tcp\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n\
         unique-id-format %{+X}o\\ %ci:%cp_%fi:%fp_%Ts_%rt:%pid\n",
    );
    for (number, kind) in kinds.iter().enumerate() {
        let port = 8000 + number;
        text.push_str(&format!(
            "frontend f{number}\n bind 10.9.0.1:{port}\n bind fd09::1:{port} v6only\n \
             default_backend b{number}\nbackend b{number}\n server s {LISTEN} {kind}\n"
        ));
    }
    let config = host.file("haproxy.cfg", &text);
    let proxy = host.usual("-vv");
    let ports: Vec<u16> = (8000..8000 + kinds.len() as u16).collect();
    let _haproxy = Program::start(&host, &["haproxy", "-db", "-f", &config], &ports);
    for port in ports {
        sees(&far, &format!("10.9.0.1:{port}"), &server);
        sees(&far, &format!("[fd09::1]:{port}"), &server_v6);
    }
    proxy.wait_for("unique id");
}

#[test]
fn haproxy_tells_of_tls_and_checks_the_server() {
    if !["haproxy", "openssl", "curl"].iter().all(|program| has(here!(), program)) {
        return;
    }
    let Some(host) = Host::new(here!()) else { return };
    let far = beyond(&host);
    let server = host.listen(SERVER);
    let (key, cert) = (host.file("key.pem", ""), host.file("cert.pem", ""));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
        .args(["-subj", "/CN=server.example", "-days", "2", "-keyout", &key, "-out", &cert])
        .output()
        .expect("asked for before");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let both = [&key, &cert].map(|path| std::fs::read_to_string(path).expect("just made")).concat();
    let both = host.file("both.pem", &both);
    let config = host.file(
        "haproxy.cfg",
        &format!(
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n \
             timeout check 5s\nfrontend f\n bind 10.9.0.1:8443 ssl crt {both}\n default_backend b\n\
             backend b\n server s {LISTEN} check inter 200ms send-proxy-v2 \
             proxy-v2-options ssl,cert-cn,ssl-cipher,cert-sig,cert-key,authority,crc32c\n"
        ),
    );
    // Every request is answered as HTTP, checks too; a client is reported to the test.
    let (said, clients) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        loop {
            let (mut stream, peer) = server.accept();
            let said = said.clone();
            std::thread::spawn(move || {
                let mut got = [0; 1024];
                if stream.read(&mut got).is_ok_and(|len| len > 0) {
                    let _ = said.send(peer);
                    let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nwell\n");
                }
            });
        }
    });
    let proxy = host.usual("-vv");
    let _haproxy = Program::start(&host, &["haproxy", "-db", "-f", &config], &[8443]);
    proxy.wait_for_nth("LOCAL", 2);
    let mut curl = Command::new("curl");
    curl.args([
        "-q",
        "-sS",
        "-k",
        "--max-time",
        "20",
        "--noproxy",
        "*",
        "--resolve",
        "www.example.org:8443:10.9.0.1",
    ]);
    let output = far.run(|| curl.arg("https://www.example.org:8443/").output()).expect("asked for before");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "well\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let peer = clients.recv_timeout(LONG).expect("curl was served");
    assert_eq!(peer.ip(), addr("10.9.0.2:0").ip());
    let line = proxy.wait_for("www.example.org");
    assert!(line.contains("10.9.0.2:") && line.contains("TLSv1."), "{line}");
}

/// nginx with this in its stream block, if it has one.
fn nginx_stream(test: &str, host: &Host, servers: &str, ports: &[u16]) -> Option<Program> {
    const MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";
    if !has(test, "nginx") {
        return None;
    }
    if !std::path::Path::new(MODULE).exists() {
        skip(test, "libnginx-mod-stream");
        return None;
    }
    let block = format!("load_module {MODULE};\n");
    Some(nginx(host, &block, &format!("stream {{\n{servers}\n}}\n"), ports))
}

fn nginx(host: &Host, head: &str, block: &str, ports: &[u16]) -> Program {
    let dir = host.dir().display();
    let text = format!(
        "{head}daemon off;\nmaster_process off;\nuser root;\npid {dir}/nginx.pid;\nerror_log stderr;\n\
         events {{}}\n{block}"
    );
    let config = host.file("nginx.conf", &text);
    Program::start(host, &["nginx", "-e", "stderr", "-c", &config], ports)
}

#[test]
fn nginx_sends_its_header() {
    let Some(host) = Host::new(here!()) else { return };
    let far = beyond(&host);
    let servers = format!(
        "server {{ listen 10.9.0.1:8000; listen [fd09::1]:8000; proxy_pass {LISTEN}; proxy_protocol on; }}"
    );
    let Some(_nginx) = nginx_stream(here!(), &host, &servers, &[8000]) else { return };
    let [server, server_v6] = host.servers();
    let _proxy = host.usual("");
    sees(&far, "10.9.0.1:8000", &server);
    sees(&far, "[fd09::1]:8000", &server_v6);
}

#[test]
fn nginx_behind_another_balancer_writes_a_line_of_both_families() {
    let Some(host) = Host::new(here!()) else { return };
    let servers = format!(
        "server {{ listen 127.0.0.1:8000 proxy_protocol; set_real_ip_from 127.0.0.0/8; proxy_pass {LISTEN}; \
         proxy_protocol on; }}"
    );
    let Some(_nginx) = nginx_stream(here!(), &host, &servers, &[8000]) else { return };
    let [_server, server_v6] = host.servers();
    let client = "[2001:db8::7]:40000";
    let proxy = host.usual("");
    assert_eq!(end_of(&mut host.send_to("127.0.0.1:8000", &v1(client))), End::Closed);
    proxy.wait_for("expected an IPv6 ");
    drop(proxy);
    let _proxy = host.usual("--mixed-families");
    let mut outer = host.send_to("127.0.0.1:8000", &[&v1(client), &b"question"[..]].concat());
    let (mut inner, peer) = server_v6.accept();
    assert_eq!(peer, addr(client));
    expect(&mut inner, b"question");
    carries(&mut inner, &mut outer, b"answer");
}

/// curl on the far host or this one; what it got.
fn curl(ns: &Ns, url: &str) -> String {
    let mut curl = Command::new("curl");
    curl.args(["-q", "-sS", "--max-time", "20", "--noproxy", "*", "--haproxy-protocol", url]);
    let output = ns.run(|| curl.output()).expect("asked for before");
    assert!(output.status.success(), "{url}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn curl_sends_its_header_and_nginx_logs_who_it_is() {
    if !has(here!(), "curl") || !has(here!(), "nginx") {
        return;
    }
    let Some(host) = Host::new(here!()) else { return };
    let far = beyond(&host);
    let log = host.dir().join("access.log");
    let block = format!(
        "http {{\nlog_format who '$remote_addr $request';\naccess_log {} who;\n\
         server {{ listen {SERVER}; listen [::1]:25578; return 200 '$remote_addr'; }}\n}}\n",
        log.display()
    );
    let _nginx = nginx(&host, "", &block, &[25578]);
    let listen = "-l 0.0.0.0:25577 -l [::]:25577 -4 127.0.0.1:25578 -6 [::1]:25578 --allow-any";
    let proxy = host.unwrap(listen);
    assert_eq!(curl(&far, "http://10.9.0.1:25577/v4"), "10.9.0.2");
    assert_eq!(curl(&far, "http://[fd09::1]:25577/v6"), "fd09::2");
    let logged = || std::fs::read_to_string(&log).unwrap_or_default();
    wait_until("nginx has written its log", LONG, || logged().lines().count() == 2);
    assert_eq!(logged(), "10.9.0.2 GET /v4 HTTP/1.1\nfd09::2 GET /v6 HTTP/1.1\n");
    drop(proxy);
    // From this host itself: its header names loopback, and curl has the port.
    let _proxy = host.unwrap(&format!("{listen} --allow-source 127.0.0.1 --on-port-conflict ephemeral"));
    assert_eq!(curl(&host.ns, &format!("http://{LISTEN}/own")), "127.0.0.1");
}

#[test]
fn sshd_logs_who_it_is() {
    if !has(here!(), "sshd") || !has(here!(), "ssh-keygen") {
        return;
    }
    let Some(host) = Host::new(here!()) else { return };
    let key = host.dir().join("host_key");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status();
    assert!(made.is_ok_and(|status| status.success()), "ssh-keygen");
    // It wants this directory, which Debian's service makes.
    let _ = std::fs::create_dir("/run/sshd");
    let path =
        ["/usr/sbin/sshd", "/usr/bin/sshd"].into_iter().find(|path| std::path::Path::new(path).exists());
    let Some(path) = path else { return skip(here!(), "sshd in /usr/sbin") };
    let key = format!("HostKey={}", key.display());
    let line = [
        path,
        "-D",
        "-e",
        "-f",
        "/dev/null",
        "-p",
        "25578",
        "-o",
        &key,
        "-o",
        "LogLevel=VERBOSE",
        "-o",
        "PidFile=none",
    ];
    let sshd = Program::start(&host, &line, &[25578]);
    let _proxy = host.usual("");
    for client in [CLIENT, "[2001:db8::7]:40000"] {
        let mut outer = host.send(&v2(client));
        let mut banner = [0; 8];
        outer.read_exact(&mut banner).expect("the server speaks first");
        assert_eq!(&banner, b"SSH-2.0-");
        let client = addr(client);
        let wanted = format!("Connection from {} port {} on ", client.ip(), client.port());
        wait_until(&wanted, LONG, || sshd.said().contains(&wanted));
    }
}
