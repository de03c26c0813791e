//! 8: in flight under its cap; paced bytes at most rate times time and a burst; repairs and
//! duplicates within their budget.

use super::packet::{Flow, Kind, Way};
use super::server::calm;
use super::sut::Sut;
use super::transition::{self, Transition};
use proptest::collection::vec;
use proptest::prelude::*;
use ropewalk_core::bond::{PathStatus, Strategy as Spread};
use ropewalk_core::time::{Duration, Instant};
use std::collections::BTreeMap;

/// A packet, and control that counts as in flight and needs no permission: probes of an MTU, pings.
const SLACK: u64 = 1500 + 1500 + 300;

/// What a path may send by its pace.
struct Account {
    pace: u64,
    cap: u64,
    credit: u64,
    sent: u64,
}

/// The accounts of one end.
#[derive(Default)]
struct Accounts {
    paths: BTreeMap<u8, Account>,
    at: Instant,
}

/// The burst of the pacer: 2 ms, or a packet and 1 ms.
fn burst(pace: u64) -> u64 {
    (pace / 8 / 500).max(1500 + pace / 8 / 1000)
}

impl Accounts {
    /// Called after each event: between two of them nothing changes but the time.
    fn check(&mut self, now: Instant, paths: &[PathStatus], sent: &BTreeMap<u8, u64>) {
        let passed = now - self.at;
        self.at = now;
        for path in paths {
            let total = sent.get(&path.path).copied().unwrap_or(0);
            let Some(account) = self.paths.get_mut(&path.path) else {
                // What was sent before it was watched is not counted.
                let (pace, cap) = (path.pace, path.cap);
                self.paths.insert(path.path, Account { pace, cap, credit: 64_000, sent: total });
                continue;
            };
            let bytes = total - account.sent;
            let (pace, cap) = (path.pace.max(account.pace), path.cap.max(account.cap));
            let earned = (u128::from(pace) * passed.as_nanos() / 8_000_000_000) as u64 + 1;
            let credit = (account.credit + earned).min((burst(pace) + SLACK).max(account.credit));
            assert!(bytes <= credit, "path {}: {bytes} bytes, {credit} by its pace: {path:?}", path.path);
            assert!(
                bytes == 0 || path.in_flight <= cap + SLACK,
                "path {}: {bytes} bytes left, and {} are in flight of {cap}: {path:?}",
                path.path,
                path.in_flight
            );
            *account = Account { pace: path.pace, cap: path.cap, credit: credit - bytes, sent: total };
        }
    }
}

/// Holds both ends to their accounts.
fn check(sut: &mut Sut, accounts: &mut [Accounts; 2]) {
    sut.lab.flush();
    let (now, both) = (sut.lab.now, [Some(sut.client()), sut.server()]);
    for (side, status) in both.into_iter().enumerate() {
        let Some(status) = status else { continue };
        accounts[side].check(now, &status.paths, &sut.lab.data[side]);
    }
}

fn run(sut: &mut Sut, accounts: &mut [Accounts; 2], time: Duration) {
    let end = sut.lab.now + time;
    check(sut, accounts);
    while sut.lab.step(end) {
        check(sut, accounts);
    }
    sut.collect();
}

fn bulk(way: Way, count: u8) -> Transition {
    let flow = Flow { client: 0, way, kind: Kind::Tcp, id: 1 };
    Transition::Send { flow, count, size: 1100, joined: true }
}

proptest! {
    #![proptest_config(super::cases(24))]

    #[test]
    fn what_leaves_is_under_the_cap_and_within_the_pace(
        setup in transition::rough(),
        changes in vec((0u8..3, transition::nature(), 1u8..40, any::<bool>(), 1u64..300), 1..12),
    ) {
        let mut sut = Sut::new(&setup);
        let mut accounts = Default::default();
        run(&mut sut, &mut accounts, Duration::from_millis(1));
        for (link, nature, count, up, time) in changes {
            let way = if up { Way::Up } else { Way::Down };
            for _ in 0..time / 5 {
                sut.apply(&bulk(way, count));
                run(&mut sut, &mut accounts, Duration::from_millis(5));
            }
            sut.apply(&Transition::Link { link, way: None, nature });
        }
        run(&mut sut, &mut accounts, Duration::from_secs(1));
    }
}

/// Where something always waits, repairs cost an eighth of what is sent anew, and a burst.
#[test]
fn repairs_stay_within_their_budget_while_something_waits() {
    for (seed, loss) in [(2, 12), (3, 13)] {
        let mut setup = calm(seed, 1);
        for nature in &mut setup.clients[0][0] {
            (nature.rate, nature.loss) = (12_500_000, loss);
        }
        let mut sut = Sut::new(&setup);
        for _ in 0..1500 {
            sut.apply(&bulk(Way::Down, 40));
            sut.apply(&Transition::Wait(2));
            let status = sut.server().expect("an association");
            assert!(status.queued > 0, "something waits always");
            let all = sut.lab.data[1][&0];
            let repaired = status.repaired * (1100 + 40);
            let budget = (all - repaired.min(all)) / 8 + (256 << 10) + 3000;
            assert!(repaired <= budget, "{repaired} bytes of repairs, {budget} by the budget, of {all}");
        }
    }
}

/// `adaptive` sends small packets twice, for a tenth of what is sent.
#[test]
fn duplicates_stay_within_their_budget() {
    let mut setup = calm(5, 2);
    setup.tuning.strategy = Spread::Adaptive;
    let mut sut = Sut::new(&setup);
    let mut anew = 0;
    for number in 0..3000u64 {
        let flow = Flow { client: 0, way: Way::Up, kind: Kind::Udp, id: (number % 3) as u8 };
        sut.apply(&Transition::Send { flow, count: 1, size: 400, joined: false });
        sut.apply(&Transition::Wait(3));
        anew += 428;
        let all: u64 = sut.lab.data[0].values().sum();
        let sent = all / (428 + 64) * 428;
        assert!(sent <= anew + anew / 10 + (16 << 10) + 428, "{sent} bytes for {anew}");
    }
    let all: u64 = sut.lab.data[0].values().sum();
    let sent = all / (428 + 64) * 428;
    assert!(sent > anew + anew / 20, "nothing was sent twice: {sent} bytes for {anew}");
}
