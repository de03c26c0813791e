//! Random bytes of the system, for machines that ask for some.

/// Fills `bytes` from the system's generator. False where it has none to give.
pub fn entropy(bytes: &mut [u8; 32]) -> bool {
    getrandom::fill(bytes)
        .inspect_err(|error| log::error!("no random bytes from the system: {error}"))
        .is_ok()
}
