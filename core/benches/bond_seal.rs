//! How fast the bond seals and opens packets, on one core.
//!
//! ```text
//! cargo bench -p ropewalk-core --bench bond_seal
//! ```
//!
//! `session` is what an association does for each packet: header, number, seal, look-up, open,
//! replay window. `cipher` is one sealing alone. Each figure is the best of many short rounds: the
//! others were disturbed.

use ropewalk_core::bond::crypto::Cipher;
use ropewalk_core::bond::laws::{Sealer, Sealing};
use std::time::{Duration, Instant};

const PACKETS: u32 = 500;
const ROUNDS: u32 = 1000;

fn best(mut round: impl FnMut()) -> Duration {
    let rounds = (0..ROUNDS).map(|_| {
        let began = Instant::now();
        round();
        began.elapsed()
    });
    rounds.min().expect("there are rounds")
}

fn main() {
    println!(
        "{:<20} {:>6} {:>14} {:>14} {:>12}",
        "cipher", "bytes", "session ns", "session Gbit/s", "cipher ns"
    );
    for cipher in [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305] {
        for len in [64, 1400, 9000] {
            let mut sealing = Sealing::new(cipher);
            let session = best(|| (0..PACKETS).for_each(|_| sealing.seal_and_open(len)));
            let sealer = Sealer::new(cipher);
            let mut text = vec![0; len];
            let alone = best(|| (0..PACKETS).for_each(|nonce| sealer.seal(nonce.into(), &mut text)));
            let per_packet = |whole: Duration| whole.as_nanos() as f64 / f64::from(PACKETS);
            let gigabits = len as f64 * 8.0 / per_packet(session);
            println!(
                "{:<20} {len:>6} {:>14.0} {gigabits:>14.2} {:>12.0}",
                cipher.to_string(),
                per_packet(session),
                per_packet(alone)
            );
        }
    }
}
