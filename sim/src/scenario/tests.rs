use super::*;
use std::time::Duration;

const TWO: &str = "\
title = \"My two links\"
[[link]]
name = \"dsl\"
rate = \"50 Mbit/s\"
rtt = \"20 ms\"
[[link]]
name = \"lte\"
rate = \"20 Mbit/s\"
rtt = \"80 ms\"
";

fn parsed(content: &str) -> Result<Scenario, ScenarioError> {
    read("my.toml", "my", content, &Overrides::default())
}

fn with(content: &str, set: &[&str]) -> Result<Scenario, ScenarioError> {
    read("my.toml", "my", content, &Overrides::new(set.iter().copied())?)
}

fn error(content: &str) -> String {
    parsed(content).expect_err(content).to_string()
}

#[test]
fn ten_lines_are_a_scenario() {
    let scenario = parsed(TWO).expect("all has a default");
    assert_eq!(scenario.tunnel, Tunnel::Bond);
    assert_eq!(scenario.flows.len(), 2);
    let lte = &scenario.links[1];
    assert_eq!(lte.down.delay, Duration::from_millis(40));
    // 20 Mbit/s for 120 ms.
    assert_eq!(lte.down.queue.limit, 300_000);
}

#[test]
fn the_ceilings_are_those_of_the_targets() {
    let ceiling = |name: &str, of: &[usize], from, to| {
        let scenario = catalog::find(name).expect(name).read(&Overrides::default()).expect(name);
        let second = Duration::from_secs;
        scenario.ceiling(Direction::Down, of, second(from), second(to)) / 100_000
    };
    assert_eq!(ceiling("s1", &[], 0, 20), 922);
    assert_eq!(ceiling("s2", &[], 0, 20), 645);
    assert_eq!(ceiling("s3", &[], 0, 20), 1014);
    assert_eq!(ceiling("s3", &[0], 0, 20), 922);
    assert_eq!(ceiling("s4", &[], 0, 20), 918);
    assert_eq!(ceiling("s6", &[], 8, 20), 507);
    assert_eq!(ceiling("s5", &[], 8, 16), 461);
    assert_eq!(ceiling("straight", &[], 0, 20), 482);
}

#[test]
fn an_error_names_file_line_key_and_what_came() {
    let wrong = TWO.replace("20 Mbit/s", "fast");
    assert_eq!(
        error(&wrong),
        "my.toml:8: link.lte.rate: expected a rate such as \"50 Mbit/s\" (bit/s, kbit/s, Mbit/s or Gbit/s), got \"fast\""
    );
    let message = error(&format!("{TWO}colour = 1\n"));
    assert!(
        message.starts_with("my.toml:10: link.lte.colour: expected one of the keys name, aqm, rate,"),
        "{message}"
    );
    let message = error(&TWO.replace("\"lte\"", "\"dsl\""));
    assert!(
        message.starts_with("my.toml:7: link.dsl.name: expected a name that no other link has"),
        "{message}"
    );
    assert!(error("title = 1").starts_with("my.toml:1: title: expected a text in quotes, got 1"));
    assert!(error("").contains("expected 1 to 16 tables [[link]], got 0"));
    assert!(error("[[link]\n").starts_with("my.toml:1: "));
    assert!(error("[[link]]\nname = \"a\"\nrate = \"1 Mbit/s\"\n").contains("link.a.rtt: expected a value"));
    let twice = error(&format!("{TWO}delay = \"1 ms\"\n"));
    assert!(twice.contains("my.toml:9: link.lte.rtt: expected either rtt or delay"), "{twice}");
    let event = error(&format!("{TWO}[[event]]\nat = \"1 s\"\nlink = \"wlan\"\nstate = \"up\"\n"));
    assert!(event.contains("event.1.link: expected one of \"dsl\", \"lte\", got \"wlan\""), "{event}");
    let expect = error(&format!("{TWO}[[expect]]\nlink = \"dsl\"\ngoodput = \"97%\"\n"));
    assert!(expect.contains("got one of the others"), "{expect}");
}

#[test]
fn what_is_set_beside_the_file_wins() {
    let set = ["duration=5 s", "link.lte.rate=\"1 Mbit/s\"", "bond.mode=redundant", "seed=7"];
    let scenario = with(TWO, &set).expect("all of them exist");
    assert_eq!(scenario.duration, Duration::from_secs(5));
    assert_eq!(scenario.links[1].down.rate, 1_000_000);
    assert_eq!(scenario.bond.mode.as_deref(), Some("redundant"));
    assert_eq!(scenario.seed, 7);
    let error = with(TWO, &["link.wlan.rate=1 Mbit/s"]).expect_err("there is no such link");
    assert!(error.to_string().contains("got link.wlan.rate=1 Mbit/s"), "{error}");
    let error = with(TWO, &["seed=many"]).expect_err("not a number");
    assert_eq!(error.to_string(), "--set: seed: expected a whole number from 0, got \"many\"");
    assert!(Overrides::new(["seed"]).is_err());
}

#[test]
fn a_slow_change_is_made_of_steps() {
    let swing = "[[event]]\nat = \"1 s\"\nlink = \"lte\"\nfrom = \"100 ms\"\nrtt = \"300 ms\"\nover = \"1 s\"\nevery = \"4 s\"\n";
    let scenario = parsed(&format!("duration = \"8 s\"\n{TWO}{swing}")).expect("it is well formed");
    assert_eq!(scenario.events.len(), 20);
    assert_eq!(scenario.events[0].change, Change::Delay(Duration::from_millis(60)));
    let last = scenario.events[9];
    assert_eq!(
        (last.at, last.change, last.step),
        (Duration::from_secs(2), Change::Delay(Duration::from_millis(150)), false)
    );
}
