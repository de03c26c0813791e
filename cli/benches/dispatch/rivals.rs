//! The proxies compared: how each is found, configured, started and ended. No rival is tuned.
//!
//! Each measurement starts its rival anew and ends it afterwards, so that none runs beside another and none carries
//! anything over.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::host;
use crate::process::Process;
use crate::route::Route;

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

impl Rival {
    /// In the order of the tables.
    pub(crate) const ALL: [Self; 5] =
        [Self::Direct, Self::Ropewalk, Self::Microsocks, Self::Dante, Self::Haproxy];

    /// As on the command line and in the tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Ropewalk => "ropewalk",
            Self::Microsocks => "microsocks",
            Self::Dante => "dante",
            Self::Haproxy => "haproxy",
        }
    }

    /// Its binary: `None` for [`Self::Direct`], which has none; the error names what is missing.
    pub(crate) fn binary(self) -> Result<Option<PathBuf>, String> {
        let name = match self {
            Self::Direct => return Ok(None),
            Self::Ropewalk => {
                let built = option_env!("CARGO_BIN_EXE_ropewalk").map(PathBuf::from);
                let path = std::env::var_os("ROPEWALK_BIN").map(PathBuf::from).or(built);
                return match path {
                    Some(path) if path.is_file() => Ok(Some(path)),
                    Some(path) => Err(format!("ropewalk is missing: there is no {}", path.display())),
                    None => {
                        Err("ropewalk is missing: not built by cargo bench, and ROPEWALK_BIN is not set"
                            .into())
                    }
                };
            }
            Self::Microsocks => "microsocks",
            Self::Dante => "danted",
            Self::Haproxy => "haproxy",
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        // Debian keeps daemons where a user's PATH does not look.
        let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
        let found = folders.map(|folder| folder.join(name)).find(|path| path.is_file());
        found.map(Some).ok_or_else(|| format!("{} is missing: no {name} in PATH or /usr/sbin", self.name()))
    }

    /// Starts the rival, its files under `folder`, to proxy to `targets`, and waits until it accepts.
    pub(crate) fn start(self, targets: &[SocketAddrV4], folder: &Path) -> Result<Running, String> {
        let Some(binary) = self.binary()? else {
            return Ok(Running { process: None, route: Route::Plain(targets.to_vec()) });
        };
        let name = self.name();
        let listen = free_port().map_err(|e| format!("looking for a free port for {name}: {e}"))?;
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

fn free_port() -> std::io::Result<SocketAddrV4> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(SocketAddrV4::new(Ipv4Addr::LOCALHOST, listener.local_addr()?.port()))
}

fn dante_config(listen: SocketAddrV4) -> String {
    let users = if host::is_root() { "user.privileged: root\nuser.unprivileged: nobody\n" } else { "" };
    format!(
        "logoutput: stderr\ninternal: {} port = {}\nexternal: lo\n{users}clientmethod: none\nsocksmethod: none\n\
         client pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}\nsocks pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}\n",
        listen.ip(),
        listen.port(),
    )
}

fn haproxy_config(listen: SocketAddrV4, targets: &[SocketAddrV4]) -> String {
    // It refuses to start unless the descriptors suffice: two for each connection and two for every fourth's pipe.
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

/// A started rival, or the direct way; ended when dropped.
pub(crate) struct Running {
    process: Option<Process>,
    /// The way through it.
    pub(crate) route: Route,
}

impl Running {
    /// The process to measure.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|process| process.pid())
    }

    /// If the rival is no longer alive, its end and last words.
    pub(crate) fn obituary(&mut self) -> Option<String> {
        self.process.as_mut().and_then(Process::obituary)
    }
}
