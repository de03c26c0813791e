use super::*;
use crate::scenario::{Overrides, catalog};

mod host;

fn report(name: &str, inside: Inside, set: &[&str]) -> Report {
    let overrides = Overrides::new(set.iter().copied()).expect("it is well formed");
    let scenario =
        catalog::find(name).expect("it ships").read(&overrides).unwrap_or_else(|error| panic!("{error}"));
    run(&scenario, Options { inside, ..Options::default() }).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_one_another() {
    let lossy = ["duration=3 s", "link.a.loss=1%"];
    let hash = |seed| report("straight", Inside::Smoltcp, &[&lossy[..], &[seed]].concat()).hash;
    assert_eq!(hash("seed=1"), hash("seed=1"));
    assert_ne!(hash("seed=1"), hash("seed=2"));
}

/// The constants hold in debug and in release, and on every machine. A change of what is sent
/// changes them.
#[test]
fn the_hash_is_that_of_every_other_build() {
    assert_eq!(
        format!("{:016x}", report("straight", Inside::Smoltcp, &["duration=2 s"]).hash),
        "3d85b86825c7ba2a"
    );
    assert_eq!(
        format!("{:016x}", report("toy", Inside::Smoltcp, &["duration=2 s"]).hash),
        "85f968606a6d9051"
    );
    // The model of TCP, with losses to repair.
    let lossy = ["duration=2 s", "link.a.loss=1%"];
    let hash = |name| format!("{:016x}", report(name, Inside::Model, &lossy).hash);
    assert_eq!([hash("straight"), hash("toy")], ["16daa6b3b5929d00", "c7e9a8412d4582a9"]);
}

#[test]
fn a_plain_tunnel_costs_its_header_and_nothing_else() {
    for name in ["straight", "toy"] {
        let report = report(name, Inside::Smoltcp, &[]);
        assert!(report.is_as_expected(), "{report}");
    }
}

#[test]
fn every_packet_of_a_call_comes_over_a_clean_link_and_none_while_it_is_silent() {
    let call = "[[link]]\nname = \"a\"\nrate = \"5 Mbit/s\"\nrtt = \"30 ms\"\n[[flow]]\nname = \"call\"\n\
                kind = \"udp\"\nrate = \"80 kbit/s\"\n[[flow]]\nkind = \"ping\"\n";
    let silence = "[[event]]\nat = \"2 s\"\nlink = \"a\"\nstate = \"silent\"\n[[event]]\nat = \"3 s\"\n\
                   link = \"a\"\nstate = \"up\"\n";
    for tunnel in ["none", "toy"] {
        let run_with = |events: &str| {
            let content = format!("duration = \"5 s\"\ntunnel = \"{tunnel}\"\n{call}{events}");
            let scenario = crate::scenario::read("call.toml", "call", &content, &Overrides::default());
            let scenario = scenario.unwrap_or_else(|error| panic!("{error}"));
            run(&scenario, Options::default()).unwrap_or_else(|error| panic!("{error}"))
        };
        let clean = run_with("");
        assert_eq!([clean.flows[0].lost, clean.flows[1].lost], [0, 0], "{clean}");
        let median = clean.flows[1].ping_p50.expect("there were answers");
        assert!((30..31).contains(&median.as_millis()), "{median:?}");
        // 50 datagrams a second.
        let silent = run_with(silence);
        assert!((49..=51).contains(&silent.flows[0].lost), "{silent}");
        let gap = silent.flows[0].longest_gap.as_millis();
        assert!((1000..=1040).contains(&gap), "{silent}");
        assert_eq!(silent.events.len(), 2);
    }
}

#[test]
fn a_device_that_vanishes_ends_a_plain_tunnel_and_a_new_mapping_does_not() {
    let events = |state: &str| {
        format!(
            "duration = \"4 s\"\ntunnel = \"toy\"\n[[link]]\nname = \"a\"\nrate = \"5 Mbit/s\"\n\
             rtt = \"30 ms\"\n[[flow]]\nkind = \"ping\"\n[[event]]\nat = \"2 s\"\nlink = \"a\"\n{state}\n"
        )
    };
    let answered = |content: String| {
        let scenario = crate::scenario::read("nat.toml", "nat", &content, &Overrides::default());
        let report = run(&scenario.unwrap_or_else(|error| panic!("{error}")), Options::default());
        let report = report.unwrap_or_else(|error| panic!("{error}"));
        report.measured[0].round_trips.len()
    };
    // The answer that was on its way to the old mapping is lost, or none was.
    let rebound = answered(events("rebind = true"));
    assert!((39..=40).contains(&rebound), "{rebound}");
    assert_eq!(answered(events("state = \"gone\"")), 20);
}

#[test]
fn the_trace_has_a_line_for_each_packet_that_enters_and_leaves() {
    use std::sync::{Arc, Mutex};
    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);
    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("nobody panicked").extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let out = Shared::default();
    let scenario = catalog::find("toy")
        .expect("it ships")
        .read(&Overrides::new(["duration=200 ms"]).expect("it is well formed"));
    let options = Options { trace: Some(Box::new(out.clone())), ..Options::default() };
    run(&scenario.unwrap_or_else(|error| panic!("{error}")), options)
        .unwrap_or_else(|error| panic!("{error}"));
    let text = String::from_utf8(out.0.lock().expect("nobody panicked").clone()).expect("it is text");
    let lines = |step: &str| text.lines().filter(|line| line.split(' ').nth(1) == Some(step)).count();
    assert!(lines("enter") > 10);
    assert_eq!(lines("enter"), lines("leave") + lines("drop"));
    assert_eq!(lines("take"), lines("enter"));
    assert!(text.contains("\n0.000000000 take tun up "), "{text}");
}

#[test]
fn a_tcp_flow_of_the_kernel_fills_a_link_and_the_bond_two() {
    let straight = report("straight", Inside::Model, &["duration=5 s"]);
    let bonded = report("s1", Inside::Model, &["duration=5 s"]);
    let goodput = |report: &Report| report.flows[0].goodput.expect("it is TCP");
    assert!(goodput(&straight) > 45_000_000, "{straight}");
    assert!(goodput(&bonded) > 80_000_000, "{bonded}");
    assert!(bonded.events.iter().any(|(_, text)| text == "client: the bond is there"), "{bonded}");
}
