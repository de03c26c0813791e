//! A replay's decisions, for people: who came, where it went by which uplink, what failed and why.
//!
//! Bytes that move are no lines. A connection is called as events call it; a stream that has none
//! yet, by its client.

use ropewalk_core::machine::event::{Event, NamesNews};
use ropewalk_core::machine::{Assignment, ConnId, Input, Output, Report, StreamId, UplinkId, Via};
use ropewalk_core::record::Moment;
use ropewalk_core::time::Instant;
use ropewalk_sim::report::{Bar, Doing, Lane};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Line {
    pub(super) at: Instant,
    /// In this worker; `None`: in the pool.
    pub(super) worker: Option<u16>,
    pub(super) text: String,
}

/// An attempt under way.
struct Attempt {
    /// Whose it is, where the pool was asked for it.
    conn: Option<ConnId>,
    to: SocketAddr,
    uplink: Option<UplinkId>,
    began: Instant,
}

#[derive(Default)]
pub(super) struct Timeline {
    lines: Vec<Line>,
    uplinks: BTreeMap<u16, String>,
    worker: Worker,
    /// What each uplink did; without one: what left unbound.
    lanes: BTreeMap<Option<u16>, Lane>,
    /// Uplinks that rest, and since when.
    resting: BTreeMap<u16, Instant>,
    last: Instant,
}

/// What is known of the worker that is being replayed.
#[derive(Default)]
struct Worker {
    number: u16,
    /// The pool's answers that no attempt has come of yet.
    assigned: VecDeque<(ConnId, Assignment)>,
    attempts: BTreeMap<StreamId, Attempt>,
    /// Connections that carry: by which uplink, since when.
    open: BTreeMap<ConnId, (Option<UplinkId>, Instant)>,
}

impl Timeline {
    /// Names of uplinks are in `about`; of those that came later in the news, which are all in
    /// `news`.
    pub(super) fn new(about: &[(String, String)], news: &[(Instant, String)]) -> Self {
        let uplinks = about.iter().filter_map(|(key, label)| {
            let number = key.strip_prefix("uplink.")?.parse().ok()?;
            Some((number, label.clone()))
        });
        let later = news.iter().filter_map(|(_, text)| {
            let (number, label) = text.strip_prefix("uplink ")?.split_once(" is called ")?;
            Some((number.parse().ok()?, label.to_owned()))
        });
        Timeline { uplinks: uplinks.chain(later).collect(), ..Timeline::default() }
    }

    /// All lines, in the order of their times.
    pub(super) fn lines(&mut self) -> &[Line] {
        self.lines.sort_by_key(|line| line.at);
        &self.lines
    }

    /// What each uplink did, and until when something was recorded.
    pub(super) fn lanes(&mut self) -> (Vec<Lane>, f64) {
        let last = self.last;
        for (uplink, since) in std::mem::take(&mut self.resting) {
            self.bar(Some(UplinkId(uplink)), since, last, Doing::Resting);
        }
        (std::mem::take(&mut self.lanes).into_values().collect(), seconds(last))
    }

    fn lane(&mut self, uplink: Option<UplinkId>) -> &mut Lane {
        let name = uplink.map_or_else(|| String::from("unbound"), |uplink| self.name(uplink));
        self.lanes.entry(uplink.map(|uplink| uplink.0)).or_insert_with(|| Lane { name, ..Lane::default() })
    }

    fn bar(&mut self, uplink: Option<UplinkId>, from: Instant, to: Instant, doing: Doing) {
        self.lane(uplink).bars.push(Bar { from: seconds(from), to: seconds(to), doing });
    }

    /// What is still open when a worker's recording ends.
    pub(super) fn end(&mut self) {
        let Worker { attempts, open, .. } = std::mem::take(&mut self.worker);
        let last = self.last;
        for Attempt { uplink, began, .. } in attempts.into_values() {
            self.bar(uplink, began, last, Doing::Trying);
        }
        for (uplink, since) in open.into_values() {
            self.bar(uplink, since, last, Doing::Carrying);
        }
    }

    /// Something that the pool has said: `uplink 0 rests`.
    pub(super) fn news(&mut self, at: Instant, text: &str) {
        self.last = self.last.max(at);
        let of = text.strip_prefix("uplink ").and_then(|rest| {
            let (number, rest) = rest.split_once(' ')?;
            Some((number.parse::<u16>().ok()?, rest))
        });
        if let Some((_, said)) = of
            && let Some(label) = said.strip_prefix("is called ")
        {
            let text = format!("{label} is an uplink from now on");
            self.lines.push(Line { at, worker: None, text });
            return;
        }
        if let Some((uplink, said)) = of {
            self.lane(Some(UplinkId(uplink))).marks.push((seconds(at), said.to_owned()));
            if said.starts_with("rests") || said.starts_with("is left") {
                self.resting.entry(uplink).or_insert(at);
            } else if said.starts_with("carries again")
                && let Some(since) = self.resting.remove(&uplink)
            {
                self.bar(Some(UplinkId(uplink)), since, at, Doing::Resting);
            }
        }
        let told = text.strip_prefix("uplink ").and_then(|rest| {
            let (number, rest) = rest.split_once(' ')?;
            Some(format!("uplink {} {rest}", self.name(UplinkId(number.parse().ok()?))))
        });
        self.lines.push(Line { at, worker: None, text: told.unwrap_or_else(|| text.to_owned()) });
    }

    /// A step of this worker. Its time, where it has one.
    pub(super) fn step(&mut self, worker: u16, moment: Moment<'_>) -> Option<Instant> {
        if self.worker.number != worker {
            self.worker = Worker { number: worker, ..Worker::default() };
        }
        let (at, text) = match moment {
            Moment::Input(at, input) => (at, self.input(at, input)),
            Moment::Output(at, output) => (at, self.output(at, output)),
            Moment::Timeout(at) | Moment::Received(at, ..) | Moment::Sent(at, ..) => (at, None),
            // The first is what it began with.
            Moment::Configured(at) if at == Instant::ZERO => (at, None),
            Moment::Configured(at) => (at, Some(String::from("is given another configuration"))),
            _ => return None,
        };
        self.last = self.last.max(at);
        if let Some(text) = text {
            self.lines.push(Line { at, worker: Some(worker), text });
        }
        Some(at)
    }

    fn name(&self, uplink: UplinkId) -> String {
        self.uplinks.get(&uplink.0).cloned().unwrap_or_else(|| format!("uplink {}", uplink.0))
    }

    fn by(&self, uplink: Option<UplinkId>) -> String {
        uplink.map_or_else(|| String::from("unbound"), |uplink| format!("by {}", self.name(uplink)))
    }

    fn input(&mut self, at: Instant, input: &Input<'_>) -> Option<String> {
        Some(match *input {
            Input::Accepted { peer, local, .. } => format!("{peer} connects to {local}"),
            Input::AcceptFailed { fault, .. } => format!("accepting failed: {fault}"),
            Input::Assigned { conn, assignment: None } => format!("{conn:?}: no uplink is left to try"),
            Input::Assigned { conn, assignment: Some(assignment) } => {
                self.worker.assigned.push_back((conn, assignment));
                return None;
            }
            Input::Connected { stream, .. } => {
                let Attempt { conn, to, uplink, began } = self.worker.attempts.remove(&stream)?;
                self.bar(uplink, began, at, Doing::Trying);
                format!("{}{to} {} answers after {:?}", whose(conn), self.by(uplink), at - began)
            }
            Input::ConnectFailed { stream, fault } => {
                let Attempt { conn, to, uplink, began } = self.worker.attempts.remove(&stream)?;
                self.bar(uplink, began, at, Doing::Failing);
                format!("{}{to} {} failed after {:?}: {fault}", whose(conn), self.by(uplink), at - began)
            }
            Input::Resolved { addresses, .. } => {
                let all: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                format!("a name is looked up: {}", all.join(", "))
            }
            Input::ResolveFailed { fault, .. } => format!("a name is not found: {fault}"),
            Input::Failed { stream, fault } => format!("{stream:?} failed: {fault}"),
            Input::WriteFailed { stream, fault } => format!("{stream:?} takes nothing any more: {fault}"),
            Input::UplinkGone { uplink } => format!("the interface of {} has vanished", self.name(uplink)),
            Input::UplinkBack { uplink, .. } => format!("{} is back", self.name(uplink)),
            Input::OpenFailed { socket, fault } => format!("{socket:?} cannot be opened: {fault}"),
            Input::Drain => String::from("drains: no new connections"),
            _ => return None,
        })
    }

    /// Whose answer of the pool an attempt has come of.
    fn whose(&mut self, to: SocketAddr, via: Via) -> Option<(ConnId, Assignment)> {
        let fits = |(_, known): &(ConnId, Assignment)| {
            known.via == via && known.endpoint.is_none_or(|endpoint| endpoint == to)
        };
        let at = self.worker.assigned.iter().position(fits)?;
        self.worker.assigned.remove(at)
    }

    fn output(&mut self, at: Instant, output: &Output) -> Option<String> {
        Some(match output {
            Output::Resolve { name, .. } => format!("looks up {name}"),
            Output::Connect { stream, to, via } => {
                let Some((conn, Assignment { uplink, patience, .. })) = self.whose(*to, *via) else {
                    let attempt = Attempt { conn: None, to: *to, uplink: None, began: at };
                    self.worker.attempts.insert(*stream, attempt);
                    let source = via.transparent.map_or_else(String::new, |from| format!(" from {from}"));
                    return Some(format!("tries {to}{source}"));
                };
                let others = self.worker.attempts.values().filter(|other| other.conn == Some(conn)).count();
                let beside = if others > 0 { ", beside one that is silent" } else { "" };
                let text = format!(
                    "{conn:?}: tries {to} {}, another way after {patience:?}{beside}",
                    self.by(uplink)
                );
                self.worker
                    .attempts
                    .insert(*stream, Attempt { conn: Some(conn), to: *to, uplink, began: at });
                text
            }
            Output::Close { stream, .. } => {
                let Attempt { conn, to, uplink, began } = self.worker.attempts.remove(stream)?;
                self.bar(uplink, began, at, Doing::Failing);
                format!("{}gives up {to} {} after {:?}", whose(conn), self.by(uplink), at - began)
            }
            Output::Report(report) => return self.report(report),
            Output::Event(event) => return self.event(at, event),
            Output::Finished => String::from("has finished"),
            _ => return None,
        })
    }

    fn report(&self, report: &Report) -> Option<String> {
        Some(match report {
            Report::Failed { uplink, fault } => {
                format!("tells the pool: {} failed: {fault}", self.name(*uplink))
            }
            Report::Outpaced { uplink } => format!("tells the pool: {} was outpaced", self.name(*uplink)),
            Report::Mute { uplink, to } => {
                format!("tells the pool: nothing moves between {to} and {}", self.name(*uplink))
            }
            Report::Probed { uplink, result: Ok(took), .. } => {
                format!("a probe of {} took {took:?}", self.name(*uplink))
            }
            Report::Probed { uplink, result: Err(fault), .. } => {
                format!("a probe of {} failed: {fault}", self.name(*uplink))
            }
            _ => return None,
        })
    }

    fn event(&mut self, at: Instant, event: &Event) -> Option<String> {
        match event {
            Event::Connected { conn, uplink, .. } => {
                self.worker.open.insert(*conn, (*uplink, at));
            }
            Event::Unwrapped { conn, .. } => {
                self.worker.open.insert(*conn, (None, at));
            }
            Event::Closed { conn, .. } => {
                if let Some((uplink, since)) = self.worker.open.remove(conn) {
                    self.bar(uplink, since, at, Doing::Carrying);
                }
            }
            _ => {}
        }
        Some(match event {
            Event::Requested { conn, client, destination } => {
                format!("{conn:?}: {client} asks for {destination}")
            }
            Event::Refused { conn, client, why } => format!("{conn:?}: {client} is refused: {why}"),
            Event::Connected { conn, to, uplink, took } => {
                format!("{conn:?}: relays to {to} {}, {took:?} after it was asked", self.by(*uplink))
            }
            Event::Closed { conn, sent, received, lasted, fault } => {
                let why = fault.map_or_else(String::new, |fault| format!(": {fault}"));
                format!("{conn:?}: ends after {lasted:?}, {sent} bytes up, {received} bytes down{why}")
            }
            Event::Unwrapped { conn, peer, client, to, took } => {
                format!("{conn:?}: {peer} is {client}, relays to {to}, {took:?} after its header")
            }
            // What follows from what is told already.
            Event::AttemptFailed { .. } | Event::Datagrams { .. } | Event::Moved { .. } => return None,
            Event::HeldBack { uplink, .. } => {
                format!("connections {} wait for its rate", self.by(Some(*uplink)))
            }
            Event::PortChanged { conn, client, .. } => {
                format!("{conn:?}: the server sees another port of {client}")
            }
            Event::TargetMoved { name, from, to } => format!("{name} was at {from}, and is at {to}"),
            Event::Names { uplink, news } => format!("names {}: {}", self.by(Some(*uplink)), names(*news)),
            other => self.datagram_event(other).unwrap_or_else(|| format!("{other:?}")),
        })
    }

    /// What is told of UDP.
    fn datagram_event(&self, event: &Event) -> Option<String> {
        let passed = |sent: &u64, received: &u64| format!("{sent} datagrams up, {received} down");
        Some(match event {
            Event::Associated { conn, client, local } => {
                format!("{conn:?}: {client} has a UDP association at {local}")
            }
            Event::AssociationEnded { conn, sent, received, lasted } => {
                format!("{conn:?}: its association ends after {lasted:?}, {}", passed(sent, received))
            }
            Event::DestinationAssigned { conn, to, uplink } => {
                format!("{conn:?}: datagrams to {to} leave {}", self.by(*uplink))
            }
            Event::DestinationEnded { conn, to, sent, received, lasted, why } => {
                let passed = passed(sent, received);
                format!("{conn:?}: {to} is forgotten after {lasted:?}, {passed}: {why}")
            }
            Event::DestinationsMoved { conn, uplink, count } => {
                let by = self.by(*uplink);
                format!("{conn:?}: {count} destinations that left {by} get another way")
            }
            Event::FlowOpened { peer, client, to, .. } => {
                format!("{peer} is {client}, a UDP flow to {to} begins")
            }
            Event::FlowClosed { client, sent, received, lasted, why, .. } => {
                format!("the flow of {client} ends after {lasted:?}, {}: {why}", passed(sent, received))
            }
            Event::FlowPortChanged { client, .. } => format!("the server sees another port of {client}"),
            Event::FlowFault { to, fault, .. } => format!("a socket that sends to {to}: {fault}"),
            Event::DatagramDropped { peer, why } => format!("a datagram of {peer} is dropped: {why}"),
            Event::DatagramLost { to: Some(to), fault } => {
                format!("a datagram to {to} cannot be sent: {fault}")
            }
            _ => return None,
        })
    }
}

/// What happened to a name.
fn names(news: NamesNews) -> String {
    match news {
        NamesNews::Known => String::from("one is known from before"),
        NamesNews::Asked { server } => format!("{server} is asked"),
        NamesNews::Answered { took } => format!("answered after {took:?}"),
        NamesNews::Failed { fault, took } => format!("failed after {took:?}: {fault}"),
        NamesNews::Truncated { server } => format!("{server} is asked over TCP"),
        NamesNews::Stray { server } => format!("something that is no answer of {server} is dropped"),
        NamesNews::CacheFull { limit } => format!("one of {limit} answers makes room"),
        other => format!("{other:?}"),
    }
}

/// `c0.0: `, where an attempt is a connection's.
fn whose(conn: Option<ConnId>) -> String {
    conn.map_or_else(String::new, |conn| format!("{conn:?}: "))
}

fn seconds(at: Instant) -> f64 {
    (at - Instant::ZERO).as_secs_f64()
}
