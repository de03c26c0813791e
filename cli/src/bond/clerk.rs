//! The client's clerk: files that outlive the process, and changes of the host, in a thread of its
//! own. They take their time, and the worker does not wait.

use super::changes::Changes;
use super::enrolments::AGAIN;
use super::host::ClientHost;
use super::service::thread;
use super::watch::Note;
use super::{device, state};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// Does what takes its time, in a thread of its own: files that outlive the process, and changes of
/// the host.
pub(super) fn keep_notes(
    notes: Receiver<Note>,
    (server, text): (PathBuf, String),
    changes: Changes<ClientHost>,
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
                        "the server cannot be written down: {error}; trying on. A client that ends before \
                         does not know it again"
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
fn renew(host: &mut ClientHost) -> Result<(), String> {
    let missing = host.renew()?;
    if missing > 0 {
        log::warn!(
            "{missing} rules, routes or filters of the bond had been removed by another program: added again"
        );
    }
    Ok(())
}
