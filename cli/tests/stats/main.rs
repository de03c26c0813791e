//! The stats endpoint of the built binary.
//!
//! | file | is about |
//! | --- | --- |
//! | `figures` | what is counted, in both forms |
//! | `access` | who may read the figures, and that a reader cannot hold the endpoint up |
//! | `page` | the page for people, in a browser |
//! | `top` | `ropewalk top` |
//! | `prometheus` | a reader of Prometheus' text format, as strict as the real one |
#![cfg(unix)]

mod access;
#[path = "../common/mod.rs"]
mod common;
mod figures;
mod page;
mod prometheus;
#[cfg(feature = "top")]
mod top;

use common::LONG;
use common::proxy::Proxy;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// A proxy with figures.
struct Watched {
    proxy: Proxy,
    stats: SocketAddr,
}

impl Watched {
    fn start(args: &[&str]) -> Self {
        let mut all = vec!["--stats", "127.0.0.1:0"];
        all.extend(args);
        let proxy = Proxy::start(&all);
        let line = proxy.wait_for("stats at http://");
        let (_, rest) = line.split_once("http://").expect("waited for it");
        let address = rest.split('/').next().and_then(|text| text.parse().ok());
        let stats = address.unwrap_or_else(|| panic!("expected an address in the line, got {line:?}"));
        Watched { proxy, stats }
    }

    fn dial(&self) -> TcpStream {
        common::socks::dial(self.stats)
    }

    /// Sends these bytes; gives status, head and body.
    fn ask(&self, request: &str) -> (u16, String, String) {
        let mut stream = self.dial();
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer and its end");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a whole head");
        let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
        let status = status.and_then(|text| text.parse().ok()).expect("a status line");
        (status, head.to_owned(), body.to_owned())
    }

    /// The page at `path`, whole.
    fn page(&self, path: &str) -> String {
        let (status, head, body) = self.ask(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.stats));
        assert_eq!(status, 200, "{head}");
        assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{head}");
        body
    }

    fn metrics(&self) -> prometheus::Metrics {
        prometheus::read(&self.page("/metrics"))
    }

    /// Waits until this sample has this value.
    #[track_caller]
    fn wait_for(&self, sample: &str, value: f64) {
        common::wait_until(&format!("{sample} {value}"), LONG, || self.metrics().get(sample) == Some(value));
    }
}
