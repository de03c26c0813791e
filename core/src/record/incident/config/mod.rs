//! The configuration that a machine was recorded with. Each field is named here: a new one does not
//! compile until it is written and read.
//!
//! Passwords are written as their pseudonyms. A file for each machine: `dispatch`, `unwrap`.

mod dispatch;
mod unwrap;

pub(super) use dispatch::{of_dispatch, to_dispatch};
pub(super) use unwrap::{of_unwrap, to_unwrap};

use super::Kind;
use crate::record::codec::{Reader, Writer};
use crate::time::Duration;
use alloc::string::String;
use alloc::vec::Vec;

const DISPATCH: u8 = 1;
const UNWRAP: u8 = 2;

/// The largest buffer that is read back: a damaged configuration must not take memory.
const MAX_BUFFER: usize = 16 << 20;

/// Which machine has such a configuration.
pub(super) fn kind(bytes: &[u8]) -> Option<Kind> {
    match bytes.first() {
        Some(&DISPATCH) => Some(Kind::Dispatch),
        Some(&UNWRAP) => Some(Kind::Unwrap),
        _ => None,
    }
}

impl Writer {
    fn size(&mut self, size: usize) {
        self.number(size as u64);
    }

    fn flag(&mut self, flag: bool) {
        self.raw(&[u8::from(flag)]);
    }

    fn duration(&mut self, duration: Duration) {
        self.number(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.size(bytes.len());
        self.raw(bytes);
    }

    fn all<T>(&mut self, all: impl ExactSizeIterator<Item = T>, mut each: impl FnMut(&mut Self, T)) {
        self.size(all.len());
        all.for_each(|one| each(self, one));
    }
}

impl Reader<'_> {
    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn duration(&mut self) -> Option<Duration> {
        self.number().map(Duration::from_nanos)
    }

    fn bytes(&mut self) -> Option<Vec<u8>> {
        let len = self.len()?;
        self.raw(len).map(<[u8]>::to_vec)
    }

    fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?).ok()
    }

    fn all<T>(&mut self, mut each: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.len()?;
        (0..count).map(|_| each(self)).collect()
    }
}
