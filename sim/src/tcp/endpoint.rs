//! One end of a connection as a machine: packets and timeouts in, packets out.
//!
//! It opens with three segments (RFC 9293 section 3.5), then joins a sender and a receiver. It
//! never closes: a simulation ends instead.

use super::config::{Source, TcpConfig};
use super::receiver::Receiver;
use super::segment::{self, ACK, CE, CWR, ECE, ECT0, PSH, RST, SYN, Segment, unwrap};
use super::sender::{Heard, Sender, before, stamp};
use super::stats::Stats;
use super::window::Window;
use ropewalk_core::time::{Duration, Instant};

/// The wait for an answer to a SYN, in microseconds (RFC 6298 section 2.1); as Linux it doubles
/// from the fifth on.
const SYN_WAIT: u64 = 1_000_000;
const SYN_LINEAR: u32 = 4;
/// What the receiver's window is shifted by (RFC 7323 section 2).
const SHIFT: u8 = 10;
const SYN_WINDOW: u16 = 64_240;
/// By how many milliseconds a timestamp may lie before the latest one in order (RFC 7323 section
/// 5.3). As Linux: an older segment with data is not taken, though no number has wrapped; an older
/// ACK only where it repeats the last one. So where a path reorders, a retransmission that fills
/// the first gap shuts out what was sent before it and comes after it, and late ACKs say nothing.
const PAWS_WINDOW: i32 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A client before its time, or a server that waits.
    Closed,
    /// A SYN is out; sent at, how often.
    SynSent(u64, u32),
    /// A SYN came and was answered.
    SynReceived(u64, u32),
    Established,
}

/// One end of a TCP connection.
///
/// ```
/// # use ropewalk_sim::tcp::{Source, Tcp, TcpConfig};
/// # use ropewalk_core::time::Instant;
/// let (a, b) = ("10.0.0.1:4000".parse().unwrap(), "10.0.0.2:80".parse().unwrap());
/// let mut client = Tcp::client(TcpConfig::new(a, b).sends(Source::ENDLESS));
/// let mut server = Tcp::server(TcpConfig::new(b, a));
/// let now = Instant::ZERO;
/// client.handle_timeout(now);
/// for _ in 0..3 {
///     while let Some(packet) = client.poll_packet(now) {
///         server.handle_packet(now, &packet);
///     }
///     while let Some(packet) = server.poll_packet(now) {
///         client.handle_packet(now, &packet);
///     }
/// }
/// assert!(server.stats().received >= 10 * 1448);
/// ```
#[derive(Clone, Debug)]
pub struct Tcp {
    config: TcpConfig,
    client: bool,
    phase: Phase,
    /// When the timer of the handshake runs out, in microseconds.
    syn_due: Option<u64>,
    syn_out: bool,
    irs: u64,
    recent: u32,
    peer_shift: u8,
    peer_mss: u16,
    ecn: bool,
    /// A mark came and is said until CWR answers (RFC 3168 section 6.1.3).
    ece: bool,
    sender: Option<Sender>,
    receiver: Option<Receiver>,
    source: Option<Source>,
    started: bool,
}

fn micros(at: Instant) -> u64 {
    at.as_nanos() / 1_000
}

fn instant(micros: u64) -> Instant {
    Instant::from_nanos(micros.saturating_mul(1_000))
}

impl Tcp {
    /// The end that opens the connection at `config.open`.
    pub fn client(config: TcpConfig) -> Self {
        Tcp { syn_due: Some(micros(config.open)), ..Tcp::new(config, true) }
    }

    /// The end that waits for it.
    pub fn server(config: TcpConfig) -> Self {
        Tcp::new(config, false)
    }

    fn new(config: TcpConfig, client: bool) -> Self {
        Tcp {
            config,
            client,
            phase: Phase::Closed,
            syn_due: None,
            syn_out: false,
            irs: 0,
            recent: 0,
            peer_shift: 0,
            peer_mss: 536,
            ecn: false,
            ece: false,
            sender: None,
            receiver: None,
            source: config.source,
            started: false,
        }
    }

    /// An IP packet came. What is not of this connection is passed over.
    pub fn handle_packet(&mut self, now: Instant, packet: &[u8]) {
        let Some((from, to, segment)) = Segment::parse(packet) else { return };
        if from != self.config.remote || to != self.config.local || segment.flags & RST != 0 {
            return;
        }
        let now = micros(now);
        if segment.flags & SYN != 0 {
            self.handle_syn(now, &segment);
            return;
        }
        if let Phase::SynReceived(sent, times) = self.phase
            && segment.flags & ACK != 0
        {
            self.establish(now, &segment, sent, times);
        }
        if self.phase == Phase::Established {
            self.handle_segment(now, &segment);
        }
    }

    fn handle_syn(&mut self, now: u64, segment: &Segment) {
        let answer = segment.flags & ACK != 0;
        if self.client != answer {
            return;
        }
        match self.phase {
            Phase::Closed if !self.client => {
                self.learn(segment);
                self.ecn = self.config.ecn && segment.flags & (ECE | CWR) == ECE | CWR;
                self.phase = Phase::SynReceived(now, 0);
                self.syn_due = Some(now);
                self.handle_syn_due(now);
            }
            Phase::SynReceived(..) => self.syn_out = true,
            Phase::SynSent(sent, times) if segment.ack == self.config.isn.wrapping_add(1) => {
                self.learn(segment);
                self.ecn = self.config.ecn && segment.flags & (ECE | CWR) == ECE;
                self.establish(now, segment, sent, times);
                if let Some(receiver) = &mut self.receiver {
                    receiver.answer();
                }
            }
            Phase::Established => {
                if let Some(receiver) = &mut self.receiver {
                    receiver.answer();
                }
            }
            _ => {}
        }
    }

    /// What the options of a SYN say.
    fn learn(&mut self, segment: &Segment) {
        self.irs = (1 << 32) + u64::from(segment.seq);
        self.recent = segment.timestamps.map_or(0, |(value, _)| value);
        self.peer_shift = segment.shift.unwrap_or(0);
        self.peer_mss = segment.mss.unwrap_or(536).clamp(100, 65_000);
    }

    fn establish(&mut self, now: u64, segment: &Segment, sent: u64, times: u32) {
        let first = (1 << 32) + u64::from(self.config.isn) + 1;
        let syn = segment.flags & SYN != 0;
        let shift = if syn { 0 } else { self.peer_shift };
        let edge = first + (u64::from(segment.window) << shift);
        let mss = u32::from(self.config.mss.min(self.peer_mss).max(100) - segment::TIMESTAMPS);
        let mut sender = Sender::new(&self.config, now, first, edge, mss);
        if times <= 1 {
            sender.handshake(now, now - sent);
        } else {
            // RFC 6298 section 5.7: a SYN was lost.
            sender.cwnd = 1;
        }
        self.sender = Some(sender);
        let window = Window::new(mss, self.config.receive_window);
        self.receiver = Some(Receiver::new(now, self.irs + 1, window, mss));
        self.phase = Phase::Established;
        self.syn_due = None;
        self.syn_out = false;
        self.run_source(now);
    }

    fn handle_segment(&mut self, now: u64, segment: &Segment) {
        let (Some(sender), Some(receiver)) = (&mut self.sender, &mut self.receiver) else { return };
        let seq = unwrap(receiver.next(), segment.seq);
        let echo = segment.timestamps.map(|(_, echo)| echo);
        let age = segment.timestamps.map_or(0, |(value, _)| self.recent.wrapping_sub(value) as i32);
        if age > PAWS_WINDOW {
            if segment.payload > 0 {
                receiver.reject(seq, seq + u64::from(segment.payload));
                return;
            }
            let ack = unwrap(sender.una, segment.ack);
            let edge = ack + (u64::from(segment.window) << self.peer_shift);
            let repeats = seq == receiver.next() && ack == sender.una && edge <= sender.edge;
            if !(repeats && i64::from(age) * 1_000 <= sender.rtt.rto() as i64) {
                return;
            }
        }
        // A copy of what was acknowledged before dates nothing: as Linux it is judged first.
        if let Some((value, _)) = segment.timestamps
            && seq <= receiver.acked()
            && seq + u64::from(segment.payload) >= receiver.acked()
            && !before(value, self.recent)
        {
            self.recent = value;
        }
        if segment.payload > 0 {
            if self.ecn {
                if segment.flags & CWR != 0 {
                    self.ece = false;
                }
                if segment.ecn == CE {
                    self.ece = true;
                    receiver.answer();
                }
            }
            if let Some(echo) = echo.filter(|&echo| echo != 0) {
                let ago = u64::from(stamp(now).wrapping_sub(echo));
                if ago < 1 << 20 {
                    receiver.window_mut().sample(ago * 1_000);
                }
            }
            let srtt = Some(sender.rtt.srtt()).filter(|&srtt| srtt > 0);
            receiver.data(now, seq, seq + u64::from(segment.payload), srtt);
        }
        if segment.flags & ACK != 0 {
            let ack = unwrap(sender.una, segment.ack);
            let blocks = segment.sacks[..segment.sack_count].iter();
            sender.handle_ack(&Heard {
                now,
                ack,
                edge: ack + (u64::from(segment.window) << self.peer_shift),
                blocks: blocks.map(|&(start, end)| (unwrap(ack, start), unwrap(ack, end))).collect(),
                echo,
                data: segment.payload > 0,
                ece: self.ecn && segment.flags & ECE != 0,
            });
        }
    }

    /// The next packet to send, until there is none.
    pub fn poll_packet(&mut self, now: Instant) -> Option<Vec<u8>> {
        let now = micros(now);
        let segment =
            if self.phase == Phase::Established { self.next_segment(now) } else { self.next_syn(now) };
        segment.map(|segment| segment.emit(self.config.local, self.config.remote))
    }

    fn next_syn(&mut self, now: u64) -> Option<Segment> {
        if !std::mem::take(&mut self.syn_out) {
            return None;
        }
        let ecn = match (self.client, self.config.ecn, self.ecn) {
            (true, true, _) => ECE | CWR,
            (false, _, true) => ECE,
            _ => 0,
        };
        Some(Segment {
            seq: self.config.isn,
            ack: if self.client { 0 } else { (self.irs + 1) as u32 },
            flags: if self.client { SYN | ecn } else { SYN | ACK | ecn },
            window: SYN_WINDOW,
            mss: Some(self.config.mss),
            shift: Some(SHIFT),
            sack_permitted: true,
            timestamps: Some((stamp(now), if self.client { 0 } else { self.recent })),
            ..Segment::default()
        })
    }

    fn next_segment(&mut self, now: u64) -> Option<Segment> {
        let (sender, receiver) = (self.sender.as_mut()?, self.receiver.as_mut()?);
        let mut segment = Segment {
            seq: sender.next as u32,
            flags: ACK,
            timestamps: Some((stamp(now), self.recent)),
            ..Segment::default()
        };
        if self.ece {
            segment.flags |= ECE;
        }
        // What is due to be acknowledged with blocks goes first: a full segment has no room for
        // them.
        if let Some(out) = sender.out.front().copied().filter(|_| !receiver.due()) {
            sender.out.pop_front();
            segment.seq = out.seq as u32;
            segment.payload = u16::try_from(out.len).unwrap_or(u16::MAX);
            if sender.unsent == 0 && sender.out.is_empty() {
                segment.flags |= PSH;
            }
            if self.ecn && !out.again {
                segment.ecn = ECT0;
                if std::mem::take(&mut sender.cwr) {
                    segment.flags |= CWR;
                }
            }
        } else if !receiver.due() {
            return None;
        }
        let (ack, window, blocks) = receiver.ack(segment.payload == 0);
        segment.ack = ack as u32;
        segment.window = u16::try_from(window.div_ceil(1 << SHIFT)).unwrap_or(u16::MAX);
        for (at, (start, end)) in blocks.into_iter().take(3).enumerate() {
            segment.sacks[at] = (start as u32, end as u32);
            segment.sack_count = at + 1;
        }
        Some(segment)
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due. None: not before a packet comes.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let sender = self.sender.as_ref();
        let source = self.source.and_then(|source| {
            if self.started || self.phase != Phase::Established { source.stop } else { Some(source.start) }
        });
        [
            self.syn_due.map(instant),
            sender.and_then(|sender| sender.timer.due()).map(instant),
            sender.and_then(Sender::pace).map(instant),
            self.receiver.as_ref().and_then(Receiver::timeout).map(instant),
            source,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now = micros(now);
        self.handle_syn_due(now);
        if let Some(receiver) = &mut self.receiver {
            receiver.handle_timeout(now);
        }
        if let Some(sender) = &mut self.sender {
            sender.handle_timer(now);
            sender.handle_pace(now);
        }
        self.run_source(now);
    }

    fn handle_syn_due(&mut self, now: u64) {
        if self.syn_due.is_none_or(|due| due > now) {
            return;
        }
        let times = match self.phase {
            Phase::Closed => {
                self.phase = Phase::SynSent(now, 1);
                1
            }
            Phase::SynSent(sent, times) => {
                self.phase = Phase::SynSent(sent, times + 1);
                times + 1
            }
            Phase::SynReceived(sent, times) => {
                self.phase = Phase::SynReceived(sent, times + 1);
                times + 1
            }
            Phase::Established => return,
        };
        self.syn_out = true;
        let linear = if self.client { SYN_LINEAR } else { 1 };
        self.syn_due = Some(now + (SYN_WAIT << times.saturating_sub(linear).min(6)));
    }

    /// What the source has by now.
    fn run_source(&mut self, now: u64) {
        let (Some(sender), Some(source)) = (&mut self.sender, self.source) else { return };
        if source.stop.is_some_and(|stop| micros(stop) <= now) {
            sender.withdraw();
            self.source = None;
        } else if !self.started && micros(source.start) <= now {
            self.started = true;
            sender.offer(now, source.bytes.unwrap_or(u64::MAX >> 1));
        }
    }

    /// More bytes to send, in addition to the source's.
    pub fn send(&mut self, now: Instant, bytes: u64) {
        match &mut self.sender {
            Some(sender) => sender.offer(micros(now), bytes),
            None => {
                let source = self.source.get_or_insert(Source { start: now, stop: None, bytes: Some(0) });
                source.bytes = source.bytes.map(|before| before.saturating_add(bytes));
            }
        }
    }

    /// The state of now, for pictures and tables.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats { established: self.phase == Phase::Established, ..Stats::default() };
        if let Some(sender) = &self.sender {
            stats.sender(sender);
        }
        if let Some(receiver) = &self.receiver {
            stats.receiver(receiver.received());
        }
        stats
    }

    /// The longest time without new data in order, from the first one to `now`.
    pub fn longest_gap(&self, now: Instant) -> Duration {
        let received = self.receiver.as_ref().map(|receiver| *receiver.received()).unwrap_or_default();
        let open = received.last.map_or(0, |last| micros(now).saturating_sub(last));
        Duration::from_micros(received.gap.max(open))
    }
}
