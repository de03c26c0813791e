//! A small HTTP/1.1 server. What it saw of a request it puts into the headers of its response:
//!
//! | header | is |
//! | --- | --- |
//! | `X-Connection` | the number of the connection, from 1 |
//! | `X-Body` | `none`, `length` or `chunked` |
//! | `X-Expect` | what `Expect` asked for, or `none` |
//! | `X-Saw` | the names of the request's headers, in small letters, with commas |
//!
//! A body is given back as it came; else the answer is a line with method and target, or a file
//! below the root.

use crate::common::servers::Server;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(crate) struct Web {
    server: Server,
}

impl Web {
    /// On a free port of 127.0.0.1.
    pub(crate) fn start() -> Self {
        Web::serving(None)
    }

    /// The same, with the files below `root`.
    pub(crate) fn with_files(root: PathBuf) -> Self {
        Web::serving(Some(root))
    }

    fn serving(root: Option<PathBuf>) -> Self {
        let connections = AtomicUsize::new(0);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let server = Server::of(listener, move |stream| {
            let number = connections.fetch_add(1, Ordering::SeqCst) + 1;
            // A client that leaves in the middle is no fault of the server.
            let _ = converse(stream, number, root.as_ref());
        });
        Web { server }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// How many connections have come.
    pub(crate) fn accepted(&self) -> usize {
        self.server.accepted()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address)
    }

    /// The same by name.
    pub(crate) fn url_by_name(&self, path: &str) -> String {
        format!("http://localhost:{}{path}", self.server.address.port())
    }
}

struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
}

impl Request {
    fn read(reader: &mut impl BufRead) -> std::io::Result<Option<Self>> {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_ascii_whitespace().map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            match line.trim_end().split_once(':') {
                Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
                None => return Ok(Some(Request { method, target, headers })),
            }
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body, and how it was framed.
    fn body(&self, reader: &mut impl BufRead) -> std::io::Result<(&'static str, Vec<u8>)> {
        let mut body = Vec::new();
        if self.header("transfer-encoding") == Some("chunked") {
            loop {
                let mut line = String::new();
                reader.read_line(&mut line)?;
                let size = usize::from_str_radix(line.trim_end(), 16).map_err(std::io::Error::other)?;
                let start = body.len();
                body.resize(start + size, 0);
                reader.read_exact(&mut body[start..])?;
                reader.read_line(&mut String::new())?;
                if size == 0 {
                    return Ok(("chunked", body));
                }
            }
        }
        let Some(length) = self.header("content-length") else { return Ok(("none", body)) };
        body.resize(length.parse().map_err(std::io::Error::other)?, 0);
        reader.read_exact(&mut body)?;
        Ok(("length", body))
    }
}

fn converse(mut stream: TcpStream, number: usize, root: Option<&PathBuf>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some(request) = Request::read(&mut reader)? {
        let expect = request.header("expect").unwrap_or("none");
        if expect.eq_ignore_ascii_case("100-continue") {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let (framing, body) = request.body(&mut reader)?;
        let mut status = "200 OK";
        let answer = match root {
            _ if framing != "none" => body,
            None => format!("{} {}\n", request.method, request.target).into_bytes(),
            Some(root) => {
                let path = request.target.split('?').next().unwrap_or_default();
                std::fs::read(root.join(path.trim_start_matches('/'))).unwrap_or_else(|_| {
                    status = "404 Not Found";
                    Vec::new()
                })
            }
        };
        let names: Vec<&str> = request.headers.iter().map(|(name, _)| name.as_str()).collect();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nX-Connection: {number}\r\nX-Body: {framing}\r\n\
             X-Expect: {expect}\r\nX-Saw: {}\r\n\r\n",
            answer.len(),
            names.join(",")
        );
        stream.write_all(head.as_bytes())?;
        if request.method != "HEAD" {
            stream.write_all(&answer)?;
        }
        if request.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            return Ok(());
        }
    }
    Ok(())
}
