//! Where the programs compared are.

use std::path::PathBuf;

/// The binary of this package, or the one that `ROPEWALK_BIN` names; the error says what is
/// missing.
pub(crate) fn ropewalk() -> Result<PathBuf, String> {
    let built = option_env!("CARGO_BIN_EXE_ropewalk").map(PathBuf::from);
    match std::env::var_os("ROPEWALK_BIN").map(PathBuf::from).or(built) {
        Some(path) if path.is_file() => Ok(path),
        Some(path) => Err(format!("ropewalk is missing: there is no {}", path.display())),
        None => Err("ropewalk is missing: not built by cargo bench, and ROPEWALK_BIN is not set".into()),
    }
}

/// The installed `program` of the rival `name`; the error says what is missing.
pub(crate) fn installed(name: &str, program: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps daemons where a user's PATH does not look.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let found = folders.map(|folder| folder.join(program)).find(|path| path.is_file());
    found.ok_or_else(|| format!("{name} is missing: no {program} in PATH or /usr/sbin"))
}
