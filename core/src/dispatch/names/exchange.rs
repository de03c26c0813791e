//! Servers that are asked: which one is next, its socket, what it says.

use super::lookup::{Exchange, Stream};
use super::message::{self, Answer, Kind};
use super::{Key, Names, refill, say};
use crate::dispatch::Cx;
use crate::machine::event::NamesNews;
use crate::machine::{Assign, Assignment, Close, Fault, HostKey, Output, Rx, SocketId, StreamId, UplinkSet};
use crate::service::Address;
use crate::time::Duration;
use alloc::vec::Vec;
use core::net::IpAddr;

/// Servers of an uplink that are asked, as other resolvers have it.
const MOST_SERVERS: usize = 3;
/// Each is asked so often.
const ROUNDS: usize = 2;
/// How long a server has before the next one is asked too, in the first round and in the second.
const WAITS: [Duration; ROUNDS] = [Duration::from_secs(1), Duration::from_secs(2)];
/// Servers that are heard at the same time for one name.
const HEARD: usize = 2;
/// Bytes of an answer by datagram. We ask for 512 at most (RFC 1035 section 4.2.1); some servers
/// send more, but none so much.
const LONGEST_DATAGRAM: usize = 4096;
/// Bytes that may wait on a socket: two questions.
const QUEUE: usize = 1024;

impl Names {
    /// Asks the next server, if there is one.
    pub(super) fn try_next(&mut self, key: &Key, cx: &mut Cx) {
        let servers = cx.config.names.servers(key.uplink);
        let servers = &servers[..servers.len().min(MOST_SERVERS)];
        let Some(lookup) = self.lookups.get_mut(key) else { return };
        let round = lookup.tries / servers.len().max(1);
        if servers.is_empty() || round >= ROUNDS {
            lookup.next_try = None;
            return self.look(key, cx);
        }
        let first = self.best.get(&key.uplink).copied().unwrap_or(0);
        let to = servers[(first + lookup.tries) % servers.len()];
        lookup.tries += 1;
        lookup.next_try = Some(cx.now + WAITS[round]);
        lookup.asking = true;
        self.asking.push_back((key.clone(), to));
        // Both are answered at once, in this order.
        if self.random.is_spent() {
            refill(cx);
        }
        let mut this = UplinkSet::EMPTY;
        this.insert(key.uplink);
        let tried = UplinkSet::from_bits(!this.to_bits());
        let (destination, host) = (Some(to), HostKey::default());
        cx.push_output(Output::Assign(Assign { conn: self.conn, destination, tried, host }));
        self.rearm(key);
    }

    /// The pool's answer to the oldest question.
    pub(in crate::dispatch) fn assigned(&mut self, assignment: Option<Assignment>, cx: &mut Cx) {
        let Some((key, to)) = self.asking.pop_front() else { return };
        let Some(lookup) = self.lookups.get_mut(&key) else { return };
        lookup.asking = false;
        // A server on this host, or on a network that is no uplink's, is reached as such.
        let fits = |given: &Assignment| {
            given.endpoint.is_none() && given.uplink.is_none_or(|uplink| uplink == key.uplink)
        };
        let Some(given) = assignment.filter(fits) else { return self.look(&key, cx) };
        let (at, via) = (given.translated(to), given.via);
        let open: Vec<Kind> = lookup.open().collect();
        // Without random ids, which an off-path attacker cannot guess, nothing is asked.
        let Some(ids) = self.random.ids() else { return self.finish(&key, Fault::NameUnavailable, cx) };
        let socket = cx.open_socket(self.conn, at, via);
        let mut asked = [None; 2];
        for kind in open {
            let id = ids[kind as usize];
            let Some(question) = message::question(id, &key.name, kind) else {
                cx.close_socket(socket);
                return self.finish(&key, Fault::NameNotFound, cx);
            };
            let address = Address { to: None, from: None, ecn: 0 };
            if cx.sockets.push(socket, address, [&[], &question], QUEUE) {
                asked[kind as usize] = Some(id);
            }
        }
        let exchange = Exchange { to, at, via, socket: Some(socket), asked, streams: [None, None] };
        lookup.exchanges.push(exchange);
        let oldest = (lookup.exchanges.len() > HEARD).then(|| lookup.exchanges.remove(0));
        self.sockets.insert(socket, key.clone());
        if let Some(oldest) = oldest {
            self.close_exchange(oldest, cx);
        }
        say(key.uplink, NamesNews::Asked { server: to }, cx);
    }

    // ---- datagrams ----

    pub(in crate::dispatch) fn received(&mut self, socket: SocketId, rx: &[Rx<'_>], cx: &mut Cx) {
        for datagram in rx.iter().flat_map(Rx::datagrams) {
            self.datagram(socket, datagram, cx);
        }
    }

    fn datagram(&mut self, socket: SocketId, datagram: &[u8], cx: &mut Cx) {
        let Some((key, at)) = self.exchange_of(socket) else { return };
        let Some(exchange) = self.lookups.get(&key).and_then(|lookup| lookup.exchanges.get(at)) else {
            return;
        };
        let fits = datagram.len() <= LONGEST_DATAGRAM;
        let said = Kind::ALL.into_iter().filter(|_| fits).find_map(|kind| {
            let id = exchange.asked[kind as usize].filter(|_| exchange.streams[kind as usize].is_none())?;
            match message::read(datagram, id, &key.name, kind) {
                Answer::Stray => None,
                answer => Some((kind, answer)),
            }
        });
        match said {
            None => say(key.uplink, NamesNews::Stray { server: exchange.to }, cx),
            Some((kind, answer)) => self.said(&key, at, kind, answer, cx),
        }
    }

    fn exchange_of(&self, socket: SocketId) -> Option<(Key, usize)> {
        let key = self.sockets.get(&socket)?;
        let lookup = self.lookups.get(key)?;
        let at = lookup.exchanges.iter().position(|exchange| exchange.socket == Some(socket))?;
        Some((key.clone(), at))
    }

    /// Its socket cannot be opened, or the server's port is closed: datagrams get no answer.
    pub(in crate::dispatch) fn socket_failed(&mut self, socket: SocketId, dead: bool, cx: &mut Cx) {
        let Some((key, at)) = self.exchange_of(socket) else { return };
        let Some(lookup) = self.lookups.get_mut(&key) else { return };
        let exchange = &mut lookup.exchanges[at];
        if dead {
            exchange.socket = None;
            self.sockets.remove(&socket);
        }
        for (asked, stream) in exchange.asked.iter_mut().zip(&exchange.streams) {
            if stream.is_none() {
                *asked = None;
            }
        }
        self.look(&key, cx);
    }

    /// This host has lost addresses: what is open from them is dead.
    pub(in crate::dispatch) fn addresses_gone(&mut self, gone: &[IpAddr], cx: &mut Cx) {
        let from = |exchange: &Exchange| exchange.via.source.is_some_and(|ip| gone.contains(&ip));
        let all = self.lookups.values().flat_map(|lookup| &lookup.exchanges);
        let sockets: Vec<SocketId> = all.filter(|exchange| from(exchange)).filter_map(|e| e.socket).collect();
        sockets.into_iter().for_each(|socket| self.socket_failed(socket, false, cx));
    }

    // ---- what a server says ----

    fn said(&mut self, key: &Key, at: usize, kind: Kind, answer: Answer, cx: &mut Cx) {
        let servers = cx.config.names.servers(key.uplink);
        let Some(lookup) = self.lookups.get_mut(key) else { return };
        let exchange = &mut lookup.exchanges[at];
        match answer {
            Answer::Stray => return,
            Answer::Truncated if exchange.streams[kind as usize].is_none() => {
                return self.ask_again(key, at, kind, cx);
            }
            Answer::Truncated | Answer::Failed => exchange.asked[kind as usize] = None,
            Answer::Found { .. } | Answer::Nothing { .. } => {
                exchange.asked[kind as usize] = None;
                let server = servers.iter().position(|server| *server == exchange.to);
                self.best.insert(key.uplink, server.unwrap_or(0));
                lookup.learn(cx.now, kind, answer);
            }
        }
        self.look(key, cx);
    }

    /// What follows from what is known now.
    fn look(&mut self, key: &Key, cx: &mut Cx) {
        let Some(lookup) = self.lookups.get(key) else { return };
        if lookup.is_complete(cx.now) {
            return self.finish(key, Fault::NameUnavailable, cx);
        }
        if lookup.is_awaited() {
            return self.rearm(key);
        }
        match lookup.next_try {
            Some(_) => self.try_next(key, cx),
            None => self.finish(key, Fault::NameUnavailable, cx),
        }
    }

    // ---- streams ----

    /// Asks the same server over TCP (RFC 7766 section 5).
    fn ask_again(&mut self, key: &Key, at: usize, kind: Kind, cx: &mut Cx) {
        let Some(lookup) = self.lookups.get_mut(key) else { return };
        let exchange = &mut lookup.exchanges[at];
        let question = exchange.asked[kind as usize].and_then(|id| message::question(id, &key.name, kind));
        let Some(question) = question else { return };
        let len = u16::try_from(question.len()).expect("a question is shorter than 300 bytes");
        let unsent = [&len.to_be_bytes()[..], &question].concat();
        let (id, to) = (cx.open_target(self.conn), exchange.to);
        cx.push_output(Output::Connect { stream: id, to: exchange.at, via: exchange.via });
        exchange.streams[kind as usize] = Some(Stream { id, unsent, seen: Vec::new() });
        self.streams.insert(id, key.clone());
        say(key.uplink, NamesNews::Truncated { server: to }, cx);
        self.rearm(key);
    }

    fn place_of(&self, stream: StreamId) -> Option<(Key, usize, Kind)> {
        let key = self.streams.get(&stream)?;
        let mut exchanges = self.lookups.get(key)?.exchanges.iter().enumerate();
        let (at, kind) = exchanges.find_map(|(at, exchange)| Some((at, exchange.kind_of(stream)?)))?;
        Some((key.clone(), at, kind))
    }

    fn stream(&self, stream: StreamId) -> Option<&Stream> {
        let (key, at, kind) = self.place_of(stream)?;
        self.lookups.get(&key)?.exchanges.get(at)?.streams[kind as usize].as_ref()
    }

    fn stream_mut(&mut self, stream: StreamId) -> Option<&mut Stream> {
        let (key, at, kind) = self.place_of(stream)?;
        self.lookups.get_mut(&key)?.exchanges.get_mut(at)?.streams[kind as usize].as_mut()
    }

    pub(in crate::dispatch) fn wants_of(&self, stream: StreamId) -> usize {
        self.stream(stream).map_or(0, |stream| missing(&stream.seen))
    }

    pub(in crate::dispatch) fn write_buf_of(&self, stream: StreamId) -> &[u8] {
        self.stream(stream).map_or(&[], |stream| &stream.unsent)
    }

    pub(in crate::dispatch) fn connected(&mut self, stream: StreamId, cx: &mut Cx) {
        match self.streams.contains_key(&stream) {
            true => cx.mark_dirty(stream),
            false => cx.close(stream, Close::Reset),
        }
    }

    pub(in crate::dispatch) fn written(&mut self, stream: StreamId, len: usize) {
        if let Some(stream) = self.stream_mut(stream) {
            stream.unsent.drain(..len.min(stream.unsent.len()));
        }
    }

    /// `len` bytes were read.
    pub(in crate::dispatch) fn read(&mut self, stream: StreamId, len: usize, cx: &mut Cx) {
        let Some((key, at, kind)) = self.place_of(stream) else { return };
        let Some(its) = self.stream_mut(stream) else { return };
        its.seen.extend_from_slice(cx.buffers.peek(len));
        if missing(&its.seen) > 0 {
            return cx.mark_dirty(stream);
        }
        let message = its.seen.split_off(2);
        let exchange = self.lookups.get(&key).and_then(|lookup| lookup.exchanges.get(at));
        let id = exchange.and_then(|exchange| exchange.asked[kind as usize]);
        let answer = match id.map(|id| message::read(&message, id, &key.name, kind)) {
            // Only the server can write on this connection: a stray answer is a broken one.
            None | Some(Answer::Stray) => Answer::Failed,
            Some(answer) => answer,
        };
        self.streams.remove(&stream);
        cx.close(stream, Close::Reset);
        self.said(&key, at, kind, answer, cx);
        self.forget_stream(&key, stream);
    }

    /// A stream has ended, has failed, or could not be opened.
    pub(in crate::dispatch) fn stream_failed(&mut self, stream: StreamId, cx: &mut Cx) {
        let Some((key, at, kind)) = self.place_of(stream) else { return };
        self.streams.remove(&stream);
        cx.close(stream, Close::Reset);
        self.said(&key, at, kind, Answer::Failed, cx);
        self.forget_stream(&key, stream);
    }

    fn forget_stream(&mut self, key: &Key, stream: StreamId) {
        let exchanges = self.lookups.get_mut(key).map(|lookup| lookup.exchanges.iter_mut());
        for its in exchanges.into_iter().flatten().flat_map(|exchange| &mut exchange.streams) {
            *its = its.take().filter(|its| its.id != stream);
        }
    }
}

/// How many bytes of a message behind its length are still to come.
fn missing(seen: &[u8]) -> usize {
    match seen {
        [high, low, rest @ ..] => usize::from(u16::from_be_bytes([*high, *low])).saturating_sub(rest.len()),
        _ => 2 - seen.len(),
    }
}
