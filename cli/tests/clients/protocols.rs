//! curl by each protocol the port speaks, with and without authentication.

use crate::common::proxy::Proxy;
use crate::common::servers::ClosedPort;
use crate::common::{Scratch, here};
use crate::curl::{curl, is_here};
use crate::web::Web;

/// curl's exit codes: "could not connect to server", and "proxy handshake error".
const COULD_NOT_CONNECT: i32 = 7;
const PROXY_ERROR: i32 = 97;

/// A proxy that knows alice, whose password is `secret`.
fn with_auth(scratch: &Scratch) -> Proxy {
    let users = scratch.file("users", b"alice:secret\n");
    Proxy::start(&["--auth-file", &users])
}

#[test]
fn curl_comes_through_by_every_socks_on_the_same_port() {
    if !is_here(here!()) {
        return;
    }
    let (web, proxy) = (Web::start(), Proxy::start(&[]));
    for (flag, by_name) in [
        ("--socks5", false),
        ("--socks5-hostname", false),
        ("--socks5-hostname", true),
        ("--socks4", false),
        ("--socks4a", false),
        ("--socks4a", true),
    ] {
        let url = if by_name { web.url_by_name("/x") } else { web.url("/x") };
        curl(&[flag, &proxy.at(), &url]).gives("GET /x\n");
    }
    proxy.terminate();
    proxy.wait_for("6 connections relayed");
}

#[test]
fn curl_comes_through_by_http_connect() {
    if !is_here(here!()) {
        return;
    }
    let (web, proxy) = (Web::start(), Proxy::start(&[]));
    let http = format!("http://{}", proxy.address);
    for url in [web.url("/x"), web.url_by_name("/x")] {
        curl(&["-p", "-x", &http, &url]).gives("GET /x\n");
    }
}

#[test]
fn curl_with_the_right_password_comes_through() {
    if !is_here(here!()) {
        return;
    }
    let scratch = Scratch::new();
    let (web, proxy) = (Web::start(), with_auth(&scratch));
    let (at, http, url) = (proxy.at(), format!("http://{}", proxy.address), web.url("/x"));
    for args in [&["--socks5", &at][..], &["--socks5-hostname", &at], &["-x", &http], &["-p", "-x", &http]] {
        let mut all = vec!["-U", "alice:secret", &url];
        all.extend(args);
        curl(&all).gives("GET /x\n");
    }
}

#[test]
fn curl_with_a_wrong_password_or_none_is_refused() {
    if !is_here(here!()) {
        return;
    }
    let scratch = Scratch::new();
    let (web, proxy) = (Web::start(), with_auth(&scratch));
    let (at, http, url) = (proxy.at(), format!("http://{}", proxy.address), web.url("/x"));
    for user in [&["-U", "alice:wrong"][..], &["-U", "bob:secret"], &["-U", "alice:"], &[]] {
        let with = |more: &[&str]| {
            let mut all = vec![url.as_str()];
            all.extend(user);
            all.extend(more);
            curl(&all)
        };
        let socks = with(&["--socks5", &at]);
        assert_eq!((socks.code, socks.text().as_str()), (Some(PROXY_ERROR), ""), "{user:?}: {socks:?}");
        let forward = with(&["-x", &http, "-o", "/dev/null", "-w", "%{http_code}"]);
        forward.gives("407");
        let connect = with(&["-p", "-x", &http, "-w", "%{http_connect}"]);
        assert_eq!(
            (connect.code != Some(0), connect.text().as_str()),
            (true, "407"),
            "{user:?}: {connect:?}"
        );
    }
    // RFC 9110 section 15.5.8: a 407 says how to authenticate.
    let challenge = curl(&["-x", &http, "-D", "-", "-o", "/dev/null", &url]);
    challenge.has_header("Proxy-Authenticate", "Basic realm=\"ropewalk\"");
    assert_eq!(web.accepted(), 0, "nothing reached the server");
}

#[test]
fn curl_by_socks4_is_refused_where_a_password_is_asked_for() {
    if !is_here(here!()) {
        return;
    }
    let scratch = Scratch::new();
    let (web, proxy) = (Web::start(), with_auth(&scratch));
    for flag in ["--socks4", "--socks4a"] {
        let refused = curl(&[flag, &proxy.at(), &web.url("/x")]);
        assert_eq!(refused.code, Some(PROXY_ERROR), "{refused:?}");
    }
    assert_eq!(web.accepted(), 0, "nothing reached the server");
}

#[test]
fn curl_is_told_when_the_server_is_not_there() {
    if !is_here(here!()) {
        return;
    }
    let (closed, proxy) = (ClosedPort::new(), Proxy::start(&[]));
    let (url, http) = (format!("http://{}/", closed.1), format!("http://{}", proxy.address));
    for flag in ["--socks5", "--socks5-hostname", "--socks4", "--socks4a"] {
        let told = curl(&[flag, &proxy.at(), &url]);
        assert!([Some(PROXY_ERROR), Some(COULD_NOT_CONNECT)].contains(&told.code), "{flag}: {told:?}");
    }
    curl(&["-x", &http, "-o", "/dev/null", "-w", "%{http_code}", &url]).gives("502");
    let connect = curl(&["-p", "-x", &http, "-w", "%{http_connect}", &url]);
    assert_eq!((connect.code != Some(0), connect.text().as_str()), (true, "502"), "{connect:?}");
}

#[test]
fn curl_gets_a_large_file_whole_by_each_protocol() {
    if !is_here(here!()) {
        return;
    }
    let scratch = Scratch::new();
    let content = crate::common::pattern(0, 16 << 20);
    scratch.file("large", &content);
    let web = Web::with_files(scratch.path().to_owned());
    let (proxy, url) = (Proxy::start(&[]), web.url("/large"));
    let http = format!("http://{}", proxy.address);
    for args in [&["--socks5", &proxy.at()][..], &["-x", &http], &["-p", "-x", &http]] {
        let mut all = vec![url.as_str()];
        all.extend(args);
        let got = curl(&all);
        assert_eq!((got.code, got.out.len()), (Some(0), content.len()), "{args:?}: {}", got.said);
        crate::common::assert_pattern(0, &got.out);
    }
}
