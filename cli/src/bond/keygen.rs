//! `ropewalk bond keygen`: a key pair, for people who keep keys elsewhere.

use super::args::Keygen;
use super::state;
use crate::process::output::print;

/// Prints the keys, or writes the secret one to a file.
pub(super) fn run(args: &Keygen) -> Result<(), String> {
    let key = state::new_key()?;
    if let Some(path) = &args.out {
        state::create_secret(path, &key.to_text())?;
    } else {
        print(&format!("{}\n", key.to_text().as_str()))?;
    }
    print(&format!("{}\n", key.public()))
}
