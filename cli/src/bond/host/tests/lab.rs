//! A namespace that has been lived in, and all that a bond could change there.

use super::super::plan::{ClientPlan, Dns, MARK, Routes, ServerPlan};
use super::super::world::{Places, System};
use super::ns::Ns;
use super::stopping::Stopping;
use crate::host::fixtures::ip;
use std::fmt::Write as _;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

pub(super) struct Lab {
    pub(super) ns: Ns,
    dir: PathBuf,
}

impl Lab {
    /// Two uplinks with addresses of both families, rules, a table and filters of somebody else.
    /// `None`: skipped, and said so.
    pub(super) fn new(test: &str) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let skip = |needs: &str| eprintln!("SKIP {test}: needs {needs}");
        let ns = Ns::new().inspect_err(|needs| skip(needs)).ok()?;
        if super::super::world::nft().inspect_err(|needs| skip(needs)).is_err() {
            return None;
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("ropewalk-host-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::DirBuilder::new().mode(0o700).create(&dir).expect("a temporary folder");
        let lab = Lab { ns, dir };
        lab.ns.ip("link add eth0 type veth peer name far0\nlink add eth1 type veth peer name far1\n\
             link set eth0 addrgenmode none\nlink set eth1 addrgenmode none\n\
             link set far0 addrgenmode none\nlink set far1 addrgenmode none\n\
             link set far0 up\nlink set far1 up\nlink set eth0 up\nlink set eth1 up\n\
             addr add 192.168.7.2/24 dev eth0\naddr add 2001:db8:7::2/64 dev eth0 nodad\n\
             addr add 203.0.113.2/24 dev eth1\n\
             route add default via 192.168.7.1 metric 100\nroute add default via 203.0.113.1 metric 200\n\
             -6 route add default via 2001:db8:7::1\n\
             rule add priority 2933 from 10.9.0.0/16 lookup 200\nrule add priority 32000 fwmark 5 lookup 200\n\
             -6 rule add priority 2930 from 2001:db8:9::/48 lookup 200\n\
             route add 10.8.0.0/16 dev eth1 table 200");
        for (key, value) in [
            ("ipv4/conf/eth0/rp_filter", "1"),
            ("ipv4/conf/all/accept_redirects", "0"),
            ("ipv4/conf/eth1/forwarding", "1"),
            ("ipv6/conf/eth0/accept_ra", "1"),
            ("ipv6/conf/eth1/accept_ra", "2"),
            ("ipv6/conf/eth1/forwarding", "1"),
        ] {
            lab.ns.set(key, value);
        }
        lab.shell(
            "nft 'add table inet other; add chain inet other in { type filter hook input priority 0; }'",
        );
        Some(lab)
    }

    pub(super) fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    pub(super) fn resolv_conf(&self) -> PathBuf {
        self.dir.join("resolv.conf")
    }

    /// What is read there is what somebody else keeps elsewhere.
    pub(super) fn link_resolv_conf(&self) {
        std::fs::write(self.dir.join("kept"), "nameserver 192.168.7.1\n").expect("ours");
        let _ = std::fs::remove_file(self.resolv_conf());
        symlink("kept", self.resolv_conf()).expect("ours");
    }

    pub(super) fn write_resolv_conf(&self) {
        let _ = std::fs::remove_file(self.resolv_conf());
        std::fs::write(self.resolv_conf(), "# mine\nnameserver 192.168.7.1\n").expect("ours");
    }

    /// A process that has a TUN device dies with it.
    pub(super) fn tun_goes(&self) {
        self.ns.ip("link del rw0");
    }

    pub(super) fn tun_comes(&self) {
        self.ns.ip("tuntap add dev rw0 mode tun");
    }

    /// The host, with so many changes until it dies.
    pub(super) fn world(&self, left: Option<usize>) -> Stopping<System> {
        let places = Places {
            sysctls: "/proc/sys/net".into(),
            resolv_conf: self.resolv_conf(),
            resolved: self.dir.join("resolved"),
            resolvectl: Some(self.dir.join("resolvectl")),
        };
        Stopping::new(System::new(places).expect("root has rtnetlink"), left)
    }

    #[track_caller]
    pub(super) fn shell(&self, lines: &str) -> String {
        let output = self.ns.run(|| Command::new("sh").args(["-e", "-c", lines]).output());
        let output = output.expect("sh is everywhere");
        assert!(output.status.success(), "{lines}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// All that a bond could change.
    pub(super) fn dump(&self) -> String {
        let mut all = self.shell(
            "ip rule; ip -6 rule; ip route show table all; ip -6 route show table all; nft list ruleset; \
             cd /proc/sys/net; grep -s . ipv4/ip_forward ipv4/conf/*/* ipv6/conf/*/* | grep -v /rw0/",
        );
        let _ = writeln!(all, "{:?}", std::fs::read_link(self.resolv_conf()));
        let _ = writeln!(all, "{:?}", std::fs::read(self.resolv_conf()));
        all
    }

    /// The journals that are there.
    pub(super) fn journals(&self) -> usize {
        std::fs::read_dir(self.state()).map_or(0, Iterator::count)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// What differs, line by line, for a person.
#[track_caller]
pub(super) fn assert_same(now: &str, before: &str, what: &str) {
    if now != before {
        let lines = |one: &str, other: &str, sign: &str| {
            let lines = one.lines().filter(|line| !other.lines().any(|same| same == *line));
            lines.map(|line| format!("{sign} {line}\n")).collect::<String>()
        };
        panic!("{what}:\n{}{}", lines(before, now, "-"), lines(now, before, "+"));
    }
}

/// Each kind of client.
pub(super) fn clients() -> Vec<ClientPlan> {
    let plan = ClientPlan {
        tun: "rw0".into(),
        routes: Routes::All,
        dns: Dns::Servers(vec![ip("10.77.0.1"), ip("fd77::1")]),
        kill_switch: true,
        mark: MARK,
        uplinks: vec!["eth0".into(), "eth1".into(), "gone0".into()],
        server: "192.0.2.1:4500".parse().expect("an address"),
    };
    let prefixes = Routes::Prefixes(vec![(ip("10.0.0.0"), 8), (ip("2001:db8::"), 32)]);
    vec![
        plan.clone(),
        ClientPlan { kill_switch: false, dns: Dns::Keep, ..plan.clone() },
        ClientPlan { routes: prefixes, ..plan.clone() },
        ClientPlan { routes: Routes::None, kill_switch: false, ..plan },
    ]
}

/// Each kind of server.
pub(super) fn servers() -> Vec<ServerPlan> {
    let plan = ServerPlan {
        tun: "rw0".into(),
        addresses: vec![(ip("10.77.0.1"), 24), (ip("fd77::1"), 64)],
        nat: true,
        allow_private: false,
        allow_client_to_client: false,
    };
    vec![
        plan.clone(),
        ServerPlan { allow_private: true, allow_client_to_client: true, ..plan.clone() },
        ServerPlan { addresses: vec![(ip("10.77.0.1"), 24)], ..plan.clone() },
        ServerPlan { nat: false, ..plan },
    ]
}

/// Where the tests keep their own `resolvectl`: it writes down what it is told.
pub(super) fn fake_resolved(dir: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let (program, log) = (dir.join("resolvectl"), dir.join("told"));
    std::fs::write(&program, format!("#!/bin/sh\necho \"$@\" >> {}\n", log.display())).expect("ours");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("ours");
    std::fs::write(dir.join("resolved"), "").expect("ours");
    log
}

impl Lab {
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }
}
