//! Descriptors: as many as the system allows, and how many connections that makes.

/// Descriptors kept for other things than connections: listeners, event queues, pipes, resolvers.
const RESERVE: u64 = 256;
/// More connections than this are a decision for a person to make.
const MOST: u64 = 1 << 20;

/// Raises the soft limit of descriptors to the hard limit. Gives the limit then in force, if the
/// system has one.
#[cfg(unix)]
pub(crate) fn raise_descriptors() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let before = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: before.maximum, maximum: before.maximum };
    match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => wanted.current,
        Err(error) => {
            log::warn!("cannot raise the limit of descriptors (ulimit -n) to its hard limit: {error}");
            before.current
        }
    }
}

/// Windows has no such limit.
#[cfg(not(unix))]
pub(crate) fn raise_descriptors() -> Option<u64> {
    None
}

/// How many connections fit: two descriptors for each.
pub(crate) fn connections(descriptors: Option<u64>) -> u64 {
    descriptors.map_or(MOST, |limit| (limit.saturating_sub(RESERVE.min(limit / 2)) / 2).clamp(1, MOST))
}

/// How many connections each worker may have, of those that were asked for or of all that are
/// possible besides `others`, descriptors that are promised already.
pub(crate) fn each_worker(wanted: Option<u32>, workers: u16, others: usize) -> usize {
    let possible = connections(raise_descriptors().map(|limit| limit.saturating_sub(others as u64)));
    let wanted = wanted.map_or(possible, u64::from);
    if wanted > possible {
        log::warn!(
            "--max-connections {wanted} needs more descriptors than the system allows: they last for about \
             {possible} connections (ulimit -Hn)"
        );
    }
    let each = wanted.div_ceil(u64::from(workers));
    usize::try_from(each).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_descriptors_make_a_connection() {
        assert_eq!(connections(Some(1024)), 384);
        assert_eq!(connections(Some(100)), 25);
        assert_eq!(connections(Some(0)), 1);
        assert_eq!(connections(None), MOST);
    }
}
