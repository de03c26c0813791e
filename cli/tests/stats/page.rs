//! The page for people, in a browser.

use crate::Watched;
use crate::common::{Scratch, has, here};
use std::process::Command;

/// What the page looks like after its script has run for some seconds of its own time.
fn seen(page: &str) -> String {
    let folder = Scratch::new();
    let profile = format!("--user-data-dir={}", folder.path().display());
    let output = Command::new("timeout")
        .args(["120", "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
        .args([&profile, "--virtual-time-budget=5000", "--dump-dom", page])
        .output()
        .expect("timeout(1) is everywhere");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_browser_draws_each_uplink_with_its_health() {
    if !has(here!(), "chromium") {
        return;
    }
    let folder = Scratch::new();
    let usage = folder.path().join("usage").display().to_string();
    let watched = Watched::start(&["lo@3", "--cap", "lo=1GB", "--usage-file", &usage]);
    let page = seen(&format!("http://{}/", watched.stats));
    for part in [
        "<h2 class=\"\">lo</h2>",
        "● well",
        "weight 3",
        "0 open",
        "0% of its cap",
        "polyline",
        ">live<",
        "runs for",
    ] {
        let plain = page.replace("<h2>", "<h2 class=\"\">");
        assert!(plain.contains(part), "expected {part:?} in:\n{page}");
    }
}
