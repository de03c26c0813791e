//! What the system keeps for a socket.

use nix::getsockopt_impl;
use nix::libc;
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::GetStruct;
use ropewalk_core::drive::Memory;
use std::os::fd::AsFd;

/// The numbers of linux/sock_diag.h, `SK_MEMINFO_*`.
type MemInfo = [u32; 9];
/// What has come and was not read.
const RMEM_ALLOC: usize = 0;
/// Set aside for what comes or is written next.
const FWD_ALLOC: usize = 4;
/// What was written and is not acknowledged.
const WMEM_QUEUED: usize = 5;
/// What has come while the socket was busy.
const BACKLOG: usize = 7;

/// The first fields of linux/tcp.h, `struct tcp_info`, up to `tcpi_bytes_acked` (Linux 4.1), which
/// is the last number.
type TcpInfo = [u64; 16];

/// `SO_MEMINFO`, since Linux 4.12.
#[derive(Clone, Copy)]
struct SoMemInfo;

getsockopt_impl!(SoMemInfo, libc::SOL_SOCKET, libc::SO_MEMINFO, MemInfo, GetStruct<MemInfo>);

#[derive(Clone, Copy)]
struct SoTcpInfo;

getsockopt_impl!(SoTcpInfo, libc::IPPROTO_TCP, libc::TCP_INFO, TcpInfo, GetStruct<TcpInfo>);

/// What is in the two buffers of a socket; nothing where the system does not tell.
pub fn memory(socket: &impl AsFd) -> Memory {
    let Ok(info) = getsockopt(socket, SoMemInfo) else { return Memory::default() };
    let parts = [RMEM_ALLOC, FWD_ALLOC, WMEM_QUEUED, BACKLOG];
    let bytes = parts.iter().fold(0, |sum: u32, part| sum.saturating_add(info[*part]));
    // A Unix socket has no such number.
    let acknowledged = || getsockopt(socket, SoTcpInfo).ok().map(|info| info[15]);
    Memory { bytes, acknowledged: (info[WMEM_QUEUED] > 0).then(acknowledged).flatten() }
}

#[cfg(test)]
mod tests {
    use super::{Memory, memory};
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    #[test]
    fn what_nobody_reads_is_counted_at_both_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let mut writer = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        let (mut reader, _) = listener.accept().expect("it has connected");
        let idle = memory(&writer);
        assert!(idle.bytes + memory(&reader).bytes < 16 * 1024, "{idle:?}");
        assert_eq!(idle.acknowledged, None, "nothing was written");
        writer.set_nonblocking(true).expect("a socket");
        let mut written = 0;
        while let Ok(len) = writer.write(&[7; 65536]) {
            written += len;
        }
        let (ours, theirs) = (memory(&writer), memory(&reader));
        let kept = (ours.bytes + theirs.bytes) as usize;
        assert!(kept >= written, "{kept} bytes for {written}");
        assert!(theirs.bytes > 0 && theirs.acknowledged.is_none(), "{theirs:?}");
        let acknowledged = ours.acknowledged.expect("some waits");
        assert!(acknowledged > 0 && acknowledged < written as u64, "{acknowledged} of {written}");
        assert_eq!(memory(&writer).acknowledged, Some(acknowledged), "nobody reads");
        let mut left = written;
        let mut room = vec![0; 1 << 20];
        while left > 0 {
            left -= reader.read(&mut room).expect("it was written");
        }
        // All was taken; that the writer has heard it takes a moment.
        while memory(&writer).acknowledged.is_some_and(|count| count < written as u64) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_unix_socket_tells_no_acknowledgements() {
        let (mut a, _b) = UnixStream::pair().expect("a pair");
        a.write_all(&[1; 1000]).expect("there is room");
        assert_eq!(memory(&a).acknowledged, None);
        assert_eq!(memory(&std::io::stdin()), Memory::default(), "no socket");
    }
}
