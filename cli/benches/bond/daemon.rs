//! A program that runs while something is measured: its words in a file, ended on drop.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::ns::Ns;

/// How long it may take to say what is waited for.
const START: Duration = Duration::from_secs(15);
/// How long it may take to end.
const END: Duration = Duration::from_secs(5);

pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts it in a namespace; what it says goes to a file called `name` in `folder`.
    pub(crate) fn start(ns: &Ns, command: &mut Command, folder: &Path, name: &str) -> Result<Self, String> {
        let log = folder.join(name);
        let file = || File::create(&log).map_err(|error| format!("{}: {error}", log.display()));
        let said = file()?;
        let again = said.try_clone().map_err(|error| format!("{}: {error}", log.display()))?;
        command.stdin(Stdio::null()).stdout(again).stderr(said);
        let child = ns.run(|| command.spawn()).map_err(|error| format!("{command:?}: {error}"))?;
        Ok(Daemon { child, log })
    }

    /// Waits until it has said all of `texts`.
    pub(crate) fn wait_for(&mut self, texts: &[String]) -> Result<(), String> {
        let deadline = Instant::now() + START;
        loop {
            let said = std::fs::read_to_string(&self.log).unwrap_or_default();
            if texts.iter().all(|text| said.contains(text.as_str())) {
                return Ok(());
            }
            let ended = self.child.try_wait().is_ok_and(|status| status.is_some());
            if ended || Instant::now() > deadline {
                return Err(format!("expected {texts:?} from {}, got:\n{said}", self.log.display()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Its processor time so far, in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
        let ticks = after.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
        ticks.sum::<f64>() / rustix::param::clock_ticks_per_second() as f64
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // Fails only if it has ended already.
        let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
        let deadline = Instant::now() + END;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
