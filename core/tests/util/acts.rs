//! How persons do what their scripts say.

use super::lab::{Lab, Who};
use super::person::{Act, End, Reading};
use super::place::Ev;
use super::sock::Stage;
use ropewalk_core::time::Duration;

/// How far a person came with an act.
enum Did {
    All,
    /// There may be more to do of it at once.
    Some,
    /// It waits, or its script is over.
    Nothing,
}

impl Did {
    fn all_if(done: bool) -> Did {
        if done { Did::All } else { Did::Nothing }
    }
}

impl Lab {
    pub(super) fn receive(&mut self, sock: Who, len: usize) {
        let now = self.world.now;
        let entry = &mut self.world.socks[sock];
        if entry.stopped_reading {
            return;
        }
        entry.take(now, len);
        if entry.write_room() > 0 && std::mem::take(&mut entry.write_blocked) {
            self.world.hint(sock, false, true);
        }
    }

    /// A person sees what the proxy has done, and goes on.
    pub(super) fn notice(&mut self, sock: Who) {
        let entry = &mut self.world.socks[sock];
        if entry.stopped_reading {
            // A person that has closed answers bytes with a reset.
            if !entry.outbox.is_empty() && !entry.in_rst && entry.stage == Stage::Open {
                entry.outbox.clear();
                let latency = entry.person.latency;
                self.world.after(latency, Ev::Rst(sock));
            }
            return;
        }
        match entry.person.reading {
            Reading::Fast => self.receive(sock, usize::MAX),
            Reading::Stopped => {}
            Reading::Slow(_, every) => {
                if entry.outbox.is_empty() {
                    self.receive(sock, 0);
                } else if !std::mem::replace(&mut entry.sipping, true) {
                    self.world.after(every, Ev::Sip(sock));
                }
            }
        }
        self.wake(sock);
    }

    /// A person does what it can of its script.
    pub(super) fn wake(&mut self, sock: Who) {
        loop {
            let now = self.world.now;
            let entry = &mut self.world.socks[sock];
            if entry.got.end == End::Reset || entry.stopped_reading {
                entry.person.script.clear();
                return;
            }
            if entry.wake_at.is_some_and(|at| at > now) {
                return;
            }
            let Some(act) = entry.act().cloned() else { return self.leave(sock) };
            match self.act(sock, act) {
                Did::All => self.world.socks[sock].next_act(),
                Did::Some => {}
                Did::Nothing => return,
            }
        }
    }

    /// A polite person at the end of its script answers a FIN with its own.
    fn leave(&mut self, sock: Who) {
        let entry = &mut self.world.socks[sock];
        if entry.person.polite && entry.got.end == End::Fin && !entry.fin_sent {
            entry.fin_sent = true;
            let latency = entry.person.latency;
            self.world.after(latency, Ev::Fin(sock));
        }
    }

    fn act(&mut self, sock: Who, act: Act) -> Did {
        let entry = &mut self.world.socks[sock];
        let latency = entry.person.latency;
        let paused = entry.wake_at.take().is_some();
        match act {
            Act::Send(bytes) => Did::all_if(self.send(sock, &bytes)),
            Act::Echo => self.echo(sock),
            Act::Fin => {
                entry.fin_sent = true;
                self.world.after(latency, Ev::Fin(sock));
                Did::All
            }
            Act::Reset => {
                entry.stopped_reading = true;
                entry.person.script.clear();
                self.world.after(latency, Ev::Rst(sock));
                Did::Nothing
            }
            Act::Close => {
                entry.stopped_reading = true;
                entry.fin_sent = true;
                entry.person.script.clear();
                let unread = !entry.outbox.is_empty();
                self.world.after(latency, if unread { Ev::Rst(sock) } else { Ev::Fin(sock) });
                Did::Nothing
            }
            Act::Pause(time) => {
                if !paused {
                    entry.wake_at = Some(self.world.now + time);
                    self.world.after(time, Ev::Wake(sock));
                }
                Did::all_if(paused)
            }
            Act::AwaitTotal(total) => Did::all_if(entry.got.bytes.len() >= total),
            Act::AwaitText(text) => Did::all_if(entry.find(&text)),
            Act::AwaitEnd => Did::all_if(entry.got.end != End::Open),
            Act::Read(reading) => {
                entry.person.reading = reading;
                self.world.notice(sock);
                Did::All
            }
            Act::Pace(segment, gap) => {
                entry.person.segment = segment;
                entry.person.gap = gap;
                Did::All
            }
        }
    }

    /// Sends back what has come, until the other side ends.
    fn echo(&mut self, sock: Who) -> Did {
        let entry = &mut self.world.socks[sock];
        if entry.cursor >= entry.got.bytes.len() {
            return Did::all_if(entry.got.end != End::Open);
        }
        let bytes = entry.got.bytes[entry.cursor..].to_vec();
        entry.progress = 0;
        let done = self.send(sock, &bytes);
        let entry = &mut self.world.socks[sock];
        entry.cursor += std::mem::take(&mut entry.progress);
        if done { Did::Some } else { Did::Nothing }
    }

    /// Sends what the window allows of the current Send; true when all of it has left.
    fn send(&mut self, sock: Who, bytes: &[u8]) -> bool {
        loop {
            let entry = &mut self.world.socks[sock];
            let left = bytes.len() - entry.progress;
            if left == 0 {
                return true;
            }
            let room = entry.send_room();
            if room == 0 {
                entry.send_blocked = true;
                return false;
            }
            let len = left.min(room).min(entry.person.segment);
            let piece = bytes[entry.progress..entry.progress + len].to_vec();
            entry.progress += len;
            entry.in_flight += len;
            entry.got.sent += len;
            let (latency, gap) = (entry.person.latency, entry.person.gap);
            self.world.after(latency, Ev::Bytes(sock, piece));
            if gap > Duration::ZERO {
                let entry = &mut self.world.socks[sock];
                entry.wake_at = Some(self.world.now + gap);
                self.world.after(gap, Ev::Wake(sock));
                return false;
            }
        }
    }
}
