//! One connection step by step, with the inputs and outputs on the way.
//!
//! Each step waits for the one before, so the order is the script's and not that of the network.
//! Two runtimes must give the machine the same inputs: they do when each gives the lines of
//! [`EXPECTED`].

use super::client::{all, exactly, request};
use super::{AnyRuntime, client, normalised};
use crate::proxy::Proxy;
use crate::target::Target;
use std::io::Write;
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

/// What each runtime gives. Written by `ROPEWALK_PRINT=1` and looked through by a person.
pub const EXPECTED: &str = include_str!("script.txt");

/// Long enough for all that follows from one step.
const STEP: Duration = Duration::from_millis(60);

/// Plays the script and returns inputs (`<`) and outputs (`>`), without what differs from run to
/// run.
///
/// # Panics
/// When the script cannot be played.
pub fn lines(runtime: &AnyRuntime) -> Vec<String> {
    let target = Target::new(|mut stream| {
        let question = exactly(&mut stream, 8)?;
        thread::sleep(STEP);
        stream.write_all(&question)?;
        all(&mut stream)?;
        thread::sleep(STEP);
        stream.write_all(b"last words")
    });
    let proxy = Proxy::start(runtime);
    thread::sleep(STEP);
    let mut stream = client::dial(proxy.address).expect("it listens");
    thread::sleep(STEP);
    let bytes = request(&target.address.into());
    stream.write_all(&bytes[..3]).expect("it is taken");
    assert_eq!(exactly(&mut stream, 2).expect("answered"), [5, 0]);
    thread::sleep(STEP);
    stream.write_all(&bytes[3..]).expect("it is taken");
    assert_eq!(exactly(&mut stream, 10).expect("answered")[..2], [5, 0]);
    thread::sleep(STEP);
    stream.write_all(b"question").expect("it is taken");
    assert_eq!(exactly(&mut stream, 8).expect("it comes back"), b"question");
    thread::sleep(STEP);
    stream.shutdown(Shutdown::Write).expect("the tunnel is open");
    assert_eq!(all(&mut stream).expect("an orderly end"), b"last words");
    drop(stream);
    thread::sleep(STEP);
    let mut lines = normalised(proxy.finish().found.lines);
    // What has moved is told by the clock, as often as the steps take long.
    lines.retain(|line| !line.starts_with("> Event(Moved"));
    lines
}
