//! Requests in absolute form (`curl -x http://...`): forwarded, framed, kept alive.

use crate::common::proxy::Proxy;
use crate::common::{Scratch, assert_pattern, here, pattern};
use crate::curl::{Curl, curl, is_here};
use crate::web::Web;

/// A server, a proxy, and its URL.
fn pair() -> (Web, Proxy, String) {
    let (web, proxy) = (Web::start(), Proxy::start(&[]));
    let http = format!("http://{}", proxy.address);
    (web, proxy, http)
}

/// Fails unless the body behind the heads is the pattern.
#[track_caller]
fn has_body(got: &Curl, len: usize) {
    assert_eq!(got.code, Some(0), "curl said: {}", got.said);
    assert!(got.out.len() > len, "expected heads and {len} bytes, got {} bytes", got.out.len());
    assert_pattern(0, &got.out[got.out.len() - len..]);
}

#[test]
fn a_get_is_forwarded_in_origin_form_without_what_is_meant_for_the_proxy() {
    if !is_here(here!()) {
        return;
    }
    let (web, _proxy, http) = pair();
    let url = web.url("/path?query=1");
    let got =
        curl(&["-x", &http, "-i", "-U", "alice:secret", "-H", "Connection: X-Hop", "-H", "X-Hop: 1", &url]);
    assert!(got.text().ends_with("\r\n\r\nGET /path?query=1\n"), "{got:?}");
    let saw = got.headers("X-Saw").remove(0);
    let saw: Vec<&str> = saw.split(',').collect();
    assert!(saw.contains(&"host") && saw.contains(&"user-agent"), "{saw:?}");
    for hop in ["proxy-authorization", "proxy-connection", "x-hop"] {
        assert!(!saw.contains(&hop), "{hop} is for the proxy alone: {saw:?}");
    }
}

#[test]
fn two_urls_reuse_the_connection_to_the_proxy_and_to_the_origin() {
    if !is_here(here!()) {
        return;
    }
    let (web, _proxy, http) = pair();
    let (one, two) = (web.url("/1"), web.url("/2"));
    let got = curl(&["-x", &http, "-w", "%{num_connects}\n", &one, &two]);
    got.gives("GET /1\n1\nGET /2\n0\n");
    let got = curl(&["-x", &http, "-D", "-", &one, &two, "-o", "/dev/null", "-o", "/dev/null"]);
    let connections = got.headers("X-Connection");
    assert_eq!(connections.len(), 2, "{got:?}");
    assert_eq!(connections[0], connections[1], "one connection to the origin");
}

#[test]
fn two_origins_share_the_connection_to_the_proxy() {
    if !is_here(here!()) {
        return;
    }
    let (first, _proxy, http) = pair();
    let second = Web::start();
    let urls = [first.url("/1"), second.url("/2"), first.url("/3")];
    let mut args = vec!["-x", &http, "-w", "%{num_connects}\n"];
    args.extend(urls.iter().map(String::as_str));
    curl(&args).gives("GET /1\n1\nGET /2\n0\nGET /3\n0\n");
}

#[test]
fn a_post_is_forwarded_with_its_body() {
    if !is_here(here!()) {
        return;
    }
    let (web, _proxy, http) = pair();
    let scratch = Scratch::new();
    let data = format!("@{}", scratch.file("data", &pattern(0, 900_000)));
    let got = curl(&["-x", &http, "-i", "--data-binary", &data, "-H", "Expect:", &web.url("/")]);
    got.has_header("X-Body", "length");
    got.has_header("X-Expect", "none");
    has_body(&got, 900_000);
}

#[test]
fn a_chunked_upload_is_forwarded_in_chunks() {
    if !is_here(here!()) {
        return;
    }
    let (web, _proxy, http) = pair();
    let scratch = Scratch::new();
    let data = format!("@{}", scratch.file("data", &pattern(0, 3_000_000)));
    let chunked = "Transfer-Encoding: chunked";
    let url = web.url("/");
    let got = curl(&["-x", &http, "-i", "--data-binary", &data, "-H", chunked, "-H", "Expect:", &url]);
    got.has_header("X-Body", "chunked");
    has_body(&got, 3_000_000);
}

#[test]
fn an_upload_that_asks_first_is_told_to_continue() {
    if !is_here(here!()) {
        return;
    }
    let (web, _proxy, http) = pair();
    let scratch = Scratch::new();
    let data = format!("@{}", scratch.file("data", &pattern(0, 3_000_000)));
    let expect = ["-H", "Expect: 100-continue", "--expect100-timeout", "15"];
    let began = std::time::Instant::now();
    let mut args = vec!["-x", &http, "-i", "--data-binary", &data];
    args.extend(expect);
    let url = web.url("/");
    args.push(&url);
    let got = curl(&args);
    got.has_header("X-Expect", "100-continue");
    has_body(&got, 3_000_000);
    assert!(got.text().starts_with("HTTP/1.1 100 "), "the interim response comes through");
    assert!(began.elapsed().as_secs() < 10, "curl was told and did not wait");
}

#[test]
fn a_head_has_a_length_and_no_body_and_the_connection_goes_on() {
    if !is_here(here!()) {
        return;
    }
    let (web, _proxy, http) = pair();
    let (one, two) = (web.url("/1"), web.url("/22"));
    let got = curl(&["-x", &http, "-I", "-w", "connects=%{num_connects}\n", &one, &two]);
    assert_eq!(got.headers("Content-Length"), ["8", "9"], "{got:?}");
    assert!(got.text().contains("connects=1") && got.text().contains("connects=0"), "{got:?}");
}

#[test]
fn every_request_of_a_kept_connection_is_authenticated() {
    if !is_here(here!()) {
        return;
    }
    let scratch = Scratch::new();
    let users = scratch.file("users", b"alice:secret\n");
    let (web, proxy) = (Web::start(), Proxy::start(&["--auth-file", &users]));
    let http = format!("http://{}", proxy.address);
    let url = web.url("/x");
    let format = "%{http_code} %{num_connects}\n";
    let got = curl(&[
        "-x",
        &http,
        "-U",
        "alice:secret",
        "-o",
        "/dev/null",
        "-w",
        format,
        &url,
        "--next",
        "-x",
        &http,
        "-s",
        "-U",
        "alice:wrong",
        "-o",
        "/dev/null",
        "-w",
        format,
        &url,
    ]);
    let lines: Vec<String> = got.text().lines().map(str::to_owned).collect();
    assert_eq!(lines.first().map(String::as_str), Some("200 1"), "{got:?}");
    assert!(lines.last().is_some_and(|line| line.starts_with("407 ")), "{got:?}");
}
