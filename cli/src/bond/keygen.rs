//! `ropewalk bond keygen`: a key pair, for people who keep keys elsewhere.

use super::args::Keygen;
use super::state;

/// Prints the keys, or writes the secret one to a file.
pub(super) fn run(args: &Keygen) -> Result<(), String> {
    let key = state::new_key()?;
    if let Some(path) = &args.out {
        state::create_secret(path, &key.to_text())?;
    } else {
        println!("{}", key.to_text().as_str());
    }
    println!("{}", key.public());
    Ok(())
}
