//! UDP ASSOCIATE (RFC 1928 section 7): datagrams of one client, to whatever destinations it names.
//!
//! ```text
//!  client ──header+data──▶ its socket ──▶ [guard] ─▶ destination ─▶ way ──data──▶ server
//!     ▲                                               (a flow)       one socket for each uplink
//!     └────header+data──── its socket ◀── [was the address spoken to?] ◀──data──── any of its ports
//! ```
//!
//! Invariants
//! - It begins with the client's request and ends with the connection that the request came by
//!   (section 7).
//! - It hears one address, the client's, and one port, the first that the client uses.
//! - A destination keeps to the way that the pool has given it, until it was idle, was the longest
//!   idle of too many, or its uplink is no more.
//! - All destinations behind one uplink see one address and port of ours, as RFC 4787 (REQ-1) asks
//!   of a NAT. Who may answer is filtered by address (REQ-8).
//! - A datagram is passed on whole or dropped and told, never cut. Fragments are dropped, as
//!   section 7 lets those do who put none together.
//!
//! | file | is |
//! | --- | --- |
//! | `traffic` | datagrams of the client and of servers |
//! | `names` | names that datagrams go to |
//! | `route` | which way a destination takes |
//! | `ways` | one socket for each uplink and family |

mod names;
mod route;
mod traffic;
mod ways;

use super::Cx;
use super::config::Config;
use crate::machine::event::{Dropped, Event, FlowEnd, Refusal};
use crate::machine::{ConnId, Fault, SocketId, StreamId, UplinkId, UplinkSet, Via};
use crate::name::Name;
use crate::service::{FlowId, FlowTable, Tally};
use crate::time::{Duration, Instant};
use crate::wire::socks5;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use names::Names;
use ways::Ways;

/// How long an association may be silent while the service drains.
const DRAIN_IDLE: Duration = Duration::from_secs(3);

/// Bytes read at a time from a connection that has nothing more to say.
const READ: usize = 512;

/// A name and a port, as the client gave them.
type NamedPort = (Name, u16);

/// What is known of a destination.
#[derive(Debug)]
struct Destination {
    to: SocketAddr,
    /// The address by which its way reaches it.
    at: SocketAddr,
    route: Route,
    /// Uplinks that could not be used for it.
    tried: UplinkSet,
    lead: Lead,
}

/// What led to a destination: nothing where its client has named the address.
#[derive(Debug, Default)]
struct Lead {
    /// The names that led here.
    names: Vec<NamedPort>,
    /// Where else its name leads, should no uplink carry this address.
    others: Vec<SocketAddr>,
    /// The uplink by which its name was looked up, and for how many of the addresses it is still to
    /// be asked for: they are tried by it before any is by another.
    by: Option<(UplinkId, usize)>,
}

/// What the pool was asked for.
#[derive(Debug)]
enum Asking {
    /// The way of a destination.
    Flow(FlowId),
    /// The uplink by which a name is looked up.
    Name(NamedPort),
}

/// How a destination is reached.
#[derive(Debug)]
enum Route {
    /// The pool was asked, or the socket is being opened: these datagrams wait for it.
    Sought(Held),
    /// By this way.
    Way(SocketId),
    /// Its way is no more: its next datagram asks for another.
    Lost,
}

/// Datagrams that wait until it is known where they go: few, and for a short time.
#[derive(Debug, Default)]
struct Held {
    datagrams: Vec<(u8, Vec<u8>)>,
    bytes: usize,
}

/// Datagrams, and bytes of them, that may wait for a way or for a name.
const MOST_HELD: usize = 64;
const MOST_HELD_BYTES: usize = 64 * 1024;

impl Held {
    /// Whether it was taken.
    fn push(&mut self, ecn: u8, data: &[u8]) -> Result<(), Dropped> {
        if self.datagrams.len() >= MOST_HELD || self.bytes + data.len() > MOST_HELD_BYTES {
            return Err(Dropped::QueueFull { limit: MOST_HELD_BYTES });
        }
        self.bytes += data.len();
        self.datagrams.push((ecn, data.to_vec()));
        Ok(())
    }
}

/// How an association goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum AssociationStep {
    /// It does.
    Open,
    /// It cannot begin.
    Refused(Refusal),
    /// It has been idle for too long.
    Idle,
}

/// One client's association.
#[derive(Debug)]
pub(super) struct Association {
    conn: ConnId,
    stream: StreamId,
    peer: SocketAddr,
    /// What the client is heard by; `None` until it has spoken.
    client: Option<SocketAddr>,
    /// The same as the system says it, with a scope where it has one: where its answers go.
    client_at: SocketAddr,
    /// The socket it speaks with.
    socket: SocketId,
    open: bool,
    /// What its connection is owed.
    reply: Vec<u8>,
    flows: FlowTable<Destination>,
    by_address: BTreeMap<SocketAddr, FlowId>,
    names: Names,
    ways: Ways,
    /// What the pool was asked for, in that order.
    asking: VecDeque<Asking>,
    began: Instant,
    active: Instant,
    tally: Tally,
    draining: bool,
}

impl Association {
    /// Begins: asks for the socket that the client will speak with, at the address `local` by which
    /// it reached us. `expected` is where the client says it will send from.
    pub(super) fn new(
        (conn, stream): (ConnId, StreamId),
        [peer, local]: [SocketAddr; 2],
        expected: Option<SocketAddr>,
        unsent: Vec<u8>,
        cx: &mut Cx,
    ) -> Self {
        cx.associations += 1;
        // RFC 1928 section 6: BND is where the client sends to. It has reached this address.
        let mut at = local;
        at.set_port(0);
        let socket = cx.bind_socket(conn, at, peer, Via::default());
        let peer_ip = peer.ip().to_canonical();
        // RFC 1928 section 4: the client expects to send from there. Behind a NAT it is wrong about
        // that: believed only where its connection comes from the same address.
        let client = expected.filter(|at| at.port() != 0 && at.ip().to_canonical() == peer_ip);
        Association {
            conn,
            stream,
            peer,
            client: client.map(|at| SocketAddr::new(peer_ip, at.port())),
            client_at: peer,
            socket,
            open: false,
            reply: unsent,
            flows: FlowTable::new(),
            by_address: BTreeMap::new(),
            names: Names::default(),
            ways: Ways::default(),
            asking: VecDeque::new(),
            began: cx.now,
            active: cx.now,
            tally: Tally::default(),
            draining: cx.draining,
        }
    }

    // ---- the connection that it lives by ----

    /// Its client has no more to say on it, but its end is to be noticed.
    pub(super) fn wants(&self) -> usize {
        READ
    }

    pub(super) fn write_buf(&self) -> &[u8] {
        &self.reply
    }

    pub(super) fn written(&mut self, len: usize) {
        self.reply.drain(..len.min(self.reply.len()));
    }

    pub(super) fn take_unsent(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.reply)
    }

    // ---- time ----

    pub(super) fn deadline(&self, config: &Config) -> Option<Instant> {
        let idle = self.idle_limit(config).map(|limit| self.active + limit);
        [idle, self.flows.next_timeout(), self.names.deadline()].into_iter().flatten().min()
    }

    fn idle_limit(&self, config: &Config) -> Option<Duration> {
        if self.draining { Some(DRAIN_IDLE) } else { config.idle_timeout }
    }

    pub(super) fn timeout(&mut self, cx: &mut Cx) -> AssociationStep {
        while let Some(id) = self.flows.pop_idle(cx.now, cx.config.flow_idle_timeout) {
            self.end(id, FlowEnd::Idle, cx);
        }
        self.names_timeout(cx);
        match self.idle_limit(&cx.config).is_some_and(|limit| self.active + limit <= cx.now) {
            true => AssociationStep::Idle,
            false => AssociationStep::Open,
        }
    }

    /// UDP has no end that can be seen: an association that is silent for a while counts as ended.
    pub(super) fn drain(&mut self) {
        self.draining = true;
    }

    // ---- sockets ----

    /// A socket is open, or could not be opened.
    pub(super) fn socket_opened(
        &mut self,
        socket: SocketId,
        result: Result<SocketAddr, Fault>,
        cx: &mut Cx,
    ) -> AssociationStep {
        match result {
            Ok(local) if socket == self.socket => {
                self.open = true;
                socks5::emit_reply(socks5::Reply::Succeeded, local, &mut self.reply);
                cx.mark_dirty(self.stream);
                cx.event(Event::Associated { conn: self.conn, client: self.peer, local });
            }
            Err(fault) if socket == self.socket => return AssociationStep::Refused(Refusal::NoRelay(fault)),
            Ok(_) => self.way_opened(socket, cx),
            Err(fault) => self.way_failed(socket, fault, cx),
        }
        AssociationStep::Open
    }

    /// A datagram was not sent.
    pub(super) fn send_failed(&mut self, socket: SocketId, fault: Fault, cx: &mut Cx) {
        cx.event(Event::DatagramLost { to: None, fault });
        // This host says that the way is no more.
        if matches!(fault, Fault::NoDevice | Fault::NetworkDown | Fault::AddressNotAvailable) {
            if let Some(uplink) = self.ways.get(socket).and_then(|way| way.uplink) {
                cx.report(crate::machine::Report::Failed { uplink, fault });
            }
            self.lose(socket, cx);
        }
    }

    /// The interface of an uplink has vanished.
    pub(super) fn uplink_gone(&mut self, uplink: UplinkId, cx: &mut Cx) {
        while let Some(socket) = self.ways.find(|way| way.uplink == Some(uplink)) {
            self.lose(socket, cx);
        }
    }

    /// This host has lost addresses.
    pub(super) fn addresses_gone(&mut self, gone: &[IpAddr], cx: &mut Cx) {
        while let Some(socket) = self.ways.find(|way| way.via.source.is_some_and(|ip| gone.contains(&ip))) {
            self.lose(socket, cx);
        }
    }

    // ---- the end ----

    /// Forgets a destination.
    fn end(&mut self, id: FlowId, why: FlowEnd, cx: &mut Cx) {
        let Some(flow) = self.flows.remove(id) else { return };
        let Destination { to, route, lead, .. } = flow.what;
        if self.by_address.get(&to) == Some(&id) {
            self.by_address.remove(&to);
        }
        lead.names.iter().for_each(|name| self.names.forget(name, id));
        match route {
            Route::Way(socket) => self.leave(socket, cx),
            Route::Sought(held) => self.drop_held(held, Dropped::Refused(Refusal::NoUplink), cx),
            Route::Lost => {}
        }
        let lasted = cx.now - flow.began;
        let (sent, received) = (flow.sent, flow.received);
        cx.event(Event::DestinationEnded { conn: self.conn, to, sent, received, lasted, why });
    }

    fn drop_held(&self, held: Held, why: Dropped, cx: &mut Cx) {
        for _ in held.datagrams {
            self.dropped(self.client.unwrap_or(self.peer), why, cx);
        }
    }

    fn dropped(&self, peer: SocketAddr, why: Dropped, cx: &mut Cx) {
        cx.event(Event::DatagramDropped { peer, why });
    }

    /// Says how many datagrams have passed, and through which uplinks how many bytes.
    fn tell_traffic(&mut self, cx: &mut Cx) {
        if let Some((sent, received)) = self.tally.tell(cx.now) {
            cx.event(Event::Datagrams { sent, received });
            self.ways.tell(cx);
        }
    }

    /// Closes all its sockets and accounts for it.
    pub(super) fn finish(mut self, cx: &mut Cx) {
        for id in self.flows.ids() {
            self.end(id, FlowEnd::Association, cx);
        }
        self.names.give_up().into_iter().for_each(|query| cx.cancel(query));
        self.ways.close(cx);
        self.tell_traffic(cx);
        cx.close_socket(self.socket);
        cx.associations -= 1;
        if self.open {
            let Tally { sent, received, .. } = self.tally;
            let lasted = cx.now - self.began;
            cx.event(Event::AssociationEnded { conn: self.conn, sent, received, lasted });
        }
    }
}
