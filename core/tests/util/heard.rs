//! What a driver was told, in few words: the reasons in events, the datagrams of a transmit.

use ropewalk_core::machine::event::{Dropped, Event, Refusal};

/// Why clients were refused, in order.
pub(crate) fn refusals<'e>(events: impl IntoIterator<Item = &'e Event>) -> Vec<Refusal> {
    let why = |event: &Event| match event {
        Event::Refused { why, .. } => Some(*why),
        _ => None,
    };
    events.into_iter().filter_map(why).collect()
}

/// Why datagrams were dropped, in order.
pub(crate) fn drops(events: &[Event]) -> Vec<Dropped> {
    let why = |event: &Event| match event {
        Event::DatagramDropped { why, .. } => Some(*why),
        _ => None,
    };
    events.iter().filter_map(why).collect()
}

/// The datagrams of one transmit, checked as the kernel would (udp(7), UDP_SEGMENT).
pub(crate) fn segments(bytes: &[u8], segment: Option<usize>) -> Vec<&[u8]> {
    let Some(segment) = segment else { return vec![bytes] };
    let all: Vec<&[u8]> = bytes.chunks(segment).collect();
    assert!(all.len() > 1 && all.len() <= ropewalk_core::machine::MAX_SEGMENTS, "{} segments", all.len());
    assert!(bytes.len() <= 65_507, "more than one datagram can hold: {}", bytes.len());
    all
}
