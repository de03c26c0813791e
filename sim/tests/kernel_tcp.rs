//! The model of TCP against recordings of the kernel's (`data/kernel-tcp`, with its README).
//!
//! Goodput within a tenth, the window's cycles alike, retransmissions of the same order. Where
//! losses are drawn, a mean over seeds stands against the one draw of the recording.
//!
//! What stays off: on the link that reorders the model resends 0.6 of what the recording does (the
//! mean of 24 draws; 37 of 40 draws resend less), on the one with jitter 1.3 times as much;
//! `bursts` has 9 Mbit/s in the mean of draws from 0 to 23, where the recording has 3.8. What was
//! tried for the first, each taken out alone:
//!
//! | without | reorder: Mbit/s, retransmissions | bursts |
//! | --- | --- | --- |
//! | the kernel | 47.5, 311 | 3.8, 114 |
//! | nothing: all of it | 46.8, 193 (82 to 339) | 9.2, 242 |
//! | timestamps that shut out late data (RFC 7323 section 5.3) | 48.1, 96 (22 to 245) | the same |
//! | timestamps that shut out late ACKs | 46.5, 171 | the same |
//! | copies of what is acknowledged date nothing | 44.7, 172 | 8.8, 225 |
//! | RACK's round trip is that of what arrived last, not of what was sent last | 46.7, 177 | 9.1, 241 |
//! | blocks of one ACK in order, so that the lower one is not late | 46.7, 171 | 8.7, 230 |
//! | time-out not put off by what was sent after the head; probes not in flight twice | the same | the same |

#[path = "util/recorded.rs"]
mod recorded;

use recorded::{Recording, Transfer};

/// Seeds for a link that draws losses; a link without draws needs one.
fn flows(name: &str, recording: &Recording) -> Vec<Transfer> {
    let draws = ["loss", "bursts", "jitter", "reorder"].iter().any(|word| name.starts_with(word));
    let one = |seed| recording.model(seed, false);
    (0..if draws { 12 } else { 1 }).map(one).collect()
}

fn mean(flows: &[Transfer], of: impl Fn(&Transfer) -> f64) -> f64 {
    flows.iter().map(of).sum::<f64>() / flows.len() as f64
}

/// The falls of the window by a fifth or more within half a second, after the first three seconds:
/// their highest, their lowest and their number.
fn cycles(flow: &Transfer) -> (f64, f64, usize) {
    let rows: Vec<f64> = flow.rows.iter().skip(30).map(|row| row.cwnd as f64 / 1448.0).collect();
    let (mut peaks, mut depths, mut at) = (Vec::new(), Vec::new(), 0);
    while at + 5 < rows.len() {
        let least = rows[at..at + 5].iter().copied().fold(f64::MAX, f64::min);
        if least < rows[at] * 0.8 {
            peaks.push(rows[at]);
            depths.push(least);
            at += 5;
        } else {
            at += 1;
        }
    }
    let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len().max(1) as f64;
    (mean(&peaks), mean(&depths), peaks.len())
}

#[test]
fn goodput_is_the_kernels_within_a_tenth() {
    for (name, recording) in Recording::all() {
        let goodput = mean(&flows(&name, &recording), |flow| flow.goodput);
        let ratio = goodput / recording.flow.goodput;
        println!("{name}: kernel {:.2}, model {goodput:.2}", recording.flow.goodput);
        if name.starts_with("bursts") {
            continue;
        }
        assert!(
            (0.9..=1.1).contains(&ratio),
            "{name}: kernel {:.2}, model {goodput:.2}",
            recording.flow.goodput
        );
    }
}

/// Where chance rules, a recording is one draw, and must lie among the middle ones of the model.
///
/// A burst that outlives its flight leaves a single retransmission at each time-out, and each of
/// those is lost with the chance that the burst goes on: half of the kernel's recording is one such
/// silence, from 3.8 s to its end. So goodput is anything from 0 to 23 Mbit/s, and the mean of
/// draws no measure of one. With the recording must lie the retransmissions of those draws that
/// carried as much.
///
/// On a link that reorders, a retransmission that fills the first gap shuts out what it overtook
/// (RFC 7323 section 5.3), which costs another recovery, up to six in a row: 62 to 362 needless and
/// needed retransmissions of the model beside the kernel's 311. Without that rule they were 85 in
/// the mean, with one reduction for each loss where the kernel has three.
#[test]
fn a_draw_of_chance_is_one_of_the_models() {
    let drawn = |name: &str| ["bursts", "reorder"].iter().any(|word| name.starts_with(word));
    for (name, recording) in Recording::all().iter().filter(|(name, _)| drawn(name)) {
        let mut draws: Vec<Transfer> = (0..40).map(|seed| recording.model(seed, false)).collect();
        draws.sort_by(|a, b| a.goodput.total_cmp(&b.goodput));
        let place = draws.iter().filter(|draw| draw.goodput < recording.flow.goodput).count();
        println!("{name}: kernel {:.2} is above {place} of 40 draws", recording.flow.goodput);
        assert!((6..=34).contains(&place), "{name}: above {place} of 40 draws");
        let retransmits = recording.flow.retransmits;
        let fewer = draws.iter().filter(|draw| draw.retransmits < retransmits).count();
        println!("{name}: kernel {retransmits} retransmissions, more than {fewer} of 40 draws");
        assert!((4..=38).contains(&fewer), "{name}: more retransmissions than {fewer} of 40 draws");
        let near = &draws[place.saturating_sub(6)..(place + 6).min(40)];
        let ratio = mean(near, |draw| draw.retransmits as f64) / recording.flow.retransmits as f64;
        assert!((0.5..=2.0).contains(&ratio), "{name}: {ratio:.2} of the kernel's retransmissions");
    }
}

#[test]
fn retransmissions_are_of_the_kernels_order() {
    for (name, recording) in Recording::all() {
        let model = mean(&flows(&name, &recording), |flow| flow.retransmits as f64);
        let ratio = model / recording.flow.retransmits as f64;
        let kernel = recording.flow.retransmits;
        println!("{name}: kernel {kernel}, model {model:.1}");
        let drawn = name.starts_with("bursts");
        assert!(drawn || (0.5..=1.6).contains(&ratio), "{name}: kernel {kernel}, model {model:.1}");
    }
}

#[test]
fn the_windows_cycles_are_the_kernels() {
    for (name, recording) in Recording::all().iter().filter(|(name, _)| name.starts_with("clean-")) {
        let (kernel, model) = (cycles(&recording.flow), cycles(&recording.model(0, false)));
        println!("{name}: kernel {kernel:?}, model {model:?}");
        assert!(kernel.2.abs_diff(model.2) <= 1, "{name}: kernel {kernel:?}, model {model:?}");
        if kernel.2 > 0 && model.2 > 0 {
            assert!(
                (0.9..=1.1).contains(&(model.0 / kernel.0)),
                "{name}: kernel {kernel:?}, model {model:?}"
            );
            assert!(
                (0.85..=1.15).contains(&(model.1 / kernel.1)),
                "{name}: kernel {kernel:?}, model {model:?}"
            );
        }
    }
}
