//! The recorded flows of the kernel compared with the model's: a table, and with a folder as
//! argument a picture of each window.
//!
//! ```text
//! cargo run --release -p ropewalk-sim --example kernel_tcp -- out [part of a name] [paced]
//! ```

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../tests/util/recorded.rs"]
mod recorded;

use plotters::prelude::*;
use recorded::{Recording, Transfer};
use std::path::Path;

const SEEDS: u64 = 10;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let paced = arguments.iter().any(|word| word == "paced");
    let part = arguments.get(1).map_or("", String::as_str);
    for (name, recording) in Recording::all().into_iter().filter(|(name, _)| name.contains(part)) {
        let began = std::time::Instant::now();
        let flows: Vec<Transfer> = (0..SEEDS).map(|seed| recording.model(seed, paced)).collect();
        let wall = began.elapsed() / SEEDS as u32;
        let mean = |of: fn(&Transfer) -> f64| flows.iter().map(of).sum::<f64>() / SEEDS as f64;
        let (goodput, retransmits) = (mean(|flow| flow.goodput), mean(|flow| flow.retransmits as f64));
        println!(
            "{name:16} goodput {:6.2} model {goodput:6.2} ({:+6.1}%)  retransmits {:4} model \
             {retransmits:6.1}  {wall:.0?}",
            recording.flow.goodput,
            (goodput / recording.flow.goodput - 1.0) * 100.0,
            recording.flow.retransmits,
        );
        if let Some(folder) = arguments.first() {
            std::fs::create_dir_all(folder)?;
            draw(&Path::new(folder).join(format!("{name}.svg")), &name, &recording.flow, &flows[0])?;
        }
    }
    Ok(())
}

/// Both windows over time, in segments.
fn draw(
    path: &Path,
    name: &str,
    kernel: &Transfer,
    model: &Transfer,
) -> Result<(), Box<dyn std::error::Error>> {
    let points = |flow: &Transfer| -> Vec<(f64, f64)> {
        flow.rows.iter().map(|row| (row.seconds, row.cwnd as f64 / 1448.0)).collect()
    };
    let (kernel, model) = (points(kernel), points(model));
    let most = |points: &[(f64, f64)]| points.iter().map(|point| point.1).fold(1.0, f64::max);
    let end = kernel.last().map_or(1.0, |last| last.0);
    let area = SVGBackend::new(path, (1000, 420)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(format!("{name}: congestion window"), ("sans-serif", 20))
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..end, 0.0..most(&kernel).max(most(&model)) * 1.05)?;
    chart.configure_mesh().x_desc("time (s)").y_desc("window (segments of 1448 bytes)").draw()?;
    for (label, points, colour) in [("kernel", kernel, BLACK), ("model", model, RED)] {
        chart
            .draw_series(LineSeries::new(points, &colour))?
            .label(label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour));
    }
    chart.configure_series_labels().border_style(BLACK).background_style(WHITE).draw()?;
    area.present()?;
    Ok(())
}
