//! What the process may do: looked at before the start, given up once all is set up.

#[cfg(target_os = "linux")]
pub(super) use linux::{check, drop_to};

#[cfg(target_os = "linux")]
mod linux {
    use nix::unistd::{Gid, Uid, User, setgroups, setresgid, setresuid};
    use rustix::process::getuid;
    use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
    use socket2::{Domain, Socket, Type};

    /// Whether foreign addresses can be lent, and root can become `user`.
    ///
    /// # Errors
    /// A sentence that says what to do.
    pub(crate) fn check(mark: Option<u32>, user: Option<&str>) -> Result<(), String> {
        if getuid().is_root() {
            user.map(find).transpose()?;
        }
        let cannot = |what: &str, needs: &str, error: &std::io::Error| {
            format!(
                "cannot {what}: {error}; expected {needs}: run as root (it is given up once all is set up), \
                 or give it to the program: setcap cap_net_raw,cap_net_bind_service+ep ropewalk"
            )
        };
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)
            .map_err(|error| format!("cannot open a socket: {error}"))?;
        socket
            .set_ip_transparent_v4(true)
            .map_err(|error| cannot("lend foreign addresses", "CAP_NET_RAW", &error))?;
        if let Some(mark) = mark {
            let needs = "CAP_NET_RAW (before Linux 5.17 CAP_NET_ADMIN)";
            socket.set_mark(mark).map_err(|error| cannot("set a mark", needs, &error))?;
        }
        Ok(())
    }

    /// Gives up all but CAP_NET_RAW, and CAP_NET_BIND_SERVICE where `low_ports` are needed; root
    /// becomes `user`. To be called before there are other threads: a capability is one thread's.
    ///
    /// Gives what is to be said in the log, which is not there yet.
    ///
    /// # Errors
    /// A sentence. The process must not go on then.
    pub(crate) fn drop_to(
        user: Option<&str>,
        low_ports: bool,
        mark: Option<u32>,
    ) -> Result<Vec<String>, String> {
        let mut notes = Vec::new();
        let failed = |what: &str, error: &dyn std::fmt::Display| format!("cannot {what}: {error}");
        let have = capabilities(None).map_err(|error| failed("read the capabilities", &error))?;
        let mut keep = CapabilitySet::NET_RAW;
        if low_ports {
            keep |= CapabilitySet::NET_BIND_SERVICE;
        }
        let before_5_17 = crate::unwrap::doctor::kernel_version().is_some_and(|version| version < (5, 17));
        if mark.is_some() && before_5_17 {
            let why = "this kernel lets only CAP_NET_ADMIN set a mark (from 5.17 on CAP_NET_RAW does too): \
                       it is kept";
            notes.push(why.to_owned());
            keep |= CapabilitySet::NET_ADMIN;
        }
        if !have.permitted.contains(CapabilitySet::NET_RAW) {
            // ip(7): it serves as well. `check` has shown that one of the two is there.
            notes.push("CAP_NET_ADMIN is kept, for want of CAP_NET_RAW, which would do".to_owned());
            keep |= CapabilitySet::NET_ADMIN;
        }
        keep &= have.permitted;
        if getuid().is_root() {
            notes.push(become_user(user.unwrap_or(usual()))?);
        }
        let sets = CapabilitySets { effective: keep, permitted: keep, inheritable: CapabilitySet::empty() };
        set_capabilities(None, sets).map_err(|error| failed("give up capabilities", &error))?;
        rustix::thread::set_no_new_privs(true).map_err(|error| failed("give up new privileges", &error))?;
        Ok(notes)
    }

    /// A user of its own, if there is one: what runs as "nobody" may be everybody's.
    fn usual() -> &'static str {
        match User::from_name("ropewalk") {
            Ok(Some(_)) => "ropewalk",
            Ok(None) | Err(_) => "65534",
        }
    }

    /// Whom root becomes; `None`: it stays root.
    fn find(user: &str) -> Result<Option<(Uid, Gid)>, String> {
        match user.parse::<u32>() {
            Ok(0) => Ok(None),
            Ok(number) => match User::from_uid(Uid::from_raw(number)) {
                Ok(Some(found)) => Ok(Some((found.uid, found.gid))),
                // A user id without a name, as in small containers.
                Ok(None) | Err(_) => Ok(Some((Uid::from_raw(number), Gid::from_raw(number)))),
            },
            Err(_) => match User::from_name(user) {
                Ok(Some(found)) => Ok(Some((found.uid, found.gid))),
                Ok(None) => Err(format!("--user {user}: expected a user of this host, or a number")),
                Err(error) => Err(format!("--user {user}: cannot be looked up: {error}")),
            },
        }
    }

    /// Root no more, the capabilities kept.
    fn become_user(user: &str) -> Result<String, String> {
        let Some((uid, gid)) = find(user)? else {
            return Ok("--user 0: going on as root, with no capability but those that are needed".into());
        };
        let failed = |error: &dyn std::fmt::Display| format!("cannot become user {uid}: {error}");
        // capabilities(7): a change from root to another user takes the permitted set away unless
        // PR_SET_KEEPCAPS is set.
        rustix::thread::set_keep_capabilities(true).map_err(|error| failed(&error))?;
        setgroups(&[]).map_err(|error| failed(&error))?;
        setresgid(gid, gid, gid).map_err(|error| failed(&error))?;
        setresuid(uid, uid, uid).map_err(|error| failed(&error))?;
        rustix::thread::set_keep_capabilities(false).map_err(|error| failed(&error))?;
        Ok(format!("going on as user {uid}"))
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn check(_: Option<u32>, _: Option<&str>) -> Result<(), String> {
    Err("foreign addresses can be lent on Linux only".into())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn drop_to(_: Option<&str>, _: bool, _: Option<u32>) -> Result<Vec<String>, String> {
    Ok(Vec::new())
}
