//! The keys of this thread's sessions, for recordings that are to be opened again. Only in builds
//! with the feature `laws`.

use super::Secrets;
use alloc::vec::Vec;
use core::cell::RefCell;

std::thread_local! {
    static LOG: RefCell<Vec<([u8; 32], u8)>> = const { RefCell::new(Vec::new()) };
}

/// Notes the key that a session seals with, and its cipher's number.
pub(super) fn note(secrets: &Secrets) {
    LOG.with_borrow_mut(|log| log.push((secrets.seal, secrets.cipher.number())));
}

/// What was noted since this was called last, oldest first.
pub(crate) fn take() -> Vec<([u8; 32], u8)> {
    LOG.take()
}
