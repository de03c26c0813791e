//! A handshake with the server, and a packet there and back by each link: what no look at a host
//! can replace. A server answers nobody but those it knows, so only an enrolled client can ask.

use super::super::connect::{KEY, kept};
use super::super::host::{self, MARK};
use super::super::links::Links;
use super::super::{service, state};
use crate::doctor::report::Report;
use crate::host::links::Link;
use crate::host::uplink::UplinkArg;
use ropewalk_core::bond::crypto::PresharedKey;
use ropewalk_core::bond::{Client, ClientConfig, Common, DEFAULT_MTU, Tuning};
use ropewalk_core::machine::UplinkId;
use ropewalk_core::machine::event::{BondNews, Event};
use ropewalk_core::time::Instant;
use ropewalk_core::uplink::{Pool, PoolConfig};
use ropewalk_mio::{Listeners, Shared, Watch, Worker};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A handshake is tried again each second or so (Noise, by UDP): time for several.
const PATIENCE: Duration = Duration::from_secs(6);
/// A farewell that nobody takes is given up after this.
const FAREWELL: Duration = Duration::from_secs(2);
const STACK: usize = 2 << 20;

/// What the machine says that matters here.
enum Said {
    Established,
    Validated(UplinkId),
}

struct Listen(Mutex<Sender<Said>>);

impl Watch for Listen {
    fn event(&self, _: Instant, event: &Event) {
        let Event::Bond { news, .. } = event else { return };
        let said = match news {
            BondNews::Established => Said::Established,
            BondNews::PathValidated { uplink: Some(uplink), .. } => Said::Validated(*uplink),
            _ => return,
        };
        // Who has heard enough hears no more.
        let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).send(said);
    }
}

/// Asks the server that the state directory knows, if it knows one, by all links.
pub(super) fn run(state_dir: &Path, via: &[UplinkArg], found: &[Link], report: &mut Report) {
    match probe(state_dir, via, found, report) {
        Ok(()) => {}
        Err(error) => report.fail("server", error),
    }
}

fn probe(state_dir: &Path, via: &[UplinkArg], found: &[Link], report: &mut Report) -> Result<(), String> {
    let Some(target) = kept(state_dir)? else {
        report.ok("server", "none is known yet: the first connect needs a join string");
        return Ok(());
    };
    let (key, _) = state::key(&state_dir.join(KEY))?;
    let address = look_up(&target.server, state_dir)?;
    let mut links = Links::new(via, MARK, "");
    links.serve_at(address.ip());
    let uplinks = links.look(found).uplinks;
    if uplinks.is_empty() {
        return Err(format!("{} cannot be asked: there is no link", target.server));
    }
    let common = Common {
        tun: service::TUN,
        offload: false,
        mtu: DEFAULT_MTU,
        key,
        ciphers: service::ciphers(),
        tuning: Tuning::default(),
    };
    let ids: Vec<UplinkId> = uplinks.iter().map(|uplink| uplink.id).collect();
    let config = ClientConfig {
        common,
        server: address,
        server_key: target.key,
        psk: PresharedKey::NONE,
        token: Vec::new(),
        uplinks,
    };
    let (established, reached) = ask(config, &ids)?;
    if !established {
        return Err(format!(
            "no answer from {} ({address}) by any link within {} s: it may be away, not know this client, \
             or nothing gets through to this UDP port; look at its log, and at firewalls on the way",
            target.server,
            PATIENCE.as_secs()
        ));
    }
    report.ok("server", format_args!("{} ({address}) knows this client", target.server));
    let devices: Vec<String> = ids.iter().map(|id| links.label(*id).to_owned()).collect();
    let strict = host::strict(&devices).unwrap_or_default();
    for id in ids {
        let what = format!("{} by {}", target.server, links.label(id));
        match reached.contains(&id) {
            true => report.ok(what, "a packet came back"),
            false if strict.iter().any(|name| name == links.label(id)) => report.ok(
                what,
                "no packet came back, as its reverse path filter is strict until a client runs: not known",
            ),
            false => report.warn(
                what,
                format_args!(
                    "no packet came back within {} s; try ping -I {} {}, and look at the reverse path \
                     filter above",
                    PATIENCE.as_secs(),
                    links.label(id),
                    address.ip()
                ),
            ),
        }
    }
    Ok(())
}

/// Whether the server has answered, and by which uplinks.
fn ask(config: ClientConfig, ids: &[UplinkId]) -> Result<(bool, Vec<UplinkId>), String> {
    let machine = Client::new(config, state::entropy()?).map_err(|error| error.to_string())?;
    let (say, hear) = channel();
    let pool = Pool::new(PoolConfig::default()).map_err(|error| error.to_string())?;
    let shared = Shared::new(pool, Box::new(Listen(Mutex::new(say))));
    let (worker, handle) = Worker::new(machine, Listeners::default(), shared)
        .map_err(|error| format!("cannot make an event loop: {error}"))?;
    let (end, ended) = channel();
    let work = move || {
        let _ = end.send(worker.run().map(drop));
    };
    let thread = std::thread::Builder::new().name("probe".into()).stack_size(STACK).spawn(work);
    thread.map_err(|error| format!("cannot start a thread: {error}"))?;
    let (until, mut established, mut reached) = (std::time::Instant::now() + PATIENCE, false, Vec::new());
    while reached.len() < ids.len() {
        match hear.recv_timeout(until.saturating_duration_since(std::time::Instant::now())) {
            Ok(Said::Established) => established = true,
            Ok(Said::Validated(uplink)) if !reached.contains(&uplink) => reached.push(uplink),
            Ok(Said::Validated(_)) => {}
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    // The server forgets the session at once, and does not wait for its silence.
    handle.drain();
    if ended.recv_timeout(FAREWELL).is_err() {
        handle.stop();
    }
    Ok((established, reached))
}

/// Behind a kill switch that was left no name can be looked up.
fn look_up(server: &str, state_dir: &Path) -> Result<SocketAddr, String> {
    if let Some(address) = host::remembered_servers(state_dir).first() {
        return Ok(*address);
    }
    match server.to_socket_addrs().map(|mut all| all.next()) {
        Ok(Some(address)) => Ok(address),
        Ok(None) => Err(format!("{server} has no address")),
        Err(error) => Err(format!("{server} cannot be looked up: {error}")),
    }
}
