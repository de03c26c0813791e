//! Tells the service manager that the service is ready, or about to end: sd_notify(3).
//!
//! A manager that wants to know names a datagram socket in the environment variable
//! `NOTIFY_SOCKET`: systemd with `Type=notify`, and others that do as it does. Without the variable
//! nothing is sent.

#[cfg(target_os = "linux")]
pub(crate) use linux::{ready, stopping};

#[cfg(target_os = "linux")]
mod linux {
    use std::ffi::OsStr;
    use std::io;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    const VARIABLE: &str = "NOTIFY_SOCKET";

    /// All listeners listen.
    pub(crate) fn ready() {
        notify("READY=1");
    }

    /// No new connections are accepted; the process ends when the open ones have.
    pub(crate) fn stopping() {
        notify("STOPPING=1");
    }

    fn notify(state: &str) {
        let Some(name) = std::env::var_os(VARIABLE) else { return };
        if let Err(error) = send(&name, state) {
            log::warn!(
                "cannot send {state} to the service manager at {VARIABLE} {}: {error}",
                name.display()
            );
        }
    }

    fn send(name: &OsStr, state: &str) -> io::Result<()> {
        let address = match name.as_bytes() {
            // sd_notify(3): a name that begins with @ is one of the abstract namespace.
            [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
            [b'/', ..] => SocketAddr::from_pathname(name)?,
            _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "expected /PATH or @NAME")),
        };
        let socket = UnixDatagram::unbound()?;
        // A manager that does not read must not hold up the service.
        socket.set_nonblocking(true)?;
        socket.send_to_addr(state.as_bytes(), &address).map(drop)
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn ready() {}

#[cfg(not(target_os = "linux"))]
pub(crate) fn stopping() {}
