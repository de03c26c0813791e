//! Names, looked up off the loop.

mod common;

use common::{Proxy, echo, round_trip};

/// To the machine a name; to the system's resolver an address of this host, which needs no server.
/// `localhost` would not be looked up.
const NAME: &str = "127.1";

#[test]
fn a_name_is_looked_up_and_reached() {
    let (proxy, target) = (Proxy::start(), echo());
    let mut tunnel = proxy.connect_name(NAME, target.port()).expect("the target listens");
    round_trip(&mut tunnel, b"by name");
}

#[test]
fn a_name_that_does_not_exist_is_told_as_code_4() {
    // RFC 6761 section 6.4: no name under .invalid exists.
    assert_eq!(Proxy::start().connect_name("nobody.invalid", 80).err(), Some(4));
}

#[test]
fn many_look_ups_at_once_are_all_answered() {
    let (proxy, target) = (Proxy::start(), echo());
    std::thread::scope(|scope| {
        for number in 0..64 {
            let proxy = &proxy;
            scope.spawn(move || {
                let mut tunnel = proxy.connect_name(NAME, target.port()).expect("the target listens");
                round_trip(&mut tunnel, format!("number {number}").as_bytes());
            });
        }
    });
}
