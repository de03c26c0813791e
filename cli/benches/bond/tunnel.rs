//! A program at each end, and the way through them.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ropewalk_sim::scenario::Scenario;

use crate::daemon::Daemon;
use crate::hosts::{FAR, Pair, try_ip};

/// How long the client's routes may take.
const ROUTED: Duration = Duration::from_secs(10);

/// Both ends of a tunnel.
pub(crate) struct Tunnel {
    pub(crate) client: Daemon,
    pub(crate) server: Daemon,
    /// The client's address inside.
    pub(crate) inside: Ipv4Addr,
    /// The client's TUN device, and the server's.
    pub(crate) devices: [String; 2],
    /// What both have said is here.
    pub(crate) folder: Folder,
}

/// A folder of its own, gone on drop.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Result<Folder, String> {
        let folder = Folder(std::env::temp_dir().join(format!("ropewalk-bench-{}", std::process::id())));
        std::fs::create_dir_all(&folder.0).map_err(|error| format!("{}: {error}", folder.0.display()))?;
        Ok(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Tunnel {
    /// Waits until the client's way to the far host leads into its device.
    pub(crate) fn wait_for_route(&self, hosts: &Pair) -> Result<(), String> {
        let device = &self.devices[0];
        let deadline = Instant::now() + ROUTED;
        let routed =
            || try_ip(&hosts.client, &format!("route get {FAR}")).is_ok_and(|said| said.contains(device));
        while !routed() {
            if Instant::now() > deadline {
                return Err(format!("expected that the routes lead into {device}, they do not"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// What the run cost, and where `ROPEWALK_SHOW` is set what both ends said.
    pub(crate) fn say(&self, way: &str, scenario: &Scenario) {
        let seconds = scenario.duration.as_secs_f64();
        let share = |daemon: &Daemon| daemon.seconds() / seconds * 100.0;
        println!(
            "{}, {way}: the client took {:.0}% of a core, the server {:.0}%",
            scenario.name,
            share(&self.client),
            share(&self.server)
        );
        if std::env::var_os("ROPEWALK_SHOW").is_some() {
            for log in ["serve.log", "connect.log"] {
                let said = std::fs::read_to_string(self.folder.0.join(log)).unwrap_or_default();
                println!("{log}:\n{said}");
            }
        }
    }
}
