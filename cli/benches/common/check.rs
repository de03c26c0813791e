//! The byte-exact half-close check: the client sends 8 MiB and its end, and only then the server
//! answers 1 MiB. A proxy that closes both directions when one of them ends loses the answer.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use crate::common::pattern::Pattern;
use crate::common::route::{Route, awaiting};
use crate::common::session::{ARRIVED, CHECK_DOWN, CHECK_UP};

/// The longest one check may take.
const DEADLINE: Duration = Duration::from_secs(30);
const CHUNK: usize = 64 * 1024;

/// Runs the check once through `route`; the error says what was lost. `seed` makes the bytes.
pub(crate) fn half_close(route: &Route, turn: usize, seed: u64) -> Result<(), String> {
    let deadline = Instant::now() + DEADLINE;
    let in_time = |doing: &str| {
        if Instant::now() < deadline { Ok(()) } else { Err(format!("{DEADLINE:?} were up while {doing}")) }
    };
    let failed = |doing: &'static str| move |e: io::Error| format!("{doing}: {e}");

    let mut stream = route.open(turn).map_err(failed("opening"))?;
    let mut chunk = vec![0; CHUNK];
    let mut up = Pattern::new(seed);
    stream.write_all(b"C").and_then(|()| stream.write_all(&seed.to_le_bytes())).map_err(failed("sending"))?;
    for _ in 0..CHECK_UP / CHUNK {
        in_time("sending")?;
        up.fill(&mut chunk);
        stream.write_all(&chunk).map_err(failed("sending"))?;
    }
    stream.shutdown(Shutdown::Write).map_err(failed("ending"))?;

    let mut verdict = [0];
    stream.read_exact(&mut verdict).map_err(awaiting("the answer")).map_err(failed("half-closed"))?;
    if verdict != [ARRIVED] {
        return Err("the server got other bytes than were sent".into());
    }
    let mut down = Pattern::new(!seed);
    let mut answered = 0;
    loop {
        in_time("reading the answer")?;
        let count =
            stream.read(&mut chunk).map_err(awaiting("more of the answer")).map_err(failed("half-closed"))?;
        if count == 0 {
            break;
        }
        if !down.matches(&chunk[..count]) {
            return Err(format!("the answer differs within {count} bytes after byte {answered}"));
        }
        answered += count;
    }
    if answered == CHECK_DOWN {
        Ok(())
    } else {
        Err(format!("{answered} of {CHECK_DOWN} bytes of the answer came"))
    }
}
