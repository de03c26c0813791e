//! Who was let in by an invitation, until it is on the server's disk.
//!
//! The machine lets a client in at once; a disk may be full. What is not written is kept here and
//! tried again, for a server that is started anew knows only what its files say.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What could not be written is tried again after this.
pub(super) const AGAIN: Duration = Duration::from_secs(5);

/// The key that came with an invitation.
pub(super) type Enrolment = (u32, [u8; 32]);

/// Those that are on no disk yet, the first one first.
#[derive(Clone, Default)]
pub(super) struct Enrolments(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    all: Vec<Enrolment>,
    told: bool,
}

impl Enrolments {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many are on no disk.
    pub(super) fn unwritten(&self) -> usize {
        self.lock().all.len()
    }

    pub(super) fn push(&self, enrolment: Enrolment) {
        self.lock().all.push(enrolment);
    }

    /// Writes all that can be written, and says once what is wrong, and that it is over.
    ///
    /// # Errors
    /// What came in the way of the first that is left.
    pub(super) fn write(&self, write: impl Fn(Enrolment) -> Result<(), String>) -> Result<(), String> {
        let mut waiting = self.lock();
        while let Some(first) = waiting.all.first().copied() {
            if let Err(error) = write(first) {
                if !std::mem::replace(&mut waiting.told, true) {
                    log::warn!(
                        "a client was let in, and this cannot be written down: {error}; trying on. A server \
                         that ends before does not know it again"
                    );
                }
                return Err(error);
            }
            waiting.all.remove(0);
        }
        if std::mem::take(&mut waiting.told) {
            log::info!("all clients that were let in are written down now");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};

    #[test]
    fn what_a_full_disk_does_not_take_is_kept_in_order_and_written_later() {
        let (enrolments, full, written) = (Enrolments::default(), Cell::new(true), RefCell::new(Vec::new()));
        let write = |enrolment: Enrolment| match full.get() && enrolment.0 > 1 {
            true => Err("no space left".to_owned()),
            false => {
                written.borrow_mut().push(enrolment.0);
                Ok(())
            }
        };
        (1..=3).for_each(|invitation| enrolments.push((invitation, [7; 32])));
        assert_eq!(enrolments.write(write), Err("no space left".to_owned()));
        assert_eq!((enrolments.unwritten(), written.borrow().clone()), (2, vec![1]));
        assert_eq!(enrolments.write(write), Err("no space left".to_owned()));
        full.set(false);
        assert_eq!(enrolments.write(write), Ok(()));
        assert_eq!((enrolments.unwritten(), written.borrow().clone()), (0, vec![1, 2, 3]));
    }
}
