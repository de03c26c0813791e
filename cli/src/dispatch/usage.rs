//! What metered uplinks have carried in their periods: kept in a file, so that a restart forgets
//! nothing.
//!
//! The file has a line for each uplink: its name, its bytes, the day on which its period began, and
//! its cap, which is for readers of the file alone. It is replaced whole, at most once in [`PAUSE`]
//! and at the end; a crash loses what came in between. Lines of uplinks that are not in use now are
//! kept.

use super::cap::{Date, Metered};
use crate::process::files;
use ropewalk_mio::Shared;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The file is written no more often: memory cards wear out.
const PAUSE: Duration = Duration::from_secs(30);
/// How often it is looked whether a new period has begun.
const LOOK: Duration = Duration::from_secs(1);

/// Bytes of each uplink, and when its period began.
pub(crate) type Book = BTreeMap<String, (u64, Date)>;

/// Keeps the file until it is dropped; it then writes it a last time.
pub(crate) struct Clerk {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Clerk {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Where the file is: as it was asked for, else in the directory that systemd gives.
///
/// # Errors
/// Nobody says where.
pub(crate) fn place(asked: Option<&Path>) -> Result<PathBuf, String> {
    if let Some(path) = asked {
        return Ok(path.to_owned());
    }
    let dir = std::env::var_os("STATE_DIRECTORY").filter(|dir| !dir.is_empty());
    dir.map(|dir| Path::new(&dir).join("usage")).ok_or_else(|| {
        "--cap: expected --usage-file FILE too, where what the uplinks have carried outlives this process"
            .into()
    })
}

/// A file of accounts, and what it says.
pub(crate) type Opened = (PathBuf, Book);

/// Reads the file.
///
/// # Errors
/// As [`place`], or a file that is there and cannot be read: an account that is not known is not 0.
pub(crate) fn open(asked: Option<&Path>) -> Result<Opened, String> {
    let path = place(asked)?;
    read(&path).map(|book| (path, book))
}

/// Tells the pool what was carried before, and keeps account from now on.
///
/// # Errors
/// A file that cannot be written.
pub(crate) fn start(
    (path, book): Opened,
    metered: Vec<Metered>,
    shared: Arc<Shared>,
) -> Result<Clerk, String> {
    let mut account = Account { path, metered, shared, book, broken: false };
    account.begin(Date::at(today()));
    account.write()?;
    let (stop, stopped) = channel();
    let thread = std::thread::Builder::new()
        .name("usage".into())
        .spawn(move || account.run(&stopped))
        .map_err(|error| format!("cannot start the thread that keeps --usage-file: {error}"))?;
    Ok(Clerk { stop: Some(stop), thread: Some(thread) })
}

/// What the account says of an uplink.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Used {
    pub(crate) label: String,
    pub(crate) bytes: u64,
    /// Of the period that began on this day.
    pub(crate) since: Date,
    pub(crate) cap: Option<u64>,
}

/// What the file says, for people.
///
/// # Errors
/// A file that is not there, or none of ours.
pub(crate) fn told(path: &Path) -> Result<Vec<Used>, String> {
    let named = |error: String| format!("--usage-file {}: {error}", path.display());
    let text = files::text(path).map_err(|error| named(error.to_string()))?;
    let book = parse(&text).map_err(named)?;
    let cap = |label: &str| {
        let line = text.lines().find(|line| line.split_whitespace().next() == Some(label))?;
        line.split_whitespace().nth(3)?.parse().ok()
    };
    let used = |(label, (bytes, since)): (String, (u64, Date))| {
        let cap = cap(&label);
        Used { label, bytes, since, cap }
    };
    Ok(book.into_iter().map(used).collect())
}

impl std::fmt::Display for Used {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Used { label, bytes, since, cap } = self;
        match cap {
            Some(cap) => write!(f, "{label} has carried {bytes} of {cap} bytes since {since} (--cap)"),
            None => write!(f, "{label} has carried {bytes} bytes since {since}"),
        }
    }
}

fn today() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn read(path: &Path) -> Result<Book, String> {
    // It is replaced whole: a device would be lost.
    if std::fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        return Err(format!("--usage-file {}: expected a file, got something else", path.display()));
    }
    match files::text(path) {
        Ok(text) => parse(&text).map_err(|error| format!("--usage-file {}: {error}", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Book::new()),
        Err(error) => Err(format!("--usage-file {}: {error}", path.display())),
    }
}

fn parse(text: &str) -> Result<Book, String> {
    let line = |(number, line): (usize, &str)| {
        let mut words = line.split_whitespace();
        let read = (|| {
            let (label, bytes, date) = (words.next()?, words.next()?, words.next()?);
            let entry = (label.to_owned(), (bytes.parse().ok()?, Date::parse(date)?));
            // The cap is the switch's to say.
            let cap = words.next().is_none_or(|cap| cap.parse::<u64>().is_ok());
            (cap && words.next().is_none()).then_some(entry)
        })();
        read.ok_or_else(|| format!("line {number}: expected UPLINK BYTES YEAR-MONTH-DAY, got {line:?}"))
    };
    (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()).map(line).collect()
}

struct Account {
    path: PathBuf,
    metered: Vec<Metered>,
    shared: Arc<Shared>,
    book: Book,
    /// The file could not be written, and that was told.
    broken: bool,
}

impl Account {
    fn run(mut self, stopped: &Receiver<()>) {
        let mut written = Instant::now();
        loop {
            let ends = stopped.recv_timeout(LOOK) != Err(RecvTimeoutError::Timeout);
            let changed = self.look(Date::at(today()));
            if (changed && written.elapsed() >= PAUSE) || ends {
                written = Instant::now();
                match self.write() {
                    Ok(()) => self.broken = false,
                    Err(error) if !self.broken => {
                        self.broken = true;
                        log::warn!("{error}: a restart would forget what the uplinks have carried");
                    }
                    Err(_) => {}
                }
            }
            if ends {
                return;
            }
        }
    }

    /// What the pool knows at the start.
    fn begin(&mut self, today: Date) {
        for metered in &self.metered {
            let period = today.period(metered.reset_day);
            let entry = self.book.entry(metered.label.clone()).or_insert((0, period));
            // A clock that was set back begins no new period.
            if entry.1 < period {
                *entry = (0, period);
            }
            let used = entry.0;
            self.shared.with_pool(self.shared.now(), |pool| pool.set_used(metered.uplink, used));
        }
    }

    /// Takes over what the pool has counted, and begins new periods. Whether there is news.
    fn look(&mut self, today: Date) -> bool {
        let counted: Vec<u64> =
            self.shared.pool().accounts(self.shared.now()).map(|(_, account, _)| account.used).collect();
        let mut changed = false;
        for metered in &self.metered {
            let Some(entry) = self.book.get_mut(&metered.label) else { continue };
            let period = today.period(metered.reset_day);
            let used = counted.get(usize::from(metered.uplink.0)).copied().unwrap_or(0);
            let now = if entry.1 < period { (0, period) } else { (used, entry.1) };
            if now.1 != entry.1 {
                log::info!(
                    "{}: a new period has begun, {used} bytes were carried in the last",
                    metered.label
                );
                self.shared.with_pool(self.shared.now(), |pool| pool.set_used(metered.uplink, 0));
            }
            changed |= *entry != now;
            *entry = now;
        }
        changed
    }

    /// Replaces the file, whole or not at all.
    fn write(&self) -> Result<(), String> {
        let mut text = String::new();
        for (label, (bytes, date)) in &self.book {
            let cap = self.metered.iter().find(|metered| metered.label == *label);
            let cap = cap.map(|metered| format!(" {}", metered.cap)).unwrap_or_default();
            let _ = writeln!(text, "{label} {bytes} {date}{cap}");
        }
        let new = self.path.with_extension("new");
        let write = || {
            let mut file = std::fs::File::create(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, &self.path)
        };
        write().map_err(|error| format!("--usage-file {}: {error}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ropewalk_core::machine::event::Event;
    use ropewalk_core::machine::{Report, UplinkId};
    use ropewalk_core::uplink::{Pool, PoolConfig, UplinkConfig};

    struct Deaf;

    impl ropewalk_mio::Watch for Deaf {
        fn event(&self, _: ropewalk_core::time::Instant, _: &Event) {}
    }

    fn account(path: &Path) -> Account {
        let uplink = UplinkConfig { cap: Some(1000), ..UplinkConfig::new("usb0") };
        let config = PoolConfig { uplinks: vec![uplink], ..PoolConfig::default() };
        let shared = Shared::new(Pool::new(config).expect("valid"), Box::new(Deaf));
        let metered = vec![Metered { uplink: UplinkId(0), label: "usb0".into(), cap: 1000, reset_day: 15 }];
        Account { path: path.into(), metered, shared, book: read(path).expect("readable"), broken: false }
    }

    fn carry(account: &Account, sent: u64) {
        let over = ropewalk_core::time::Duration::ZERO;
        let report = Report::Traffic { uplink: UplinkId(0), sent, received: 0, over };
        account.shared.with_pool(account.shared.now(), |pool| pool.report(account.shared.now(), &report));
    }

    fn date(text: &str) -> Date {
        Date::parse(text).expect(text)
    }

    #[test]
    fn a_restart_forgets_nothing_and_a_new_period_begins_at_nothing() {
        let path = std::env::temp_dir().join(format!("ropewalk-usage-{}", std::process::id()));
        std::fs::write(&path, "wlan9 7 2026-01-01\n").expect("writable");
        let mut first = account(&path);
        first.begin(date("2026-11-20"));
        carry(&first, 600);
        assert!(first.look(date("2026-11-20")));
        assert!(!first.look(date("2026-11-20")), "no news, nothing to write");
        first.write().expect("writable");
        let mut second = account(&path);
        second.begin(date("2026-12-14"));
        carry(&second, 400);
        let spent = |account: &Account| {
            account.shared.pool().accounts(account.shared.now()).any(|(_, account, _)| account.is_spent())
        };
        assert!(spent(&second));
        assert!(second.look(date("2026-12-14")));
        second.write().expect("writable");
        let text = std::fs::read_to_string(&path).expect("readable");
        assert_eq!(text, "usb0 1000 2026-11-15 1000\nwlan9 7 2026-01-01\n");
        // While it runs, and at a start.
        assert!(second.look(date("2026-12-15")) && !spent(&second));
        let mut third = account(&path);
        third.begin(date("2027-03-01"));
        assert!(!spent(&third));
        // A clock that was set back.
        let mut fourth = account(&path);
        fourth.begin(date("1970-01-01"));
        assert!(spent(&fourth));
        std::fs::remove_file(&path).expect("it is there");
    }

    #[test]
    fn a_file_that_is_none_is_named_with_its_line() {
        let wrong = parse("usb0 5 2026-11-01\nusb0 five 2026-11-01\n");
        assert!(wrong.is_err_and(|error| error.starts_with("line 2: expected UPLINK BYTES")));
    }
}
