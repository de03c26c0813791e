//! The running service's end of the control socket.

use super::{LONGEST, PATIENCE, Role};
use crate::bond::state;
use rustix::fs::{FlockOperation, Mode};
use rustix::io::Errno;
use serde_json::{Value, json};
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Result as IoResult, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

const STACK: usize = 256 * 1024;

/// So often is the lock asked for, each 10 ms: a process that was killed while it started another
/// one keeps it until that one runs.
const TRIES: u32 = 20;

/// A bound socket, whose file is gone on drop, and the lock of the state directory for its role,
/// which is held for the life of the process.
pub(in crate::bond) struct Bound {
    listener: Option<UnixListener>,
    path: PathBuf,
    _lock: File,
}

impl Bound {
    /// Takes the state directory for this role, and binds its socket. Nobody is answered yet.
    ///
    /// # Errors
    /// A sentence: another process has the directory, or no socket can be made there.
    pub(in crate::bond) fn new(dir: &Path, role: Role) -> Result<Bound, String> {
        let lock = lock(dir, role)?;
        let path = role.socket(dir);
        // One that was killed has left it. Who has the lock is alone.
        let _ = std::fs::remove_file(&path);
        let listener = bind(&path).map_err(|error| format!("control socket {}: {error}", path.display()))?;
        Ok(Bound { listener: Some(listener), path, _lock: lock })
    }

    /// Answers from now on, in a thread of its own.
    pub(in crate::bond) fn answer(
        &mut self,
        answer: impl Fn(&Value) -> Result<Value, String> + Send + 'static,
    ) -> Result<(), String> {
        let Some(listener) = self.listener.take() else { return Ok(()) };
        let serve = move || {
            for stream in listener.incoming() {
                // One after the other: nobody asks often. Who does not ask in time is hung up on.
                if let Err(error) = stream.and_then(|stream| converse(stream, &answer)) {
                    log::debug!("control socket: {error}");
                }
            }
        };
        let thread = std::thread::Builder::new().name("control".into()).stack_size(STACK).spawn(serve);
        thread.map(drop).map_err(|error| format!("cannot start the control socket's thread: {error}"))
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The lock of a role: the system takes it from the dead. In the file is who has it.
fn lock(dir: &Path, role: Role) -> Result<File, String> {
    let path = role.lock(dir);
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut file = state::open_private(&path)?;
    for _ in 0..TRIES {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(failed)?;
                return Ok(file);
            }
            Err(Errno::WOULDBLOCK) => std::thread::sleep(Duration::from_millis(10)),
            Err(error) => return Err(failed(error.into())),
        }
    }
    let holder = std::fs::read_to_string(&path).unwrap_or_default();
    let holder =
        holder.trim().parse::<u32>().map_or_else(|_| String::new(), |id| format!(", as process {id}"));
    Err(format!(
        "ropewalk bond {} runs already with --state-dir {}{holder}: expected another directory",
        role.name(),
        dir.display()
    ))
}

/// A socket that is its owner's alone from the first instant, whatever the umask says: its
/// file has the mode of the descriptor (net/unix/af_unix.c, unix_bind_bsd).
fn bind(path: &Path) -> IoResult<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(16)?;
    Ok(UnixListener::from(OwnedFd::from(socket)))
}

fn converse(stream: UnixStream, answer: &impl Fn(&Value) -> Result<Value, String>) -> IoResult<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new((&stream).take(LONGEST)).read_line(&mut line)?;
    let answer = serde_json::from_str(&line)
        .map_err(|error| format!("expected a line of JSON: {error}"))
        .and_then(|request| answer(&request))
        .unwrap_or_else(|error| json!({ "error": error }));
    (&stream).write_all(format!("{answer}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("ropewalk-control-{name}-{}", std::process::id()));
        state::open(&dir).expect("a directory for temporary files");
        dir
    }

    #[test]
    fn the_socket_is_its_owners_alone_from_the_first_instant() {
        let dir = scratch("mode");
        let path = dir.join("connect.sock");
        let _bound = bind(&path).expect("our own directory");
        let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::remove_dir_all(&dir).expect("our own directory");
    }

    #[test]
    fn of_many_starts_at_once_one_has_the_directory_and_its_socket_stays() {
        let dir = scratch("lock");
        for round in 0..10 {
            let starts = (0..4).map(|_| {
                std::thread::spawn({
                    let dir = dir.clone();
                    move || Bound::new(&dir, Role::Serve)
                })
            });
            let starts: Vec<_> = starts.collect();
            let ended: Vec<_> = starts.into_iter().map(|start| start.join().expect("no panic")).collect();
            let held: Vec<&Bound> = ended.iter().flatten().collect();
            assert_eq!(held.len(), 1, "round {round}");
            assert!(UnixStream::connect(&held[0].path).is_ok(), "round {round}: nobody has taken it away");
            for told in ended.iter().filter_map(|end| end.as_ref().err()) {
                let own = format!("runs already with --state-dir {}, as process", dir.display());
                assert!(told.contains(&own), "{told}");
            }
            // The other role is another matter.
            Bound::new(&dir, Role::Connect).expect("nobody has it");
        }
        std::fs::remove_dir_all(&dir).expect("our own directory");
    }
}
