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
        "my.toml:8: link.lte.rate: expected a rate such as \"50 Mbit/s\" (bit/s, kbit/s, Mbit/s or Gbit/s), \
         up to 100 Gbit/s, got \"fast\""
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
    assert!(
        error("[[link]]\nname = \"a\"\nrate = \"1 Mbit/s\"\n")
            .contains("link.a.rtt: expected a time such as")
    );
    let twice = error(&format!("{TWO}delay = \"1 ms\"\n"));
    assert!(twice.contains("my.toml:9: link.lte.rtt: expected either rtt or delay"), "{twice}");
    let event = error(&format!("{TWO}[[event]]\nat = \"1 s\"\nlink = \"wlan\"\nstate = \"up\"\n"));
    assert!(event.contains("event.1.link: expected one of \"dsl\", \"lte\", got \"wlan\""), "{event}");
    let expect = error(&format!("{TWO}[[expect]]\nlink = \"dsl\"\ngoodput = \"97%\"\n"));
    assert!(expect.contains("got one of the others"), "{expect}");
}

/// The error of [`TWO`] with these lines behind it, or with a value in place of another.
fn spoilt(lines: &str) -> String {
    error(&format!("{TWO}{lines}"))
}

#[test]
fn a_key_that_is_written_wrong_is_told_before_what_is_missing_because_of_it() {
    let udp = "[[flow]]\nkind = \"udp\"\n";
    for (content, told) in [
        (
            TWO.replace("rtt = \"80", "ping = \"80"),
            "my.toml:9: link.lte.ping: expected one of the keys name,",
        ),
        (TWO.replace("rate = \"50", "speed = \"50"), "my.toml:4: link.dsl.speed: expected one of the keys"),
        (TWO.replace("[[link]]", "[[links]]"), "my.toml:2: links: expected one of the keys title,"),
        (
            TWO.replace("[[link]]", "[link]"),
            "my.toml:6: duplicate key; several tables are written as [[link]]",
        ),
        (format!("{TWO}{udp}bitrate = \"1 Mbit/s\"\n"), "my.toml:12: flow.udp1.bitrate: expected one of the"),
        (
            format!("{TWO}[[event]]\ntime = \"1 s\"\nlink = \"lte\"\n"),
            "my.toml:11: event.1.time: expected one",
        ),
        (format!("{TWO}[[event]]\nat = \"1 s\"\nlnk = \"lte\"\n"), "my.toml:12: event.1.lnk: expected one"),
    ] {
        assert!(error(&content).starts_with(told), "{}", error(&content));
    }
    assert!(spoilt(udp).contains("flow.udp1.rate: expected the rate of this flow, got none"));
}

#[test]
fn a_key_that_means_nothing_without_another_is_an_error() {
    let event = |rest: &str| spoilt(&format!("[[event]]\nat = \"1 s\"\nlink = \"lte\"\n{rest}\n"));
    let told = event("state = \"gone\"\nuntil = \"3 s\"");
    assert!(told.starts_with("my.toml:14: event.1.until: expected every beside it"), "{told}");
    let told = event("rtt = \"9 ms\"\nfrom = \"1 ms\"");
    assert!(told.starts_with("my.toml:14: event.1.from: expected over beside it"), "{told}");
}

#[test]
fn what_lies_behind_the_end_is_an_error_unless_the_command_line_makes_the_run_shorter() {
    let event = "[[event]]\nat = \"20 s\"\nlink = \"lte\"\nstate = \"silent\"\n";
    let flow = "[[flow]]\nname = \"late\"\nstart = \"1 min\"\n";
    let expect = "[[expect]]\nfrom = \"30 s\"\ngoodput = \"97%\"\n";
    for (lines, told) in [
        (event, "my.toml:11: event.1.at: expected a time before the end of the run (duration, 20s), got 20s"),
        (
            flow,
            "my.toml:12: flow.late.start: expected a time before the end of the run (duration, 20s), got 60s",
        ),
        (
            expect,
            "my.toml:11: expect.1.from: expected a time before the end of the run (duration, 20s), got 30s",
        ),
    ] {
        assert_eq!(spoilt(lines), told);
        let longer = format!("duration = \"2 min\"\n{TWO}{lines}");
        assert!(parsed(&longer).is_ok(), "{lines}");
        let shorter = with(&longer, &["duration=5 s"]).expect("it is made shorter");
        assert_eq!((shorter.events.len(), shorter.expects.len()), (0, 0), "{lines}");
    }
}

#[test]
fn huge_and_tiny_values_are_errors_and_take_no_time() {
    let swing = |over: &str, every: &str| {
        format!(
            "[[event]]\nat = \"1 s\"\nlink = \"lte\"\nfrom = \"1 ms\"\nrtt = \"9 ms\"\nover = \"{over}\"\n\
             every = \"{every}\"\n"
        )
    };
    let often = "[[event]]\nat = \"1 s\"\nlink = \"lte\"\nloss = \"1%\"\nevery = \"1 us\"\n";
    for (lines, told) in [
        (often.to_owned(), "event.1.every: expected a time that makes at most 100000 changes"),
        (
            often.replace("1 us", "0 s"),
            "event.1.every: expected a time that is neither zero nor shorter than over",
        ),
        (
            swing("99999999999 s", "4 s"),
            "event.1.over: expected a time such as \"20 ms\" (us, ms, s or min), up to 60 min",
        ),
        (swing("4 s", "1 s"), "event.1.every: expected a time that is neither zero nor shorter than over"),
        (
            "[[flow]]\nkind = \"ping\"\ninterval = \"0 ms\"\n".into(),
            "interval: expected a time such as \"100 ms\"",
        ),
        ("[[flow]]\nkind = \"udp\"\nrate = \"900 Gbit/s\"\n".into(), "rate: expected a rate such as"),
        ("queue = \"99999999999999 bdp\"\n".into(), "link.lte.queue: expected at most 1000 MB"),
        ("queue = \"2000 MB\"\n".into(), "link.lte.queue: expected at most 1000 MB, got 2000 MB"),
        ("mtu = 1343\n".into(), "link.lte.mtu: expected a whole number from 1344 to 65535, got 1343"),
        ("weight = 65536\n".into(), "link.lte.weight: expected a whole number from 1 to 65535, got 65536"),
    ] {
        let error = spoilt(&lines);
        assert!(error.contains(told), "{error}");
    }
    let error = with(TWO, &["duration=1 ms"]).expect_err("too short");
    assert_eq!(error.to_string(), "--set: duration: expected at least \"100 ms\", got 1ms");
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
    let swing = "[[event]]\nat = \"1 s\"\nlink = \"lte\"\nfrom = \"100 ms\"\nrtt = \"300 ms\"\n\
                 over = \"1 s\"\nevery = \"4 s\"\n";
    let scenario = parsed(&format!("duration = \"8 s\"\n{TWO}{swing}")).expect("it is well formed");
    assert_eq!(scenario.events.len(), 20);
    assert_eq!(scenario.events[0].change, Change::Delay(Duration::from_millis(60)));
    let last = scenario.events[9];
    assert_eq!(
        (last.at, last.change, last.step),
        (Duration::from_secs(2), Change::Delay(Duration::from_millis(150)), false)
    );
}

#[test]
fn slow_changes_of_one_kind_do_not_overlap() {
    let swing = |at: u32, link: &str, rest: &str| {
        format!("[[event]]\nat = \"{at} s\"\nlink = \"{link}\"\nover = \"4 s\"\n{rest}\n")
    };
    let rtt = "from = \"100 ms\"\nrtt = \"300 ms\"";
    let rate = "from = \"9 Mbit/s\"\nrate = \"5 Mbit/s\"";
    let after = |second: &str| parsed(&format!("{TWO}{}{second}", swing(4, "lte", rtt)));
    for second in [swing(8, "lte", rtt), swing(0, "lte", rtt), swing(4, "dsl", rtt), swing(4, "lte", rate)] {
        assert!(after(&second).is_ok(), "{second}");
    }
    let up = format!("{rtt}\ndirection = \"up\"");
    let often = format!("{rtt}\nevery = \"10 s\"");
    for second in [swing(4, "lte", rtt), swing(7, "lte", rtt), swing(1, "lte", rtt), swing(7, "lte", &up)] {
        let error = after(&second).expect_err(&second).to_string();
        assert!(error.contains("event.2.over: expected one slow change of a kind at a time"), "{error}");
    }
    let error = parsed(&format!("{TWO}{}{}", swing(1, "lte", &often), swing(13, "lte", rtt)));
    assert!(error.is_err(), "it meets the second round");
}
