//! The hosts at both ends: what they send, and what of it comes.
//!
//! Each flow has an end in each host. The ends are known by their number: port 10000 + n at the
//! client, 20000 + n at the server, n + 1 as the identifier of an echo.
//!
//! | file | is |
//! | --- | --- |
//! | `tcp` | what a TCP endpoint must be; `model` is ours, `smoltcp` real sockets |
//! | `ip` | IPv4, UDP and ICMP as they are written and read |

mod ip;
mod model;
mod smoltcp;
mod tcp;

use super::meter::FlowMeter;
use super::{Inside, Side};
use crate::scenario::{Direction, FlowSpec, Kind};
use ip::Ends;
pub(super) use ip::checksum;
use ropewalk_core::time::{Duration, Instant};
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use tcp::{Role, Tcp};

/// What one end of a flow does.
enum End {
    Tcp(Box<dyn Tcp>),
    /// Sends datagrams.
    Sender {
        interval: Duration,
        next: Instant,
        number: u32,
        size: u16,
    },
    /// Receives them, or answers echoes.
    Receiver,
    /// Sends echoes and hears the answers.
    Ping {
        interval: Duration,
        next: Instant,
        number: u32,
        size: u16,
    },
}

struct Slot {
    ends: Ends,
    end: End,
    start: Instant,
    stop: Option<Instant>,
    /// Payload that was counted by the meter.
    counted: u64,
    id: u16,
}

/// One host.
pub(super) struct Host {
    side: Side,
    address: Ipv4Addr,
    slots: Vec<Slot>,
    answers: VecDeque<Vec<u8>>,
    /// No new packets: what is on the way may come.
    drained: bool,
}

/// What is the same for all flows of a run.
pub(super) struct Setting {
    pub(super) inside: Inside,
    /// The addresses of the client and of the server.
    pub(super) addresses: [Ipv4Addr; 2],
    /// The largest packets that they send.
    pub(super) mtu: [u16; 2],
    /// Bytes of buffer for a TCP whose buffers are real.
    pub(super) buffer: usize,
    pub(super) seed: u64,
}

impl Host {
    pub(super) fn new(side: Side) -> Self {
        Host {
            side,
            address: Ipv4Addr::UNSPECIFIED,
            slots: Vec::new(),
            answers: VecDeque::new(),
            drained: false,
        }
    }

    /// Sets up its ends of all flows. None begins before `now`.
    pub(super) fn begin(&mut self, now: Instant, flows: &[FlowSpec], setting: &Setting) {
        let [client, server] = setting.addresses;
        let (from, to) = match self.side {
            Side::Client => (client, server),
            Side::Server => (server, client),
        };
        self.address = from;
        for (index, flow) in flows.iter().enumerate() {
            let (client, server) = (10_000 + index as u16, 20_000 + index as u16);
            let (from_port, to_port) = match self.side {
                Side::Client => (client, server),
                Side::Server => (server, client),
            };
            let start = Instant::ZERO + flow.start;
            let ends = Ends { from, to, from_port, to_port };
            let stop = flow.stop.map(|stop| Instant::ZERO + stop);
            let start = start.max(now);
            let end = self.end(index, flow, start, &ends, setting);
            // The called host exists before the caller.
            let start = if self.side == Side::Server && matches!(end, End::Tcp(_)) { now } else { start };
            self.slots.push(Slot { ends, end, start, stop, counted: 0, id: 0 });
        }
    }

    fn end(&self, index: usize, flow: &FlowSpec, start: Instant, ends: &Ends, setting: &Setting) -> End {
        let sender = match flow.direction {
            Direction::Down => Side::Server,
            Direction::Up => Side::Client,
        };
        match flow.kind {
            Kind::Tcp { bytes, profile } => {
                let sends = (sender == self.side).then_some(bytes.unwrap_or(u64::MAX));
                let role = match self.side {
                    Side::Client => Role::Client { sends },
                    Side::Server => Role::Server { sends },
                };
                let seed = setting.seed ^ (index as u64) << 8 ^ self.side as u64;
                let mtu = setting.mtu[self.side as usize];
                let stop = flow.stop.map(|stop| Instant::ZERO + stop);
                End::Tcp(match setting.inside {
                    Inside::Model => Box::new(model::Model::new(start, stop, role, ends, mtu, profile, seed)),
                    Inside::Smoltcp => {
                        Box::new(smoltcp::Smoltcp::new(start, role, ends, mtu, setting.buffer, seed))
                    }
                })
            }
            Kind::Udp { rate, size } if sender == self.side => {
                let nanos = u128::from(size) * 8_000_000_000 / u128::from(rate);
                let interval = Duration::from_nanos(nanos.max(1) as u64);
                End::Sender { interval, next: start, number: 0, size }
            }
            Kind::Udp { .. } => End::Receiver,
            Kind::Ping { interval, size } => match self.side {
                Side::Client => End::Ping { interval, next: start, number: 0, size },
                Side::Server => End::Receiver,
            },
        }
    }

    /// No new data from now on; what was sent is still answered.
    pub(super) fn drain(&mut self) {
        self.drained = true;
    }

    /// Takes a packet in. Which flow it was of.
    pub(super) fn handle_packet(
        &mut self,
        now: Instant,
        packet: &[u8],
        meters: &mut [FlowMeter],
    ) -> Option<usize> {
        let view = ip::read(packet, self.address)?;
        let base = match (view.protocol, self.side) {
            (ip::ICMP, _) => 1,
            (_, Side::Client) => 10_000,
            (_, Side::Server) => 20_000,
        };
        let index = usize::from(view.port.checked_sub(base)?);
        let slot = self.slots.get_mut(index)?;
        let meter = meters.get_mut(index)?;
        let number = |payload: &[u8]| payload.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
        match (&mut slot.end, view.protocol) {
            (End::Tcp(tcp), ip::TCP) => {
                tcp.handle_packet(now, packet);
                count(now, tcp.as_ref(), &mut slot.counted, meter);
            }
            (End::Receiver, ip::UDP) => {
                if meter.receive(number(view.payload)?) {
                    meter.deliver(now, view.payload.len() as u64);
                }
            }
            (End::Receiver, ip::ICMP) if view.kind == 8 => {
                let ends = Ends { from_port: view.port, ..slot.ends };
                let sequence = number(view.payload)? as u16;
                self.answers.push_back(ip::echo(packet.len(), &ends, true, sequence, view.payload.get(..4)?));
            }
            (End::Ping { .. }, ip::ICMP) if view.kind == 0 => {
                let number = number(view.payload)?;
                if meter.receive(number) {
                    let (sent, _) = meter.datagrams[number as usize];
                    let came = super::meter::since(now);
                    meter.round_trips.push((sent, came - sent));
                    meter.deliver(now, view.payload.len() as u64);
                }
            }
            _ => return None,
        }
        meter.came += 1;
        Some(index)
    }

    /// The next packet to send now.
    pub(super) fn poll_transmit(&mut self, now: Instant, meters: &mut [FlowMeter]) -> Option<Vec<u8>> {
        if let Some(answer) = self.answers.pop_front() {
            let index = usize::from(u16::from_be_bytes([answer[24], answer[25]])) - 1;
            meters[index].sent += 1;
            return Some(answer);
        }
        for (index, (slot, meter)) in self.slots.iter_mut().zip(meters).enumerate() {
            let stopped = slot.stop.is_some_and(|stop| stop <= now);
            let packet = match &mut slot.end {
                End::Tcp(_) if self.drained || slot.start > now => None,
                End::Tcp(tcp) => {
                    if stopped {
                        tcp.stop();
                    }
                    tcp.poll_transmit(now)
                }
                End::Receiver => None,
                End::Sender { interval, next, number, size } | End::Ping { interval, next, number, size } => {
                    if stopped || self.drained || *next > now {
                        None
                    } else {
                        *next += *interval;
                        let head = number.to_be_bytes();
                        *number += 1;
                        slot.id = slot.id.wrapping_add(1);
                        meter.send(now);
                        let size = usize::from(*size);
                        Some(match slot.end {
                            End::Ping { .. } => {
                                let ends = Ends { to_port: index as u16 + 1, ..slot.ends };
                                ip::echo(size, &ends, false, slot.id, &head)
                            }
                            _ => ip::udp(size, &slot.ends, slot.id, &head),
                        })
                    }
                }
            };
            if packet.is_some() {
                meter.sent += 1;
                return packet;
            }
        }
        None
    }

    /// When [`Host::handle_timeout`] is wanted.
    pub(super) fn poll_timeout(&mut self, now: Instant) -> Option<Instant> {
        if self.drained {
            return None;
        }
        let mut least = None::<Instant>;
        for slot in &mut self.slots {
            let stopped = slot.stop.is_some_and(|stop| stop <= now);
            let at = match &mut slot.end {
                End::Tcp(_) if slot.start > now => Some(slot.start),
                End::Tcp(tcp) => tcp.poll_timeout(now),
                End::Sender { next, .. } | End::Ping { next, .. } => (!stopped).then_some(*next),
                End::Receiver => None,
            };
            let stop = slot.stop.filter(|stop| *stop > now);
            least = [least, at, stop].into_iter().flatten().min();
        }
        least
    }

    /// Time has passed.
    pub(super) fn handle_timeout(&mut self, now: Instant, meters: &mut [FlowMeter]) {
        for (slot, meter) in self.slots.iter_mut().zip(meters) {
            if let End::Tcp(tcp) = &mut slot.end
                && slot.start <= now
                && tcp.poll_timeout(now).is_some_and(|at| at <= now)
            {
                tcp.handle_timeout(now);
                count(now, tcp.as_ref(), &mut slot.counted, meter);
            }
        }
    }

    /// Writes down what the senders think of their paths.
    pub(super) fn look(&self, now: Instant, meters: &mut [FlowMeter]) {
        for (slot, meter) in self.slots.iter().zip(meters) {
            if let End::Tcp(tcp) = &slot.end
                && let Some(window) = tcp.window()
            {
                meter.windows.push((super::meter::since(now), window));
            }
        }
    }
}

fn count(now: Instant, tcp: &dyn Tcp, counted: &mut u64, meter: &mut FlowMeter) {
    let delivered = tcp.delivered();
    if delivered > *counted {
        meter.deliver(now, delivered - *counted);
        *counted = delivered;
    }
}
