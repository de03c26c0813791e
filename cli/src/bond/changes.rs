//! What a bond has changed of its host, held by all who may put it back.

use super::host::{ClientHost, ServerHost};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A host that a bond has changed.
pub(super) trait Changed {
    /// Puts all back. Gives what a person should know, as sentences.
    fn undo(self) -> Result<Vec<String>, String>;
    /// Puts all back because the start has failed by `error`. Gives what to say of it.
    fn give_up(self, error: String) -> String;
}

impl Changed for ClientHost {
    fn undo(self) -> Result<Vec<String>, String> {
        ClientHost::undo(self)
    }

    fn give_up(self, error: String) -> String {
        ClientHost::give_up(self, error)
    }
}

impl Changed for ServerHost {
    fn undo(self) -> Result<Vec<String>, String> {
        ServerHost::undo(self)
    }

    fn give_up(self, error: String) -> String {
        ServerHost::give_up(self, error)
    }
}

/// The changes of one host, until they are undone.
pub(super) struct Changes<H>(Arc<Mutex<Option<H>>>);

// Derived, it would ask for a host that can be cloned.
impl<H> Clone for Changes<H> {
    fn clone(&self) -> Self {
        Changes(Arc::clone(&self.0))
    }
}

impl<H: Changed> Changes<H> {
    /// Takes what [`apply_client`](super::host::apply_client) or
    /// [`apply_server`](super::host::apply_server) gives, and logs its sentences.
    pub(super) fn new((host, notes): (H, Vec<String>)) -> Self {
        notes.iter().for_each(|note| log::warn!("{note}"));
        Changes(Arc::new(Mutex::new(Some(host))))
    }

    fn lock(&self) -> MutexGuard<'_, Option<H>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does `work` on the host. Does nothing once the changes are undone.
    pub(super) fn with<T: Default>(
        &self,
        work: impl FnOnce(&mut H) -> Result<T, String>,
    ) -> Result<T, String> {
        self.lock().as_mut().map_or(Ok(T::default()), work)
    }

    /// The start has failed since, by `error`. Gives what to say of it.
    pub(super) fn give_up(&self, error: String) -> String {
        match self.lock().take() {
            Some(host) => host.give_up(error),
            None => error,
        }
    }

    /// Puts all back, and logs what a person should know.
    pub(super) fn undo(&self) -> Result<(), String> {
        let Some(host) = self.lock().take() else { return Ok(()) };
        host.undo().map(|notes| notes.iter().for_each(|note| log::info!("{note}")))
    }
}

impl Changes<ClientHost> {
    /// Whether nothing leaves but through the bond, be it by the wish of a run before.
    pub(super) fn holds_kill_switch(&self) -> bool {
        self.lock().as_ref().is_some_and(ClientHost::holds_kill_switch)
    }
}
