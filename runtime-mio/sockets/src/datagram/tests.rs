use super::*;
use ropewalk_core::drive::{TransmitError, TryError};
use ropewalk_core::machine::Transmit;
use std::cell::Cell;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::time::Duration;

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket option");
    socket
}

fn address(socket: &UdpSocket) -> SocketAddr {
    socket.local_addr().expect("it is bound")
}

/// A socket of ours that speaks with `peer` only.
fn connected(peer: SocketAddr) -> Datagrams<UdpSocket> {
    let socket = socket();
    socket.connect(peer).expect("loopback is there");
    Datagrams::new(socket, Some(peer), true).expect("the options are there")
}

/// What a machine would say: each of these as one transmit, `segment` bytes a datagram.
fn source(list: &[(&[u8], Option<usize>)]) -> impl FnMut(&mut [u8]) -> Option<Transmit> {
    let mut id = 0;
    move |buf| {
        let (bytes, segment) = list.get(id as usize)?;
        id += 1;
        buf[..bytes.len()].copy_from_slice(bytes);
        Some(Transmit { id, len: bytes.len(), segment: *segment, ..Transmit::default() })
    }
}

fn heard(socket: &UdpSocket) -> Vec<u8> {
    let mut buf = [0; 2048];
    let len = socket.recv(&mut buf).expect("a datagram within 5 s");
    buf[..len].to_vec()
}

const PLAIN: fn(&UdpSocket, &mut dyn FnMut() -> Result<()>) -> Result<()> = |_, call| call();

#[test]
fn what_would_block_is_held_and_goes_first_at_the_next_call() {
    let peer = socket();
    let mut ours = connected(address(&peer));
    let mut buffers = Buffers::default();
    let mut source = source(&[(b"one", None), (b"two", None), (b"three", None)]);
    let calls = Cell::new(0);
    let blocks_once = |_: &UdpSocket, call: &mut dyn FnMut() -> Result<()>| {
        calls.set(calls.get() + 1);
        if calls.get() == 2 { Err(ErrorKind::WouldBlock.into()) } else { call() }
    };
    assert_eq!(
        ours.transmit(&mut buffers, blocks_once, &mut source),
        Err(TransmitError::WouldBlock),
        "the second"
    );
    assert_eq!(ours.transmit(&mut buffers, blocks_once, &mut source), Ok(2));
    assert_eq!([heard(&peer), heard(&peer), heard(&peer)], [&b"one"[..], b"two", b"three"]);
    assert_eq!(ours.transmit(&mut buffers, blocks_once, &mut source), Ok(0));
}

#[test]
fn a_group_that_fails_after_it_was_held_tells_what_was_sent_before() {
    let peer = socket();
    let mut ours = connected(address(&peer));
    // One datagram a call.
    let mut buffers = Buffers::default();
    let calls = Cell::new(0);
    let group_fails = |_: &UdpSocket, call: &mut dyn FnMut() -> Result<()>| {
        calls.set(calls.get() + 1);
        match calls.get() {
            // The group, and once more since it may have been an old error; then the datagrams one
            // by one.
            1 | 2 => Err(ErrorKind::InvalidInput.into()),
            3 | 4 => call(),
            5 => Err(ErrorKind::WouldBlock.into()),
            _ => Err(ErrorKind::HostUnreachable.into()),
        }
    };
    let mut source = source(&[(b"aabbcc", Some(2))]);
    if ours.state.max_gso_segments() == 1 {
        // This system has no groups: the datagrams are sent one by one from the beginning.
        calls.set(2);
    }
    assert_eq!(ours.transmit(&mut buffers, group_fails, &mut source), Err(TransmitError::WouldBlock));
    let failed = ours.transmit(&mut buffers, group_fails, &mut source);
    assert!(matches!(failed, Err(TransmitError::Failed { id: 1, sent: 2, .. })), "{failed:?}");
    assert_eq!([heard(&peer), heard(&peer)], [b"aa", b"bb"]);
}

/// On Linux the next send reports that no socket listened, and sends nothing.
#[test]
fn an_error_of_an_earlier_datagram_does_not_cost_the_next_one() {
    let nobody = socket();
    let to = address(&nobody);
    drop(nobody);
    let mut ours = connected(to);
    let mut buffers = Buffers::default();
    assert_eq!(ours.transmit(&mut buffers, PLAIN, &mut source(&[(b"lost", None)])), Ok(1));
    let back = UdpSocket::bind(to).expect("the port is free again");
    back.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket option");
    assert_eq!(ours.transmit(&mut buffers, PLAIN, &mut source(&[(b"kept", None)])), Ok(1));
    assert_eq!(heard(&back), b"kept");
}

#[test]
fn what_came_from_a_stranger_before_the_connect_is_not_the_peers() {
    let (stranger, peer, early) = (socket(), socket(), socket());
    stranger.send_to(b"stranger", address(&early)).expect("loopback is there");
    peer.send_to(b"peer", address(&early)).expect("loopback is there");
    early.connect(address(&peer)).expect("loopback is there");
    let ours = Datagrams::new(early, Some(address(&peer)), true).expect("the options are there");
    let mut buffers = Buffers::default();
    let mut came = Vec::new();
    loop {
        let received = ours.receive(&mut buffers, |_, call| call(), &mut |rx| {
            came.extend(rx.iter().map(|rx| rx.data.to_vec()))
        });
        match received {
            Ok(Received { .. }) => {}
            Err(TryError::WouldBlock) => break,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(came, [b"peer"]);
}

/// Answers of a listener: different sizes to different receivers, some of which cannot be sent.
#[test]
fn answers_to_many_arrive_whole_and_in_order_and_each_failure_is_told() {
    for (ip, from) in
        [("127.0.0.1", None), ("127.0.0.1", Some("127.0.0.1")), ("::1", None), ("::1", Some("::1"))]
    {
        let Ok(listener) = UdpSocket::bind((ip, 0)) else { continue };
        let from = from.map(|from| from.parse().expect("literal"));
        let peers = [(); 3].map(|()| UdpSocket::bind((ip, 0)).expect("a port is free"));
        let mut ours = Datagrams::new(listener, None, true).expect("the options are there");
        let mut buffers = Buffers::default();
        let mut id = 0;
        let mut source = |buf: &mut [u8]| {
            id += 1;
            // No socket buffer has room for this many bytes.
            let len = if id % 7 == 0 { 65_536 } else { id as usize % 50 };
            buf[..len].fill(id as u8);
            let to = Some(address(&peers[id as usize % 3]));
            (id <= 40).then_some(Transmit { id, to, from, len, ecn: (id / 13) as u8, segment: None })
        };
        let (mut sent, mut failed) = (0, Vec::new());
        loop {
            match ours.transmit(&mut buffers, PLAIN, &mut source) {
                Ok(0) => break,
                Ok(count) => sent += count,
                Err(TransmitError::Failed { id, sent: 0, .. }) => failed.push(id),
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(failed, [7, 14, 21, 28, 35], "{ip}");
        assert!(sent <= 35, "{sent} of 35");
        for (at, peer) in peers.iter().enumerate() {
            peer.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket option");
            for id in (1..=40).filter(|id| id % 7 != 0 && id % 3 == at) {
                assert_eq!(heard(peer), vec![id as u8; id % 50], "number {id} over {ip}");
            }
        }
    }
}

#[test]
fn what_stands_behind_one_that_would_block_keeps_its_place() {
    let peers = [socket(), socket()];
    let mut ours = Datagrams::new(socket(), None, true).expect("the options are there");
    let mut buffers = Buffers::default();
    let mut id = 0;
    let mut source = |buf: &mut [u8]| {
        id += 1;
        buf[0] = id;
        let to = Some(address(&peers[usize::from(id % 2)]));
        (id <= 20).then_some(Transmit { id: id.into(), to, len: 1, ..Transmit::default() })
    };
    let calls = Cell::new(0);
    let blocks = |_: &UdpSocket, call: &mut dyn FnMut() -> Result<()>| {
        calls.set(calls.get() + 1);
        if calls.get() < 7 && calls.get() != 4 { Err(ErrorKind::WouldBlock.into()) } else { call() }
    };
    let mut blocked = 0;
    loop {
        match ours.transmit(&mut buffers, blocks, &mut source) {
            Ok(0) => break,
            Ok(_) => {}
            Err(TransmitError::WouldBlock) => blocked += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(blocked > 2, "{blocked} times");
    for id in 1..=20 {
        assert_eq!(heard(&peers[usize::from(id % 2)]), [id]);
    }
}
