//! `ropewalk sim replay`: a recorded run in fresh machines, and its decisions as a timeline.

use super::timeline::{Line, Timeline};
use crate::dispatch::cap::Date;
use crate::process::files;
use crate::process::output::print;
use ropewalk_core::record::{self, Stop};
use ropewalk_core::time::Instant;
use ropewalk_sim::report::lanes_to_svg;
use std::fmt::{Display, Write};
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  ropewalk dispatch --record incident.rec         record, until the file has 64 MiB
  ropewalk sim replay incident.rec                the same run, and what was decided when
  ropewalk sim replay incident.rec --plot it.svg  and what each uplink did, as a picture";

/// Run again what `--record` has recorded: the same decisions, as a timeline
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct ReplayArgs {
    /// A file that `ropewalk dispatch --record` has written
    file: PathBuf,

    /// No timeline: only whether the outputs are equal
    #[arg(long)]
    summary: bool,

    /// Draw what each uplink did, and what was thought of it, into this SVG file
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

/// What came of one worker's recording.
struct Outcome {
    worker: u16,
    /// The time of the last step.
    last: Instant,
    result: Result<record::Replayed, record::Divergence>,
}

/// Replays a file.
///
/// # Errors
/// What the file is in place of a recording, or the first difference.
pub(super) fn run(args: &ReplayArgs) -> Result<(), String> {
    let path = &args.file;
    let failed = |error: &dyn Display| format!("{}: {error}", path.display());
    // A recording has the size that its service was given.
    let bytes = files::bounded(path, record::FILE_MAGIC, u64::MAX).map_err(|error| failed(&error))?;
    let mut file = record::File::read(&bytes).map_err(|error| failed(&error))?;
    drop(bytes);
    // Whoever wrote the file does not rule the terminal it is shown in.
    let texts =
        file.about.iter_mut().map(|(_, value)| value).chain(file.news.iter_mut().map(|(_, text)| text));
    texts.for_each(|text| text.retain(|c| !c.is_control()));
    let mut timeline = Timeline::new(&file.about, &file.news);
    let mut outcomes = Vec::new();
    for (worker, recording) in &file.workers {
        let mut last = Instant::ZERO;
        let result = record::replay_incident(recording, &mut |moment| {
            last = timeline.step(*worker, moment).unwrap_or(last);
        });
        timeline.end();
        outcomes.push(Outcome { worker: *worker, last, result });
    }
    for (at, text) in &file.news {
        timeline.news(*at, text);
    }
    let mut text = head(&file, path);
    if !args.summary {
        let _ = writeln!(text, "{:>12} {:>7}  what", "seconds", "worker");
        for Line { at, worker, text: what } in timeline.lines() {
            let worker = worker.map_or(String::from("-"), |worker| worker.to_string());
            let _ = writeln!(text, "{:>12} {worker:>7}  {what}", seconds(*at));
        }
        text.push('\n');
    }
    let told = match file.stop {
        Some(Stop::Ended) => "the recording ends with the process",
        Some(Stop::Limit) => "the recording ends at its limit, before the process",
        Some(Stop::Slow) => "the recording ends where the disk was too slow, before the process",
        None => "the recording was cut off, or goes on",
    };
    let _ = writeln!(text, "{told}");
    for Outcome { worker, result, .. } in &outcomes {
        if let Ok(replayed) = result {
            let _ = writeln!(
                text,
                "worker {worker}: {} inputs replayed, {} outputs equal",
                replayed.inputs, replayed.compared
            );
        }
    }
    if let Some(plot) = &args.plot {
        let (lanes, end) = timeline.lanes();
        let title = format!("{}: what each uplink did", path.display());
        let picture = lanes_to_svg(&title, end, &lanes)?;
        std::fs::write(plot, picture).map_err(|error| format!("--plot {}: {error}", plot.display()))?;
    }
    print(&text)?;
    let differs = outcomes.iter().find_map(|outcome| {
        let divergence = outcome.result.as_ref().err()?;
        let (worker, at) = (outcome.worker, seconds(outcome.last));
        Some(format!("{}: worker {worker} differs after {at} s: {divergence}", path.display()))
    });
    match differs {
        Some(differs) => Err(differs),
        None if outcomes.is_empty() => Err(format!("{}: no worker has recorded anything", path.display())),
        None => Ok(()),
    }
}

fn head(file: &record::File, path: &Path) -> String {
    let of = |key: &str| file.about.iter().find(|(known, _)| known == key).map_or("?", |(_, value)| value);
    format!(
        "{}: {} of ropewalk {}, began {}\n\n",
        path.display(),
        of("service"),
        of("version"),
        date(of("began"))
    )
}

/// `2026-11-27 10:07:23 UTC`, of seconds since 1970.
fn date(began: &str) -> String {
    let Some(seconds) = began.split('.').next().and_then(|whole| whole.parse::<u64>().ok()) else {
        return String::from("at an unknown time");
    };
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{} {hour:02}:{minute:02}:{second:02} UTC", Date::at(seconds))
}

fn seconds(at: Instant) -> String {
    format!("{}.{:06}", at.as_nanos() / 1_000_000_000, at.as_nanos() / 1000 % 1_000_000)
}
