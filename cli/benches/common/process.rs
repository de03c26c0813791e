//! A rival's process: started with its standard error in a file, awaited with a deadline, ended by
//! id with all it started.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid};

use crate::common::proc;

/// How long a rival may take to accept its first connection.
const START: Duration = Duration::from_secs(10);
/// How long a rival may take to end after SIGTERM, before SIGKILL.
const END: Duration = Duration::from_secs(2);
/// Quiet after the start, so that what the rival still sets up is not measured.
const SETTLE: Duration = Duration::from_millis(150);

/// Lines of standard error that are printed for a rival that failed.
const LAST_WORDS: usize = 5;

/// Makes orphans of the rivals children of this process, so that none is left behind: dante forks a
/// few dozen.
pub(crate) fn adopt_orphans() -> io::Result<()> {
    // Any process id but none says yes.
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// A port of 127.0.0.1 that is free at the moment.
pub(crate) fn free_port() -> std::io::Result<SocketAddrV4> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(SocketAddrV4::new(Ipv4Addr::LOCALHOST, listener.local_addr()?.port()))
}

/// One child process of ours; ended, with all its descendants, when dropped. At most one lives at a
/// time.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    stderr: PathBuf,
}

impl Process {
    /// Starts `command`; its standard error goes to a file under `folder`.
    pub(crate) fn spawn(name: &'static str, command: &mut Command, folder: &Path) -> Result<Self, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let stderr = folder.join(format!("{name}.{count}.stderr"));
        let log = File::create(&stderr).map_err(|e| format!("{}: {e}", stderr.display()))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().map_err(|e| format!("starting {name}: {e}"))?;
        Ok(Self { name, child, stderr })
    }

    /// Waits until it accepts on `listen`, and a little longer.
    pub(crate) fn wait_until_accepting(&mut self, listen: SocketAddrV4) -> Result<(), String> {
        self.wait_until(&format!("accept on {listen}"), || {
            TcpStream::connect_timeout(&listen.into(), Duration::from_millis(200)).is_ok()
        })
    }

    /// Waits until it can be seen to do what it is `to` do, and a little longer.
    pub(crate) fn wait_until(&mut self, to: &str, mut seen: impl FnMut() -> bool) -> Result<(), String> {
        let deadline = Instant::now() + START;
        while !seen() {
            if let Some(obituary) = self.obituary() {
                return Err(obituary);
            }
            if Instant::now() > deadline {
                return Err(format!("waited {START:?} for {} to {to}: {}", self.name, self.words()));
            }
            thread::sleep(Duration::from_millis(10));
        }
        thread::sleep(SETTLE);
        self.obituary().map_or(Ok(()), Err)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// If it is no longer alive, its end and last words.
    pub(crate) fn obituary(&mut self) -> Option<String> {
        match self.child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(format!("{} ended with {status}: {}", self.name, self.words())),
            Err(e) => Some(format!("{} cannot be waited for: {e}", self.name)),
        }
    }

    /// The last lines of its standard error.
    fn words(&self) -> String {
        let text = fs::read(&self.stderr).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let text = lines[lines.len().saturating_sub(LAST_WORDS)..].join(" | ");
        if text.is_empty() { "it wrote nothing to standard error".into() } else { text }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let deadline = Instant::now() + END;
        signal(self.child.id(), Signal::TERM);
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                // Fails only if it has ended after all.
                let _ = self.child.kill();
                let _ = self.child.wait();
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
        // Its own children are ours now, see `adopt_orphans`; as rivals run one at a time, there
        // are no others.
        let deadline = Instant::now() + END;
        loop {
            let orphans = proc::tree(std::process::id()).split_off(1);
            if orphans.is_empty() {
                break;
            }
            if Instant::now() > deadline {
                eprintln!("{}: still there after SIGKILL: {orphans:?}", self.name);
                break;
            }
            for pid in orphans {
                signal(pid, Signal::KILL);
                // Not ours to reap yet if its parent lives: the next turn will.
                let _ = waitpid(id(pid), WaitOptions::NOHANG);
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn id(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = id(pid) {
        // Fails only if it has ended already.
        let _ = kill_process(pid, signal);
    }
}
