//! What the bond's events come to: counters, log lines, and notes for the clerk, who writes files.

use crate::process::watch::{Flood, add};
use ropewalk_core::machine::event::{BondNews, BondRefusal, Event};
use ropewalk_core::machine::{TunConfiguration, UplinkId};
use ropewalk_core::time::{Duration, Instant};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::Sender;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What takes its time, or must outlive the process.
#[derive(Clone, Debug)]
pub(super) enum Note {
    /// The client's server has proved its key, and has let the client in.
    Established,
    /// The TUN is set to this.
    Inside(TunConfiguration),
    /// The bond's sockets are bound to these interfaces.
    Links(Vec<String>),
    /// The server is at another address.
    Moved(SocketAddr),
    /// Interfaces, routes, rules or filters of this host are others than before.
    Changed,
    /// The server let a client in by an invitation.
    Enrolled { invitation: u32, key: [u8; 32] },
}

/// Refusals by their reason.
pub(super) const REASONS: [&str; 9] = [
    "stranger",
    "unknown_invitation",
    "used_invitation",
    "expired_invitation",
    "full",
    "replayed",
    "no_cipher",
    "unreadable",
    "other",
];

fn place(why: BondRefusal) -> usize {
    match why {
        BondRefusal::Stranger => 0,
        BondRefusal::UnknownInvitation => 1,
        BondRefusal::UsedInvitation => 2,
        BondRefusal::ExpiredInvitation => 3,
        BondRefusal::Full => 4,
        BondRefusal::Replayed => 5,
        BondRefusal::NoCipher => 6,
        BondRefusal::Unreadable => 7,
        _ => 8,
    }
}

/// Whose events they are, in words.
pub(super) trait Names: Send + Sync {
    /// The other end: a client, or at a client its server.
    fn peer(&self, client: Option<u32>) -> String;
    /// A link, where the client's side knows it.
    fn link(&self, uplink: UplinkId) -> String;
    /// This client was let in by this invitation.
    fn enrolled(&self, client: Option<u32>, invitation: u32);
}

/// Two hosts with one key push each other out every few seconds. Nobody else connects so often.
const OFTEN: u32 = 4;

/// Counters.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) established: AtomicU64,
    pub(super) ended: AtomicU64,
    pub(super) enrolled: AtomicU64,
    pub(super) suspect: AtomicU64,
    pub(super) down: AtomicU64,
    pub(super) refused: [AtomicU64; REASONS.len()],
}

pub(super) struct BondWatch<N> {
    names: N,
    notes: Sender<Note>,
    flood: Flood,
    /// Paths that were given up.
    lost: Mutex<BTreeSet<(Option<u32>, u8)>>,
    /// Since when each end is counted, and how often it has connected since.
    often: Mutex<BTreeMap<Option<u32>, (Instant, u32)>>,
    pub(super) counts: Counts,
}

impl<N: Names> BondWatch<N> {
    pub(super) fn new(names: N, notes: Sender<Note>) -> Self {
        let (flood, counts) = (Flood::default(), Counts::default());
        BondWatch { names, notes, flood, lost: Mutex::default(), often: Mutex::default(), counts }
    }

    fn note(&self, note: Note) {
        // The clerk goes last, with the process.
        let _ = self.notes.send(note);
    }

    fn refused(&self, now: Instant, from: SocketAddr, why: BondRefusal) {
        add(&self.counts.refused[place(why)]);
        self.flood.warn(now, format_args!("{from} was not let in: {why}"));
    }

    fn lost(&self) -> MutexGuard<'_, BTreeSet<(Option<u32>, u8)>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An end has connected. Whether that is the [`OFTEN`]th time within a minute.
    fn connects_often(&self, now: Instant, client: Option<u32>) -> bool {
        let mut all = self.often.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, count) = all.entry(client).or_insert((now, 0));
        if now - *since > Duration::from_secs(60) {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        *count == OFTEN
    }

    fn way(&self, path: u8, uplink: Option<UplinkId>) -> String {
        uplink.map_or_else(|| format!("path {path}"), |uplink| self.names.link(uplink))
    }
}

impl<N: Names> ropewalk_mio::Watch for BondWatch<N> {
    fn event(&self, now: Instant, event: &Event) {
        let Event::Bond { client, news } = event else { return log::debug!("{event:?}") };
        let peer = || self.names.peer(*client);
        let counts = &self.counts;
        let path = |level, path: &u8, uplink: &Option<UplinkId>, what: fmt::Arguments<'_>| {
            log::log!(level, "{}: {} {what}", peer(), self.way(*path, *uplink));
        };
        match news {
            BondNews::Established => {
                add(&counts.established);
                log::info!("{}: connected", peer());
                if self.connects_often(now, *client) {
                    log::warn!(
                        "{}: connected {OFTEN} times within a minute: have two hosts one key?",
                        peer()
                    );
                }
                self.note(Note::Established);
            }
            BondNews::Closed => {
                add(&counts.ended);
                log::info!("{}: ended, or silent for too long", peer());
            }
            BondNews::KeyShared { pause: Some(pause) } => log::warn!(
                "{}: another host came in with this host's key and has its place; this one tries again in {} s. Give \
                 each host a key and a join string of its own",
                peer(),
                pause.as_nanos() / 1_000_000_000
            ),
            BondNews::KeyShared { pause: None } => log::warn!(
                "{}: two hosts have its key, and push each other out: invite one of them under another name, and \
                 remove connect.key and server from its --state-dir first",
                peer()
            ),
            BondNews::Enrolled { invitation, key } => {
                add(&counts.enrolled);
                self.names.enrolled(*client, *invitation);
                self.note(Note::Enrolled { invitation: *invitation, key: *key });
            }
            BondNews::Refused { from, why } => self.refused(now, *from, *why),
            BondNews::PathValidated { path: id, uplink } => {
                path(log::Level::Info, id, uplink, format_args!("carries"));
            }
            BondNews::PathLive { path: id, uplink } => {
                // A moment's silence is not worth a line.
                let level =
                    if self.lost().remove(&(*client, *id)) { log::Level::Info } else { log::Level::Debug };
                path(level, id, uplink, format_args!("carries again"));
            }
            BondNews::PathSuspect { path: id, uplink } => {
                add(&counts.suspect);
                path(log::Level::Debug, id, uplink, format_args!("is silent, or loses too much"));
            }
            BondNews::PathDown { path: id, uplink } => {
                add(&counts.down);
                self.lost().insert((*client, *id));
                path(log::Level::Warn, id, uplink, format_args!("is down"));
            }
            other => log::debug!("{}: {other:?}", peer()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::watch::get;
    use ropewalk_mio::Watch;

    struct Nobody;

    impl Names for Nobody {
        fn peer(&self, client: Option<u32>) -> String {
            format!("{client:?}")
        }

        fn link(&self, uplink: UplinkId) -> String {
            format!("{uplink:?}")
        }

        fn enrolled(&self, _: Option<u32>, _: u32) {}
    }

    #[test]
    fn who_connects_again_and_again_is_told_once_a_minute() {
        let watch = BondWatch::new(Nobody, std::sync::mpsc::channel().0);
        let told = |second: u64, client| {
            watch.connects_often(Instant::ZERO + Duration::from_secs(second), Some(client))
        };
        let all: Vec<u64> = (0..90).step_by(5).filter(|second| told(*second, 1)).collect();
        assert_eq!(all, [15, 80]);
        assert!((0..600).step_by(30).all(|second| !told(second, 2)), "a server is restarted now and then");
    }

    #[test]
    fn each_refusal_is_counted_by_its_own_name() {
        let watch = BondWatch::new(Nobody, std::sync::mpsc::channel().0);
        let all = [
            BondRefusal::Stranger,
            BondRefusal::UnknownInvitation,
            BondRefusal::UsedInvitation,
            BondRefusal::ExpiredInvitation,
            BondRefusal::Full,
            BondRefusal::Replayed,
            BondRefusal::NoCipher,
            BondRefusal::Unreadable,
        ];
        let from = "192.0.2.1:1".parse().expect("a literal");
        for (at, why) in all.into_iter().enumerate() {
            let event = Event::Bond { client: None, news: BondNews::Refused { from, why } };
            watch.event(Instant::ZERO, &event);
            assert_eq!(get(&watch.counts.refused[at]), 1, "{why:?}");
            let words = REASONS[at].replace('_', "");
            assert_eq!(words, format!("{why:?}").to_ascii_lowercase());
        }
        assert_eq!(REASONS.len(), all.len() + 1);
    }
}
