//! What the process may do: all but what it needs is given up before there is a second thread.
//!
//! It stays the user that it is: its files are that user's, and the way back of routes, filters and
//! name servers needs them at the end. Root without capabilities reads and writes root's files, and
//! nobody else's. Programs that it starts (`nft`, `resolvectl`) get no more than it has.

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs};

/// Ports below this are lent with CAP_NET_BIND_SERVICE (ip(7), ip_unprivileged_port_start).
const LOW: u16 = 1024;

/// What a server needs to the end: the device, routes, filters and sysctls; its port.
pub(super) fn of_server(port: u16) -> CapabilitySet {
    match port < LOW {
        true => CapabilitySet::NET_ADMIN | CapabilitySet::NET_BIND_SERVICE,
        false => CapabilitySet::NET_ADMIN,
    }
}

/// What a client needs to the end: as a server, and sockets bound to a device (before Linux 5.7
/// that took CAP_NET_RAW).
pub(super) fn of_client() -> CapabilitySet {
    CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW
}

/// Gives up all but `keep`, for good. To be called before there are other threads: a capability is
/// one thread's.
///
/// # Errors
/// A sentence. The process must not go on then.
pub(super) fn keep(keep: CapabilitySet) -> Result<(), String> {
    let failed = |what: &str, error: rustix::io::Errno| format!("cannot {what}: {error}");
    let have = capabilities(None).map_err(|error| failed("read the capabilities", error))?;
    let permitted = have.permitted & keep;
    if !permitted.contains(CapabilitySet::NET_ADMIN) {
        return Err(
            "expected CAP_NET_ADMIN, which root has (sudo), got a process without it: a bond makes a TUN \
                    device, routes and filters"
                .into(),
        );
    }
    // A user that is not root hands on by the inheritable set what `nft` needs.
    let sets = CapabilitySets { effective: permitted, permitted, inheritable: have.inheritable & keep };
    set_capabilities(None, sets).map_err(|error| failed("give up capabilities", error))?;
    set_no_new_privs(true).map_err(|error| failed("give up new privileges", error))
}
