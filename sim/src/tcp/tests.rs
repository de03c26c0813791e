//! What a sender and a receiver do on a path that loses and reorders, rule by rule.

use super::config::{Source, TcpConfig};
use super::endpoint::Tcp;
use super::recovery::State;
use super::sender::{Heard, Sender, stamp};
use ropewalk_core::time::{Duration, Instant};

const MSS: u64 = 1_000;
const WINDOW: u64 = 1 << 20;
/// The round trip of the tests, in microseconds.
const RTT: u64 = 20_000;

fn config() -> TcpConfig {
    TcpConfig::new("10.0.0.1:4000".parse().expect("fixed"), "10.0.0.2:80".parse().expect("fixed"))
}

/// An established sender that has sent its first ten segments at time 0.
fn sender(bytes: u64) -> Sender {
    let mut sender = Sender::new(&config(), 0, 0, WINDOW, MSS as u32);
    sender.handshake(0, RTT);
    sender.offer(0, bytes);
    assert_eq!(sender.board.len(), 10);
    sender
}

/// An ACK that answers what was sent a round trip ago.
fn heard(now: u64, ack: u64, blocks: &[(u64, u64)]) -> Heard {
    let blocks = blocks.iter().map(|(start, end)| (start * MSS, end * MSS)).collect();
    let ack = ack * MSS;
    let echo = Some(stamp(now.saturating_sub(RTT)));
    Heard { now, ack, edge: ack + WINDOW, blocks, echo, data: false, ece: false }
}

#[test]
fn of_two_new_blocks_in_one_ack_the_lower_one_is_not_late() {
    let mut sender = sender(u64::MAX >> 1);
    sender.handle_ack(&heard(RTT, 0, &[(5, 6), (2, 3)]));
    assert_eq!(sender.state, State::Disorder);
    // The third duplicate of a path that was never seen to reorder is a loss.
    sender.handle_ack(&heard(RTT + 1, 0, &[(7, 8), (5, 6), (2, 3)]));
    assert_eq!(sender.state, State::Recovery);
}

#[test]
fn on_a_path_that_reorders_three_duplicates_are_no_loss() {
    let mut sender = sender(u64::MAX >> 1);
    sender.handle_ack(&heard(RTT, 0, &[(5, 6)]));
    sender.handle_ack(&heard(RTT + 1, 0, &[(2, 3), (5, 6)]));
    sender.handle_ack(&heard(RTT + 2, 0, &[(7, 8), (5, 6), (2, 3)]));
    assert_eq!(sender.state, State::Disorder);
    let due = sender.timer.due().expect("it waits for the late ones");
    sender.handle_timer(due);
    assert_eq!(sender.state, State::Recovery);
}

#[test]
fn what_was_sent_after_the_heads_retransmission_does_not_put_off_the_time_out() {
    let mut sender = sender(u64::MAX >> 1);
    sender.handle_ack(&heard(RTT, 0, &[(1, 4)]));
    assert_eq!((sender.state, sender.retransmits), (State::Recovery, 1));
    sender.handle_ack(&heard(RTT + 5_000, 0, &[(1, 10)]));
    let due = sender.timer.due().expect("there is data out");
    assert!(sender.board.len() > 10, "new data went with it");
    // The retransmission is lost; what was sent behind it arrives.
    sender.handle_ack(&heard(2 * RTT + 5_000, 0, &[(1, 11)]));
    assert!(sender.retransmits >= 2 || sender.timer.due().expect("there is data out") <= due);
}

#[test]
fn a_probe_of_the_tail_is_in_flight_once_and_begins_no_recovery() {
    let mut sender = sender(10 * MSS);
    let due = sender.timer.due().expect("a probe is due");
    assert!(sender.timer.probes());
    sender.handle_timer(due);
    assert_eq!((sender.retransmits, sender.board.resent(), sender.board.in_flight()), (1, 0, 10));
    assert_eq!((sender.state, sender.undo.stamp), (State::Open, None));
    // It repairs the tail: all the rest had come.
    sender.handle_ack(&heard(due + RTT, 9, &[]));
    sender.handle_ack(&heard(due + RTT + 1, 10, &[]));
    assert_eq!(sender.state, State::Open);
    assert!(sender.board.is_empty());
}

#[test]
fn a_needless_retransmission_counts_as_delivered_and_gives_the_window_back() {
    let mut sender = sender(u64::MAX >> 1);
    let before = sender.cwnd;
    sender.handle_ack(&heard(RTT, 0, &[(1, 4)]));
    assert_eq!((sender.state, sender.retransmits), (State::Recovery, 1));
    // The original comes late: acknowledged with its own timestamp, it undoes at once or with the
    // DSACK for the retransmission.
    let mut late = heard(RTT + 3_000, 4, &[]);
    late.echo = Some(stamp(RTT));
    sender.handle_ack(&late);
    assert!(sender.ssthresh < u32::MAX);
    let delivered = sender.delivered;
    sender.handle_ack(&heard(2 * RTT, 4, &[(0, 1)]));
    assert_eq!((sender.state, sender.delivered), (State::Open, delivered + 1));
    assert!(sender.cwnd >= before && sender.ssthresh == u32::MAX, "{} of {before}", sender.cwnd);
}

#[test]
fn an_old_ack_does_not_move_the_window() {
    let mut sender = sender(u64::MAX >> 1);
    sender.handle_ack(&heard(RTT, 4, &[]));
    let (cwnd, sacked) = (sender.cwnd, sender.board.sacked());
    sender.handle_ack(&heard(RTT + 1, 3, &[(5, 6)]));
    assert_eq!((sender.cwnd, sender.board.sacked()), (cwnd, sacked + 1));
}

fn at(micros: u64) -> Instant {
    Instant::ZERO + Duration::from_micros(micros)
}

/// An established pair, and the client's first ten segments, sent at 10 ms.
fn pair() -> (Tcp, Tcp, Vec<Vec<u8>>) {
    let (here, there) = (config(), config());
    let source = Source { start: at(10_000), ..Source::ENDLESS };
    let mut client = Tcp::client(here.sends(source));
    let mut server = Tcp::server(TcpConfig { local: there.remote, remote: there.local, ..there });
    client.handle_timeout(at(0));
    for _ in 0..3 {
        while let Some(packet) = client.poll_packet(at(0)) {
            server.handle_packet(at(0), &packet);
        }
        while let Some(packet) = server.poll_packet(at(0)) {
            client.handle_packet(at(0), &packet);
        }
    }
    client.handle_timeout(at(10_000));
    let flight: Vec<_> = std::iter::from_fn(|| client.poll_packet(at(10_000))).collect();
    assert_eq!(flight.len(), 10);
    (client, server, flight)
}

/// What `server` answers to `packet`.
fn answers(server: &mut Tcp, now: u64, packet: &[u8]) -> Vec<Vec<u8>> {
    server.handle_packet(at(now), packet);
    std::iter::from_fn(|| server.poll_packet(at(now))).collect()
}

#[test]
fn what_a_retransmission_overtakes_is_not_taken() {
    let (mut client, mut server, flight) = pair();
    for packet in &flight[1..4] {
        for ack in answers(&mut server, 20_000, packet) {
            client.handle_packet(at(30_000), &ack);
        }
    }
    let again: Vec<_> = std::iter::from_fn(|| client.poll_packet(at(30_000))).collect();
    answers(&mut server, 40_000, &again[0]);
    let segment = 1448;
    assert_eq!(server.stats().received, 4 * segment, "the gap is filled");
    // It was sent 20 ms before what came last in order.
    assert_eq!(answers(&mut server, 41_000, &flight[4]).len(), 1, "it is answered");
    assert_eq!(server.stats().received, 4 * segment, "and not taken");
}

#[test]
fn the_copy_of_what_is_there_shuts_nothing_out() {
    let (mut client, mut server, flight) = pair();
    for packet in &flight[1..4] {
        for ack in answers(&mut server, 20_000, packet) {
            client.handle_packet(at(30_000), &ack);
        }
    }
    let again: Vec<_> = std::iter::from_fn(|| client.poll_packet(at(30_000))).collect();
    // The original comes first, its retransmission after it.
    answers(&mut server, 39_000, &flight[0]);
    assert_eq!(answers(&mut server, 40_000, &again[0]).len(), 1, "a DSACK");
    answers(&mut server, 41_000, &flight[4]);
    assert_eq!(server.stats().received, 5 * 1448);
}

#[test]
fn a_late_ack_says_nothing_unless_it_repeats_the_last() {
    let (mut client, mut server, flight) = pair();
    let early: Vec<_> = flight[..2].iter().flat_map(|packet| answers(&mut server, 20_000, packet)).collect();
    let late: Vec<_> = flight[2..6].iter().flat_map(|packet| answers(&mut server, 25_000, packet)).collect();
    for ack in &late {
        client.handle_packet(at(35_000), ack);
    }
    let before = client.stats();
    for ack in &early {
        client.handle_packet(at(36_000), ack);
    }
    assert_eq!(client.stats(), before);
}
