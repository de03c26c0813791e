//! Clients that speak HTTP as browsers do: aiohttp, Node with http-proxy-agent and ws, Chromium.
//! Plain pages of origins with faults that browsers forgive, and WebSockets in absolute form.

use crate::common::proxy::Proxy;
use crate::common::{has, here, skip};
use crate::curl::clean;
use crate::plain::origin;
use std::process::Command;

/// Faults of real origins: fields and body of a response. The page is always `page`.
fn faults() -> Vec<(String, &'static str)> {
    let many: String = (0..100).map(|n| format!("X-{n}: y\r\n")).collect();
    let large = format!("X-Large: {}\r\n", "y".repeat(60_000));
    let plain = "Content-Length: 4\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    vec![
        ("Content-Length : 4\r\n".into(), "page"),
        (format!("PHP Warning: something\r\n{plain}"), "page"),
        (format!("no colon\r\nX: folded\r\n value\r\n{plain}"), "page"),
        (format!("{many}{plain}"), "page"),
        (format!("{large}{plain}"), "page"),
        (format!("Content-Length: 3\r\n{chunked}"), "4\r\npage\r\n0\r\n\r\n"),
        (chunked.into(), "2  \r\npa\r\n2;x\r\nge\r\n0\r\n\r\n"),
        (chunked.into(), "4\r\npage\r\n0\r\n"),
        ("Content-Length: 4 bytes\r\n".into(), "page"),
        ("Content-Length: -1\r\n".into(), "page"),
        (chunked.into(), "4\r\npage\r\r\n0\r\r\n\r\r\n"),
    ]
}

/// The page of an origin with each fault.
fn pages() -> Vec<String> {
    let page = |(fields, body): (String, &str)| {
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n{fields}\r\n");
        let answer = [head.as_bytes(), body.as_bytes()].concat();
        // One who asks twice (for an icon, say) is answered twice.
        format!("http://{}/", origin(vec![vec![answer]; 4]))
    };
    faults().into_iter().map(page).collect()
}

/// Runs a program to its end; gives what it printed.
#[track_caller]
fn prints(command: &mut Command) -> String {
    let output = command.output().expect("asked for before");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

const AIOHTTP: &str = "
import asyncio, aiohttp, sys
from aiohttp import web

async def echo(request):
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    await socket.send_str('welcome')
    async for message in socket:
        await socket.send_str(message.data)
    return socket

async def main():
    proxy = sys.argv[1]
    app = web.Application()
    app.router.add_get('/chat', echo)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, '127.0.0.1', 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    timeout = aiohttp.ClientTimeout(total=20)
    # Its own limit is smaller than a browser's.
    async with aiohttp.ClientSession(timeout=timeout, max_field_size=1 << 18) as session:
        for url in sys.argv[2:]:
            async with session.get(url, proxy=proxy) as response:
                print(response.status, await response.text())
        async with session.ws_connect(f'http://127.0.0.1:{port}/chat', proxy=proxy) as socket:
            print((await socket.receive()).data)
            await socket.send_str('hello')
            print((await socket.receive()).data)
    await runner.cleanup()

asyncio.run(main())
";

#[test]
fn aiohttp_reads_pages_with_faults_and_speaks_websocket() {
    if !has(here!(), "python3") {
        return;
    }
    let is_there = Command::new("python3").args(["-c", "import aiohttp"]).output();
    if !is_there.is_ok_and(|output| output.status.success()) {
        skip(here!(), "Python's aiohttp");
        return;
    }
    let (proxy, pages) = (Proxy::start(&["-v"]), pages());
    let http = format!("http://{}", proxy.address);
    let printed = prints(clean("python3").args(["-c", AIOHTTP, &http]).args(&pages));
    assert_eq!(printed, format!("{}welcome\nhello\n", "200 page\n".repeat(pages.len())));
}

const NODE: &str = "
const http = require('http');
const { HttpProxyAgent } = require('http-proxy-agent');
const { WebSocket, WebSocketServer } = require('ws');
const [proxy, ...pages] = process.argv.slice(2);
const agent = new HttpProxyAgent(proxy);
const page = (url) => new Promise((resolve, reject) => {
  http.get(url, { agent, timeout: 20000 }, (response) => {
    let body = '';
    response.on('data', (data) => { body += data; });
    response.on('end', () => resolve(response.statusCode + ' ' + body));
    response.on('error', reject);
  }).on('error', reject);
});
const chat = () => new Promise((resolve, reject) => {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0 }, () => {
    server.on('connection', (socket) => {
      socket.send('welcome');
      socket.on('message', (data) => socket.send(data.toString()));
    });
    const client = new WebSocket('ws://127.0.0.1:' + server.address().port + '/chat', { agent });
    client.on('error', reject);
    client.on('message', (data) => {
      console.log(data.toString());
      if (data.toString() === 'welcome') return client.send('hello');
      client.close();
    });
    client.on('close', () => { server.close(); resolve(); });
  });
});
(async () => {
  for (const url of pages) console.log(await page(url));
  await chat();
  process.exit(0);
})().catch((error) => { console.error(error); process.exit(1); });
";

#[test]
fn node_reads_pages_with_faults_and_speaks_websocket_in_absolute_form() {
    if !has(here!(), "node") || !has(here!(), "npm") {
        return;
    }
    let root = prints(Command::new("npm").args(["root", "--global"]));
    let node = || {
        let mut node = clean("node");
        node.env("NODE_PATH", root.trim());
        node
    };
    let is_there = node().args(["-e", "require('http-proxy-agent'); require('ws')"]).output();
    if !is_there.is_ok_and(|output| output.status.success()) {
        skip(here!(), "Node's http-proxy-agent and ws");
        return;
    }
    let (proxy, pages) = (Proxy::start(&["-v"]), pages());
    let scratch = crate::common::Scratch::new();
    let program = scratch.file("client.js", NODE.as_bytes());
    // Its own limit is smaller than a browser's.
    let large = "--max-http-header-size=262144";
    let printed =
        prints(node().args([large, &program]).arg(format!("http://{}", proxy.address)).args(&pages));
    assert_eq!(printed, format!("{}welcome\nhello\n", "200 page\n".repeat(pages.len())));
}

#[test]
fn chromium_shows_pages_with_faults() {
    let name = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| {
        Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success())
    });
    let Some(name) = name else {
        skip(here!(), "chromium");
        return;
    };
    let proxy = Proxy::start(&[]);
    let scratch = crate::common::Scratch::new();
    for page in pages() {
        // Its own rules would let it reach loopback directly.
        let shown = prints(clean(name).args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--proxy-bypass-list=<-loopback>",
            &format!("--proxy-server=http://{}", proxy.address),
            &format!("--user-data-dir={}", scratch.path().display()),
            "--dump-dom",
            &page,
        ]));
        assert!(shown.contains(">page<"), "{page}: {shown}");
    }
}
