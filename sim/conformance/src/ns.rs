//! One network namespace, gone on drop. Only root can make any.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// A namespace with its loopback up.
pub struct Ns {
    name: String,
}

impl Ns {
    /// A new one, in a system that has TUN devices; or what it lacks.
    ///
    /// # Errors
    /// What it lacks, in words.
    pub fn new() -> Result<Self, String> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() {
            return Err("root, to make network namespaces".into());
        }
        if !Path::new("/dev/net/tun").exists() {
            return Err("/dev/net/tun".into());
        }
        let name = format!("rwk{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let output = Command::new("ip").args(["netns", "add", &name]).output();
        let output = output.map_err(|error| format!("ip of iproute2 ({error})"))?;
        if !output.status.success() {
            return Err(format!("network namespaces ({})", String::from_utf8_lossy(&output.stderr).trim()));
        }
        let ns = Ns { name };
        ns.ip("link set lo up");
        Ok(ns)
    }

    /// Its name, for `ip`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs commands of `ip` in it, one a line.
    ///
    /// # Panics
    /// When one of them fails.
    pub fn ip(&self, commands: &str) {
        for line in commands.lines() {
            let output = self.try_ip(line);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "ip -n {} {line}: {said}", self.name);
        }
    }

    /// Runs a command of `ip` in it.
    ///
    /// # Panics
    /// When there is no `ip`.
    pub fn try_ip(&self, line: &str) -> Output {
        let output = Command::new("ip").args(["-n", &self.name]).args(line.split_whitespace()).output();
        output.expect("ip was there for the namespace")
    }

    /// Runs `f` on a thread inside. Sockets and threads that are made there stay there.
    ///
    /// # Panics
    /// When `f` does.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            self.enter();
            f()
        };
        match std::thread::scope(|scope| scope.spawn(inside).join()) {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl Ns {
    #[cfg(target_os = "linux")]
    fn enter(&self) {
        use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
        use std::os::fd::AsFd;
        let handle = std::fs::File::open(format!("/run/netns/{}", self.name)).expect("ip netns made it");
        move_into_link_name_space(handle.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("root may enter its own namespace");
    }

    /// Elsewhere there are none, so none was made.
    #[cfg(not(target_os = "linux"))]
    fn enter(&self) {}
}

impl Drop for Ns {
    fn drop(&mut self) {
        // Its devices go with it.
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}
