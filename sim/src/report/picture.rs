//! The report as a picture (SVG): what was delivered, what each link carried, delays, queues,
//! events, over time.
//!
//! ```text
//!   Mbit/s │ delivered ── link a ── link b ·· ceiling
//!       ms │ round trips of the pings
//!       ms │ the longest wait in each link's queue
//!      KiB │ the sender's window, where it tells
//!          └──────┬────────── seconds       │ an event
//! ```

use super::Report;
use crate::packet::meter::{FlowMeter, Sample};
use crate::scenario::{Event, Kind};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::time::Duration;

/// One curve: its name, its colour, its points (seconds, value). Light ones are thin.
struct Curve {
    name: String,
    color: RGBColor,
    light: bool,
    points: Vec<(f64, f64)>,
}

/// One chart.
struct Panel {
    title: String,
    unit: &'static str,
    height: u32,
    curves: Vec<Curve>,
}

pub(super) const WIDTH: u32 = 1000;
const HEAD: u32 = 64;
pub(super) const FONT: &str = "DejaVu Sans, Helvetica, Arial, sans-serif";
/// Distinct also for most eyes that see red and green alike (Okabe and Ito), without the light
/// yellow.
const COLORS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
];
pub(super) const GREY: RGBColor = RGBColor(150, 150, 150);
pub(super) const DARK: RGBColor = RGBColor(30, 30, 30);

fn color(index: usize) -> RGBColor {
    COLORS[index % COLORS.len()]
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

impl Report {
    /// The step of the curves: 100 ms, or more where a line would have over 600 of them.
    fn step(&self) -> Duration {
        let tenths = (self.scenario.duration.as_millis() / 60_000).max(1);
        Duration::from_millis(100) * tenths as u32
    }

    fn steps(&self) -> impl Iterator<Item = (Duration, Duration)> {
        let (step, end) = (self.step(), self.scenario.duration);
        (0u32..).map(move |n| (step * n, step * (n + 1))).take_while(move |(_, to)| *to <= end)
    }

    /// Megabits per second, a point in the middle of each step.
    fn rates(&self, rate: impl Fn(Duration, Duration) -> u64) -> Vec<(f64, f64)> {
        self.steps().map(|(from, to)| (seconds(from + to) / 2.0, rate(from, to) as f64 / 1e6)).collect()
    }

    /// Milliseconds, the longest of each step; a step without a sample has no point.
    fn longest(&self, samples: &[Sample]) -> Vec<(f64, f64)> {
        let longest = |(from, to): (Duration, Duration)| {
            let begin = samples.partition_point(|(at, _)| *at < from);
            let end = samples.partition_point(|(at, _)| *at < to);
            let most = samples[begin..end].iter().map(|(_, time)| *time).max()?;
            Some((seconds(from + to) / 2.0, seconds(most) * 1e3))
        };
        self.steps().filter_map(longest).collect()
    }

    fn panels(&self) -> Vec<Panel> {
        let way = self.direction as usize;
        let links = self.scenario.links.iter().zip(&self.measured_links).enumerate();
        let mut rates = Vec::new();
        let mut queues = Vec::new();
        for (index, (link, meters)) in links {
            let meter = &meters[way];
            let curve = |points| Curve { name: link.name.clone(), color: color(index), light: true, points };
            rates.push(curve(self.rates(|from, to| meter.carried.rate(from, to))));
            queues.push(curve(self.longest(&meter.waits)));
        }
        let ceiling = |from, to| self.scenario.ceiling(self.direction, &[], from, to);
        let of_flows = |fits: fn(&Kind) -> bool| {
            self.scenario.flows.iter().zip(&self.measured).filter(move |(flow, _)| fits(&flow.kind))
        };
        let tcp: Vec<&FlowMeter> = of_flows(|kind| matches!(kind, Kind::Tcp { .. }))
            .filter(|(flow, _)| flow.direction == self.direction)
            .map(|(_, meter)| meter)
            .collect();
        rates.push(Curve { name: "ceiling".into(), color: GREY, light: true, points: self.rates(ceiling) });
        let delivered = self.rates(|from, to| tcp.iter().map(|meter| meter.delivered.rate(from, to)).sum());
        rates.push(Curve {
            name: "TCP payload delivered".into(),
            color: DARK,
            light: false,
            points: delivered,
        });

        let pings =
            of_flows(|kind| matches!(kind, Kind::Ping { .. })).enumerate().map(|(index, (flow, meter))| {
                let point = |(at, time): &Sample| (seconds(*at), seconds(*time) * 1e3);
                let points = meter.round_trips.iter().map(point).collect();
                Curve { name: flow.name.clone(), color: color(index + 3), light: false, points }
            });
        let windows =
            of_flows(|kind| matches!(kind, Kind::Tcp { .. })).enumerate().map(|(index, (flow, meter))| {
                let points =
                    meter.windows.iter().map(|(at, bytes)| (seconds(*at), *bytes as f64 / 1024.0)).collect();
                Curve { name: flow.name.clone(), color: color(index), light: false, points }
            });
        let (pings, windows): (Vec<Curve>, Vec<Curve>) = (pings.collect(), windows.collect());
        let way = self.direction.as_str();
        let panel =
            |title: &str, unit, height, curves| Panel { title: title.to_owned(), unit, height, curves };
        let mut panels = vec![panel(
            &format!("Throughput {way}: IP bytes carried by each link, payload delivered"),
            "Mbit/s",
            330,
            rates,
        )];
        panels.push(panel("Round trip of the pings", "ms", 200, pings));
        panels.push(panel(&format!("Longest wait in each link's queue, {way}"), "ms", 200, queues));
        panels.push(panel("Congestion window of the sender", "KiB", 200, windows));
        panels.retain(|panel| panel.curves.iter().any(|curve| !curve.points.is_empty()));
        panels
    }

    /// An SVG document.
    ///
    /// # Errors
    /// What the drawing library says; none is known to happen.
    pub fn to_svg(&self) -> Result<String, String> {
        let panels = self.panels();
        let height = HEAD + panels.iter().map(|panel| panel.height).sum::<u32>() + 8;
        let mut out = String::new();
        {
            let root = SVGBackend::with_string(&mut out, (WIDTH, height)).into_drawing_area();
            self.draw(&root, panels).map_err(|error| format!("cannot draw: {error}"))?;
            root.present().map_err(|error| format!("cannot draw: {error}"))?;
        }
        Ok(out)
    }

    fn draw<'a>(
        &self,
        root: &DrawingArea<SVGBackend<'a>, plotters::coord::Shift>,
        panels: Vec<Panel>,
    ) -> Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>> {
        root.fill(&WHITE)?;
        let left = Pos::new(HPos::Left, VPos::Top);
        let title = (FONT, 20).into_font().style(FontStyle::Bold).color(&DARK).pos(left);
        let text = (FONT, 13).into_font().color(&DARK).pos(left);
        root.draw_text(&format!("{}: {}", self.scenario.name, self.scenario.title), &title, (16, 12))?;
        let flow = self.flows.iter().find(|flow| flow.goodput.is_some());
        let got = flow.and_then(|flow| flow.goodput).unwrap_or(0) as f64 / 1e6;
        let line = format!(
            "seed {}, {} s; {} {got:.1} Mbit/s of a ceiling of {:.1}; trace {:016x}",
            self.scenario.seed,
            seconds(self.scenario.duration),
            flow.map_or("", |flow| flow.name.as_str()),
            self.ceiling as f64 / 1e6,
            self.hash,
        );
        root.draw_text(&line, &text, (16, 38))?;
        let mut rest = root.margin(HEAD, 8, 0, 0);
        for panel in panels {
            let (area, below) = rest.split_vertically(panel.height);
            self.draw_panel(&area, panel)?;
            rest = below;
        }
        Ok(())
    }

    fn draw_panel<'a>(
        &self,
        area: &DrawingArea<SVGBackend<'a>, plotters::coord::Shift>,
        panel: Panel,
    ) -> Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>> {
        let most =
            panel.curves.iter().flat_map(|curve| &curve.points).map(|(_, value)| *value).fold(0.0, f64::max);
        let top = if most > 0.0 { most * 1.1 } else { 1.0 };
        let end = seconds(self.scenario.duration);
        let mut chart = ChartBuilder::on(area)
            .caption(&panel.title, (FONT, 14).into_font().color(&DARK))
            .margin_right(170)
            .margin_left(8)
            .margin_top(4)
            .x_label_area_size(34)
            .y_label_area_size(58)
            .build_cartesian_2d(0.0..end, 0.0..top)?;
        let label = (FONT, 12).into_font().color(&DARK);
        chart
            .configure_mesh()
            .x_desc("seconds")
            .y_desc(panel.unit)
            .axis_desc_style((FONT, 12).into_font().color(&DARK))
            .label_style(label.clone())
            .x_labels(11)
            .y_labels(if panel.height > 250 { 8 } else { 5 })
            .x_label_formatter(&|value| shown(*value))
            .y_label_formatter(&|value| shown(*value))
            .bold_line_style(RGBColor(225, 225, 225))
            .light_line_style(WHITE)
            .axis_style(GREY)
            .draw()?;
        for event in self.scenario.events.iter().filter(|event| !event.step) {
            let at = seconds(event.at);
            chart.draw_series([PathElement::new([(at, 0.0), (at, top)], event_color().stroke_width(1))])?;
        }
        for curve in &panel.curves {
            let width = if curve.light { 1 } else { 2 };
            chart.draw_series(LineSeries::new(
                curve.points.iter().copied(),
                curve.color.stroke_width(width),
            ))?;
        }
        // The legend stands at the side of the chart, where it hides nothing.
        let (x, _) = chart.plotting_area().get_pixel_range();
        let (area_x, _) = area.get_pixel_range();
        let x = x.end - area_x.start + 14;
        for (line, curve) in panel.curves.iter().enumerate() {
            let y = 34 + line as i32 * 18;
            let width = if curve.light { 2 } else { 3 };
            area.draw(&PathElement::new([(x, y), (x + 18, y)], curve.color.stroke_width(width)))?;
            area.draw_text(&curve.name, &label.pos(Pos::new(HPos::Left, VPos::Center)), (x + 24, y))?;
        }
        if panel.height > 250 {
            self.draw_events(area, x, 34 + panel.curves.len() as i32 * 18 + 10)?;
        }
        Ok(())
    }

    /// What the vertical lines are, at the side of the first chart.
    fn draw_events<'a>(
        &self,
        area: &DrawingArea<SVGBackend<'a>, plotters::coord::Shift>,
        x: i32,
        y: i32,
    ) -> Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>> {
        let style = (FONT, 11).into_font().color(&event_color()).pos(Pos::new(HPos::Left, VPos::Center));
        let shown: Vec<&Event> = self.scenario.events.iter().filter(|event| !event.step).collect();
        let room = ((300 - y).max(0) / 15) as usize;
        let mut y = y;
        for event in shown.iter().take(if shown.len() > room { room.saturating_sub(1) } else { room }) {
            let text = event.to_string_of(&self.scenario.links[event.link].name);
            // About as many letters as there is room for.
            let text: String = format!("{} s: {text}", seconds(event.at)).chars().take(26).collect();
            area.draw_text(&text, &style, (x, y))?;
            y += 15;
        }
        if shown.len() > room {
            area.draw_text("and more", &style, (x, y))?;
        }
        Ok(())
    }
}

fn event_color() -> RGBColor {
    RGBColor(200, 40, 40)
}

/// Without digits that say nothing.
pub(super) fn shown(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
