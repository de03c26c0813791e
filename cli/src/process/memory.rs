//! What the system keeps in socket buffers: looked at now and then, and the workers are told where
//! it may be too much.
//!
//! One look at the whole host is cheap. Only where that has more than this process may have does
//! each worker look at its own sockets, and only they count.

use super::args::Common;
use ropewalk_mio::Handle;
use std::fs::read_to_string;
use std::time::Duration;

/// Between two looks while the host has less than half of the limit.
const CALM: Duration = Duration::from_secs(1);
/// And while it has more: a fast link brings some megabytes in this time.
const CLOSE: Duration = Duration::from_millis(100);
/// The thread reads a small file.
const STACK: usize = 64 * 1024;

/// Looks after the memory of these workers' sockets. Nothing where the system does not tell (not
/// Linux), or no bound is wanted.
pub(crate) fn start(common: &Common, workers: Vec<Handle>) {
    let limit = common.max_socket_memory.or_else(own_limit).filter(|limit| *limit > 0);
    let (Some(limit), Some(_)) = (limit, used()) else { return };
    let each = limit.div_ceil(workers.len().max(1) as u64);
    let watch = move || {
        let mut told = false;
        loop {
            let used = used().unwrap_or(0);
            let is_over = used > limit;
            // Once more after it, so that they hear that it is over.
            if is_over || told {
                workers.iter().for_each(|worker| worker.measure_memory(each));
            }
            told = is_over;
            std::thread::sleep(if used > limit / 2 { CLOSE } else { CALM });
        }
    };
    if let Err(error) = std::thread::Builder::new().name("memory".into()).stack_size(STACK).spawn(watch) {
        log::warn!("cannot look after the memory of sockets: {error}; --max-socket-memory does nothing");
    }
}

/// Bytes that the host's TCP sockets use, of all namespaces.
fn used() -> Option<u64> {
    Some(pages_used(&read_to_string("/proc/net/sockstat").ok()?)?.saturating_mul(page_size()))
}

/// tcp(7), tcp_mem: at the third number the system has no more for anybody, and breaks connections
/// of whoever asks. What is ours ends before.
fn own_limit() -> Option<u64> {
    let text = read_to_string("/proc/sys/net/ipv4/tcp_mem").ok()?;
    Some(last_of(&text)?.saturating_mul(page_size()) / 6 * 5)
}

/// proc(5), /proc/net/sockstat: `TCP: inuse 19 orphan 0 tw 43 alloc 19 mem 109`.
fn pages_used(sockstat: &str) -> Option<u64> {
    let mut words = sockstat.lines().find_map(|line| line.strip_prefix("TCP:"))?.split_whitespace();
    words.find(|word| *word == "mem")?;
    words.next()?.parse().ok()
}

fn last_of(tcp_mem: &str) -> Option<u64> {
    tcp_mem.split_whitespace().nth(2)?.parse().ok()
}

#[cfg(target_os = "linux")]
fn page_size() -> u64 {
    rustix::param::page_size() as u64
}

#[cfg(not(target_os = "linux"))]
fn page_size() -> u64 {
    4096
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_words_are_read() {
        let text = "sockets: used 34\nTCP: inuse 19 orphan 0 tw 43 alloc 19 mem 109\nUDP: inuse 0 mem 7\n";
        assert_eq!(pages_used(text), Some(109));
        assert_eq!(pages_used("TCP: inuse 1\nUDP: mem 3\n"), None);
        assert_eq!(pages_used(""), None);
        assert_eq!(last_of("287898\t383867\t575796\n"), Some(575_796));
        assert_eq!(last_of("1 2"), None);
    }
}
