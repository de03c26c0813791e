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
/// Said when the host's sockets have more than the second number of tcp(7), tcp_mem. Linux is then
/// sparing until they have less than the first: what comes to a socket that holds more than an even
/// share of the third is dropped, and TCP waits for up to minutes until it sends that again.
const SHORT: &str = "TCP memory of this host is short (net.ipv4.tcp_mem, second number): Linux drops what \
                     comes to sockets that hold more than their share, and connections may stand still; \
                     raise tcp_mem, or give --socket-buffer";
/// The thread reads a small file.
const STACK: usize = 64 * 1024;

/// Looks after the memory of these workers' sockets. Nothing where the system does not tell (not
/// Linux), or no bound is wanted.
pub(crate) fn start(common: &Common, workers: Vec<Handle>) {
    let limit = common.max_socket_memory.or_else(own_limit).filter(|limit| *limit > 0);
    let (Some(limit), Some(_)) = (limit, used()) else { return };
    let each = limit.div_ceil(workers.len().max(1) as u64);
    let [calm, strained, _] = tcp_mem().unwrap_or([u64::MAX; 3]);
    let watch = move || {
        let (mut told, mut is_strained) = (false, false);
        loop {
            let used = used().unwrap_or(0);
            let was_strained = is_strained;
            is_strained = used > if was_strained { calm } else { strained };
            if is_strained && !was_strained {
                log::warn!("{SHORT}");
            }
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
    Some(tcp_mem()?[2] / 6 * 5)
}

/// In bytes.
fn tcp_mem() -> Option<[u64; 3]> {
    let pages = numbers(&read_to_string("/proc/sys/net/ipv4/tcp_mem").ok()?)?;
    Some(pages.map(|pages| pages.saturating_mul(page_size())))
}

/// proc(5), /proc/net/sockstat: `TCP: inuse 19 orphan 0 tw 43 alloc 19 mem 109`.
fn pages_used(sockstat: &str) -> Option<u64> {
    let mut words = sockstat.lines().find_map(|line| line.strip_prefix("TCP:"))?.split_whitespace();
    words.find(|word| *word == "mem")?;
    words.next()?.parse().ok()
}

fn numbers(tcp_mem: &str) -> Option<[u64; 3]> {
    let mut words = tcp_mem.split_whitespace().map(|word| word.parse().ok());
    Some([words.next()??, words.next()??, words.next()??])
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
        assert_eq!(numbers("287898\t383867\t575796\n"), Some([287_898, 383_867, 575_796]));
        assert_eq!(numbers("1 2"), None);
    }
}
