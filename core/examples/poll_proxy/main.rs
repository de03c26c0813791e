//! A SOCKS and HTTP proxy over poll(2): the runtime is in `runtime.rs`.

#[cfg(unix)]
mod runtime;

#[cfg(unix)]
fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:1080".into());
    let listener = std::net::TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    runtime::serve(listener, std::io::stdin())
}

#[cfg(not(unix))]
fn main() {
    eprintln!("poll_proxy: expected a system with poll(2)");
}
