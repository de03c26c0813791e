//! The proxies compared: how each is found, configured, started and ended. No rival is tuned.

use std::fs;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::contest::{self, Running};
use crate::common::process::{self, Process};
use crate::common::route::Route;
use crate::common::{binaries, host};

/// One way to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rival {
    /// No proxy, and no header.
    Direct,
    /// The binary of this package.
    Ropewalk,
    /// The same with the other runtime, if it was built with the feature `async-std`.
    AsyncStd,
    /// Debian's haproxy.
    Haproxy,
    /// The same with `option splice-auto`.
    HaproxySplice,
}

/// What goes through the proxy.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

impl contest::Rival for Rival {
    const ALL: &'static [Self] =
        &[Self::Direct, Self::Ropewalk, Self::AsyncStd, Self::Haproxy, Self::HaproxySplice];
    const DIRECT: Self = Self::Direct;

    fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Ropewalk => "ropewalk",
            Self::AsyncStd => "async-std",
            Self::Haproxy => "haproxy",
            Self::HaproxySplice => "haproxy-splice",
        }
    }

    fn binary(self) -> Result<Option<PathBuf>, String> {
        match self {
            Self::Direct => Ok(None),
            Self::Ropewalk => binaries::ropewalk().map(Some),
            Self::AsyncStd => {
                let path = binaries::ropewalk()?;
                let help = Command::new(&path).args(["unwrap", "--help"]).output();
                let help = help.map_err(|e| format!("{}: {e}", path.display()))?.stdout;
                if !String::from_utf8_lossy(&help).contains("--runtime") {
                    return Err("async-std is missing: built without the feature async-std".into());
                }
                Ok(Some(path))
            }
            Self::Haproxy | Self::HaproxySplice => binaries::installed(self.name(), "haproxy").map(Some),
        }
    }
}

impl Rival {
    /// Starts the rival, its files under `folder`, before `target`, and waits until it takes
    /// something.
    pub(crate) fn start(
        self,
        protocol: Protocol,
        target: SocketAddrV4,
        folder: &Path,
    ) -> Result<Running, String> {
        let name = contest::Rival::name(self);
        let Some(binary) = contest::Rival::binary(self)? else {
            return Ok(Running { process: None, route: Route::Plain(vec![target]) });
        };
        let listen = process::free_port().map_err(|e| format!("looking for a free port for {name}: {e}"))?;
        let mut command = Command::new(binary);
        match self {
            Self::Direct => {}
            Self::Ropewalk | Self::AsyncStd => {
                command.args(["unwrap", "--allow-from", "127.0.0.0/8", "-q"]);
                command.arg("--listen").arg(listen.to_string()).arg("--target-v4").arg(target.to_string());
                if protocol == Protocol::Udp {
                    command.args(["--protocol", "udp", "--udp-header", "each"]);
                }
                if self == Self::AsyncStd {
                    command.args(["--runtime", "async-std"]);
                }
            }
            Self::Haproxy | Self::HaproxySplice => {
                let config = folder.join(format!("{name}.conf"));
                fs::write(&config, haproxy_config(listen, target, self == Self::HaproxySplice))
                    .map_err(|e| format!("{}: {e}", config.display()))?;
                command.arg("-db").arg("-f").arg(config);
            }
        }
        let mut process = Process::spawn(name, &mut command, folder)?;
        match protocol {
            Protocol::Tcp => process.wait_until_accepting(listen)?,
            Protocol::Udp => process.wait_until(&format!("receive on {listen}"), || receives(listen))?,
        }
        Ok(Running { process: Some(process), route: Route::header(listen) })
    }
}

/// Whether a UDP socket is bound to this port, in this network namespace.
fn receives(listen: SocketAddrV4) -> bool {
    let local = format!(":{:04X} 00000000:0000", listen.port());
    fs::read_to_string("/proc/thread-self/net/udp").is_ok_and(|sockets| sockets.contains(&local))
}

fn haproxy_config(listen: SocketAddrV4, target: SocketAddrV4, splice: bool) -> String {
    // It refuses to start unless the descriptors suffice: two for each connection and two for every
    // fourth's pipe.
    let most = 20_000.min(host::descriptor_limit().saturating_sub(200) * 2 / 5);
    let splice = if splice { " option splice-auto\n" } else { "" };
    format!(
        "global\n nbthread 1\n maxconn {most}\ndefaults\n mode tcp\n maxconn {most}\n{splice} \
         timeout connect 1m\n timeout client 1m\n timeout server 1m\n\
         frontend in\n bind {listen} accept-proxy\n default_backend out\n\
         backend out\n source 0.0.0.0 usesrc clientip\n server s {target}\n"
    )
}
