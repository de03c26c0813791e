//! What of a stream's bytes is kept: as much as the machine reads, and nothing that is secret.
//!
//! ```text
//!   bytes of a read ──▶ Track ──▶ kept: greetings, requests, heads (masked), what frames bodies
//!                         └─────▶ left out: everything else; replayed as so many `x`
//! ```
//!
//! A track reads with the parsers that the machine reads with, and parses at the same bytes. So
//! what the machine decides from is kept before it decides. What is incomplete at the end of a
//! recording the machine has not used, a response's head apart.
//!
//! Invariant: bytes are kept only where a rule here says so. Where the track and the machine parse
//! differently a replay diverges, and no secret is written.

use super::FILLER;
use super::mask;
use super::secrets::Secrets;
use crate::dispatch::UpstreamProtocol;
use crate::record::Reading;
use crate::wire::http::{
    self, Asked, Body, HeadEnd, HeadLimits, HttpError, RequestKind, connect, is_text, looks_like_http,
};
use crate::wire::socks5::{client, method};
use crate::wire::{Parsed, Unparsed, socks4, socks5};
use alloc::vec::Vec;

/// A response's head that is longer and comes in pieces is kept once it is whole: to mask it with
/// each piece would take the square of its length.
const MOST_PARTIAL: usize = 16 * 1024;

/// What a track is lent.
pub(super) struct Rules<'a> {
    pub(super) secrets: &'a Secrets,
    pub(super) heads: HeadLimits,
    /// Payload is kept too.
    pub(super) payload: bool,
    pub(super) headers: crate::wire::proxy::Rules,
}

/// Bytes of a stream that are kept, and where they begin, counted from the stream's first.
pub(super) type Kept = Vec<(u64, Vec<u8>)>;

#[derive(Debug, Default)]
enum State {
    /// Nothing has been understood yet.
    #[default]
    Start,
    Login,
    Request,
    /// The head of an HTTP request.
    Head,
    /// The body of a request.
    Body(Body),
    /// A SOCKS5 proxy's answers.
    Method,
    Status,
    Answer,
    /// The head of an HTTP response.
    Response,
    /// The body of a response.
    ResponseBody(Body),
    /// Nothing that follows is read.
    Payload,
}

/// One stream.
#[derive(Debug, Default)]
pub(super) struct Track {
    state: State,
    /// Bytes before those that wait.
    at: u64,
    /// What is not whole yet.
    waiting: Vec<u8>,
    end: HeadEnd,
    /// How much of what waits was kept as it came.
    told: usize,
}

impl Track {
    /// Takes in what was read.
    pub(super) fn read(&mut self, reading: &Reading, bytes: &[u8], rules: &Rules<'_>) -> Kept {
        let mut kept = Kept::new();
        self.begin(reading);
        if let (Reading::Nothing, _) | (_, State::Payload) = (reading, &self.state) {
            self.drop_waiting();
            if rules.payload {
                kept.push((self.at, bytes.to_vec()));
            }
            self.at += bytes.len() as u64;
            return kept;
        }
        self.waiting.extend_from_slice(bytes);
        while !self.waiting.is_empty() && self.step(reading, rules, &mut kept) {}
        kept
    }

    /// The first state for what is to be read, where another kind was read before.
    fn begin(&mut self, reading: &Reading) {
        let first = match (reading, &self.state) {
            (Reading::Answer(UpstreamProtocol::Socks5), State::Start) => State::Method,
            (Reading::Response { .. }, State::Response | State::ResponseBody(_)) => return,
            (Reading::Response { .. }, _) => State::Response,
            _ => return,
        };
        self.drop_waiting();
        self.state = first;
    }

    fn drop_waiting(&mut self) {
        self.at += self.waiting.len() as u64;
        self.waiting = Vec::new();
        self.told = 0;
    }

    /// The first `used` of the bytes that wait are understood: they are kept as `masked`.
    fn used(&mut self, used: usize, masked: Vec<u8>, next: State, kept: &mut Kept) {
        kept.push((self.at, masked));
        self.waiting.drain(..used);
        self.at += used as u64;
        self.told = 0;
        self.end = HeadEnd::default();
        self.state = next;
    }

    /// No further byte is read: what is kept of those that wait, nothing of the rest.
    fn give_up(&mut self, masked: Vec<u8>, kept: &mut Kept) {
        kept.push((self.at, masked));
        self.drop_waiting();
        self.state = State::Payload;
    }

    /// One step on. False: it waits for more.
    fn step(&mut self, reading: &Reading, rules: &Rules<'_>, kept: &mut Kept) -> bool {
        match (reading, core::mem::take(&mut self.state)) {
            (Reading::Nothing, _) => self.drop_waiting(),
            (_, State::Payload) => {
                self.state = State::Payload;
                if rules.payload {
                    kept.push((self.at, self.waiting.clone()));
                }
                self.drop_waiting();
            }
            (_, State::Body(body)) => return self.body(body, State::Body, State::Head, rules, kept),
            (_, State::ResponseBody(body)) => {
                return self.body(body, State::ResponseBody, State::Response, rules, kept);
            }
            (Reading::Client, State::Login) => return self.login(rules, kept),
            (Reading::Client, State::Request) => return self.request(kept),
            (Reading::Client, State::Head) => return self.head(rules, kept),
            (Reading::Client, _) => return self.start(rules, kept),
            // All of it is read, and it has no room for more.
            (Reading::Status | Reading::Message, _) => {
                let all = self.waiting.clone();
                self.used(all.len(), all, State::Start, kept);
            }
            (Reading::Answer(UpstreamProtocol::Socks5), state) => return self.answer(&state, kept),
            (Reading::Answer(UpstreamProtocol::Http), _) => return self.connect_answer(kept),
            (Reading::Response { head_request, version_10, upgrade }, _) => {
                let asked = Asked { head: *head_request, version_10: *version_10, upgrade };
                return self.response(&asked, rules, kept);
            }
            (Reading::Header, _) => return self.header(rules, kept),
        }
        true
    }

    // ---- what clients of `dispatch` say ----

    fn start(&mut self, rules: &Rules<'_>, kept: &mut Kept) -> bool {
        let empty = http::empty_lines(&self.waiting);
        let first = self.waiting.get(empty).copied();
        if first.is_none_or(|first| looks_like_http(first) || first == b'\r') {
            return self.head(rules, kept);
        }
        match self.waiting.first() {
            Some(&socks5::VERSION) => match socks5::parse_greeting(&self.waiting) {
                Ok((greeting, used)) => {
                    let next = match rules.secrets.method(greeting.methods) {
                        Some(method::USER_PASSWORD) => State::Login,
                        Some(_) => State::Request,
                        None => State::Payload,
                    };
                    let masked = self.waiting[..used].to_vec();
                    self.used(used, masked, next, kept);
                    true
                }
                Err(Unparsed::Incomplete) => false,
                Err(Unparsed::Malformed(why)) => self.refused_at(why.at, kept),
            },
            Some(&socks4::VERSION) => match socks4::parse_request(&self.waiting) {
                Ok((_, used)) => {
                    let masked = mask::socks4(&self.waiting[..used]);
                    self.used(used, masked, State::Payload, kept);
                    true
                }
                Err(Unparsed::Incomplete) => false,
                Err(Unparsed::Malformed(_)) => {
                    let masked = mask::socks4(&self.waiting);
                    self.give_up(masked, kept);
                    false
                }
            },
            _ => self.refused_at(empty, kept),
        }
    }

    /// The machine has stopped at this byte.
    fn refused_at(&mut self, at: usize, kept: &mut Kept) -> bool {
        let masked = self.waiting[..self.waiting.len().min(at + 1)].to_vec();
        self.give_up(masked, kept);
        false
    }

    fn login(&mut self, rules: &Rules<'_>, kept: &mut Kept) -> bool {
        match socks5::parse_user_password(&self.waiting) {
            Ok((given, used)) => {
                let (known, user, password) = rules.secrets.pseudonym(given.user, given.password);
                let masked = mask::login(&user, &password);
                let next = if known { State::Request } else { State::Payload };
                self.used(used, masked, next, kept);
                true
            }
            // Its lengths frame what follows.
            Err(Unparsed::Incomplete) => {
                kept.push((self.at, mask::partial_login(&self.waiting)));
                self.state = State::Login;
                false
            }
            Err(Unparsed::Malformed(why)) => self.refused_at(why.at.min(1), kept),
        }
    }

    fn request(&mut self, kept: &mut Kept) -> bool {
        match socks5::parse_request(&self.waiting) {
            Ok((_, used)) => {
                let masked = self.waiting[..used].to_vec();
                self.used(used, masked, State::Payload, kept);
                true
            }
            Err(Unparsed::Incomplete) => self.wait(State::Request, kept),
            Err(Unparsed::Malformed(why)) => self.refused_at(why.at, kept),
        }
    }

    /// What waits is not whole, holds no secret, and would be taken for wrong if it were left out.
    fn wait(&mut self, state: State, kept: &mut Kept) -> bool {
        kept.push((self.at + self.told as u64, self.waiting[self.told..].to_vec()));
        self.told = self.waiting.len();
        self.state = state;
        false
    }

    fn head(&mut self, rules: &Rules<'_>, kept: &mut Kept) -> bool {
        self.state = State::Head;
        if !self.end.is_worth_parsing(&self.waiting, rules.heads.bytes) {
            return false;
        }
        match http::parse_request(&self.waiting, rules.heads) {
            Ok((head, used)) => {
                let masked = mask::request(&self.waiting[..used], rules.secrets);
                let next = match head.kind {
                    RequestKind::Connect(_) | RequestKind::Answered(_) => State::Payload,
                    RequestKind::Forward(forward) => {
                        State::Body(Body::of_request(forward.body, &forward.named))
                    }
                };
                self.used(used, masked, next, kept);
                true
            }
            Err(HttpError::Incomplete) => false,
            Err(why) => {
                let masked = mask::request(&self.waiting, rules.secrets);
                self.refused(masked, why, kept)
            }
        }
    }

    /// A head is refused. The byte that the error names is kept as it came.
    fn refused(&mut self, mut masked: Vec<u8>, why: HttpError, kept: &mut Kept) -> bool {
        if let HttpError::Refused { why, .. } = why
            && let (Some(place), Some(came)) = (masked.get_mut(why.at), self.waiting.get(why.at))
        {
            *place = *came;
        }
        self.give_up(masked, kept);
        false
    }

    /// What frames a body is kept.
    fn body(
        &mut self,
        mut body: Body,
        state: fn(Body) -> State,
        next: State,
        rules: &Rules<'_>,
        kept: &mut Kept,
    ) -> bool {
        let waiting = core::mem::take(&mut self.waiting);
        let (mut at, mut run) = (0, Vec::new());
        let mut flush = |at: usize, run: &mut Vec<u8>, first: u64| {
            if !run.is_empty() {
                kept.push((first + (at - run.len()) as u64, core::mem::take(run)));
            }
        };
        while at < waiting.len() && !body.is_done() {
            let rest = &waiting[at..];
            let data = usize::try_from(body.data_left()).map_or(rest.len(), |left| left.min(rest.len()));
            let len = data.max(1);
            let beside = data == 0 && body.is_beside() && is_text(rest[0]) && rest[0] != b' ';
            if data > 0 && !rules.payload {
                flush(at, &mut run, self.at);
            } else if beside {
                run.push(FILLER);
            } else {
                run.extend_from_slice(&rest[..len]);
            }
            at += len;
            if body.pass(&rest[..len]).is_err() {
                // The byte that is told of.
                if let Some(last) = run.last_mut().filter(|_| beside) {
                    *last = rest[0];
                }
                flush(at, &mut run, self.at);
                self.at += waiting.len() as u64;
                self.state = State::Payload;
                return false;
            }
        }
        flush(at, &mut run, self.at);
        self.at += at as u64;
        self.waiting = waiting[at..].to_vec();
        self.end = HeadEnd::default();
        self.told = 0;
        self.state = if body.is_done() { next } else { state(body) };
        !self.waiting.is_empty()
    }

    // ---- what proxies and origins say ----

    fn answer(&mut self, state: &State, kept: &mut Kept) -> bool {
        fn told<T>(parsed: Parsed<T>) -> Result<(T, usize), Option<usize>> {
            parsed.map_err(|why| match why {
                Unparsed::Incomplete => None,
                Unparsed::Malformed(why) => Some(why.at),
            })
        }
        let (parsed, again) = match state {
            State::Status => (
                told(client::parse_auth_status(&self.waiting)).map(|(_, used)| (State::Answer, used)),
                State::Status,
            ),
            State::Answer => (
                told(client::parse_answer(&self.waiting)).map(|(_, used)| (State::Payload, used)),
                State::Answer,
            ),
            _ => {
                let next =
                    |method| if method == method::USER_PASSWORD { State::Status } else { State::Answer };
                let parsed = told(client::parse_method(&self.waiting));
                (parsed.map(|(method, used)| (next(method), used)), State::Method)
            }
        };
        match parsed {
            Ok((next, used)) => {
                let masked = self.waiting[..used].to_vec();
                self.used(used, masked, next, kept);
                true
            }
            Err(None) => self.wait(again, kept),
            Err(Some(at)) => self.refused_at(at, kept),
        }
    }

    fn connect_answer(&mut self, kept: &mut Kept) -> bool {
        if self.end.is_worth_parsing(&self.waiting, connect::MAX_ANSWER) {
            match connect::parse_answer(&self.waiting) {
                Ok((_, used)) => {
                    let masked = mask::response(&self.waiting[..used]);
                    self.used(used, masked, State::Payload, kept);
                    return true;
                }
                Err(HttpError::Incomplete) => {}
                Err(why) => {
                    let masked = mask::response(&self.waiting);
                    return self.refused(masked, why, kept);
                }
            }
        }
        self.partial_response(kept)
    }

    fn response(&mut self, asked: &Asked<'_>, rules: &Rules<'_>, kept: &mut Kept) -> bool {
        self.state = State::Response;
        if !self.end.is_worth_parsing(&self.waiting, rules.heads.bytes) {
            return self.partial_response(kept);
        }
        match http::parse_response(&self.waiting, asked, rules.heads) {
            Ok((head, used)) => {
                let masked = mask::response(&self.waiting[..used]);
                let next = match (head.interim, head.switched.is_empty()) {
                    (true, _) => State::Response,
                    (_, false) => State::Payload,
                    (_, true) => {
                        State::ResponseBody(Body::of_response(head.body, &head.named, asked.version_10))
                    }
                };
                self.used(used, masked, next, kept);
                true
            }
            Err(HttpError::Incomplete) => self.partial_response(kept),
            Err(why) => {
                let masked = mask::response(&self.waiting);
                self.refused(masked, why, kept)
            }
        }
    }

    /// The status line would be taken for wrong if it were left out, and where the origin ends in
    /// the middle of a head what there is of it decides.
    fn partial_response(&mut self, kept: &mut Kept) -> bool {
        if self.waiting.len() <= MOST_PARTIAL {
            // What comes later changes nothing of what was told before.
            let masked = mask::response(&self.waiting);
            kept.push((self.at + self.told as u64, masked[self.told..].to_vec()));
            self.told = self.waiting.len();
        }
        false
    }

    // ---- what balancers say ----

    fn header(&mut self, rules: &Rules<'_>, kept: &mut Kept) -> bool {
        use crate::wire::proxy;
        match proxy::parse(&self.waiting, &rules.headers) {
            Ok((_, used)) => {
                let masked = self.waiting[..used].to_vec();
                self.used(used, masked, State::Payload, kept);
                true
            }
            Err(Unparsed::Incomplete) => self.wait(State::Start, kept),
            Err(Unparsed::Malformed(why)) => {
                let most = proxy::looked_at(&self.waiting).max(why.at.saturating_add(1));
                let masked = self.waiting.get(..most).unwrap_or(&self.waiting).to_vec();
                self.give_up(masked, kept);
                false
            }
        }
    }
}
