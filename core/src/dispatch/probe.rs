//! Active health: an uplink is asked, time and again, whether it carries.
//!
//! ```text
//!   Idle ──[period]──▶ Naming ──▶ Asking ──▶ Connecting ──▶ [Talking] ──▶ verdict ──▶ Idle
//!             name to addresses   the pool, for this uplink    HTTP: status as expected?
//! ```
//!
//! Through a proxy the name goes as it is: Idle, Asking, Connecting, Introducing, then the same.
//!
//! A connect that succeeds shows that packets come and go. A captive portal and a used-up data plan
//! answer connects too: what they do not give is the status that an HTTP probe expects.
//!
//! Invariant: a verdict is about the uplink alone. What this host lacks, and a name that cannot be
//! looked up, is no verdict.

use super::Cx;
use super::upstream::{Introduced, Introduction};
use crate::machine::{
    Assign, Assignment, Close, ConnId, Fault, HostKey, Output, QueryId, Report, StreamId, UplinkId, UplinkSet,
};
use crate::name::{Destination, Host};
use crate::record::Reading;
use crate::time::{Duration, Instant};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

/// How one uplink is probed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProbeConfig {
    /// Where to.
    pub destination: Destination,
    /// What to ask there over HTTP; `None`: a connection is enough.
    pub http: Option<HttpProbe>,
    /// From the beginning of one probe to that of the next. Not shorter than `timeout`.
    pub period: Duration,
    /// A probe that has no answer by then has failed.
    pub timeout: Duration,
}

/// A question over HTTP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpProbe {
    /// The field `Host`.
    pub host: String,
    /// The path, beginning with a slash.
    pub path: String,
    /// The status that is expected; `None`: any from 200 to 299.
    pub status: Option<u16>,
}

#[derive(Debug)]
enum Stage {
    Idle,
    Naming(QueryId),
    Asking,
    Connecting(StreamId),
    /// The destination is being written to the proxy.
    Introducing {
        stream: StreamId,
        introduction: Box<Introduction>,
    },
    Talking {
        stream: StreamId,
        unsent: Vec<u8>,
        seen: Vec<u8>,
    },
}

/// The probes of one uplink.
#[derive(Debug)]
pub(super) struct Probe {
    conn: ConnId,
    uplink: UplinkId,
    config: ProbeConfig,
    stage: Stage,
    ended: bool,
    /// When the last one began, and when the next does.
    began: Instant,
    next: Instant,
    /// Where the name led last.
    address: Option<IpAddr>,
}

/// `HTTP/1.1 204`: all of a status line that matters.
const STATUS_LEN: usize = 12;

/// The client of look-ups that no client has asked for.
const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

impl Probe {
    /// The first probe begins at once.
    pub(super) fn new(conn: ConnId, uplink: UplinkId, config: ProbeConfig, now: Instant) -> Self {
        Probe { conn, uplink, config, stage: Stage::Idle, ended: false, began: now, next: now, address: None }
    }

    pub(super) fn is_gone(&self) -> bool {
        self.ended
    }

    /// Probes this uplink no more: what is under way is given up.
    pub(super) fn end(&mut self, cx: &mut Cx) {
        self.ended = true;
        self.give_up(cx);
    }

    pub(super) fn deadline(&self) -> Instant {
        match self.stage {
            Stage::Idle => self.next,
            _ => self.began + self.config.timeout,
        }
    }

    pub(super) fn timeout(&mut self, cx: &mut Cx) {
        match self.stage {
            Stage::Idle => self.begin(cx),
            // That a name cannot be looked up says nothing of this uplink: the last address does.
            Stage::Naming(query) => {
                cx.cancel(query);
                self.named(None, cx);
            }
            Stage::Asking | Stage::Connecting(_) | Stage::Introducing { .. } | Stage::Talking { .. } => {
                self.verdict(Err(Fault::TimedOut), cx);
            }
        }
    }

    fn begin(&mut self, cx: &mut Cx) {
        self.began = cx.now;
        self.next = cx.now + self.config.period;
        if cx.config.upstream(self.uplink).is_some() {
            return self.ask(None, cx);
        }
        match self.config.destination.host.clone() {
            Host::Ip(ip) => self.named(Some(ip), cx),
            Host::Name(name) => {
                let by = cx.config.asks(Some(self.uplink), &name);
                self.stage = Stage::Naming(cx.query(self.conn, NOBODY, &name, by));
            }
        }
    }

    /// A name was looked up, or not.
    pub(super) fn resolved(&mut self, answer: Result<&[IpAddr], Fault>, cx: &mut Cx) {
        if matches!(self.stage, Stage::Naming(_)) {
            self.named(answer.ok().and_then(|addresses| addresses.first().copied()), cx);
        }
    }

    fn named(&mut self, ip: Option<IpAddr>, cx: &mut Cx) {
        // The look-up has its own time.
        self.began = cx.now;
        self.address = ip.or(self.address);
        let Some(ip) = self.address else { return self.rest() };
        self.ask(Some(SocketAddr::new(ip.to_canonical(), self.config.destination.port)), cx);
    }

    /// Asks the pool how this uplink leads there.
    fn ask(&mut self, destination: Option<SocketAddr>, cx: &mut Cx) {
        self.stage = Stage::Asking;
        let mut this = UplinkSet::EMPTY;
        this.insert(self.uplink);
        let tried = UplinkSet::from_bits(!this.to_bits());
        cx.push_output(Output::Assign(Assign {
            conn: self.conn,
            destination,
            tried,
            host: HostKey::default(),
        }));
    }

    /// The pool's answer.
    pub(super) fn assigned(&mut self, assignment: Option<Assignment>, cx: &mut Cx) {
        if !matches!(self.stage, Stage::Asking) {
            return;
        }
        // An uplink without an address of the family, and what leaves unbound, cannot be probed so.
        let Some(given) = assignment
            .filter(|given| given.uplink == Some(self.uplink))
            .filter(|given| given.endpoint.is_none() || cx.config.upstream(self.uplink).is_some())
        else {
            return self.rest();
        };
        let port = self.config.destination.port;
        let address = self.address.map(|ip| given.translated(SocketAddr::new(ip.to_canonical(), port)));
        let Some(to) = given.endpoint.or(address) else { return self.rest() };
        let stream = cx.open_target(self.conn);
        cx.push_output(Output::Connect { stream, to, via: given.via });
        self.stage = Stage::Connecting(stream);
    }

    pub(super) fn connect_failed(&mut self, stream: StreamId, fault: Fault, cx: &mut Cx) {
        if matches!(self.stage, Stage::Connecting(own) if own == stream) {
            self.stage = Stage::Idle;
            match fault {
                // What this host lacks.
                Fault::NoDescriptors | Fault::NoMemory | Fault::AddressInUse => {}
                _ => self.verdict(Err(fault), cx),
            }
        }
    }

    pub(super) fn connected(&mut self, stream: StreamId, cx: &mut Cx) {
        match cx.config.upstream(self.uplink) {
            None => self.reached(stream, Vec::new(), cx),
            Some(upstream) => {
                let introduction = Box::new(Introduction::new(upstream, self.config.destination.clone()));
                self.stage = Stage::Introducing { stream, introduction };
                cx.mark_dirty(stream);
            }
        }
    }

    /// The destination is connected, and has said this already.
    fn reached(&mut self, stream: StreamId, seen: Vec<u8>, cx: &mut Cx) {
        match &self.config.http {
            None => self.verdict(Ok(()), cx),
            Some(HttpProbe { host, path, .. }) => {
                // RFC 9110 section 9.3.1: GET, as a captive portal must be seen by what it answers
                // to a browser.
                let text = format!(
                    "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: ropewalk\r\nAccept: */*\r\n\
                     Connection: close\r\n\r\n"
                );
                self.stage = Stage::Talking { stream, unsent: text.into_bytes(), seen };
                cx.mark_dirty(stream);
            }
        }
    }

    pub(super) fn reading(&self) -> Reading {
        match &self.stage {
            Stage::Introducing { introduction, .. } => introduction.reading(),
            Stage::Talking { .. } => Reading::Status,
            Stage::Idle | Stage::Naming(_) | Stage::Asking | Stage::Connecting(_) => Reading::Nothing,
        }
    }

    pub(super) fn wants(&self) -> usize {
        match &self.stage {
            Stage::Introducing { introduction, .. } => introduction.wants(),
            Stage::Talking { seen, .. } => STATUS_LEN - seen.len().min(STATUS_LEN),
            _ => 0,
        }
    }

    pub(super) fn write_buf(&self) -> &[u8] {
        match &self.stage {
            Stage::Introducing { introduction, .. } => introduction.write_buf(),
            Stage::Talking { unsent, .. } => unsent,
            _ => &[],
        }
    }

    pub(super) fn written(&mut self, len: usize) {
        match &mut self.stage {
            Stage::Introducing { introduction, .. } => introduction.written(len),
            Stage::Talking { unsent, .. } => drop(unsent.drain(..len.min(unsent.len()))),
            Stage::Idle | Stage::Naming(_) | Stage::Asking | Stage::Connecting(_) => {}
        }
    }

    /// `len` bytes were read.
    pub(super) fn read(&mut self, len: usize, cx: &mut Cx) {
        if let Stage::Introducing { stream, introduction } = &mut self.stage {
            let stream = *stream;
            match introduction.read(cx.buffers.peek(len)) {
                Introduced::More => cx.mark_dirty(stream),
                Introduced::Done(heard) => self.reached(stream, heard, cx),
                Introduced::Refused(fault) | Introduced::Broken(fault) => self.verdict(Err(fault), cx),
            }
            return;
        }
        let Stage::Talking { stream, seen, .. } = &mut self.stage else { return };
        seen.extend_from_slice(cx.buffers.peek(len));
        if seen.len() < STATUS_LEN {
            return cx.mark_dirty(*stream);
        }
        let wanted = self.config.http.as_ref().and_then(|http| http.status);
        let fits = status(seen).is_some_and(|got| match wanted {
            Some(status) => got == status,
            None => (200..300).contains(&got),
        });
        self.verdict(if fits { Ok(()) } else { Err(Fault::Malformed) }, cx);
    }

    /// Its stream has ended or failed before the answer.
    pub(super) fn failed(&mut self, fault: Fault, cx: &mut Cx) {
        if matches!(self.stage, Stage::Introducing { .. } | Stage::Talking { .. }) {
            self.verdict(Err(fault), cx);
        }
    }

    fn verdict(&mut self, result: Result<(), Fault>, cx: &mut Cx) {
        let took = cx.now - self.began;
        self.give_up(cx);
        let answered = self.config.http.is_some();
        cx.report(Report::Probed { uplink: self.uplink, result: result.map(|()| took), answered });
    }

    fn rest(&mut self) {
        self.stage = Stage::Idle;
    }

    /// Ends what is under way.
    fn give_up(&mut self, cx: &mut Cx) {
        match core::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Idle | Stage::Asking => {}
            Stage::Naming(query) => cx.cancel(query),
            Stage::Connecting(stream) | Stage::Introducing { stream, .. } | Stage::Talking { stream, .. } => {
                cx.close(stream, Close::Reset);
            }
        }
    }
}

/// The status of a response.
fn status(bytes: &[u8]) -> Option<u16> {
    let rest = bytes.strip_prefix(b"HTTP/1.")?;
    let digits = rest.get(2..5).filter(|digits| rest[1] == b' ' && digits.iter().all(u8::is_ascii_digit))?;
    core::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_from_the_first_twelve_bytes() {
        assert_eq!(status(b"HTTP/1.1 204"), Some(204));
        assert_eq!(status(b"HTTP/1.0 302 Found"), Some(302));
        for bad in
            [&b"HTTP/1.1 20"[..], b"HTTP/2.0 204", b"HTTP/1.1  04", b"SSH-2.0-Open", b"HTTP/1.1-204", b""]
        {
            assert_eq!(status(bad), None, "{bad:?}");
        }
    }
}
