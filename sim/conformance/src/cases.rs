//! The cases, by name. The name is what a runtime does when it passes.
//!
//! | file | is |
//! | --- | --- |
//! | `bytes` | every byte arrives |
//! | `ends` | half-closes, resets, the end of the worker |
//! | `opening` | targets, names, ways out |
//! | `limits` | what happens at the limits |
//! | `load`, `duty` | busy neighbours; many duties of one worker |
//! | `quiet` | waiting costs nothing |
//! | `datagrams`, `flows` | datagrams; their sockets |
//! | `packets` | packets of TUN devices |
//! | `devices`, `bond` | the system's own TUN devices, as root; a bond over two links |

mod bond;
mod bytes;
mod datagrams;
mod devices;
mod duty;
mod ends;
mod flows;
mod limits;
mod load;
mod opening;
mod packets;
mod quiet;

use super::AnyRuntime;

/// One case.
pub struct Case {
    /// Its name, a sentence.
    pub name: &'static str,
    /// Runs it; panics when it does not pass.
    pub run: fn(&AnyRuntime),
}

/// The case of this name.
pub fn find(name: &str) -> Option<&'static Case> {
    CASES.iter().chain(DATAGRAM_CASES).chain(TUN_CASES).find(|case| case.name == name)
}

macro_rules! cases {
    ($d:tt $(#[$doc:meta])* $list:ident $tests:ident $($module:ident { $($name:ident,)* })*) => {
        $(#[$doc])*
        pub const $list: &[Case] = &[$($(
            Case { name: stringify!($name), run: $module::$name },
        )*)*];

        /// Makes a test of each case.
        #[doc(hidden)]
        #[macro_export]
        macro_rules! $tests {
            (@each $d runtime:ty) => { $($(
                #[test]
                fn $name() {
                    let runtime = ::ropewalk_conformance::AnyRuntime::of::<$d runtime>();
                    let name = stringify!($name);
                    ::ropewalk_conformance::process::run(runtime, name, module_path!(), name);
                }
            )*)* };
        }
    };
}

cases! { $
    /// The cases of streams.
    CASES conformance_cases
    bytes {
        large_data_in_small_writes_arrives_byte_for_byte,
        a_slow_reader_stops_its_source,
        splice_and_copy_carry_the_same,
        many_at_once_are_not_mixed_up,
        payload_in_the_segment_of_the_request_is_not_lost,
        wakes_without_data_break_nothing,
        one_connection_step_by_step_says_what_it_always_says,
    }
    ends {
        a_half_close_from_the_client_waits_for_its_answer,
        a_half_close_from_the_target_lets_the_client_finish,
        a_targets_reset_reaches_the_client_as_a_reset,
        a_clients_reset_reaches_the_target_as_a_reset,
        the_last_bytes_before_a_reset_are_delivered,
        five_hundred_short_connections_leave_nothing_behind,
        a_drained_worker_finishes_what_is_open_and_refuses_the_rest,
        a_stopped_worker_ends_in_the_middle,
    }
    opening {
        a_refused_target_gives_05,
        a_silent_target_gives_06_at_the_connect_deadline,
        a_client_that_leaves_while_its_target_is_silent_is_forgotten,
        a_name_is_looked_up_and_reached,
        a_name_that_does_not_exist_gives_04,
        clients_that_leave_while_their_names_are_looked_up_harm_nobody,
        a_device_that_does_not_exist_is_passed_over,
        a_source_address_of_another_host_is_passed_over,
        without_any_way_that_exists_the_client_is_let_go,
        a_bound_source_address_is_what_the_target_sees,
        a_bound_device_carries,
    }
    load {
        eight_bulk_flows_do_not_starve_a_small_one,
        a_silent_client_is_closed_at_its_deadline_under_load,
    }
    quiet {
        idle_connections_cost_no_processor_time,
        a_blocked_write_costs_no_processor_time,
        a_half_closed_stream_costs_no_processor_time,
        a_full_worker_with_a_backlog_costs_no_processor_time,
    }
    limits {
        at_the_connection_limit_the_next_waits_until_one_ends,
        without_descriptors_accepting_pauses_and_goes_on_later,
        who_reads_nothing_ends_when_the_system_keeps_too_much,
    }
}

cases! { $
    /// The cases of datagrams.
    DATAGRAM_CASES conformance_datagram_cases
    datagrams {
        an_echo_comes_back_through_a_flow,
        two_clients_hear_each_their_own,
        empty_datagrams_keep_their_place,
        every_size_arrives_whole_and_alone,
        a_burst_of_equal_datagrams_stays_as_many_in_order,
        a_burst_of_mixed_sizes_stays_in_order,
        answers_leave_from_the_address_that_was_asked,
        ipv6_datagrams_pass,
        ecn_is_passed_on_both_ways,
    }
    flows {
        nobody_listens_and_then_somebody_does,
        idle_flows_give_their_descriptors_back,
        a_drained_worker_ends_with_its_last_flow,
        late_events_of_closed_sockets_do_nothing,
        five_hundred_flows_are_not_mixed_up,
        without_descriptors_a_flow_fails_and_the_next_stands,
    }
    duty {
        who_always_has_more_to_send_starves_nobody,
        streams_and_datagrams_run_side_by_side,
        idle_flows_cost_no_processor_time,
    }
}

cases! { $
    /// The cases of packets of TUN devices.
    TUN_CASES conformance_tun_cases
    packets {
        a_packet_comes_back_whole_and_alone,
        packets_stay_in_order,
        two_devices_hear_each_their_own,
        what_is_left_to_do_with_a_packet_is_told_both_ways,
        a_header_that_cannot_be_true_costs_its_packet_only,
        a_blocked_device_loses_nothing_and_costs_no_processor_time,
        a_machine_that_takes_nothing_costs_no_processor_time,
        a_device_that_is_gone_loses_by_name_and_harms_nobody,
        who_always_has_more_to_give_starves_nobody,
        addresses_and_mtu_are_set_and_what_fails_is_told,
        random_bytes_come_at_once_and_are_never_the_same,
        a_drained_worker_closes_its_devices,
    }
    devices {
        datagrams_of_the_system_pass_between_two_devices,
        a_stream_of_the_system_passes_in_superpackets,
        without_offload_a_stream_passes_packet_by_packet,
        a_device_that_was_down_goes_on_when_it_is_up,
        a_device_that_vanishes_costs_nothing,
    }
    bond {
        a_file_comes_by_two_links_and_by_one_when_the_other_falls_silent,
    }
}
