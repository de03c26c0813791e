//! The board as a grid: a line for each link, and under them a graph of all together.

use super::board::{Board, Rate, Row};
use super::grid::{Colour, Grid};

/// Eighths of a cell.
const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Columns of a rate: the longest is "99.9 Mbit/s".
const RATE: usize = 11;
/// Where there are fewer lines than this left, a graph shows nothing.
const GRAPH: usize = 5;

pub(super) fn draw(board: &Board, size: (usize, usize)) -> Grid {
    let mut grid = Grid::new(size);
    let (width, height) = (grid.width(), grid.height());
    head(board, &mut grid);
    let foot = height.saturating_sub(1);
    grid.put((0, foot), Colour::Dim, "q quits");
    let longest = board.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
    let name = longest.clamp(4, (width / 3).max(8));
    let table = 2;
    titles(name, table, &mut grid);
    let room = foot.saturating_sub(table + 1);
    let shown = match board.rows.len() > room {
        // The last line tells how many have no place.
        true => room.saturating_sub(1),
        false => board.rows.len(),
    };
    for (number, row) in board.rows.iter().take(shown).enumerate() {
        line(row, name, table + 1 + number, &mut grid);
    }
    if shown < board.rows.len() {
        let more = format!("and {} more", board.rows.len() - shown);
        grid.put((0, table + 1 + shown), Colour::Dim, &more);
    }
    let top = table + 2 + shown;
    if shown == board.rows.len() && foot >= top + GRAPH {
        graph(board, top, foot - top, &mut grid);
    }
    grid
}

fn head(board: &Board, grid: &mut Grid) {
    let at = grid.put((0, 0), Colour::Bold, "ropewalk");
    let about = format!(" {}  {}  runs for {}", board.version, board.address, lasted(board.uptime));
    grid.put((at, 0), Colour::Dim, &about);
    match &board.lost {
        Some(why) => grid.put((0, 1), Colour::Bad, why),
        None if board.rows.is_empty() => grid.put((0, 1), Colour::Dim, "nothing is carried yet"),
        None => 0,
    };
}

fn titles(name: usize, row: usize, grid: &mut Grid) {
    let text = format!("{:<name$} {:<5}{:>RATE$} {:>RATE$}  OPEN  NOTES", "LINK", "STATE", "DOWN", "UP");
    grid.put((0, row), Colour::Dim, &text);
}

fn line(row: &Row, name: usize, at: usize, grid: &mut Grid) {
    grid.put((0, at), Colour::Plain, &cut(&row.name, name));
    let (state, colour) = match row.up {
        Some(true) => ("well", Colour::Good),
        Some(false) => ("DOWN", Colour::Bad),
        None => ("", Colour::Plain),
    };
    grid.put((name + 1, at), colour, state);
    let Rate { down, up } = row.rate();
    let column = name + 6;
    grid.put((column, at), Colour::Down, &format!("{:>RATE$}", rate(down)));
    grid.put((column + RATE, at), Colour::Up, &format!(" {:>RATE$}", rate(up)));
    let open = row.open.map_or(String::new(), |open| open.to_string());
    let behind = grid.put((column + 2 * RATE + 1, at), Colour::Plain, &format!("{open:>6}  "));
    let behind = grid.put((behind, at), Colour::Dim, &row.notes.join(", "));
    // What is left of the line shows how it was.
    let left = grid.width().saturating_sub(behind + 2);
    if left >= 8 {
        let all: Vec<f64> = row.rates.iter().map(|rate| rate.down + rate.up).collect();
        let from = all.len().saturating_sub(left);
        let most = all[from..].iter().copied().fold(1.0, f64::max);
        let text: String = all[from..].iter().map(|value| BARS[eighths(*value, most, 1)]).collect();
        grid.put((behind + 2, at), Colour::Down, &text);
    }
}

/// Down above, in the height that there is; the newest at the right.
fn graph(board: &Board, top: usize, height: usize, grid: &mut Grid) {
    let len = board.rows.iter().map(|row| row.rates.len()).max().unwrap_or(0);
    // Those that came late have nothing at the left.
    let sum = |back: usize| {
        let each = board.rows.iter().filter_map(|row| row.rates.iter().rev().nth(back));
        each.fold(Rate::default(), |sum, rate| Rate { down: sum.down + rate.down, up: sum.up + rate.up })
    };
    let width = grid.width();
    let all: Vec<Rate> = (0..len.min(width)).map(sum).collect();
    let most = all.iter().map(|rate| rate.down + rate.up).fold(1.0, f64::max);
    let now = all.first().copied().unwrap_or_default();
    let at = grid.put((0, top), Colour::Dim, "all links: ");
    let at = grid.put((at, top), Colour::Down, &format!("{} down", rate(now.down)));
    let at = grid.put((at, top), Colour::Up, &format!(", {} up", rate(now.up)));
    grid.put((at, top), Colour::Dim, &format!(", at most {}", rate(if most > 1.0 { most } else { 0.0 })));
    let bars = height - 1;
    for (back, both) in all.iter().enumerate() {
        let column = width - 1 - back;
        let (down, both) = (eighths(both.down, most, bars), eighths(both.down + both.up, most, bars));
        for level in 0..bars {
            let filled = both.saturating_sub(8 * level).min(8);
            // What comes down stands at the foot, what goes up on top of it.
            let colour = if 8 * level < down { Colour::Down } else { Colour::Up };
            if filled > 0 {
                grid.put((column, top + height - 1 - level), colour, &BARS[filled].to_string());
            }
        }
    }
}

/// How many eighths of `cells` cells this is of `most`; something is never nothing.
fn eighths(value: f64, most: f64, cells: usize) -> usize {
    let full = 8 * cells;
    let part = (value / most * full as f64).round().clamp(0.0, full as f64) as usize;
    if value >= 1.0 { part.max(1) } else { part }
}

fn cut(text: &str, width: usize) -> String {
    match text.chars().count() > width {
        true => text.chars().take(width.saturating_sub(1)).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

fn rate(bits: f64) -> String {
    let mut bits = bits;
    for unit in ["bit/s", "kbit/s", "Mbit/s", "Gbit/s"] {
        if bits < 999.5 || unit == "Gbit/s" {
            let digits = if bits < 99.95 && unit != "bit/s" { 1 } else { 0 };
            return format!("{bits:.digits$} {unit}");
        }
        bits /= 1000.0;
    }
    String::new()
}

fn lasted(seconds: f64) -> String {
    let seconds = seconds as u64;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes} min {} s", seconds % 60),
        (0, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
