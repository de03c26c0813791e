//! The client's clerk: files that outlive the process, and changes of the host, in a thread of its
//! own. They take their time, and the worker does not wait.

use super::connect::thread;
use super::enrolments::AGAIN;
use super::host::{self, ClientPlan};
use super::watch::Note;
use super::{device, state};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Does what takes its time, in a thread of its own: files that outlive the process, and changes of
/// the host.
pub(super) fn keep_notes(
    notes: Receiver<Note>,
    (server, text): (PathBuf, String),
    changes: Changes,
    tended: device::Tended,
) -> Result<(), String> {
    thread("clerk", move || {
        let mut inside = None;
        // Whether the server is still to be written down, and whether it was told why it is not.
        let (mut unkept, mut told) = (false, false);
        loop {
            if unkept {
                match state::replace_private(&server, &text) {
                    Ok(()) if std::mem::take(&mut told) => log::info!("the server is written down now"),
                    Ok(()) => {}
                    Err(error) if !std::mem::replace(&mut told, true) => log::warn!(
                        "the server cannot be written down: {error}; trying on. A client that ends before does not \
                         know it again"
                    ),
                    Err(_) => {}
                }
                unkept = told;
            }
            let note = match notes.recv_timeout(if unkept { AGAIN } else { Duration::MAX }) {
                Ok(note) => note,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let done = match note {
                Note::Established => {
                    unkept = true;
                    Ok(())
                }
                Note::Inside(to) => {
                    let addresses: Vec<IpAddr> = to.addresses.iter().map(|(address, _)| *address).collect();
                    inside = Some(to);
                    changes.with(|host| host.inside(&addresses))
                }
                Note::Links(devices) => changes.with(|host| host.uplinks(&devices)),
                Note::Moved(server) => changes.with(|host| host.server(server)),
                Note::Changed => tended.tend(inside.as_ref()).and_then(|()| changes.with(renew)),
                Note::Enrolled { .. } => Ok(()),
            };
            if let Err(error) = done {
                log::error!("{error}");
            }
        }
    })
}

/// What somebody else has removed is there again.
fn renew(host: &mut host::ClientHost) -> Result<(), String> {
    let missing = host.renew()?;
    if missing > 0 {
        log::warn!(
            "{missing} rules, routes or filters of the bond had been removed by another program: added again"
        );
    }
    Ok(())
}

/// What was changed of this host, until it is undone.
#[derive(Clone)]
pub(super) struct Changes(Arc<Mutex<Option<host::ClientHost>>>);

impl Changes {
    pub(super) fn apply(plan: ClientPlan, dir: &Path) -> Result<Changes, String> {
        let (client, notes) = host::apply_client(plan, dir)?;
        notes.iter().for_each(|note| log::warn!("{note}"));
        Ok(Changes(Arc::new(Mutex::new(Some(client)))))
    }

    fn lock(&self) -> MutexGuard<'_, Option<host::ClientHost>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with(&self, work: impl FnOnce(&mut host::ClientHost) -> Result<(), String>) -> Result<(), String> {
        self.lock().as_mut().map_or(Ok(()), work)
    }

    /// Whether nothing leaves but through the bond, be it by the wish of a run before.
    pub(super) fn holds_kill_switch(&self) -> bool {
        self.lock().as_ref().is_some_and(host::ClientHost::holds_kill_switch)
    }

    /// The start has failed since. Gives what to say of it.
    pub(super) fn give_up(&self, error: String) -> String {
        match self.lock().take() {
            Some(client) => client.give_up(error),
            None => error,
        }
    }

    pub(super) fn undo(&self) -> Result<(), String> {
        let Some(client) = self.lock().take() else { return Ok(()) };
        client.undo().map(|notes| notes.iter().for_each(|note| log::info!("{note}")))
    }
}
