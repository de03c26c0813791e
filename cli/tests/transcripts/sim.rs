//! A run in virtual time: the same on every machine, so the manual shows it to the byte.

use crate::common::proxy::run;
use crate::page::Page;

#[test]
fn the_manual_shows_a_run_of_the_simulator() {
    let outcome = run(&["sim", "straight"]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    let printed: Vec<String> = outcome.stdout.lines().map(str::to_owned).collect();
    Page::new("cli/docs/sim.md").shows("ropewalk sim straight", &printed);
}
