//! Where the server is: its name, looked up at the start, and again while nothing comes from it.
//!
//! ```text
//!   start ──▶ look_up: again and again until there is an answer ──▶ choose: what a link can reach
//!   all paths down for a while ──▶ look up ──▶ next: another address ──▶ the machine, the links, the journal
//! ```
//!
//! A name may move (dynamic DNS), and may have several addresses, of both families. While the bond
//! is well nobody asks: its server has proved its key. While it is down the system may have no
//! answer, for names of this host go into the bond: so the links are asked too (`lookup`).

use super::host;
use super::service::thread;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// A name that cannot be looked up is looked up again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// How often is asked whether the bond is well.
const ROUND: Duration = Duration::from_secs(2);
/// Its name is looked up in every round, then at twice that time, up to this: a server may be away
/// for days.
const LONGEST_PAUSE: Duration = Duration::from_secs(16);
/// So long nothing comes before the name is looked up anew: a server that was restarted is back
/// sooner.
const SILENCE: Duration = Duration::from_secs(6);
/// And so long before one of its addresses that was the server's is left for another: it may be
/// away for a moment.
const TURN: Duration = Duration::from_secs(20);

/// The server's addresses. At boot there may be no resolver yet: it is asked again, for as long as
/// it takes, or for `limit`.
///
/// Behind the kill switch of a run that was killed no name can be looked up: that run's addresses
/// are taken then.
pub(super) fn look_up(server: &str, limit: Option<Duration>, dir: &Path) -> Result<Vec<SocketAddr>, String> {
    let began = Instant::now();
    let mut told = false;
    loop {
        let error = match server.to_socket_addrs().map(Iterator::collect::<Vec<_>>) {
            Ok(all) if !all.is_empty() => return Ok(all),
            Ok(_) => "it has no address".to_owned(),
            Err(error) => error.to_string(),
        };
        let before = host::remembered_servers(dir);
        if let Some(address) = before.first() {
            log::warn!("{server} cannot be looked up: {error}; going on with {address}, where it was before");
            return Ok(before);
        }
        if limit.is_some_and(|limit| began.elapsed() >= limit) {
            return Err(format!("{server} cannot be looked up: {error}"));
        }
        if !std::mem::replace(&mut told, true) {
            log::warn!("{server} cannot be looked up: {error}; trying on");
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// The first address that can be reached; if none can, the first.
pub(super) fn choose(all: &[SocketAddr], reach: impl Fn(&SocketAddr) -> bool) -> Option<SocketAddr> {
    all.iter().find(|address| reach(address)).or(all.first()).copied()
}

/// Where to try next, of what a look-up gave: another place than `now`, if it has been silent for
/// too long (`stale`).
fn next(
    all: &[SocketAddr],
    now: SocketAddr,
    stale: bool,
    reach: impl Fn(&SocketAddr) -> bool,
) -> Option<SocketAddr> {
    let mut open: Vec<SocketAddr> = all.iter().copied().filter(reach).collect();
    if open.is_empty() {
        open = all.to_vec();
    }
    match open.iter().position(|address| *address == now) {
        Some(at) if stale => open.get((at + 1) % open.len()).copied().filter(|next| *next != now),
        Some(_) => None,
        None => open.first().copied(),
    }
}

/// What is asked and told by [`follow`].
pub(super) trait Bond: Send + 'static {
    /// Whether something comes from the server; `None`: it is not known now.
    fn is_well(&self) -> Option<bool>;
    /// Whether a link could carry to this address.
    fn reaches(&self, address: SocketAddr) -> bool;
    /// What the links' name servers say of this name, asked past the bond.
    fn look_up(&self, name: &str) -> Vec<IpAddr>;
    /// The server is there from now on.
    fn move_to(&self, address: SocketAddr);
}

/// The system's resolver, asked in a thread of its own: where names go into a bond that is down it
/// is silent for long.
#[derive(Default)]
struct Resolver(Option<Receiver<io::Result<Vec<SocketAddr>>>>);

impl Resolver {
    /// What it says within `patience`. What comes later is the answer to the next question.
    fn ask(&mut self, server: &str, patience: Duration) -> Vec<SocketAddr> {
        if self.0.is_none() {
            let (say, hear) = channel();
            let asked = server.to_owned();
            // Who has heard enough hears no more.
            let ask = move || drop(say.send(asked.to_socket_addrs().map(Iterator::collect)));
            match thread("name", ask) {
                Ok(()) => self.0 = Some(hear),
                Err(error) => log::debug!("{server} cannot be looked up: {error}"),
            }
        }
        match self.0.as_ref().map(|hear| hear.recv_timeout(patience)) {
            Some(Err(RecvTimeoutError::Timeout)) => return Vec::new(),
            Some(Ok(Ok(found))) => {
                self.0 = None;
                return found;
            }
            Some(Ok(Err(error))) => log::debug!("{server} cannot be looked up: {error}"),
            Some(Err(RecvTimeoutError::Disconnected)) | None => {}
        }
        self.0 = None;
        Vec::new()
    }
}

/// All places that anybody tells: what the system says first, for it knows hosts(5).
fn ask_all(server: &str, system: &mut Resolver, bond: &impl Bond) -> Vec<SocketAddr> {
    // Asked at the same time.
    let mut all = system.ask(server, Duration::ZERO);
    let (name, port) = server.rsplit_once(':').unwrap_or((server, ""));
    let by_links = bond.look_up(name);
    if all.is_empty() {
        all = system.ask(server, if by_links.is_empty() { LOOK_AGAIN } else { Duration::ZERO });
    }
    if let Ok(port) = port.parse::<u16>() {
        let more = by_links.into_iter().map(|ip| SocketAddr::new(ip, port));
        let more: Vec<SocketAddr> = more.filter(|address| !all.contains(address)).collect();
        all.extend(more);
    }
    all
}

/// Looks the server's name up while nothing comes from there, to the end of the process. Where that
/// gives nothing it goes by the addresses that are known, `all`. It has nothing to do where the
/// server is an address.
pub(super) fn follow(server: String, mut all: Vec<SocketAddr>, mut at: SocketAddr, bond: impl Bond) {
    if server.parse::<SocketAddr>().is_ok() {
        return;
    }
    let (mut silent_since, mut known, mut good) = (None, false, None);
    let mut system = Resolver::default();
    let (mut asked, mut pause) = (None, ROUND);
    loop {
        std::thread::sleep(ROUND);
        match bond.is_well() {
            None => {}
            // What the system says late would be old by the next question.
            Some(true) => {
                (silent_since, known, good, system.0) = (None, true, Some(at), None);
                (asked, pause) = (None, ROUND);
            }
            Some(false) => {
                let since = *silent_since.get_or_insert_with(Instant::now);
                if since.elapsed() < SILENCE {
                    continue;
                }
                let mut found = Vec::new();
                if asked.is_none_or(|at: Instant| at.elapsed() >= pause) {
                    found = ask_all(&server, &mut system, &bond);
                    (asked, pause) = (Some(Instant::now()), (pause * 2).min(LONGEST_PAUSE));
                }
                all = places(found, all, good.filter(|good| *good != at));
                let stale = !known || since.elapsed() >= TURN;
                // It may be well again meanwhile.
                if bond.is_well() == Some(true) {
                    continue;
                }
                if let Some(to) = next(&all, at, stale, |address| bond.reaches(*address)) {
                    log::info!("{server}: silent at {at}, trying {to}");
                    bond.move_to(to);
                    (at, silent_since, known) = (to, None, false);
                }
            }
        }
    }
}

/// Where to look: what was `found` now, or the places of `before`. Names may be lied about, by a
/// captive portal for instance: where the server was (`good`, if that is elsewhere) has its turn.
fn places(found: Vec<SocketAddr>, before: Vec<SocketAddr>, good: Option<SocketAddr>) -> Vec<SocketAddr> {
    let mut all = if found.is_empty() { before } else { found };
    all.extend(good.filter(|good| !all.contains(good)));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().expect("a literal")).collect()
    }

    #[test]
    fn a_name_that_moved_is_followed_at_once_and_one_with_several_addresses_in_turns() {
        let (first, second) = (all(&["192.0.2.1:4500"])[0], all(&["192.0.2.2:4500"])[0]);
        assert_eq!(next(&[second], first, false, |_| true), Some(second), "it has moved");
        assert_eq!(next(&[first], first, true, |_| true), None, "it is there, and away");
        assert_eq!(next(&[], first, true, |_| true), None, "nobody knows it");
        let both = [first, second];
        assert_eq!(next(&both, first, false, |_| true), None, "it may be back in a moment");
        assert_eq!(next(&both, first, true, |_| true), Some(second));
        assert_eq!(next(&both, second, true, |_| true), Some(first));
    }

    #[test]
    fn a_network_that_lies_of_a_name_does_not_make_us_forget_where_the_server_was() {
        let (good, lie) = (all(&["192.0.2.1:4500"])[0], all(&["10.0.0.1:4500"])[0]);
        // A captive portal answers for every name; then its network is gone, and nobody answers.
        let first = places(vec![lie], vec![good], None);
        assert_eq!(next(&first, good, false, |_| true), Some(lie), "it may have moved");
        let second = places(Vec::new(), first, Some(good));
        assert_eq!(next(&second, lie, true, |_| true), Some(good));
        assert_eq!(places(vec![lie, good], second, Some(good)), [lie, good]);
    }

    #[test]
    fn what_no_link_can_reach_is_tried_last() {
        let both = all(&["192.0.2.1:4500", "[2001:db8::1]:4500"]);
        assert_eq!(choose(&both, SocketAddr::is_ipv6), Some(both[1]));
        assert_eq!(choose(&both, |_| false), Some(both[0]));
        assert_eq!(choose(&[], |_| true), None);
        // The last link of IPv4 has gone.
        assert_eq!(next(&both, both[0], false, SocketAddr::is_ipv6), Some(both[1]));
    }
}
