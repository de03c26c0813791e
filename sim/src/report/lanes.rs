//! Lanes over time as a picture (SVG): what each uplink was doing, and what was thought of it.
//!
//! ```text
//!   wlan0 │ ▂▂▂▂▂▂▂▂ ▂▂▂▂         bars: attempts and connections, one above the other
//!    usb0 │ ▂▂▂▂┆▂▂ ░░░░░░░░┆     marks: what was said of the lane
//!         └──────────────── seconds
//! ```

use super::picture::{DARK, FONT, GREY, WIDTH, shown};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// What a bar shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Doing {
    /// Something is tried, and will succeed.
    Trying,
    /// Something is tried and fails, or is given up.
    Failing,
    /// Something is carried.
    Carrying,
    /// The lane is left alone; behind all others.
    Resting,
}

/// From when to when, in seconds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Bar {
    /// It begins.
    pub from: f64,
    /// It ends.
    pub to: f64,
    /// What it shows.
    pub doing: Doing,
}

/// A lane.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Lane {
    /// What people call it.
    pub name: String,
    /// What it did.
    pub bars: Vec<Bar>,
    /// When something was said of it, in seconds, and what.
    pub marks: Vec<(f64, String)>,
}

/// The height of a bar, and the most of them above one another.
const ROW: u32 = 8;
const MOST_ROWS: usize = 24;
/// What stands above the lanes, and below.
const HEAD: u32 = 56;
const FOOT: u32 = 44;
/// Where the lanes begin and end.
const LEFT: i32 = 130;
const RIGHT: i32 = WIDTH as i32 - 24;

impl Doing {
    fn color(self) -> RGBColor {
        match self {
            Doing::Trying => RGBColor(230, 159, 0),
            Doing::Failing => RGBColor(213, 94, 0),
            Doing::Carrying => RGBColor(0, 114, 178),
            Doing::Resting => RGBColor(232, 232, 232),
        }
    }
}

impl Lane {
    /// In which row each bar is: the first that is free when it begins. Beyond the last they share
    /// it.
    fn rows(&self) -> (Vec<usize>, usize) {
        let mut bars: Vec<usize> = (0..self.bars.len()).collect();
        bars.sort_by(|a, b| self.bars[*a].from.total_cmp(&self.bars[*b].from));
        let (mut free, mut rows) = (Vec::<f64>::new(), vec![0; self.bars.len()]);
        for at in bars {
            let Bar { from, to, doing } = self.bars[at];
            if doing == Doing::Resting {
                continue;
            }
            let row = free.iter().position(|until| *until <= from).unwrap_or(free.len()).min(MOST_ROWS - 1);
            match free.get_mut(row) {
                Some(until) => *until = until.max(to),
                None => free.push(to),
            }
            rows[at] = row;
        }
        (rows, free.len().max(1))
    }

    fn height(&self) -> u32 {
        self.rows().1 as u32 * ROW + 12 + self.marks.len().min(4) as u32 * 14
    }
}

/// An SVG document of what was done until `end`, in seconds.
///
/// # Errors
/// What the drawing library says; none is known to happen.
pub fn lanes_to_svg(title: &str, end: f64, lanes: &[Lane]) -> Result<String, String> {
    let height = HEAD + lanes.iter().map(Lane::height).sum::<u32>() + FOOT;
    let mut out = String::new();
    {
        let root = SVGBackend::with_string(&mut out, (WIDTH, height)).into_drawing_area();
        draw(&root, title, end.max(1e-9), lanes).map_err(|error| format!("cannot draw: {error}"))?;
        root.present().map_err(|error| format!("cannot draw: {error}"))?;
    }
    Ok(out)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

fn draw<'a>(root: &Area<'a>, title: &str, end: f64, lanes: &[Lane]) -> Drawn<'a> {
    root.fill(&WHITE)?;
    let left = Pos::new(HPos::Left, VPos::Top);
    let bold = (FONT, 16).into_font().style(FontStyle::Bold).color(&DARK).pos(left);
    let text = (FONT, 12).into_font().color(&DARK).pos(left);
    root.draw_text(title, &bold, (16, 10))?;
    let mut x = LEFT;
    let kinds = [
        (Doing::Trying, "tried"),
        (Doing::Failing, "failed or given up"),
        (Doing::Carrying, "carried"),
        (Doing::Resting, "left alone"),
    ];
    for (doing, word) in kinds {
        root.draw(&Rectangle::new([(x, 36), (x + 18, 44)], doing.color().filled()))?;
        root.draw_text(word, &text, (x + 24, 33))?;
        x += 150;
    }
    let place = |seconds: f64| LEFT + (seconds.clamp(0.0, end) / end * f64::from(RIGHT - LEFT)) as i32;
    let mut top = HEAD as i32;
    for lane in lanes {
        draw_lane(root, lane, top, &place)?;
        top += lane.height() as i32;
    }
    root.draw(&PathElement::new([(LEFT, top), (RIGHT, top)], GREY.stroke_width(1)))?;
    let middle = text.pos(Pos::new(HPos::Center, VPos::Top));
    for tenth in 0..=10 {
        let at = end * f64::from(tenth) / 10.0;
        let x = place(at);
        root.draw(&PathElement::new([(x, top), (x, top + 5)], GREY.stroke_width(1)))?;
        root.draw_text(&shown(at), &middle, (x, top + 8))?;
    }
    root.draw_text("seconds", &middle, ((LEFT + RIGHT) / 2, top + 24))
}

fn draw_lane<'a>(root: &Area<'a>, lane: &Lane, top: i32, place: &impl Fn(f64) -> i32) -> Drawn<'a> {
    let text = (FONT, 12).into_font().color(&DARK).pos(Pos::new(HPos::Left, VPos::Top));
    let name: String = lane.name.chars().take(18).collect();
    root.draw(&PathElement::new([(16, top), (RIGHT, top)], GREY.stroke_width(1)))?;
    root.draw_text(&name, &text, (16, top + 4))?;
    let (rows, count) = lane.rows();
    let bottom = top + 6 + (count as u32 * ROW) as i32;
    // What rests is behind the rest.
    let mut order: Vec<(&Bar, usize)> = lane.bars.iter().zip(rows).collect();
    order.sort_by_key(|(bar, _)| bar.doing != Doing::Resting);
    for (bar, row) in order {
        let (from, to) = (place(bar.from), place(bar.to).max(place(bar.from) + 1));
        let (y, end) = match bar.doing {
            Doing::Resting => (top + 2, bottom + 2),
            _ => (top + 6 + row as i32 * ROW as i32, top + 4 + (row as i32 + 1) * ROW as i32),
        };
        root.draw(&Rectangle::new([(from, y), (to, end)], bar.doing.color().filled()))?;
    }
    let red = RGBColor(200, 40, 40);
    for (at, _) in &lane.marks {
        root.draw(&PathElement::new([(place(*at), top + 2), (place(*at), bottom + 2)], red.stroke_width(1)))?;
    }
    let small = (FONT, 11).into_font().color(&red).pos(Pos::new(HPos::Left, VPos::Top));
    for (line, (at, what)) in lane.marks.iter().take(4).enumerate() {
        let more = lane.marks.len() - 4.min(lane.marks.len());
        let more = if line == 3 && more > 0 { format!(", and {more} more") } else { String::new() };
        root.draw_text(
            &format!("{} s: {what}{more}", shown(*at)),
            &small,
            (LEFT, bottom + 4 + line as i32 * 14),
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(from: f64, to: f64, doing: Doing) -> Bar {
        Bar { from, to, doing }
    }

    #[test]
    fn bars_at_the_same_time_are_above_one_another_and_many_share_the_last_row() {
        let bars = vec![
            bar(0.0, 2.0, Doing::Carrying),
            bar(1.0, 3.0, Doing::Trying),
            bar(2.0, 3.0, Doing::Failing),
            bar(0.0, 9.0, Doing::Resting),
        ];
        assert_eq!(Lane { bars, ..Lane::default() }.rows(), (vec![0, 1, 0, 0], 2));
        let crowd = vec![bar(0.0, 1.0, Doing::Carrying); 100];
        assert_eq!(Lane { bars: crowd, ..Lane::default() }.rows().1, MOST_ROWS);
    }

    #[test]
    fn a_picture_has_each_lane_and_what_was_said_of_it() {
        let lanes = ["wlan0", "usb0"].map(|name| Lane {
            name: name.into(),
            bars: vec![bar(0.0, 1.5, Doing::Carrying), bar(1.0, 2.0, Doing::Resting)],
            marks: vec![(1.0, format!("{name} <rests>"))],
        });
        let svg = lanes_to_svg("an incident", 2.0, &lanes).expect("drawn");
        for text in ["an incident", "wlan0", "usb0", "1 s: usb0 &lt;rests&gt;", "seconds"] {
            assert!(svg.contains(text), "{text}: {svg}");
        }
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    }
}
