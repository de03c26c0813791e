//! Other clients: proxychains, nc, git, Python.

use crate::common::proxy::Proxy;
use crate::common::{Scratch, has, here, skip};
use crate::curl::clean;
use crate::web::Web;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn proxychains_takes_curl_through_by_each_protocol() {
    if !has(here!(), "proxychains4") || !has(here!(), "curl") {
        return;
    }
    let scratch = Scratch::new();
    let users = scratch.file("users", b"alice:secret\n");
    let web = Web::start();
    let (open, closed) = (Proxy::start(&[]), Proxy::start(&["--auth-file", &users]));
    for (proxy, kind, user) in [
        (&open, "socks5", ""),
        (&open, "socks4", ""),
        (&open, "http", ""),
        (&closed, "socks5", " alice secret"),
        (&closed, "http", " alice secret"),
    ] {
        let port = proxy.address.port();
        let text = format!("strict_chain\nproxy_dns\n[ProxyList]\n{kind} 127.0.0.1 {port}{user}\n");
        let conf = scratch.file("proxychains.conf", text.as_bytes());
        let output = clean("proxychains4")
            .args(["-q", "-f", &conf, "curl", "-q", "-sS", "--max-time", "20", &web.url("/x")])
            .output()
            .expect("asked for before");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "GET /x\n", "{kind}: {said}");
    }
    open.terminate();
    open.wait_for("3 connections relayed");
    closed.terminate();
    closed.wait_for("2 connections relayed");
}

#[test]
fn nc_comes_through_by_each_protocol() {
    if !has(here!(), "nc") {
        return;
    }
    let help = Command::new("nc").arg("-h").output().expect("asked for before");
    if !String::from_utf8_lossy(&help.stderr).contains("-X proxy_protocol") {
        skip(here!(), "an nc that has -X (OpenBSD's)");
        return;
    }
    let (web, proxy) = (Web::start(), Proxy::start(&[]));
    for protocol in ["5", "4", "connect"] {
        let mut child = clean("nc")
            .args(["-w", "20", "-X", protocol, "-x", &proxy.at(), "127.0.0.1"])
            .arg(web.address().port().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("asked for before");
        let mut stdin = child.stdin.take().expect("piped above");
        stdin.write_all(b"GET /nc HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("nc reads");
        // Without -N the end of its input is no half-close: nc reads on until the server ends.
        drop(stdin);
        let output = child.wait_with_output().expect("our own child");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.ends_with("\r\n\r\nGET /nc\n"), "nc -X {protocol}: {text:?}");
    }
}

/// git without anybody's settings.
fn git(at: &Path, args: &[&str]) {
    let output = clean("git")
        .current_dir(at)
        .env("HOME", at)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .args(["-c", "user.name=nobody", "-c", "user.email=nobody@localhost"])
        .args(args)
        .output()
        .expect("asked for before");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn git_clones_through_the_proxy() {
    if !has(here!(), "git") {
        return;
    }
    let scratch = Scratch::new();
    let at = scratch.path();
    git(at, &["init", "--quiet", "source"]);
    for n in 0..20 {
        std::fs::write(at.join(format!("source/{n}")), crate::common::pattern(n, 20_000)).expect("our own");
    }
    git(&at.join("source"), &["add", "."]);
    git(&at.join("source"), &["commit", "--quiet", "--message", "files"]);
    git(at, &["clone", "--quiet", "--bare", "source", "served.git"]);
    // The plain protocol: a web server and the index of what there is.
    git(&at.join("served.git"), &["update-server-info"]);
    let web = Web::with_files(at.to_owned());
    let proxy = Proxy::start(&[]);
    for scheme in ["http", "socks5", "socks5h", "socks4a"] {
        let setting = format!("http.proxy={scheme}://{}", proxy.address);
        let into = format!("clone-{scheme}");
        git(at, &["-c", &setting, "clone", "--quiet", &web.url("/served.git"), &into]);
        for n in 0..20 {
            let got = std::fs::read(at.join(&into).join(n.to_string())).expect("cloned");
            assert_eq!(got.len(), 20_000);
            crate::common::assert_pattern(n, &got);
        }
    }
    let log = proxy.stop();
    assert!(!log.iter().any(|line| line.contains(" 0 connections relayed")), "git came this way: {log:?}");
}

#[test]
fn python_requests_come_through() {
    if !has(here!(), "python3") {
        return;
    }
    let has_both = Command::new("python3").args(["-c", "import requests, socks"]).output();
    if !has_both.is_ok_and(|output| output.status.success()) {
        skip(here!(), "Python's requests and PySocks");
        return;
    }
    let (web, proxy) = (Web::start(), Proxy::start(&[]));
    for scheme in ["http", "socks5", "socks5h", "socks4", "socks4a"] {
        let program = format!(
            "import requests\n\
             session = requests.Session()\n\
             session.trust_env = False\n\
             proxies = {{'http': '{scheme}://{}'}}\n\
             for n in range(3):\n    \
                 print(session.get('{}' + str(n), proxies=proxies, timeout=20).text, end='')\n",
            proxy.address,
            web.url("/")
        );
        let output = clean("python3").args(["-c", &program]).output().expect("asked for before");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "GET /0\nGET /1\nGET /2\n", "{scheme}: {said}");
    }
}

#[test]
fn pysocks_sends_datagrams_through() {
    if !has(here!(), "python3") {
        return;
    }
    let has_it = Command::new("python3").args(["-c", "import socks"]).output();
    if !has_it.is_ok_and(|output| output.status.success()) {
        skip(here!(), "Python's PySocks");
        return;
    }
    let (proxy, server) = (Proxy::start(&[]), crate::common::udp::echo());
    // Several destinations by one socket, each answer with its true source; a name; a connected
    // socket.
    let program = format!(
        "import socket, socks\n\
         s = socks.socksocket(socket.AF_INET, socket.SOCK_DGRAM)\n\
         s.set_proxy(socks.SOCKS5, '127.0.0.1', {})\n\
         s.settimeout(20)\n\
         for n in range(3):\n    \
             s.sendto(b'datagram %d' % n, ('127.0.0.1', {1}))\n    \
             print(*s.recvfrom(100))\n\
         s.sendto(b'by name', ('localhost', {1}))\n\
         print(*s.recvfrom(100))\n\
         s.connect(('127.0.0.1', {1}))\n\
         s.send(b'connected')\n\
         print(s.recv(100))\n",
        proxy.address.port(),
        server.port()
    );
    let output = clean("python3").args(["-c", &program]).output().expect("asked for before");
    let said = String::from_utf8_lossy(&output.stderr);
    let from = format!("('127.0.0.1', {})", server.port());
    let expected = format!(
        "b'datagram 0' {from}\nb'datagram 1' {from}\nb'datagram 2' {from}\nb'by name' {from}\nb'connected'\n"
    );
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{said}");
}
