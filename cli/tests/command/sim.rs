//! `ropewalk sim`: names, files, figures, pictures, and what is refused.

use crate::common::proxy::run;
use std::path::PathBuf;

/// A file of its own for each test.
fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("ropewalk-sim-{}-{name}", std::process::id()))
}

/// The ten lines of the manual.
fn manual() -> String {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/sim.md")).expect("it ships");
    let block = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
    block.expect("the manual has a scenario").to_owned()
}

const MINE: &str = "\
title = \"My link\"
duration = \"2 s\"
tunnel = \"none\"
[[link]]
name = \"dsl\"
rate = \"10 Mbit/s\"
rtt = \"20 ms\"
";

#[test]
fn the_scenarios_that_ship_are_listed() {
    let outcome = run(&["sim", "--list"]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    for name in ["s1 ", "s14 ", "f10 ", "one ", "straight "] {
        assert!(outcome.stdout.lines().any(|line| line.starts_with(name)), "{}", outcome.stdout);
    }
}

#[test]
fn a_file_of_ones_own_gives_a_table_a_picture_and_a_trace() {
    let (file, plot, trace) = (scratch("mine.toml"), scratch("mine.svg"), scratch("mine.trace"));
    std::fs::write(&file, MINE).expect("a scratch file");
    let paths = [&file, &plot, &trace].map(|path| path.to_str().expect("a path of ours").to_owned());
    let outcome = run(&["sim", &paths[0], "--plot", &paths[1], "--trace", &paths[2]]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    for word in ["My link", "straight over dsl, no tunnel", "ceiling: 9.7 Mbit/s", "longest gap", "queue p99"]
    {
        assert!(outcome.stdout.contains(word), "no {word:?} in\n{}", outcome.stdout);
    }
    let picture = std::fs::read_to_string(&plot).expect("it was asked for");
    assert!(picture.starts_with("<svg") && picture.contains("Mbit/s"), "{picture}");
    let lines = std::fs::read_to_string(&trace).expect("it was asked for");
    assert!(lines.lines().any(|line| line.contains(" enter dsl down 1500 ")), "no full packet went down");
    for path in [file, plot, trace] {
        std::fs::remove_file(path).expect("we made it");
    }
}

#[test]
fn the_same_seed_gives_the_same_hash_and_the_json_has_what_the_manual_says() {
    let hash = |seed: &str| {
        let outcome = run(&[
            "sim",
            "straight",
            "--json",
            "--set",
            "duration=1 s",
            "--set",
            "link.a.loss=1%",
            "--seed",
            seed,
        ]);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
        let json = outcome.stdout;
        for key in [
            "scenario",
            "virtual_s",
            "wall_s",
            "ceiling_mbit_s",
            "goodput_mbit_s",
            "longest_gap_ms",
            "lost",
            "ping_p50_ms",
        ]
        .into_iter()
        .chain(["ping_p99_ms", "rate_mbit_s", "carried_mbit_s", "dropped", "queue_p99_ms", "events"])
        {
            assert!(json.contains(&format!("\"{key}\":")), "no {key} in {json}");
        }
        let begin = json.find("\"hash\":\"").expect("it has one") + 8;
        json[begin..begin + 16].to_owned()
    };
    assert_eq!(hash("3"), hash("3"));
    assert_ne!(hash("3"), hash("4"));
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let file = scratch("wrong.toml");
    std::fs::write(&file, MINE.replace("10 Mbit/s", "fast")).expect("a scratch file");
    let path = file.to_str().expect("a path of ours");
    let outcome = run(&["sim", path]);
    let expected = format!("ropewalk: {path}:6: link.dsl.rate: expected a rate such as");
    assert!(outcome.code == Some(1) && outcome.stderr.starts_with(&expected), "{}", outcome.stderr);
    std::fs::remove_file(file).expect("we made it");
    for (arguments, words) in [
        (&["sim", "s99"][..], "expected the name of a scenario (ropewalk sim --list)"),
        (
            &["sim", "straight", "--set", "link.b.rate=1 Mbit/s"],
            "--set: link.b.rate: expected a key of this scenario",
        ),
        (&["sim", "s1", "--mode", "fastest"], "--set: bond.mode: expected one of \"aggregate\""),
        (&["sim", "nowhere.toml"], "nowhere.toml: "),
        (&["sim", "/tmp/"], "/tmp/: "),
        (&["sim", "/dev/zero"], "/dev/zero: expected a file of at most 1048576 bytes, got more"),
    ] {
        let outcome = run(arguments);
        assert!(
            outcome.code == Some(1) && outcome.stderr.contains(words),
            "{arguments:?}: {}",
            outcome.stderr
        );
    }
}

#[test]
fn an_expectation_that_is_missed_is_an_error_unless_something_was_changed() {
    let file = scratch("missed.toml");
    std::fs::write(&file, format!("{MINE}[[expect]]\ngoodput = \"11 Mbit/s\"\n")).expect("a scratch file");
    let path = file.to_str().expect("a path of ours");
    let outcome = run(&["sim", path]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stdout.contains("MISSED  goodput: at least 11.0 Mbit/s"), "{}", outcome.stdout);
    assert!(outcome.stderr.contains("an expectation was missed"), "{}", outcome.stderr);
    assert_eq!(run(&["sim", path, "--seed", "2"]).code, Some(0));
    std::fs::remove_file(file).expect("we made it");
}

#[test]
fn the_manuals_ten_lines_compare_each_link_alone_with_every_strategy() {
    let lines = manual();
    assert_eq!(lines.lines().count(), 10);
    let file = scratch("ten.toml");
    std::fs::write(&file, lines).expect("a scratch file");
    let path = file.to_str().expect("a path of ours");
    let outcome = run(&["sim", path, "--compare", "--set", "duration=2 s"]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    let rows: Vec<&str> = outcome.stdout.lines().skip(2).take_while(|line| !line.is_empty()).collect();
    let names: Vec<&str> =
        rows.iter().skip(1).filter_map(|row| row.trim_start().split("  ").next()).collect();
    let strategies =
        ["aggregate", "weighted", "lowest-latency", "active-backup", "redundant", "adaptive", "flow"];
    assert_eq!(names, [&["dsl alone", "lte alone"], &strategies[..]].concat(), "{}", outcome.stdout);
    let fields = |row: &str| row.split_whitespace().count();
    assert!(rows[3..].iter().all(|row| fields(row) == fields(rows[3])), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("best link alone: dsl alone, "), "{}", outcome.stdout);
    let outcome = run(&["sim", path, "--mode", "redundant", "--set", "duration=1 s"]);
    assert!(outcome.code == Some(0) && outcome.stdout.contains("through the bond, redundant"));
    std::fs::remove_file(file).expect("we made it");
}

#[test]
fn a_known_miss_is_told_and_is_no_error() {
    let file = scratch("known.toml");
    let missed = "[[expect]]\ngoodput = \"11 Mbit/s\"\nmissed = \"it is too much\"\n";
    std::fs::write(&file, format!("{MINE}{missed}")).expect("a scratch file");
    let path = file.to_str().expect("a path of ours");
    let outcome = run(&["sim", path]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    for words in ["known   goodput: at least 11.0 Mbit/s", "a known miss: it is too much"] {
        assert!(outcome.stdout.contains(words), "{}", outcome.stdout);
    }
    std::fs::remove_file(file).expect("we made it");
}

#[cfg(feature = "record")]
#[test]
fn what_is_no_recording_is_refused_in_words() {
    let cases: [(&str, &[u8], &str); 5] = [
        ("text", b"hello", "expected a recording of ropewalk, got another file"),
        ("version", b"RWLOG\0\0\x09", "expected a recording of format version 1, got version 9"),
        ("section", b"RWLOG\0\0\x01\x63\0\0\0\0\0\0", "the recording is damaged at byte 8"),
        (
            "entries",
            b"RWLOG\0\0\x01\x02\0\0\0\0\0\x01x",
            "worker 0 differs after 0.000000 s: not a recording",
        ),
        // It says that nearly 4 GiB follow.
        ("cut", b"RWLOG\0\0\x01\x02\0\0\xff\xff\xff\xff", "no worker has recorded anything"),
    ];
    for (name, bytes, told) in cases {
        let file = scratch(name);
        std::fs::write(&file, bytes).expect("a file of our own");
        let outcome = run(&["sim", "replay", file.to_str().expect("temporary paths are text")]);
        std::fs::remove_file(&file).expect("our own");
        assert_eq!(outcome.code, Some(1), "{name}");
        assert!(outcome.stderr.contains(told), "{name}: {}", outcome.stderr);
    }
    // It has no end.
    let outcome = run(&["sim", "replay", "/dev/zero"]);
    assert!(
        outcome.stderr.contains("expected a recording of ropewalk, got another file"),
        "{}",
        outcome.stderr
    );
}

#[cfg(feature = "record")]
#[test]
fn a_file_that_is_there_is_recorded_over_only_where_that_is_said() {
    let file = scratch("there.rec");
    std::fs::write(&file, "mine").expect("a file of our own");
    let path = file.to_str().expect("temporary paths are text");
    let outcome = run(&["dispatch", "--listen", "127.0.0.1:0", "--record", path]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("expected a file that is not there yet"), "{}", outcome.stderr);
    assert_eq!(std::fs::read(&file).expect("still there"), b"mine");
    std::fs::remove_file(&file).expect("our own");
}
