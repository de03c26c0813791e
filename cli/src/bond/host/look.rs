//! What can be seen of a host without changing it, for `doctor`.

use super::apply::summary;
use super::filter::{self, Gateway, KillSwitch};
use super::journal::{Role, StateDir};
use super::plan::{MARK, ServerPlan, TAG};
use super::world::{Places, System, World, nft_reads};
use super::{client, dns, server};
use crate::host::links::Link;
use crate::host::policy::Kernel;
use crate::host::rtnetlink::{Asker, attributes, number, text};
#[cfg(feature = "names")]
use crate::process::files;
use netlink_packet_core::Emitable;
use netlink_packet_route::link::LinkHeader;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

/// What a role of bond has to do with this network namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Trace {
    /// It runs.
    Running,
    /// It was killed, and has left this.
    Left(String),
    /// Nothing.
    None,
}

/// The traces of client and server.
pub(crate) fn traces(state_dir: &Path) -> Result<[(&'static str, Trace); 2], String> {
    let state = StateDir::open(state_dir, false)?;
    let trace = |role| -> Result<Trace, String> {
        let Some(state) = &state else { return Ok(Trace::None) };
        Ok(match state.look(role)? {
            None => Trace::Running,
            Some(records) if records.is_empty() => Trace::None,
            Some(records) => Trace::Left(summary(&records)),
        })
    };
    Ok([("client", trace(Role::Client)?), ("server", trace(Role::Server)?)])
}

/// Each interface with its MTU.
pub(crate) fn mtus() -> Result<Vec<(String, u32)>, String> {
    // linux/rtnetlink.h, linux/if_link.h
    const RTM_GETLINK: u16 = 18;
    const IFLA_IFNAME: u16 = 3;
    const IFLA_MTU: u16 = 4;
    fn read(payload: &[u8]) -> Option<(String, u32)> {
        let (mut name, mut mtu) = (None, None);
        for (attribute, value) in attributes(payload.get(LinkHeader::default().buffer_len()..)?) {
            match attribute {
                IFLA_IFNAME => name = text(value),
                IFLA_MTU => mtu = number(value),
                _ => {}
            }
        }
        name.zip(mtu)
    }
    let mut asker = Asker::new().map_err(|error| format!("cannot open rtnetlink: {error}"))?;
    asker.dump("links", RTM_GETLINK, &LinkHeader::default(), read).map_err(|error| error.to_string())
}

/// Rules and routes of a client that are here, whoever remembers them.
pub(crate) fn tagged() -> Result<usize, String> {
    let mut kernel = Kernel::new(TAG)?;
    let rules = kernel.rules()?.iter().filter(|found| found.is_of(TAG)).count();
    Ok(rules + kernel.routes()?.iter().filter(|found| found.is_of(TAG)).count())
}

/// Whether nft and the kernel would take the kill switch and the server's filter; nothing is
/// changed. Gives where nft is.
///
/// # Errors
/// A sentence that says what to do.
pub(crate) fn filters() -> Result<PathBuf, String> {
    let nft = super::world::nft()?;
    let addresses: [(IpAddr, u8); 2] =
        [(Ipv4Addr::new(10, 77, 0, 1).into(), 24), (Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1).into(), 64)];
    let gateway =
        Gateway { tun: "ropewalk0", addresses: &addresses, closed: Some(&[]), allow_client_to_client: false };
    let kill_switch = filter::kill_switch(&KillSwitch { tun: "ropewalk0", mark: MARK, prefixes: None });
    let text = format!("{kill_switch}{}", filter::gateway(&gateway));
    // nft(8): check only.
    nft_reads(&nft, &["-c", "-f", "-"], &text)?;
    Ok(nft)
}

/// How `--dns ADDRESS` would be carried out here.
///
/// # Errors
/// Why it cannot.
pub(crate) fn name_servers() -> Result<&'static str, String> {
    let system = System::new(Places::usual())?;
    system.resolv_conf()?;
    Ok(match (system.has_resolved(), dns::leads_to_resolved(&system.resolvers())) {
        (true, true) => "systemd-resolved is told, and forgets it with the device",
        (true, false) => "systemd-resolved is told, and resolv.conf is replaced until the end",
        (false, _) => "resolv.conf is replaced until the end",
    })
}

/// The name servers of resolv.conf.
#[cfg(feature = "names")]
pub(crate) fn resolvers() -> Vec<IpAddr> {
    dns::servers(&files::read(&Places::usual().resolv_conf).unwrap_or_default())
}

/// The uplinks whose strict reverse path filter a client loosens while it runs.
pub(crate) fn strict(uplinks: &[String]) -> Result<Vec<String>, String> {
    let system = System::new(Places::usual())?;
    let is_strict = |name: &&String| {
        !client::uplinks(std::slice::from_ref(*name), &|sysctl| system.sysctl(sysctl)).is_empty()
    };
    Ok(uplinks.iter().filter(is_strict).cloned().collect())
}

/// How many changes forwarding needs here that a server makes, and takes back at its end.
pub(crate) fn forwarding(links: &[Link]) -> Result<usize, String> {
    let system = System::new(Places::usual())?;
    let plan = ServerPlan {
        tun: "ropewalk0".into(),
        addresses: vec![(Ipv4Addr::new(10, 77, 0, 1).into(), 24)],
        nat: true,
        allow_private: false,
        allow_client_to_client: false,
    };
    let steps = server::start(&plan, links, &|sysctl| system.sysctl(sysctl));
    Ok(steps.iter().filter(|step| step.sets_sysctl()).count())
}
