//! The faults by name, and the cases that shall catch each.

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
    ($d:tt $( $tests:ident {
        $( $(#[$doc:meta])* $name:ident, $kind:ident, [$($case:ident),+] $(, $only:ident)?; )*
    } )*) => {
        /// What a driver may do wrong.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Kind {
            /// Nothing.
            None,
            $($( $(#[$doc])* $kind, )*)*
        }

        /// All faults.
        pub const FAULTS: &[Spec] = &[$($( Spec {
            name: stringify!($name),
            kind: Kind::$kind,
            caught_by: &[$(stringify!($case)),+],
            only_audited: faults!(@only $($only)?),
        }, )*)*];

        $(
            /// Makes a test of each fault.
            #[doc(hidden)]
            #[macro_export]
            macro_rules! $tests {
                (@each $d runtime:ty) => { $(
                    #[test]
                    fn $name() {
                        let runtime = ::ropewalk_conformance::AnyRuntime::of::<$d runtime>();
                        let fault = ::ropewalk_conformance::faulty::find(stringify!($name));
                        ::ropewalk_conformance::process::run_fault(runtime, fault, module_path!());
                    }
                )* };
            }
        )*
    };
    (@only only_audited) => { true };
    (@only) => { false };
}

faults! { $
    // Streams and datagrams.
    conformance_fault_list {
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
        accepting_is_not_taken_up_again, NoAcceptAgain, [
            without_descriptors_accepting_pauses_and_goes_on_later
        ];
        /// `ConnectFailed` is not reported.
        failed_attempts_are_swallowed, SwallowConnectFailed, [a_refused_target_gives_05];
        /// The loop stands still for 40 ms with each 64 KiB.
        the_loop_is_blocked, Block, [eight_bulk_flows_do_not_starve_a_small_one];
        /// Each 50th read is reported one byte short.
        a_byte_of_a_read_is_lost, LoseByte, [large_data_in_small_writes_arrives_byte_for_byte];
        /// Answers to names are not reported.
        answers_to_names_are_swallowed, SwallowNames, [
            a_name_is_looked_up_and_reached,
            a_name_that_does_not_exist_gives_04
        ];
        /// `Unlisten` leaves the listener open (a second descriptor on it, at the socket's level).
        a_drained_listener_stays_open, KeepListener, [
            a_drained_worker_finishes_what_is_open_and_refuses_the_rest
        ];

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
        a_drained_driver_does_not_wait, DrainAtOnce, [
            a_drained_worker_finishes_what_is_open_and_refuses_the_rest
        ];

        // What the system keeps for streams.
        /// D19: `SocketMemory` is not reported.
        too_much_is_not_told, SwallowKept, [who_reads_nothing_ends_when_the_system_keeps_too_much];
        /// D19: nor that it is over.
        that_there_is_room_again_is_not_told, SwallowRoom, [
            who_reads_nothing_ends_when_the_system_keeps_too_much
        ];
        /// D19: all of it is reported as the last accepted stream's.
        what_is_kept_is_told_of_another, KeptOfAnother, [who_reads_nothing_ends_when_the_system_keeps_too_much];

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
    // Packets of TUN devices.
    conformance_tun_fault_list {
        /// Each second dirty device is not looked at.
        dirty_devices_are_lost, LoseDirtyTun, [a_packet_comes_back_whole_and_alone];
        /// Each third packet is not given.
        packets_are_lost, LosePacket, [a_packet_comes_back_whole_and_alone];
        /// Each packet is given twice.
        packets_are_given_twice, PacketTwice, [packets_stay_in_order];
        /// The last byte of a packet is lost.
        the_end_of_a_packet_is_lost, CutPacket, [
            a_packet_comes_back_whole_and_alone,
            without_offload_a_stream_passes_packet_by_packet
        ];
        /// Each second packet is given before the one in front of it.
        packets_are_turned_round, TurnPackets, [packets_stay_in_order];
        /// D14: what a machine that takes nothing cannot take is taken all the same.
        a_full_machine_is_not_heeded, TakeAnyway, [
            a_machine_that_takes_nothing_costs_no_processor_time,
            a_blocked_device_loses_nothing_and_costs_no_processor_time
        ];
        /// The virtio header of what was taken is forgotten.
        what_is_left_to_do_is_not_told, NoOffloadTold, [
            what_is_left_to_do_with_a_packet_is_told_both_ways,
            a_stream_of_the_system_passes_in_superpackets
        ];
        /// The virtio header of what is given is left empty.
        what_is_left_to_do_is_not_given, NoOffloadGiven, [what_is_left_to_do_with_a_packet_is_told_both_ways];
        /// D15: what is left to do cannot be true of the packet.
        a_doubtful_header_is_believed, DoubtfulOffload, [a_header_that_cannot_be_true_costs_its_packet_only];
        /// D16: what would block is told as given.
        a_blocked_packet_is_told_as_given, ForgetBlocked, [
            a_blocked_device_loses_nothing_and_costs_no_processor_time
        ];
        /// Of each fifth packet it is not told that it was given.
        given_packets_are_not_told, SwallowGiven, [packets_stay_in_order];
        /// What the system did not take is told as given.
        a_lost_packet_is_told_as_given, LostAsGiven, [
            a_device_that_is_gone_loses_by_name_and_harms_nobody,
            a_device_that_was_down_goes_on_when_it_is_up
        ];
        /// The packets of a device are told as its neighbour's.
        packets_of_two_devices_are_mixed_up, WrongTun, [two_devices_hear_each_their_own];
        /// D17: `Configure` is not done.
        configurations_are_forgotten, NoConfigure, [
            addresses_and_mtu_are_set_and_what_fails_is_told,
            datagrams_of_the_system_pass_between_two_devices,
            a_file_comes_by_two_links_and_by_one_when_the_other_falls_silent
        ];
        /// D17: `ConfigureFailed` is not reported.
        failed_configurations_are_swallowed, SwallowConfigureFailed, [
            addresses_and_mtu_are_set_and_what_fails_is_told
        ];
        /// D17: `Entropy` is not answered.
        random_bytes_are_not_given, SwallowEntropy, [random_bytes_come_at_once_and_are_never_the_same];
        /// D17: the same bytes each time.
        random_bytes_are_always_the_same, SameEntropy, [random_bytes_come_at_once_and_are_never_the_same];
        /// The loop stands still for 20 ms with each eighth packet given.
        the_loop_is_blocked_by_giving, BlockGive, [who_always_has_more_to_give_starves_nobody];
        /// The driver wakes itself every 50 microseconds.
        the_driver_spins_at_a_blocked_device, SpinAtDevice, [
            a_blocked_device_loses_nothing_and_costs_no_processor_time,
            a_device_that_vanishes_costs_nothing
        ];
        /// The device stays open (a second descriptor on it).
        a_device_stays_open, KeepTun, [a_drained_worker_closes_its_devices];
    }
}
