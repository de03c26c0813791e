//! The running service's end of the control socket.

use super::{LONGEST, PATIENCE, Role};
use serde_json::{Value, json};
use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read, Result as IoResult, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

const STACK: usize = 256 * 1024;

/// A bound socket, whose file is gone on drop.
pub(in crate::bond) struct Bound {
    listener: Option<UnixListener>,
    path: PathBuf,
}

impl Bound {
    /// Binds the socket of this role. Nobody is answered yet.
    pub(in crate::bond) fn new(dir: &Path, role: Role) -> Result<Bound, String> {
        let path = role.socket(dir);
        if UnixStream::connect(&path).is_ok() {
            return Err(format!(
                "ropewalk bond {} runs already with --state-dir {}: expected another directory",
                role.name(),
                dir.display()
            ));
        }
        // One that was killed has left it.
        let _ = std::fs::remove_file(&path);
        let failed = |error: std::io::Error| format!("control socket {}: {error}", path.display());
        let listener = UnixListener::bind(&path).map_err(failed)?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Bound { listener: Some(listener), path })
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
