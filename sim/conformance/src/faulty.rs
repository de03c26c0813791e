//! What a broken driver would do, to prove that the kit can fail.
//!
//! [`Faulty`] stands outermost, so driver and fault together look like a broken driver to auditor,
//! recorder and machine: a recording of such a run replays, since the machine did nothing wrong.
//! What fails must be what people would see, or a rule of the contract. `datagrams` has the faults
//! of datagram sockets.

mod datagrams;

use datagrams::Kept;
use ropewalk_core::machine::{
    Application, Assignment, Close, Input, Layer, Output, Rx, SocketId, StreamId, Transmit, Via,
};
use ropewalk_core::time::{Duration, Instant};
use std::cell::Cell;
use std::collections::VecDeque;

/// Set in the process of a case: the name of its fault.
pub const FAULT: &str = "ROPEWALK_FAULT";
/// Set to 0 in the process of a case: what the auditor finds does not count.
pub const AUDIT: &str = "ROPEWALK_AUDIT";

/// A fault and the cases that shall catch it.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Its name, a sentence.
    pub name: &'static str,
    /// What is broken.
    pub kind: Kind,
    /// Each of these cases must fail.
    pub caught_by: &'static [&'static str],
    /// No client would notice: the auditor alone catches it.
    pub only_audited: bool,
}

macro_rules! faults {
    ($d:tt $( $(#[$doc:meta])* $name:ident, $kind:ident, [$($case:ident),+] $(, $only:ident)?; )*) => {
        /// What a driver may do wrong.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Kind {
            /// Nothing.
            None,
            $( $(#[$doc])* $kind, )*
        }

        /// All faults.
        pub const FAULTS: &[Spec] = &[$( Spec {
            name: stringify!($name),
            kind: Kind::$kind,
            caught_by: &[$(stringify!($case)),+],
            only_audited: faults!(@only $($only)?),
        } ),*];

        /// Makes a test of each fault.
        #[doc(hidden)]
        #[macro_export]
        macro_rules! conformance_fault_list {
            (@each $d runtime:ty) => { $(
                #[test]
                fn $name() {
                    let runtime = ::ropewalk_conformance::AnyRuntime::of::<$d runtime>();
                    let fault = ::ropewalk_conformance::faulty::find(stringify!($name));
                    ::ropewalk_conformance::process::run_fault(runtime, fault, module_path!());
                }
            )* };
        }
    };
    (@only only_audited) => { true };
    (@only) => { false };
}

faults! { $
    // The first list.
    /// `ReadClosed` is not reported, nor the end in `Spliced`.
    the_end_of_a_half_is_swallowed, SwallowEnd, [a_half_close_from_the_client_waits_for_its_answer];
    /// `poll_timeout` is not asked.
    timers_are_ignored, NoTimers, [a_silent_client_is_closed_at_its_deadline_under_load];
    /// `Failed` is not reported.
    failures_are_swallowed, SwallowFailed, [a_clients_reset_reaches_the_target_as_a_reset];
    /// `Written` is reported twice.
    written_is_told_twice, WrittenTwice, [large_data_in_small_writes_arrives_byte_for_byte];
    /// Each third dirty stream is not looked at.
    dirty_marks_are_lost, LoseDirty, [large_data_in_small_writes_arrives_byte_for_byte];
    /// `Shutdown` is not done.
    shutdown_is_never_done, NoShutdown, [a_half_close_from_the_client_waits_for_its_answer];
    /// `Close` is not done: sockets leak.
    closes_are_forgotten, NoClose, [five_hundred_short_connections_leave_nothing_behind];
    /// The driver wakes itself every 50 microseconds.
    the_driver_spins, Spin, [idle_connections_cost_no_processor_time];
    /// Timers fire 400 ms late.
    timers_are_late, LateTimers, [a_silent_client_is_closed_at_its_deadline_under_load];
    /// A close with a reset is a close with a FIN.
    a_reset_is_done_as_an_end, ResetAsEnd, [a_targets_reset_reaches_the_client_as_a_reset];
    /// Device and source address are not bound.
    the_binding_is_ignored, NoBinding, [
        a_bound_source_address_is_what_the_target_sees,
        a_device_that_does_not_exist_is_passed_over
    ];
    /// After a failed accept no further one is made.
    accepting_is_not_taken_up_again, NoAcceptAgain, [without_descriptors_accepting_pauses_and_goes_on_later];
    /// `ConnectFailed` is not reported.
    failed_attempts_are_swallowed, SwallowConnectFailed, [a_refused_target_gives_05];
    /// The loop stands still for 40 ms with each 64 KiB.
    the_loop_is_blocked, Block, [eight_bulk_flows_do_not_starve_a_small_one];
    /// Each 50th read is reported one byte short.
    a_byte_of_a_read_is_lost, LoseByte, [large_data_in_small_writes_arrives_byte_for_byte];
    /// Answers to names are not reported.
    answers_to_names_are_swallowed, SwallowNames, [a_name_is_looked_up_and_reached, a_name_that_does_not_exist_gives_04];
    /// `Unlisten` leaves the listener open (a second descriptor on it, at the socket's level).
    a_drained_listener_stays_open, KeepListener, [a_drained_worker_finishes_what_is_open_and_refuses_the_rest];

    // The second list: from the text of the contract alone.
    /// D1: one output after each input, the rest with the next turn.
    only_one_output_is_polled, OneOutput, [a_half_close_from_the_client_waits_for_its_answer];
    /// D2: each 16th input comes a second early.
    the_clock_goes_back, ClockBack, [many_at_once_are_not_mixed_up];
    /// D3: `Read` is reported after the buffer was used again.
    a_read_is_told_too_late, LateRead, [many_at_once_are_not_mixed_up];
    /// D4: `Written` reports half of what was written.
    half_of_what_was_written_is_told, WrittenHalf, [large_data_in_small_writes_arrives_byte_for_byte];
    /// D5: an end is reported as `Read` of nothing.
    an_end_is_told_as_a_read_of_nothing, EmptyRead, [a_half_close_from_the_client_waits_for_its_answer];
    /// D6: `Failed` is reported as `ReadClosed`.
    a_failure_is_told_as_an_end, FailedAsEnd, [a_clients_reset_reaches_the_target_as_a_reset];
    /// D6: `ConnectFailed` is reported as `Failed`.
    a_failed_attempt_is_told_as_a_failed_stream, ConnectFailedAsFailed, [a_refused_target_gives_05];
    /// D6: `Failed` is reported twice.
    a_failure_is_told_twice, FailedTwice, [a_targets_reset_reaches_the_client_as_a_reset], only_audited;
    /// D7: the driver itself says which way to take, not the pool.
    the_pool_is_not_asked, OwnAssignment, [a_bound_source_address_is_what_the_target_sees];
    /// D8: a drained driver ends at once.
    a_drained_driver_does_not_wait, DrainAtOnce, [a_drained_worker_finishes_what_is_open_and_refuses_the_rest];

    // Datagrams.
    /// Each second dirty socket is not looked at.
    dirty_sockets_are_lost, LoseDirtySocket, [an_echo_comes_back_through_a_flow];
    /// What came as a group is one datagram.
    a_group_is_received_as_one_datagram, MergeReceived, [a_burst_of_equal_datagrams_stays_as_many_in_order];
    /// What shall leave as a group leaves as one datagram.
    a_group_is_sent_as_one_datagram, MergeSent, [a_burst_of_equal_datagrams_stays_as_many_in_order];
    /// The last datagram of a group is lost.
    the_end_of_a_group_is_lost, CutSent, [a_burst_of_equal_datagrams_stays_as_many_in_order];
    /// What was received in one call is given in the wrong order.
    a_batch_is_turned_round, TurnRound, [a_burst_of_mixed_sizes_stays_in_order];
    /// A datagram goes to the receiver of the one before.
    a_datagram_goes_to_the_wrong_address, WrongAddress, [two_clients_hear_each_their_own];
    /// The sender of a datagram is reported wrongly.
    a_datagram_has_the_wrong_sender, WrongSender, [two_clients_hear_each_their_own];
    /// Empty datagrams are not given.
    empty_datagrams_are_dropped, DropEmpty, [empty_datagrams_keep_their_place];
    /// The address to send from is not used.
    the_source_address_is_forgotten, NoFrom, [answers_leave_from_the_address_that_was_asked];
    /// The address that a datagram was sent to is not reported.
    the_address_asked_is_not_told, NoTo, [answers_leave_from_the_address_that_was_asked];
    /// ECN is not reported.
    ecn_is_not_told, NoEcnReceived, [ecn_is_passed_on_both_ways];
    /// ECN is not set.
    ecn_is_not_set, NoEcnSent, [ecn_is_passed_on_both_ways];
    /// What is received is given twice.
    datagrams_are_given_twice, GiveTwice, [an_echo_comes_back_through_a_flow];
    /// More than 1472 bytes are cut.
    large_datagrams_are_cut, CutLarge, [every_size_arrives_whole_and_alone];
    /// `CloseSocket` is not done: descriptors leak.
    sockets_are_never_closed, NoCloseSocket, [idle_flows_give_their_descriptors_back];
    /// `SocketFailed` is not reported.
    errors_of_sockets_are_swallowed, SwallowSocketFailed, [nobody_listens_and_then_somebody_does];
    /// `SendFailed` is not reported.
    failed_sends_are_swallowed, SwallowSendFailed, [who_always_has_more_to_send_starves_nobody];
    /// `OpenFailed` is not reported.
    failed_opens_are_swallowed, SwallowOpenFailed, [without_descriptors_a_flow_fails_and_the_next_stands];
    /// `Opened` is not reported: the datagrams that were marked before it leave all the same.
    opens_are_swallowed, SwallowOpened, [an_echo_comes_back_through_a_flow], only_audited;
    /// `Opened` is reported twice.
    an_open_is_told_twice, OpenedTwice, [an_echo_comes_back_through_a_flow], only_audited;
    /// What comes next is given to the socket that was closed last.
    a_closed_socket_receives, ReceiveClosed, [late_events_of_closed_sockets_do_nothing], only_audited;
    /// The loop stands still for 20 ms with each 64 sends.
    the_loop_is_blocked_by_sending, BlockSend, [who_always_has_more_to_send_starves_nobody];
}

/// The fault of this name.
///
/// # Panics
/// When there is none.
pub fn find(name: &str) -> &'static Spec {
    FAULTS.iter().find(|fault| fault.name == name).unwrap_or_else(|| panic!("no fault is called {name}"))
}

/// The fault this process shall have.
pub fn wanted() -> Kind {
    std::env::var(FAULT).map_or(Kind::None, |name| find(&name).kind)
}

/// A machine whose driver is broken.
pub struct Faulty<M> {
    machine: M,
    kind: Kind,
    now: Instant,
    count: u64,
    /// Outputs the fault made up.
    own: VecDeque<Output>,
    accept_failed: bool,
    /// An output was polled in this turn.
    polled: Cell<bool>,
    /// A read that was not reported yet, and whether its buffer was lent again.
    late: Option<(StreamId, usize, bool)>,
    sockets: Kept,
}

impl<M> Faulty<M> {
    /// Breaks the driver of `machine` in this way.
    pub fn new(machine: M, kind: Kind) -> Self {
        Faulty {
            machine,
            kind,
            now: Instant::ZERO,
            count: 0,
            own: VecDeque::new(),
            accept_failed: false,
            polled: Cell::new(false),
            late: None,
            sockets: Kept::default(),
        }
    }

    /// The machine.
    pub fn into_inner(self) -> M {
        self.machine
    }

    /// True once in `n`.
    fn each(&mut self, n: u64) -> bool {
        self.count += 1;
        self.count.is_multiple_of(n)
    }
}

impl<M: Application> Faulty<M> {
    fn tell_late(&mut self) {
        if let Some((stream, len, true)) = self.late {
            self.late = None;
            self.machine.handle_input(self.now, Input::Read { stream, len });
        }
    }

    /// The input as the faulty driver passes it on; `None`: not at all.
    fn alter_input<'a>(&mut self, now: Instant, input: Input<'a>) -> Option<Input<'a>> {
        match (self.kind, input) {
            (Kind::SwallowSocketFailed, Input::SocketFailed { .. })
            | (Kind::SwallowSendFailed, Input::SendFailed { .. })
            | (Kind::SwallowOpenFailed, Input::OpenFailed { .. })
            | (Kind::SwallowOpened, Input::Opened { .. })
            | (Kind::SwallowEnd, Input::ReadClosed { .. })
            | (Kind::SwallowFailed, Input::Failed { .. })
            | (Kind::SwallowConnectFailed, Input::ConnectFailed { .. })
            | (Kind::SwallowNames, Input::Resolved { .. } | Input::ResolveFailed { .. }) => None,
            (Kind::SwallowEnd, Input::Spliced { from, to, taken, given, .. }) => {
                Some(Input::Spliced { from, to, taken, given, eof: false })
            }
            (Kind::WrittenTwice, Input::Written { .. })
            | (Kind::FailedTwice, Input::Failed { .. })
            | (Kind::OpenedTwice, Input::Opened { .. }) => {
                self.machine.handle_input(now, input);
                Some(input)
            }
            (Kind::WrittenHalf, Input::Written { stream, len }) => {
                Some(Input::Written { stream, len: len.div_ceil(2) })
            }
            (Kind::LoseByte, Input::Read { stream, len }) if len > 1 && self.each(50) => {
                Some(Input::Read { stream, len: len - 1 })
            }
            (Kind::LateRead, Input::Read { stream, len }) => {
                self.late = Some((stream, len, false));
                None
            }
            (Kind::EmptyRead, Input::ReadClosed { stream }) => Some(Input::Read { stream, len: 0 }),
            (Kind::FailedAsEnd, Input::Failed { stream, .. }) => Some(Input::ReadClosed { stream }),
            (Kind::ConnectFailedAsFailed, Input::ConnectFailed { stream, fault }) => {
                Some(Input::Failed { stream, fault })
            }
            (Kind::NoAcceptAgain, Input::AcceptFailed { .. }) => {
                self.accept_failed = true;
                Some(input)
            }
            (Kind::Block, Input::Read { len: 65536.., .. } | Input::Spliced { taken: 65536.., .. }) => {
                std::thread::sleep(Duration::from_millis(40));
                Some(input)
            }
            (Kind::DrainAtOnce, Input::Drain) => {
                self.own.push_back(Output::Finished);
                Some(input)
            }
            (_, input) => Some(input),
        }
    }

    /// An output that is done otherwise; `None`: not at all.
    fn done(&mut self, output: Output) -> Option<Output> {
        match (self.kind, output) {
            (Kind::NoShutdown, Output::Shutdown { .. })
            | (Kind::NoClose, Output::Close { .. })
            | (Kind::NoCloseSocket, Output::CloseSocket { .. }) => None,
            (Kind::ReceiveClosed, Output::CloseSocket { socket }) => {
                self.sockets.closed = Some(socket);
                Some(Output::CloseSocket { socket })
            }
            (Kind::ResetAsEnd, Output::Close { stream, .. }) => {
                Some(Output::Close { stream, how: Close::Graceful })
            }
            (Kind::NoBinding, Output::Connect { stream, to, .. }) => {
                Some(Output::Connect { stream, to, via: Via::default() })
            }
            (Kind::NoAcceptAgain, Output::Accept { .. }) if self.accept_failed => None,
            (Kind::OwnAssignment, Output::Assign(assign)) => {
                let patience = Duration::from_millis(250);
                let assignment = Assignment { uplink: None, via: Via::default(), endpoint: None, patience };
                let answer = Input::Assigned { conn: assign.conn, assignment: Some(assignment) };
                self.machine.handle_input(self.now, answer);
                None
            }
            (_, output) => Some(output),
        }
    }
}

impl<M: Application> Layer for Faulty<M> {
    type Inner = M;

    fn inner(&self) -> &M {
        &self.machine
    }

    fn inner_mut(&mut self) -> &mut M {
        &mut self.machine
    }

    fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        self.now = now;
        if let Some((_, _, lent)) = &mut self.late {
            *lent = true;
        }
        self.tell_late();
        self.polled.set(false);
        let then = if self.kind == Kind::ClockBack && self.each(16) {
            Instant::from_nanos(now.as_nanos().saturating_sub(1_000_000_000))
        } else {
            now
        };
        if let Some(input) = self.alter_input(then, input) {
            self.machine.handle_input(then, input);
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        if self.machine.poll_timeout().is_some_and(|at| at <= now) {
            self.machine.handle_timeout(now);
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.tell_late();
        if let Some(output) = self.own.pop_front() {
            return Some(output);
        }
        if self.kind == Kind::OneOutput && self.polled.get() {
            return None;
        }
        loop {
            let output = self.machine.poll_output()?;
            if let Some(output) = self.done(output) {
                self.polled.set(true);
                return Some(output);
            }
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.polled.set(false);
        let at = self.machine.poll_timeout();
        match self.kind {
            Kind::NoTimers => None,
            Kind::LateTimers => at.map(|at| at + Duration::from_millis(400)),
            Kind::Spin => {
                let soon = self.now + Duration::from_micros(50);
                Some(at.map_or(soon, |at| at.min(soon)))
            }
            _ => at,
        }
    }

    fn poll_dirty(&mut self) -> Option<StreamId> {
        self.tell_late();
        loop {
            let dirty = self.machine.poll_dirty()?;
            if self.kind != Kind::LoseDirty || !self.each(3) {
                return Some(dirty);
            }
        }
    }

    fn read_buf(&mut self, stream: StreamId) -> &mut [u8] {
        if let Some((_, _, lent)) = &mut self.late {
            *lent = true;
        }
        self.machine.read_buf(stream)
    }

    fn poll_dirty_socket(&mut self) -> Option<SocketId> {
        self.next_dirty_socket()
    }

    fn handle_datagrams(&mut self, now: Instant, socket: SocketId, rx: &mut [Rx<'_>]) {
        self.take_datagrams(now, socket, rx);
    }

    fn poll_transmit(&mut self, now: Instant, socket: SocketId, buf: &mut [u8]) -> Option<Transmit> {
        self.next_transmit(now, socket, buf)
    }
}
