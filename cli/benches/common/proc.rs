//! What the kernel says of a rival: processor time, memory and descriptors of its whole process
//! tree (dante forks, microsocks starts a thread for each connection).

use std::collections::BTreeMap;
use std::fs;
use std::io;

/// Ticks a second of the times in `/proc/PID/stat`: USER_HZ, which is 100 on every Linux Rust runs
/// on.
const USER_HZ: f64 = 100.0;

/// The fields after the command of `/proc/PID/stat`, see proc(5); the command may itself hold
/// spaces and brackets.
fn stat_fields(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

/// proc(5) counts fields from 1 and the first after the command is number 3.
fn field(fields: &[String], number: usize) -> Option<u64> {
    fields.get(number - 3)?.parse().ok()
}

/// The process `root` and all its descendants that live, `root` first.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let mut children = BTreeMap::<u64, Vec<u32>>::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Some(parent) = stat_fields(pid).and_then(|fields| field(&fields, 4)) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        if let Some(more) = children.get(&u64::from(*pid)) {
            found.extend(more);
        }
        next += 1;
    }
    found
}

/// Processor seconds used so far. Fields 14 and 15 count all threads, ended ones too; 16 and 17 the
/// children that ended and were waited for.
pub(crate) fn cpu_seconds(root: u32) -> f64 {
    let ticks: u64 = tree(root)
        .into_iter()
        .filter_map(stat_fields)
        .map(|fields| (14..=17).filter_map(|number| field(&fields, number)).sum::<u64>())
        .sum();
    ticks as f64 / USER_HZ
}

/// The proportional set: memory in KiB, pages shared by several processes counted in parts.
pub(crate) fn pss_kib(root: u32) -> io::Result<f64> {
    let mut sum = 0.0;
    for pid in tree(root) {
        let rollup = match fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) {
            Ok(rollup) => rollup,
            // A child that ended meanwhile has none.
            Err(_) if pid != root => continue,
            Err(e) => return Err(e),
        };
        let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
        let kib =
            pss.and_then(|rest| rest.trim().strip_suffix("kB")).and_then(|number| number.trim().parse().ok());
        sum += kib.unwrap_or(0.0);
    }
    Ok(sum)
}

/// Open descriptors.
pub(crate) fn descriptors(root: u32) -> usize {
    tree(root)
        .into_iter()
        .filter_map(|pid| fs::read_dir(format!("/proc/{pid}/fd")).ok())
        .map(Iterator::count)
        .sum()
}
