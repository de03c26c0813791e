//! The terminal: taken over at the start, and given back as it was, whatever ends the program.

use super::grid::Grid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGWINCH};
use std::io::{Read, Write, stdin, stdout};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The other screen, without a cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[2J";
const LEAVE: &str = "\x1b[0m\x1b[?25h\x1b[?1049l";
const CTRL_C: u8 = 3;
const CTRL_D: u8 = 4;

/// How it was before.
static BEFORE: OnceLock<Termios> = OnceLock::new();

/// Why the wait is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Woken {
    /// It is time to look again.
    Time,
    /// The terminal may have another size.
    Resized,
    /// The user, or a signal, ends it.
    Ends,
}

pub(super) struct Terminal {
    ends: Arc<AtomicBool>,
    resized: Arc<AtomicBool>,
}

impl Terminal {
    pub(super) fn enter() -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("cannot take the terminal: {error}");
        let before = tcgetattr(stdin()).map_err(|error| failed(error.into()))?;
        let mut raw = before.clone();
        let _ = BEFORE.set(before);
        // A panic tells its words on the screen that stays.
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            leave();
            hook(info);
        }));
        let flag = || Arc::new(AtomicBool::new(false));
        let terminal = Terminal { ends: flag(), resized: flag() };
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&terminal.ends)).map_err(failed)?;
        }
        signal_hook::flag::register(SIGWINCH, Arc::clone(&terminal.resized)).map_err(failed)?;
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Now, &raw).map_err(|error| failed(error.into()))?;
        write(ENTER)?;
        Ok(terminal)
    }

    /// Columns and lines.
    pub(super) fn size(&self) -> (usize, usize) {
        let size = tcgetwinsize(stdout()).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
        size.map_or((80, 24), |size| (size.ws_col.into(), size.ws_row.into()))
    }

    pub(super) fn show(&mut self, grid: &Grid) -> Result<(), String> {
        write(&grid.escapes())
    }

    /// Waits for a key, a signal, or until this time has passed.
    pub(super) fn wait(&mut self, time: Duration) -> Result<Woken, String> {
        if self.ends.load(Ordering::Relaxed) {
            return Ok(Woken::Ends);
        }
        let input = stdin();
        let mut fds = [PollFd::new(&input, PollFlags::IN)];
        let limit = Timespec::try_from(time).ok();
        let ready = match poll(&mut fds, limit.as_ref()) {
            Ok(ready) => ready,
            Err(Errno::INTR) => 0,
            Err(error) => return Err(format!("cannot wait for the terminal: {error}")),
        };
        if self.ends.load(Ordering::Relaxed) {
            return Ok(Woken::Ends);
        }
        if self.resized.swap(false, Ordering::Relaxed) {
            write("\x1b[2J")?;
            return Ok(Woken::Resized);
        }
        if ready == 0 {
            return Ok(Woken::Time);
        }
        let mut keys = [0; 64];
        match input.lock().read(&mut keys) {
            // A terminal that is gone ends it too.
            Ok(0) => Ok(Woken::Ends),
            Ok(len) => Ok(meaning(&keys[..len])),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => Ok(Woken::Resized),
            Err(_) => Ok(Woken::Ends),
        }
    }
}

fn meaning(keys: &[u8]) -> Woken {
    match keys.iter().any(|key| matches!(key, b'q' | b'Q' | &CTRL_C | &CTRL_D)) {
        true => Woken::Ends,
        false => Woken::Resized,
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        leave();
    }
}

/// As it was before, as far as it can be told.
fn leave() {
    let _ = write(LEAVE);
    if let Some(before) = BEFORE.get() {
        let _ = tcsetattr(stdin(), OptionalActions::Now, before);
    }
}

fn write(text: &str) -> Result<(), String> {
    let mut out = stdout();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| format!("cannot write to the terminal: {error}"))
}

/// For what is no terminal. A reader that has enough is no error.
pub(super) fn write_plain(text: &str) -> Result<(), String> {
    match stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(format!("cannot write: {error}")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q_and_ctrl_c_end_it_and_no_other_key() {
        for ends in [&b"q"[..], b"Q", b"\x03", b"\x04", b"xq"] {
            assert_eq!(meaning(ends), Woken::Ends);
        }
        for goes_on in [&b"x"[..], b"\x1b[A", b" "] {
            assert_eq!(meaning(goes_on), Woken::Resized);
        }
    }
}
