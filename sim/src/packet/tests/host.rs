//! Superpackets and sockets that refuse, over the whole world: the same flows come through as with
//! single packets and sockets that take everything.

use super::super::world::World;
use super::*;
use crate::packet::io::Met;
use crate::scenario::Scenario;
use proptest::prelude::*;

/// One way in which the hosts differ, and what is under way.
#[derive(Clone, Debug)]
struct Plan {
    seed: u64,
    /// Mbit/s and milliseconds of each link.
    links: Vec<(u64, u64)>,
    /// Hundredths of a percent.
    loss: u64,
    /// Radios that send what has gathered: datagrams come several at a time.
    grants: bool,
    offload: bool,
    /// Kilobytes.
    buffer: Option<u64>,
}

impl Plan {
    fn read(&self, host: bool) -> Scenario {
        let mut content = format!("duration = \"2 s\"\nseed = {}\n", self.seed);
        if host {
            content += &format!("[host]\noffload = {}\n", self.offload);
            content += &self.buffer.map_or_else(String::new, |kb| format!("send-buffer = \"{kb} kB\"\n"));
        }
        for (at, (rate, rtt)) in self.links.iter().enumerate() {
            content += &format!("[[link]]\nname = \"l{at}\"\nrate = \"{rate} Mbit/s\"\nrtt = \"{rtt} ms\"\n");
            content += if self.grants { "grants = \"2 ms\"\n" } else { "" };
            content += &format!("loss = \"{}%\"\n", self.loss as f64 / 100.0);
        }
        content += "[[flow]]\nname = \"down\"\nkind = \"tcp\"\n";
        content += "[[flow]]\nname = \"up\"\nkind = \"tcp\"\ndirection = \"up\"\n";
        content += "[[flow]]\nname = \"call\"\nkind = \"udp\"\nrate = \"80 kbit/s\"\nstart = \"500 ms\"\n";
        content += "[[flow]]\nname = \"ping\"\nkind = \"ping\"\n";
        crate::scenario::read("host.toml", "host", &content, &Overrides::default())
            .unwrap_or_else(|error| panic!("{error}\n{content}"))
    }
}

/// Runs it; with what the sockets and devices of both ends have met.
fn met(scenario: &Scenario) -> (Report, [Met; 2]) {
    let mut world = World::new(scenario, Options::default()).unwrap_or_else(|error| panic!("{error}"));
    world.run();
    let met = world.met();
    let measured = world.finish().expect("no trace is written");
    (Report::new(scenario, measured, std::time::Duration::ZERO), met)
}

fn plans() -> impl Strategy<Value = Plan> {
    let links = proptest::collection::vec((4u64..40, 10u64..60), 1..3);
    let buffer = proptest::option::of(20u64..120);
    let loss = prop_oneof![Just(0u64), Just(50)];
    (any::<u32>(), links, loss, any::<[bool; 2]>(), buffer).prop_map(
        |(seed, links, loss, [grants, offload], buffer)| Plan {
            seed: seed.into(),
            links,
            loss,
            grants,
            offload,
            buffer,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn superpackets_and_refusals_lose_no_flow(plan in plans()) {
        let (plain, nothing) = met(&plan.read(false));
        prop_assert_eq!(nothing, [Met::default(); 2]);
        let scenario = plan.read(true);
        let (report, met) = met(&scenario);
        let (again, _) = self::met(&scenario);
        prop_assert_eq!(report.hash, again.hash);
        for end in met {
            let joined = end.given > 0 && end.received > 0;
            prop_assert_eq!(end.taken > 0, plan.offload, "{:?}", met);
            prop_assert!(joined || !(plan.offload && plan.grants), "{:?}", met);
            prop_assert!(plan.offload || end.given + end.received == 0, "{:?}", met);
        }
        let all = |report: &Report| -> u64 { report.flows.iter().filter_map(|flow| flow.goodput).sum() };
        // Random losses meet other packets, so that one run says little of another: half of it.
        let least = if plan.loss == 0 { 80 } else { 50 };
        prop_assert!(all(&report) * 100 >= all(&plain) * least, "{}\n{}", report, plain);
        for (now, before) in report.flows.iter().zip(&plain.flows) {
            // Where TCP fills a queue, its packets are dropped on purpose.
            let tcp = now.name == "down" || now.name == "up";
            prop_assert!(tcp || now.lost <= before.lost + 1, "{}\n{}", report, plain);
        }
    }
}

#[test]
fn a_socket_that_refuses_keeps_the_queue_of_its_device_short() {
    let plan = |buffer| {
        Plan { seed: 1, links: vec![(20, 20)], loss: 0, grants: false, offload: true, buffer }.read(true)
    };
    let longest = |report: &Report| {
        let waits = report.measured_links[0].iter().flat_map(|link| &link.waits);
        waits.map(|(_, wait)| *wait).max().expect("something was sent")
    };
    let ((free, unrefused), (short, refused)) = (met(&plan(None)), met(&plan(Some(20))));
    assert!(unrefused.iter().all(|end| end.refusals == 0), "{unrefused:?}");
    assert!(refused.iter().all(|end| end.refusals > 0), "{refused:?}");
    assert!(longest(&short) < longest(&free), "{:?} and {:?}", longest(&short), longest(&free));
}
