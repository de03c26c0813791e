//! One network namespace, gone on drop.

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// `ip netns add` sets up its directory the first time: not twice at once.
static ADDING: Mutex<()> = Mutex::new(());

pub(crate) struct Ns {
    name: String,
}

impl Ns {
    /// A new one, with its loopback up; or what it lacks.
    pub(crate) fn new() -> Result<Self, String> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() {
            return Err("root, to make network namespaces".into());
        }
        let name = format!("rw{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let adding = ADDING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let output = Command::new("ip").args(["netns", "add", &name]).output();
        drop(adding);
        match output {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                return Err(format!("network namespaces (ip netns add: {})", said.trim()));
            }
            Err(error) => return Err(format!("ip of iproute2 ({error})")),
        }
        let ns = Ns { name };
        ns.ip("link set lo up");
        Ok(ns)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Runs commands of `ip` in it, one a line; all of them must succeed.
    #[track_caller]
    pub(crate) fn ip(&self, commands: &str) {
        for line in commands.lines() {
            let output = Command::new("ip").args(["-n", &self.name]).args(line.split(' ')).output();
            let output = output.expect("ip was there for the namespace");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "ip -n {} {line}: {said}", self.name);
        }
    }

    /// Sets a value below /proc/sys/net.
    #[track_caller]
    pub(crate) fn set(&self, key: &str, value: &str) {
        let path = format!("/proc/sys/net/{key}");
        self.run(|| std::fs::write(&path, value).unwrap_or_else(|error| panic!("{path}: {error}")));
    }

    /// Runs `f` on a thread inside. Sockets made and processes started there stay there, wherever
    /// they are used.
    pub(crate) fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            let handle = File::open(format!("/run/netns/{}", self.name)).expect("ip netns made it");
            move_into_link_name_space(handle.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("root may enter its own namespace");
            f()
        };
        match std::thread::scope(|scope| scope.spawn(inside).join()) {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Ns {
    fn drop(&mut self) {
        // Its devices go with it.
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}
