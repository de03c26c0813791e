//! The proxies compared: how each is found, configured, started and ended. No rival is tuned.
//!
//! Each measurement starts its rival anew and ends it afterwards, so that rivals never run side by
//! side and none carries anything over.

use std::fs;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::contest::{self, Running};
use crate::common::process::{self, Process};
use crate::common::route::Route;
use crate::common::{binaries, host};

/// One way to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rival {
    /// No proxy.
    Direct,
    /// The binary of this package.
    Ropewalk,
    /// Debian's microsocks.
    Microsocks,
    /// Debian's dante-server.
    Dante,
    /// Debian's haproxy as a plain TCP forwarder: no SOCKS, so its clients have no handshake.
    Haproxy,
}

impl contest::Rival for Rival {
    const ALL: &'static [Self] =
        &[Self::Direct, Self::Ropewalk, Self::Microsocks, Self::Dante, Self::Haproxy];
    const DIRECT: Self = Self::Direct;

    fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Ropewalk => "ropewalk",
            Self::Microsocks => "microsocks",
            Self::Dante => "dante",
            Self::Haproxy => "haproxy",
        }
    }

    fn binary(self) -> Result<Option<PathBuf>, String> {
        let program = match self {
            Self::Direct => return Ok(None),
            Self::Ropewalk => return binaries::ropewalk().map(Some),
            Self::Microsocks => "microsocks",
            Self::Dante => "danted",
            Self::Haproxy => "haproxy",
        };
        binaries::installed(self.name(), program).map(Some)
    }
}

impl Rival {
    /// Starts the rival, its files under `folder`, to proxy to `targets`, and waits until it
    /// accepts.
    pub(crate) fn start(self, targets: &[SocketAddrV4], folder: &Path) -> Result<Running, String> {
        let Some(binary) = contest::Rival::binary(self)? else {
            return Ok(Running { process: None, route: Route::Plain(targets.to_vec()) });
        };
        let name = contest::Rival::name(self);
        let listen = process::free_port().map_err(|e| format!("looking for a free port for {name}: {e}"))?;
        let mut command = Command::new(binary);
        let config = folder.join(format!("{name}.conf"));
        match self {
            Self::Direct => {}
            Self::Ropewalk => {
                command.args(["dispatch", "--listen", &listen.to_string(), "-q"]);
            }
            Self::Microsocks => {
                command.args(["-i", &listen.ip().to_string(), "-p", &listen.port().to_string()]);
            }
            Self::Dante => {
                command.arg("-f").arg(&config).arg("-p").arg(folder.join("danted.pid"));
                fs::write(&config, dante_config(listen)).map_err(|e| format!("{}: {e}", config.display()))?;
            }
            Self::Haproxy => {
                command.arg("-db").arg("-f").arg(&config);
                fs::write(&config, haproxy_config(listen, targets))
                    .map_err(|e| format!("{}: {e}", config.display()))?;
            }
        }
        let route = match self {
            Self::Direct | Self::Haproxy => Route::Plain(vec![listen]),
            Self::Ropewalk | Self::Microsocks | Self::Dante => {
                Route::Socks { proxy: listen, targets: targets.to_vec() }
            }
        };
        let mut process = Process::spawn(name, &mut command, folder)?;
        process.wait_until_accepting(listen)?;
        Ok(Running { process: Some(process), route })
    }
}

fn dante_config(listen: SocketAddrV4) -> String {
    let users = if host::is_root() { "user.privileged: root\nuser.unprivileged: nobody\n" } else { "" };
    format!(
        "logoutput: stderr\ninternal: {} port = {}\nexternal: lo\n{users}clientmethod: none\n\
         socksmethod: none\nclient pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}\n\
         socks pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}\n",
        listen.ip(),
        listen.port(),
    )
}

fn haproxy_config(listen: SocketAddrV4, targets: &[SocketAddrV4]) -> String {
    // It refuses to start unless the descriptors suffice: two for each connection and two for every
    // fourth's pipe.
    let most = 20_000.min(host::descriptor_limit().saturating_sub(200) * 2 / 5);
    let mut config = format!(
        "global\n nbthread 1\n maxconn {most}\ndefaults\n mode tcp\n maxconn {most}\n option splice-auto\n \
         timeout connect 1m\n timeout client 1m\n timeout server 1m\n\
         frontend in\n bind {listen}\n default_backend out\nbackend out\n balance roundrobin\n"
    );
    for (index, target) in targets.iter().enumerate() {
        config.push_str(&format!(" server s{index} {target}\n"));
    }
    config
}
