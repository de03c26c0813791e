//! `ropewalk top`: the figures of a running service, live in a terminal.
//!
//! ```text
//!   stats endpoint ──JSON──▶ fetch ──▶ board (rates, history) ──▶ view ──▶ grid ──▶ terminal
//! ```
//!
//! What is drawn is a grid of characters that knows no terminal, so it can be looked at in a test.

mod board;
mod fetch;
mod grid;
mod terminal;
mod view;

use crate::process::args::{seconds, stats};
use board::Board;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use terminal::{Terminal, Woken};

/// Show live what a service carries by each of its links, from its --stats; q or Ctrl-C ends it
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Where the service tells its figures: what its --stats was given
    #[arg(value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9090", value_parser = stats)]
    address: SocketAddr,

    /// Look again after so many seconds
    #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    interval: Duration,

    /// Look once, write it and end, as it does where the output is no terminal
    #[arg(long)]
    once: bool,
}

/// Shows until the user ends it.
///
/// # Errors
/// A sentence: nobody answers there, or what answers is no service of ropewalk.
pub(crate) fn run(all: Vec<Args>) -> Result<(), String> {
    all.iter().try_for_each(show)
}

fn show(args: &Args) -> Result<(), String> {
    let mut board = Board::new(args.address.to_string());
    board.update(Instant::now(), &fetch::fetch(args.address)?);
    if args.once || !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        // Without a second look there is no rate.
        std::thread::sleep(args.interval.min(Duration::from_secs(1)));
        board.update(Instant::now(), &fetch::fetch(args.address)?);
        return terminal::write_plain(&view::draw(&board, (80, 24)).text());
    }
    let mut terminal = Terminal::enter()?;
    let mut next = Instant::now() + args.interval;
    loop {
        terminal.show(&view::draw(&board, terminal.size()))?;
        match terminal.wait(next.saturating_duration_since(Instant::now()))? {
            Woken::Ends => return Ok(()),
            Woken::Resized => {}
            Woken::Time => {
                // A service that is started anew is found again.
                match fetch::fetch(args.address) {
                    Ok(stats) => board.update(Instant::now(), &stats),
                    Err(error) => board.lost(error),
                }
                next = Instant::now() + args.interval;
            }
        }
    }
}
