//! How persons do what their scripts say.

use super::lab::{Lab, Who};
use super::person::{Act, End, Reading};
use super::place::Ev;
use super::sock::Stage;
use ropewalk_core::time::Duration;

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
            let latency = entry.person.latency;
            let Some(act) = entry.act().cloned() else {
                if entry.person.polite && entry.got.end == End::Fin && !entry.fin_sent {
                    entry.fin_sent = true;
                    self.world.after(latency, Ev::Fin(sock));
                }
                return;
            };
            let paused = entry.wake_at.take().is_some();
            match act {
                Act::Send(bytes) => {
                    if !self.send(sock, &bytes) {
                        return;
                    }
                }
                Act::Echo => {
                    let begun = entry.cursor;
                    if begun < entry.got.bytes.len() {
                        let bytes = entry.got.bytes[begun..].to_vec();
                        entry.progress = 0;
                        let done = self.send(sock, &bytes);
                        let entry = &mut self.world.socks[sock];
                        entry.cursor += entry.progress;
                        entry.progress = 0;
                        if !done {
                            return;
                        }
                        continue;
                    }
                    if entry.got.end == End::Open {
                        return;
                    }
                    entry.next_act();
                    continue;
                }
                Act::Fin => {
                    entry.fin_sent = true;
                    self.world.after(latency, Ev::Fin(sock));
                }
                Act::Reset => {
                    entry.stopped_reading = true;
                    entry.person.script.clear();
                    self.world.after(latency, Ev::Rst(sock));
                    return;
                }
                Act::Close => {
                    entry.stopped_reading = true;
                    entry.fin_sent = true;
                    entry.person.script.clear();
                    let unread = !entry.outbox.is_empty();
                    self.world.after(latency, if unread { Ev::Rst(sock) } else { Ev::Fin(sock) });
                    return;
                }
                Act::Pause(time) => {
                    if !paused {
                        entry.wake_at = Some(now + time);
                        self.world.after(time, Ev::Wake(sock));
                        return;
                    }
                }
                Act::AwaitTotal(total) => {
                    if entry.got.bytes.len() < total {
                        return;
                    }
                }
                Act::AwaitText(text) => {
                    if !entry.find(&text) {
                        return;
                    }
                }
                Act::AwaitEnd => {
                    if entry.got.end == End::Open {
                        return;
                    }
                }
                Act::Read(reading) => {
                    entry.person.reading = reading;
                    self.world.notice(sock);
                }
                Act::Pace(segment, gap) => {
                    entry.person.segment = segment;
                    entry.person.gap = gap;
                }
            }
            self.world.socks[sock].next_act();
        }
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
