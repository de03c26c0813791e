//! Names, looked up by the system off the event loop.
//!
//! The system's resolver blocks, so it runs in threads of its own: started when there is work, gone
//! when there has been none for a while. A query that nobody waits for any more is taken from the
//! queue; where a thread is at it already, that thread is written off: it ends when the system lets
//! it, and another may take its place.

use crate::shared::Wake;
use ropewalk_core::machine::{Fault, QueryId};
use ropewalk_core::name::Name;
use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Addresses, best first, or why there are none.
pub type Answer = Result<Vec<IpAddr>, Fault>;

/// Look-ups at the same time: more wait. (The machine sees to it that no client takes them all.)
const THREADS: usize = 256;
/// Threads that were written off: beyond that they count as before, so that there is an end to
/// them.
const LOST: usize = 256;
/// Look-ups waiting: more fail at once.
const QUEUE: usize = 1024;
/// A thread without work ends after this.
const IDLE: Duration = Duration::from_secs(10);
/// The system's resolver needs little more than its own packet buffers.
const STACK: usize = 256 * 1024;

#[derive(Default)]
struct State {
    queue: VecDeque<(QueryId, Name)>,
    answers: VecDeque<(QueryId, Answer)>,
    threads: usize,
    idle: usize,
    /// What the threads are at.
    running: BTreeSet<QueryId>,
    /// Threads that were written off.
    lost: usize,
    closed: bool,
}

struct Inner {
    state: Mutex<State>,
    work: Condvar,
    wake: Wake,
    look_up: fn(&Name) -> Answer,
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks up names for one worker.
pub struct Resolver {
    inner: Arc<Inner>,
}

impl Resolver {
    /// `wake` is called from another thread when an answer is there.
    pub fn new(wake: Wake) -> Self {
        Resolver::with(look_up, wake)
    }

    fn with(look_up: fn(&Name) -> Answer, wake: Wake) -> Self {
        Resolver { inner: Arc::new(Inner { state: Mutex::default(), work: Condvar::new(), wake, look_up }) }
    }

    /// Asks for the addresses of a name.
    ///
    /// # Errors
    /// [`Fault::NameUnavailable`] when too many wait already, or the system gives no thread.
    pub fn ask(&self, query: QueryId, name: &Name) -> Result<(), Fault> {
        let mut state = self.inner.lock();
        if state.queue.len() >= QUEUE {
            let refused = crate::hits::NAMES.hit();
            if refused.is_power_of_two() {
                log::warn!("{QUEUE} name queries wait already: {refused} refused so far");
            }
            return Err(Fault::NameUnavailable);
        }
        state.queue.push_back((query, name.clone()));
        if state.idle >= state.queue.len() || state.threads >= THREADS {
            self.inner.work.notify_one();
            return Ok(());
        }
        if let Err(error) = self.start(state) {
            let mut state = self.inner.lock();
            // With any thread alive the query will have its turn.
            if state.threads == 0 {
                state.queue.retain(|(other, _)| *other != query);
                log::warn!("cannot start a thread to look up {name}: {error}");
                return Err(Fault::NameUnavailable);
            }
        }
        Ok(())
    }

    /// One thread more.
    fn start(&self, mut state: MutexGuard<'_, State>) -> std::io::Result<()> {
        state.threads += 1;
        drop(state);
        let inner = Arc::clone(&self.inner);
        let thread = std::thread::Builder::new().name("names".into()).stack_size(STACK);
        let started = thread.spawn(move || serve(&inner));
        if started.is_err() {
            self.inner.lock().threads -= 1;
        }
        started.map(drop)
    }

    /// The answer is no longer wanted.
    pub fn cancel(&self, query: QueryId) {
        let mut state = self.inner.lock();
        state.queue.retain(|(other, _)| *other != query);
        state.answers.retain(|(other, _)| *other != query);
        if state.lost < LOST && state.running.remove(&query) {
            state.lost += 1;
            state.threads -= 1;
            // Work may wait for which there was no thread.
            if !state.queue.is_empty()
                && state.idle == 0
                && let Err(error) = self.start(state)
            {
                log::debug!("cannot start a thread to look up names: {error}");
            }
        }
    }

    /// The next answer that is there.
    pub fn answer(&self) -> Option<(QueryId, Answer)> {
        self.inner.lock().answers.pop_front()
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.inner.lock().closed = true;
        self.inner.work.notify_all();
    }
}

fn serve(inner: &Inner) {
    let mut state = inner.lock();
    loop {
        if state.closed {
            break;
        }
        if let Some((query, name)) = state.queue.pop_front() {
            state.running.insert(query);
            drop(state);
            let answer = (inner.look_up)(&name);
            state = inner.lock();
            if !state.running.remove(&query) {
                state.lost -= 1;
                return;
            }
            state.answers.push_back((query, answer));
            drop(state);
            (inner.wake)();
            state = inner.lock();
            continue;
        }
        state.idle += 1;
        let (guard, waited) = inner.work.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
        state = guard;
        state.idle -= 1;
        if waited.timed_out() && state.queue.is_empty() {
            break;
        }
    }
    state.threads -= 1;
}

fn look_up(name: &Name) -> Answer {
    match (name.as_str(), 0).to_socket_addrs() {
        Ok(addresses) => {
            let addresses: Vec<IpAddr> = addresses.map(|address| address.ip()).collect();
            if addresses.is_empty() { Err(Fault::NameNotFound) } else { Ok(addresses) }
        }
        Err(error) => {
            log::debug!("{name}: {error}");
            // The standard library gives the resolver's code only as text.
            let temporary = error.to_string().contains("emporary failure");
            Err(if temporary { Fault::NameUnavailable } else { Fault::NameNotFound })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ropewalk_core::name::Host;
    use std::sync::mpsc;

    /// A server that never answers.
    fn never(_: &Name) -> Answer {
        loop {
            std::thread::park();
        }
    }

    fn nobody(_: &Name) -> Answer {
        Err(Fault::NameNotFound)
    }

    fn query(index: u32) -> QueryId {
        QueryId::from_parts(index, 0)
    }

    fn name() -> Name {
        match Host::parse(b"host.invalid") {
            Ok(Host::Name(name)) => name,
            other => panic!("expected a name, got {other:?}"),
        }
    }

    /// A resolver whose threads all wait for an answer and whose queue is full.
    fn full() -> Resolver {
        let resolver = Resolver::with(never, Arc::new(|| ()));
        for index in 0..THREADS as u32 {
            assert_eq!(resolver.ask(query(index), &name()), Ok(()));
        }
        while !resolver.inner.lock().queue.is_empty() {
            std::thread::yield_now();
        }
        for index in 0..QUEUE as u32 {
            assert_eq!(resolver.ask(query(1000 + index), &name()), Ok(()));
        }
        resolver
    }

    #[test]
    fn queries_over_the_limit_are_refused_and_counted() {
        let resolver = full();
        assert_eq!(resolver.ask(query(9999), &name()), Err(Fault::NameUnavailable));
        let state = resolver.inner.lock();
        assert_eq!((state.threads, state.queue.len()), (THREADS, QUEUE));
        assert!(crate::limit_hits().names >= 1);
    }

    #[test]
    fn a_cancelled_query_makes_room_and_has_no_answer() {
        let waiting = full();
        waiting.cancel(query(1003));
        assert_eq!(waiting.ask(query(9999), &name()), Ok(()));

        let (tell, told) = mpsc::channel();
        let answered = Resolver::with(nobody, Arc::new(move || tell.send(()).expect("the test listens")));
        assert_eq!(answered.ask(query(1), &name()), Ok(()));
        told.recv_timeout(IDLE).expect("it is told that there is an answer");
        answered.cancel(query(1));
        assert_eq!(answered.answer(), None);
    }

    #[test]
    fn a_thread_at_a_cancelled_query_is_written_off_and_another_takes_its_place() {
        fn hangs(name: &Name) -> Answer {
            if name.as_str() == "host.invalid" { never(name) } else { nobody(name) }
        }
        let (tell, told) = mpsc::channel();
        let resolver = Resolver::with(hangs, Arc::new(move || tell.send(()).unwrap_or_default()));
        for index in 0..THREADS as u32 {
            assert_eq!(resolver.ask(query(index), &name()), Ok(()));
        }
        while resolver.inner.lock().running.len() < THREADS {
            std::thread::yield_now();
        }
        let Ok(Host::Name(good)) = Host::parse(b"good.invalid") else { panic!("a name") };
        assert_eq!(resolver.ask(query(5000), &good), Ok(()));
        resolver.cancel(query(7));
        told.recv_timeout(IDLE).expect("the good name has its turn");
        assert_eq!(resolver.answer(), Some((query(5000), Err(Fault::NameNotFound))));
        let state = resolver.inner.lock();
        assert_eq!((state.lost, state.threads), (1, THREADS));
    }

    #[test]
    fn threads_end_with_their_resolver() {
        let resolver = Resolver::with(nobody, Arc::new(|| ()));
        assert_eq!(resolver.ask(query(1), &name()), Ok(()));
        let inner = Arc::clone(&resolver.inner);
        drop(resolver);
        let began = std::time::Instant::now();
        while inner.lock().threads > 0 {
            assert!(began.elapsed() < IDLE / 2, "they wait for their idle time to be over");
            std::thread::yield_now();
        }
    }
}
