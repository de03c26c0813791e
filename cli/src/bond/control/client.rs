//! `bond status`, `bond set`, and a word to a server that its files have changed.

use super::{PATIENCE, Role, table};
use crate::bond::args::{Set, Status};
use crate::process::output::print;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// What the service of this role answers; `None` if none runs.
pub(in crate::bond) fn ask(dir: &Path, role: Role, request: &Value) -> Result<Option<Value>, String> {
    let path = role.socket(dir);
    let failed = |error: std::io::Error| format!("control socket {}: {error}", path.display());
    let mut stream = match UnixStream::connect(&path) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(failed(error)),
    };
    stream.set_read_timeout(Some(PATIENCE * 2)).map_err(failed)?;
    stream.write_all(format!("{request}\n").as_bytes()).map_err(failed)?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).map_err(failed)?;
    let answer: Value = serde_json::from_str(&line)
        .map_err(|error| format!("control socket {}: expected a line of JSON: {error}", path.display()))?;
    match answer.get("error").and_then(Value::as_str) {
        Some(error) => Err(error.to_owned()),
        None => Ok(Some(answer)),
    }
}

fn nobody(dir: &Path, what: &str) -> String {
    format!("{what} does not run with --state-dir {}: expected a running one", dir.display())
}

/// Prints what runs with this state directory.
pub(in crate::bond) fn status(args: &Status) -> Result<(), String> {
    let mut seen = 0;
    for role in Role::ALL {
        let Some(answer) = ask(&args.state_dir, role, &json!({ "command": "status" }))? else { continue };
        seen += 1;
        match args.json {
            true => print(&format!("{answer}\n"))?,
            false => print(&table::render(&answer))?,
        }
    }
    match seen {
        0 => Err(nobody(&args.state_dir, "ropewalk bond")),
        _ => Ok(()),
    }
}

/// Changes the client that runs.
pub(in crate::bond) fn set(args: &Set) -> Result<(), String> {
    let via: Vec<String> = args.via.iter().map(ToString::to_string).collect();
    let request = json!({
        "command": "set",
        "mode": args.mode.map(|mode| mode.name()),
        "max_skew_ms": args.max_skew.map(|skew| skew.as_millis() as u64),
        "via": via,
        "drop": args.drop,
    });
    let answer = ask(&args.state_dir, Role::Connect, &request)?;
    let answer = answer.ok_or_else(|| nobody(&args.state_dir, "ropewalk bond connect"))?;
    let notes = answer["notes"].as_array().map_or(&[][..], Vec::as_slice);
    print(&notes.iter().filter_map(Value::as_str).map(|note| format!("{note}\n")).collect::<String>())
}
