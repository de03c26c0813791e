//! The file's thread, and what workers share with it.

use ropewalk_core::record::{Section, Sink, Stop, section};
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What is lost at most, in time, where the process is killed.
const FLUSH: Duration = Duration::from_millis(200);
/// What may wait for the disk, in bytes.
const MOST_WAITING: usize = 16 << 20;
/// So much wakes the thread at once.
const WAKE: usize = 1 << 20;
/// What a section takes beside its entries, and the last one.
const HEAD: u64 = 7;
const LAST: u64 = 8;

/// What waits to be written.
#[derive(Default)]
struct Waiting {
    lanes: Vec<Vec<u8>>,
    news: Vec<u8>,
    ended: bool,
    stop: Option<Stop>,
}

pub(super) struct Shared {
    waiting: Mutex<Waiting>,
    woken: Condvar,
    limit: u64,
    /// Bytes of the file, those that wait included.
    recorded: AtomicU64,
    stopped: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(workers: usize, limit: u64, recorded: u64) -> Self {
        let waiting = Waiting { lanes: vec![Vec::new(); workers], ..Waiting::default() };
        Shared {
            waiting: Mutex::new(waiting),
            woken: Condvar::new(),
            limit,
            recorded: AtomicU64::new(recorded),
            stopped: AtomicBool::new(false),
        }
    }

    pub(super) fn lane(self: &Arc<Self>, worker: usize) -> Lane {
        Lane { shared: Arc::clone(self), worker }
    }

    pub(super) fn recorded(&self) -> u64 {
        self.recorded.load(Ordering::Relaxed)
    }

    pub(super) fn has_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Adds bytes, if there is room for them. False: the recording has ended.
    fn add(&self, bytes: &[u8], place: impl FnOnce(&mut Waiting) -> Option<&mut Vec<u8>>) -> bool {
        let mut waiting = lock(&self.waiting);
        if waiting.stop.is_some() || waiting.ended {
            return false;
        }
        // Each lane may take a section's head when it is written.
        let heads = HEAD * waiting.lanes.len() as u64;
        let after = self.recorded() + bytes.len() as u64;
        let held: usize = waiting.lanes.iter().map(Vec::len).sum();
        let stop = match () {
            () if after + heads + LAST > self.limit => Some(Stop::Limit),
            () if held + bytes.len() > MOST_WAITING => Some(Stop::Slow),
            () => None,
        };
        if stop.is_some() {
            waiting.stop = stop;
            self.stopped.store(true, Ordering::Relaxed);
            self.woken.notify_one();
            return false;
        }
        if let Some(lane) = place(&mut waiting) {
            lane.extend_from_slice(bytes);
            self.recorded.store(after, Ordering::Relaxed);
        }
        if held >= WAKE {
            self.woken.notify_one();
        }
        true
    }

    pub(super) fn news(&self, section: Vec<u8>) {
        self.add(&section, |waiting| Some(&mut waiting.news));
    }

    pub(super) fn end(&self) {
        lock(&self.waiting).ended = true;
        self.woken.notify_one();
    }
}

/// Where one worker's entries go.
pub(super) struct Lane {
    shared: Arc<Shared>,
    worker: usize,
}

impl Sink for Lane {
    fn put(&mut self, entry: &[u8]) -> bool {
        let worker = self.worker;
        self.shared.add(entry, |waiting| waiting.lanes.get_mut(worker))
    }
}

/// The file, in the hands of its thread.
pub(super) struct Kept {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) shared: Arc<Shared>,
}

impl Kept {
    /// Writes until the recording ends.
    pub(super) fn run(mut self) {
        loop {
            let mut waiting = lock(&self.shared.waiting);
            if !waiting.ended && waiting.stop.is_none() {
                let waited = self.shared.woken.wait_timeout(waiting, FLUSH);
                waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            let mut bytes = std::mem::take(&mut waiting.news);
            for (worker, lane) in (0..).zip(&mut waiting.lanes) {
                if !lane.is_empty() {
                    bytes.extend(section(Section::Entries(worker, &std::mem::take(lane))));
                    self.shared.recorded.fetch_add(HEAD, Ordering::Relaxed);
                }
            }
            let stop = waiting.stop.or(waiting.ended.then_some(Stop::Ended));
            drop(waiting);
            bytes.extend(stop.into_iter().flat_map(|why| section(Section::Stop(why))));
            if let Err(error) = self.file.write_all(&bytes) {
                log::warn!("--record {}: {error}: the recording ends here", self.path.display());
                lock(&self.shared.waiting).stop = Some(Stop::Slow);
                self.shared.stopped.store(true, Ordering::Relaxed);
                return;
            }
            match stop {
                Some(Stop::Limit) => log::warn!(
                    "--record {}: the recording has its {} bytes (--record-limit) and ends here",
                    self.path.display(),
                    self.shared.limit
                ),
                Some(Stop::Slow) => log::warn!(
                    "--record {}: the disk is too slow for the recording, which ends here",
                    self.path.display()
                ),
                Some(Stop::Ended) | None => {}
            }
            if stop.is_some() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_ends_at_its_limit_with_a_whole_entry_and_says_so() {
        let path = std::env::temp_dir().join(format!("ropewalk-record-{}", std::process::id()));
        let file = File::create(&path).expect("a file");
        let magic = ropewalk_core::record::FILE_MAGIC;
        (&file).write_all(magic).expect("written");
        let shared = Arc::new(Shared::new(2, 300, magic.len() as u64));
        let (mut one, mut two) = (shared.lane(0), shared.lane(1));
        let (mut put, entry) = (0, [7; 10]);
        while one.put(&entry) && two.put(&entry) {
            put += 1;
        }
        assert!(!one.put(&entry) && !two.put(&[]) && shared.has_stopped());
        Kept { file, path: path.clone(), shared }.run();
        let bytes = std::fs::read(&path).expect("readable");
        std::fs::remove_file(&path).expect("removed");
        assert!(put > 5 && bytes.len() <= 300, "{put} entries each, {} bytes", bytes.len());
        let file = ropewalk_core::record::File::read(&bytes).expect("whole");
        assert_eq!(file.stop, Some(Stop::Limit));
        assert!(file.workers.values().all(|lane| lane.len() % 10 == 0 && lane.len() >= put * 10));
    }
}
