//! The conformance kit: one suite that any runtime of the machines must pass.
//!
//! ```text
//!  clients ──sockets──▶ runtime under test ◀──sockets── targets     threads of the kit, with deadlines
//!                          │      ▲
//!                          ▼      │
//!                       [Faulty]           misbehaves on purpose, to prove that the kit can fail
//!                       [Auditor]          holds the driver to its half of the contract
//!                       [Recorder]         writes the run down; it must replay into a fresh machine
//!                       Dispatch, Unwrap, EndlessSender
//! ```
//!
//! A runtime implements [`Runtime`] in a test file of its own crate and says
//! `ropewalk_conformance::conformance!(Mine);`. That makes one test of each case;
//! `ropewalk_conformance::conformance_datagrams!(Mine);` adds those with datagrams,
//! `ropewalk_conformance::conformance_tuns!(Mine);` those with packets of TUN devices. A case runs
//! in a process of its own, under a watchdog: it may change what belongs to the process (the limit
//! of descriptors), measure the processor time of the process, and hang without harm.
//!
//! What each case asks for without saying so: the driver keeps the rules of the
//! [contract](ropewalk_core::docs::contract) (the auditor's findings are empty), a drained worker
//! ends, all buffers are back, no socket is left, and the recording replays.
//!
//! | module | is |
//! | --- | --- |
//! | [`audit`] | the driver's half of the contract, checked as the run goes |
//! | [`cases`] | the cases, by name |
//! | [`client`] | a SOCKS5 client on plain sockets |
//! | [`faulty`] | what a broken driver would do, around the machine |
//! | [`process`] | a process for each case, its watchdog, its clock and its descriptors |
//! | [`flows`] | datagrams: relayed by UDP flows under test, sent and received by the kit |
//! | [`endless`] | a machine that always has more to send |
//! | [`ferry`] | a machine that carries packets between TUN devices |
//! | [`tuns`] | TUN devices under test, and what stands behind them |
//! | [`ns`] | network namespaces, for devices of the system |
//! | [`proxy`] | a proxy under test |
//! | [`run`] | a worker under test, what is heard of it, and what holds for every run |
//! | [`script`] | one connection step by step, and what two runtimes must say alike |
//! | `normalised` | a run's lines without what differs from run to run |
//! | [`target`] | what clients want to reach |

#![cfg(unix)]
#![forbid(unsafe_code)]

pub mod audit;
pub mod cases;
pub mod client;
pub mod endless;
pub mod faulty;
pub mod ferry;
pub mod flows;
mod normalised;
pub mod ns;
pub mod process;
pub mod proxy;
pub mod run;
pub mod script;
pub mod target;
pub mod tuns;

pub use cases::{CASES, Case};
pub use normalised::normalised;
pub use run::Subject;

use ropewalk_core::machine::event::Event;
use ropewalk_core::time::Instant;
use ropewalk_core::uplink::Pool;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::thread::JoinHandle;

/// Called with every event, on the worker's own loop.
pub type Events = Arc<dyn Fn(Instant, &Event) + Send + Sync>;

/// A runtime under test.
pub trait Runtime: 'static {
    /// What people call it.
    const NAME: &'static str;

    /// A listener as this runtime makes them.
    ///
    /// # Errors
    /// What the system says.
    fn listen(address: SocketAddr) -> io::Result<TcpListener> {
        TcpListener::bind(address)
    }

    /// The same for datagrams.
    ///
    /// # Errors
    /// What the system says.
    fn listen_datagrams(address: SocketAddr) -> io::Result<UdpSocket> {
        UdpSocket::bind(address)
    }

    /// Starts one worker around `machine`. The listeners have the ids 0, 1, 2 and so on: those of
    /// streams, then those of datagrams. TUN devices have ids of their own, from 0 on.
    ///
    /// # Errors
    /// What the system says.
    fn start(machine: Subject, listeners: Listeners, pool: Pool, events: Events) -> io::Result<Running>;
}

/// Where clients come in, in the order of the listeners' ids: streams first. And TUN devices, in
/// the order of theirs.
#[derive(Debug, Default)]
pub struct Listeners {
    /// Those that connections come in on.
    pub streams: Vec<TcpListener>,
    /// Those that datagrams come in on. There are none but in the cases of
    /// `conformance_datagrams!`.
    pub datagrams: Vec<UdpSocket>,
    /// Those that packets come in by. There are none but in the cases of `conformance_tuns!`.
    pub tuns: Vec<tuns::Tun>,
}

/// A worker that runs.
pub struct Running {
    drain: Box<dyn Fn() + Send + Sync>,
    stop: Box<dyn Fn() + Send + Sync>,
    measure: Option<Box<dyn Fn(u64) + Send + Sync>>,
    thread: JoinHandle<io::Result<Subject>>,
}

impl Running {
    /// Runs `run` in a thread; `drain` and `stop` are the worker's handles.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn spawn(
        run: impl FnOnce() -> io::Result<Subject> + Send + 'static,
        drain: impl Fn() + Send + Sync + 'static,
        stop: impl Fn() + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let thread = std::thread::Builder::new().name("worker".into()).spawn(run)?;
        Ok(Running { drain: Box::new(drain), stop: Box::new(stop), measure: None, thread })
    }

    /// For a runtime that can tell what the system keeps for its streams: `measure` has the worker
    /// call `Drive::measure` with this limit, in bytes. Without it the case that asks for that is
    /// skipped.
    #[must_use]
    pub fn measuring(self, measure: impl Fn(u64) + Send + Sync + 'static) -> Self {
        Running { measure: Some(Box::new(measure)), ..self }
    }
}

/// A runtime, as a value.
#[derive(Clone, Copy)]
pub struct AnyRuntime {
    name: &'static str,
    listen: fn(SocketAddr) -> io::Result<TcpListener>,
    listen_datagrams: fn(SocketAddr) -> io::Result<UdpSocket>,
    start: fn(Subject, Listeners, Pool, Events) -> io::Result<Running>,
}

impl AnyRuntime {
    /// The runtime `R`.
    pub fn of<R: Runtime>() -> Self {
        AnyRuntime {
            name: R::NAME,
            listen: R::listen,
            listen_datagrams: R::listen_datagrams,
            start: R::start,
        }
    }

    /// What people call it.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

/// One test of each case, for one runtime. Used once in a file, at its top.
#[macro_export]
macro_rules! conformance {
    ($runtime:ty) => {
        $crate::conformance_cases! { @each $runtime }
    };
}

/// One test of each case with datagrams, for one runtime that moves them. Used once in a file, in a
/// module of its own where [`conformance!`](crate::conformance!) is used too.
#[macro_export]
macro_rules! conformance_datagrams {
    ($runtime:ty) => {
        $crate::conformance_datagram_cases! { @each $runtime }
    };
}

/// One test of each case with packets of TUN devices, for one runtime that moves them; where the
/// system's own devices are needed and are not to be had, the case says so by name and passes. Used
/// once in a file, at its top.
#[macro_export]
macro_rules! conformance_tuns {
    ($runtime:ty) => {
        $crate::conformance_tun_cases! { @each $runtime }
    };
}

/// One test for each fault: the case that is named for it must fail. Used once in a file, at its
/// top.
#[macro_export]
macro_rules! conformance_faults {
    ($runtime:ty) => {
        $crate::conformance_fault_list! { @each $runtime }
    };
}

/// The same for packets of TUN devices.
#[macro_export]
macro_rules! conformance_tun_faults {
    ($runtime:ty) => {
        $crate::conformance_tun_fault_list! { @each $runtime }
    };
}
