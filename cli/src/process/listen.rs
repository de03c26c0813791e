//! The sockets that clients come in on.

use super::args::Common;
use crate::host;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

/// The listeners of each worker.
///
/// # Errors
/// A sentence that names the address, and the process that has it.
pub(crate) fn bind_all(addresses: &[SocketAddr], common: &Common) -> Result<Vec<Vec<TcpListener>>, String> {
    let workers = common.workers;
    let several = workers > 1;
    once_each(addresses)?;
    let addresses = &with_both_families(addresses);
    let mut first: Vec<TcpListener> = Vec::new();
    for address in addresses {
        let mut listener =
            ropewalk_mio::listen(*address, false).map_err(|error| cannot_listen(*address, &error))?;
        if several {
            // Shared ports let a second ropewalk listen here unseen: the first bind, unshared, has
            // shown that none listens.
            let actual = listener.local_addr().map_err(|error| error.to_string())?;
            drop(listener);
            listener = ropewalk_mio::listen(actual, true).map_err(|error| cannot_listen(actual, &error))?;
        }
        first.push(listener);
    }
    let mut all = vec![first];
    for _ in 1..workers {
        let again = |listener: &TcpListener| {
            let address = listener.local_addr().map_err(|error| error.to_string())?;
            ropewalk_mio::listen(address, true).map_err(|error| cannot_listen(address, &error))
        };
        let more = all[0].iter().map(again).collect::<Result<Vec<_>, String>>()?;
        all.push(more);
    }
    for listener in all.iter().flatten() {
        let bound = common.socket_options().bound(listener);
        bound.map_err(|error| format!("--socket-buffer: the system refuses it: {error}"))?;
    }
    Ok(all)
}

/// `[::]:PORT` is everybody's reading of "everywhere": 0.0.0.0 belongs to it, unless it is given
/// too. (Two sockets, so that clients of IPv4 are seen as such. With port 0 the system would choose
/// two.)
fn with_both_families(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut all = addresses.to_vec();
    for address in addresses {
        let other = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port());
        if address.ip() == Ipv6Addr::UNSPECIFIED && address.port() != 0 && !all.contains(&other) {
            all.push(other);
        }
    }
    all
}

/// Nothing is listened on twice.
pub(crate) fn once_each(addresses: &[SocketAddr]) -> Result<(), String> {
    for (number, address) in addresses.iter().enumerate() {
        if address.port() != 0 && addresses[..number].contains(address) {
            return Err(format!("--listen {address} is given twice"));
        }
    }
    Ok(())
}

pub(crate) fn cannot_listen(address: SocketAddr, error: &std::io::Error) -> String {
    host::port::cannot_listen(address, error, "--listen")
}
