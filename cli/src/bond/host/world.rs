//! The host as it is: what a change does, and what is there now.

use super::dns::{self, ResolvConf};
use super::plan::TAG;
use super::sysctl::Sysctl;
use crate::host::policy::{Added, Found, Kernel, Route, Rule};
use crate::host::rtnetlink::Asker;
use crate::process::files;
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// linux/rtnetlink.h
const RTM_NEWLINK: u16 = 16;

/// What a bond changes. Tests have another one than the host.
pub(super) trait World {
    /// Rules of ours.
    fn rules(&mut self) -> Result<Vec<Rule>, String>;
    fn add_rule(&mut self, rule: &Rule) -> Result<Added, String>;
    fn remove_rule(&mut self, rule: &Rule) -> Result<(), String>;
    /// Routes of ours.
    fn routes(&mut self) -> Result<Vec<Route>, String>;
    fn add_route(&mut self, route: &Route) -> Result<Added, String>;
    fn remove_route(&mut self, route: &Route) -> Result<(), String>;
    /// Carries out a text for nftables, all of it or nothing.
    fn filter(&mut self, text: &str) -> Result<(), String>;
    /// A table of nftables, one of ours, as `nft` lists it, if it is there.
    fn listed(&mut self, table: &str) -> Option<String>;
    /// Whether it is there.
    fn has_filter(&mut self, table: &str) -> bool {
        self.listed(table).is_some()
    }
    fn sysctl(&self, name: &Sysctl) -> Option<String>;
    fn set_sysctl(&mut self, name: &Sysctl, value: &str) -> Result<(), String>;
    fn resolv_conf(&self) -> Result<ResolvConf, String>;
    /// What is read by who asks for names: through links.
    fn resolvers(&self) -> Vec<u8>;
    fn set_resolv_conf(&mut self, to: &ResolvConf) -> Result<(), String>;
    /// Whether systemd-resolved runs and can be told of name servers.
    fn has_resolved(&self) -> bool;
    fn set_link_dns(&mut self, device: &str, servers: &[IpAddr]) -> Result<(), String>;
    fn revert_link_dns(&mut self, device: &str);
    /// Whether a device with this number is there.
    fn has_device(&self, index: u32) -> bool;
    /// Switches a device on; gives its number.
    fn device_up(&mut self, name: &str) -> Result<u32, String>;
}

/// This host.
pub(crate) struct System {
    kernel: Kernel,
    asker: Asker,
    places: Places,
}

/// Where things are. Tests have a resolv.conf of their own.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) sysctls: PathBuf,
    pub(super) resolv_conf: PathBuf,
    /// Where systemd-resolved shows that it runs.
    pub(super) resolved: PathBuf,
    pub(super) resolvectl: Option<PathBuf>,
}

impl Places {
    pub(super) fn usual() -> Self {
        Places {
            sysctls: "/proc/sys/net".into(),
            resolv_conf: "/etc/resolv.conf".into(),
            resolved: "/run/systemd/resolve/stub-resolv.conf".into(),
            resolvectl: find("resolvectl"),
        }
    }
}

impl System {
    pub(super) fn new(places: Places) -> Result<Self, String> {
        let asker = Asker::new().map_err(|error| format!("cannot open rtnetlink: {error}"))?;
        Ok(System { kernel: Kernel::new(TAG)?, asker, places })
    }
}

impl World for System {
    fn rules(&mut self) -> Result<Vec<Rule>, String> {
        self.kernel.rules().map(ours)
    }

    fn add_rule(&mut self, rule: &Rule) -> Result<Added, String> {
        self.kernel.add_rule(rule)
    }

    fn remove_rule(&mut self, rule: &Rule) -> Result<(), String> {
        self.kernel.remove_rule(rule)
    }

    fn routes(&mut self) -> Result<Vec<Route>, String> {
        self.kernel.routes().map(ours)
    }

    fn add_route(&mut self, route: &Route) -> Result<Added, String> {
        self.kernel.add_route(route)
    }

    fn remove_route(&mut self, route: &Route) -> Result<(), String> {
        self.kernel.remove_route(route)
    }

    fn filter(&mut self, text: &str) -> Result<(), String> {
        let read = nft_reads(&nft()?, &["-f", "-"], text);
        read.map_err(|error| format!("cannot change the filter: {error}"))
    }

    fn listed(&mut self, table: &str) -> Option<String> {
        let output = Command::new(nft().ok()?).args(["list", "table", "inet", table]).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn sysctl(&self, name: &Sysctl) -> Option<String> {
        std::fs::read_to_string(name.path(&self.places.sysctls)).ok().map(|text| text.trim_end().to_owned())
    }

    fn set_sysctl(&mut self, name: &Sysctl, value: &str) -> Result<(), String> {
        std::fs::write(name.path(&self.places.sysctls), value)
            .map_err(|error| format!("cannot set {name}={value}: {error}"))
    }

    fn resolv_conf(&self) -> Result<ResolvConf, String> {
        ResolvConf::look(&self.places.resolv_conf)
    }

    fn resolvers(&self) -> Vec<u8> {
        files::read(&self.places.resolv_conf).unwrap_or_default()
    }

    fn set_resolv_conf(&mut self, to: &ResolvConf) -> Result<(), String> {
        to.put(&self.places.resolv_conf)
    }

    fn has_resolved(&self) -> bool {
        self.places.resolvectl.is_some() && self.places.resolved.exists()
    }

    fn set_link_dns(&mut self, device: &str, servers: &[IpAddr]) -> Result<(), String> {
        let resolvectl = self.places.resolvectl.as_ref().ok_or("expected resolvectl, got none")?;
        let run = |args: &[&str]| said(resolvectl, Command::new(resolvectl).args(args).output());
        let servers: Vec<String> = servers.iter().map(IpAddr::to_string).collect();
        let servers: Vec<&str> = servers.iter().map(String::as_str).collect();
        run(&[&["dns", device], &servers[..]].concat())?;
        // resolvectl(1): the domain `~.` draws all names to this link.
        run(&["domain", device, "~."])?;
        run(&["default-route", device, "yes"])
    }

    fn revert_link_dns(&mut self, device: &str) {
        // The device may be gone, and its name servers with it.
        if let Some(resolvectl) = &self.places.resolvectl {
            let _ = Command::new(resolvectl).args(["revert", device]).output();
        }
    }

    fn has_device(&self, index: u32) -> bool {
        self.asker.name_of(index).is_ok()
    }

    fn device_up(&mut self, name: &str) -> Result<u32, String> {
        let index = nix::net::if_::if_nametoindex(name)
            .map_err(|error| format!("cannot find the device {name}: {error}"))?;
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        let up = self.asker.change(RTM_NEWLINK, 0, &message);
        up.map(|()| index).map_err(|refusal| format!("cannot switch {name} on: {refusal}"))
    }
}

/// The name servers that this host has now.
pub(super) fn resolvers(world: &impl World) -> Vec<IpAddr> {
    dns::servers(&world.resolvers())
}

/// Where nft is.
///
/// # Errors
/// A sentence that says what to do.
pub(crate) fn nft() -> Result<PathBuf, String> {
    find("nft").ok_or_else(|| {
        "expected the program nft, got none: install nftables (apt install nftables, opkg install nftables)"
            .into()
    })
}

/// Has nft read a text.
pub(super) fn nft_reads(nft: &Path, arguments: &[&str], text: &str) -> Result<(), String> {
    let mut command = Command::new(nft);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let run = command.spawn().and_then(|mut child| {
        // Written before anything is read: nft says little before it has the whole text. When it
        // has ended early, its own words tell more than the broken pipe.
        let _ = child.stdin.take().map(|mut stdin| stdin.write_all(text.as_bytes()));
        child.wait_with_output()
    });
    said(nft, run)
}

/// Those that a bond has made.
fn ours<T>(found: Vec<Found<T>>) -> Vec<T> {
    found.into_iter().filter(|found| found.is_of(TAG)).map(|found| found.what).collect()
}

/// The program of this name, in PATH or where system programs are: users' PATHs lack these.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .filter(|dir| dir.is_absolute())
        .chain(usual)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
}

/// An error where a program did not do what it was told, with what it says.
fn said(program: &Path, run: std::io::Result<Output>) -> Result<(), String> {
    let name = program.display();
    let output = run.map_err(|error| format!("cannot run {name}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let first = words.lines().find(|line| !line.trim().is_empty()).unwrap_or("it does not say why");
    Err(format!("{name}: {first} ({})", output.status))
}
