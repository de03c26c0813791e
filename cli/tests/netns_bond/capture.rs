//! What comes out of a link, frame by frame, with the kernel's stamps.

use crate::common::ns::Ns;
use crate::common::{LONG, wait_until};
use nix::net::if_::if_nametoindex;
use nix::sys::socket::sockopt::{RcvBufForce, ReceiveTimestampns};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recvmsg, send,
    setsockopt, socket,
};
use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Two addresses and a type.
const ETHERNET: usize = 14;
/// A type for experiments (IEEE 802).
const MARK: [u8; 2] = [0x88, 0xb5];
/// linux/if_packet.h: what this host sends, PACKET_OUTGOING.
const OUTGOING: u8 = 4;

/// One frame that came.
#[derive(Clone)]
pub(crate) struct Frame {
    /// When the kernel took it, since 1970.
    pub(crate) at: Duration,
    bytes: Vec<u8>,
}

/// A datagram in a frame.
pub(crate) struct Datagram<'a> {
    pub(crate) to: SocketAddr,
    pub(crate) payload: &'a [u8],
}

impl Frame {
    /// The packet of IPv4 or IPv6 in it.
    pub(crate) fn ip(&self) -> Option<&[u8]> {
        let v4_or_v6 = matches!(self.bytes.get(12..ETHERNET), Some([0x08, 0x00] | [0x86, 0xdd]));
        v4_or_v6.then(|| &self.bytes[ETHERNET..])
    }

    /// The datagram of UDP in it. Nothing here sends extension headers or fragments.
    pub(crate) fn udp(&self) -> Option<Datagram<'_>> {
        let packet = self.ip()?;
        let v4 = packet.first()? >> 4 == 4;
        let (protocol, head) =
            if v4 { (packet.get(9)?, usize::from(packet[0] & 15) * 4) } else { (packet.get(6)?, 40) };
        let (addresses, udp) = (packet.get(if v4 { 12..20 } else { 8..40 })?, packet.get(head..)?);
        if *protocol != 17 {
            return None;
        }
        let (ports, payload) =
            (udp.get(..4)?, udp.get(8..usize::from(u16::from_be_bytes([*udp.get(4)?, *udp.get(5)?])))?);
        let (_, to) = addresses.split_at(addresses.len() / 2);
        let ip = match <[u8; 4]>::try_from(to) {
            Ok(four) => IpAddr::from(four),
            Err(_) => IpAddr::from(<[u8; 16]>::try_from(to).ok()?),
        };
        Some(Datagram { to: SocketAddr::new(ip, u16::from_be_bytes([ports[2], ports[3]])), payload })
    }
}

/// Keeps what arrives at one end of a link, until it is ended.
pub(crate) struct Capture {
    frames: Arc<Mutex<Vec<Frame>>>,
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Capture {
    /// Begins at `device` of `ns`: a link, or a TUN device, which is as a link without addresses.
    pub(crate) fn new(ns: &Ns, device: &str) -> Self {
        let (socket, index) = ns.run(|| {
            // Bound to no device: what others bring is passed over.
            let socket =
                socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_NONBLOCK, SockProtocol::EthAll);
            (socket.expect("root"), if_nametoindex(device).expect("a device of this name"))
        });
        setsockopt(&socket, ReceiveTimestampns, &true).expect("every kernel stamps");
        setsockopt(&socket, RcvBufForce, &(16 << 20)).expect("root");
        let frames: Arc<Mutex<Vec<Frame>>> = Arc::default();
        let over = Arc::new(AtomicBool::new(false));
        let (sink, end) = (Arc::clone(&frames), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            loop {
                let last = end.load(Ordering::Relaxed);
                match next(&socket, index as usize) {
                    Some(frame) => sink.lock().unwrap_or_else(PoisonError::into_inner).extend(frame),
                    None if last => break,
                    None => std::thread::sleep(Duration::from_micros(500)),
                }
            }
        });
        Capture { frames, over, thread: Some(thread) }
    }

    /// What came so far.
    pub(crate) fn frames(&self) -> MutexGuard<'_, Vec<Frame>> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends. What the kernel has by now is here.
    pub(crate) fn stop(mut self) -> Vec<Frame> {
        self.finish();
        std::mem::take(&mut *self.frames())
    }

    /// Ends when all is here that was sent before by `device` of `ns`, the other end. Gives it.
    #[track_caller]
    pub(crate) fn end(self, ns: &Ns, device: &str) -> Vec<Frame> {
        let peer = open(ns, device);
        let mut mark = vec![0xff; 12];
        mark.extend(MARK);
        mark.extend([0; 46]);
        send(peer.as_raw_fd(), &mark, MsgFlags::empty()).expect("the link is up");
        let marked = |frame: &Frame| frame.bytes.get(12..ETHERNET) == Some(&MARK[..]);
        wait_until("the mark came behind all frames", LONG, || self.frames().iter().any(marked));
        std::mem::take(&mut *self.frames())
    }

    fn finish(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Sends frames by `device` once more, as it sent them before: IPv4 and UDP.
pub(crate) fn inject(ns: &Ns, device: &str, frames: &[Frame]) {
    let socket = open(ns, device);
    for (n, frame) in frames.iter().enumerate() {
        let mut bytes = frame.bytes.clone();
        let udp = ETHERNET + usize::from(bytes[ETHERNET] & 15) * 4;
        // The device would have finished the sum; RFC 768: none is sent as zero.
        bytes[udp + 6..udp + 8].fill(0);
        send(socket.as_raw_fd(), &bytes, MsgFlags::empty()).expect("the link is up");
        // No buffer on the way is filled.
        if n % 20 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn open(ns: &Ns, device: &str) -> OwnedFd {
    ns.run(|| ropewalk_sim::lab::open(device).unwrap_or_else(|error| panic!("{device}: {error}")))
}

/// The next frame; `None` inside where this host sent it, or another device brought it. `None`:
/// there is none yet.
fn next(socket: &OwnedFd, index: usize) -> Option<Option<Frame>> {
    let (mut bytes, mut space) = (vec![0; 65_600], nix::cmsg_space!(nix::sys::time::TimeSpec));
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let got =
        recvmsg::<LinkAddr>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty()).ok()?;
    let stamp = got.cmsgs().ok()?.find_map(|message| match message {
        ControlMessageOwned::ScmTimestampns(at) => Some(Duration::from(at)),
        _ => None,
    });
    let (len, from) = (got.bytes, got.address.expect("packet sockets tell it"));
    if from.pkttype() == OUTGOING || from.ifindex() != index {
        return Some(None);
    }
    bytes.truncate(len);
    // linux/if_arp.h: ARPHRD_NONE. A TUN has no Ethernet.
    if from.hatype() == 0xfffe {
        let kind =
            if bytes.first().is_some_and(|first| first >> 4 == 6) { [0x86, 0xdd] } else { [0x08, 0x00] };
        bytes.splice(0..0, [&[0; 12][..], &kind].concat());
    }
    Some(Some(Frame { at: stamp.expect("asked for above"), bytes }))
}
