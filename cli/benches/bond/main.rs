//! The bond beside the simulator, one link alone, the kernel's MPTCP and other tunnels: one
//! scenario file for all.
//!
//! ```text
//!   client ══ the scenario's links, in real time (`ropewalk_sim::lab`) ══ server ── far
//!     TCP, ping, datagrams of the scenario ─────────────────────────────────────▶
//! ```
//!
//! Each way carries the same flows and is held to the same expectations of the file. The ceiling is
//! the bond's for all of them, so a way that has no header of its own may be above 100%.
//!
//! | file | is |
//! | --- | --- |
//! | `hosts` | the namespaces and the links between them |
//! | `ways` | what is compared, and how the bond is set up |
//! | `rivals` | how others' tunnels are set up |
//! | `tunnel` | both ends of one |
//! | `raw` | how fast they are where nothing limits them |
//! | `daemon` | a program that runs meanwhile |
//! | `options`, `table` | the command line; what is printed |

#[cfg(target_os = "linux")]
mod daemon;
#[cfg(target_os = "linux")]
mod hosts;
#[cfg(target_os = "linux")]
#[path = "../common/median.rs"]
mod median;
#[cfg(target_os = "linux")]
#[path = "../../tests/common/ns.rs"]
mod ns;
#[cfg(target_os = "linux")]
mod options;
#[cfg(target_os = "linux")]
mod raw;
#[cfg(target_os = "linux")]
mod rivals;
#[cfg(target_os = "linux")]
mod table;
#[cfg(target_os = "linux")]
mod tunnel;
#[cfg(target_os = "linux")]
mod ways;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    match run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            std::process::ExitCode::FAILURE
        }
    }
}

#[cfg(target_os = "linux")]
fn run() -> Result<(), String> {
    use options::{Options, Wanted};
    let options = match Options::parse(std::env::args().skip(1))? {
        Wanted::Run(options) => options,
        Wanted::Help => {
            println!("{}", options::USAGE);
            return Ok(());
        }
        Wanted::Nothing => return Ok(()),
    };
    if !rustix::process::geteuid().is_root() {
        println!("SKIP: only root can make network namespaces, and links between them");
        return Ok(());
    }
    // The links must be in time where others want the processor too.
    let _ = rustix::process::setpriority_process(None, -15);
    for (way, missing) in options.ways.iter().filter_map(|way| Some((way, way.missing()?))) {
        println!("{way} is left out: {missing}");
    }
    println!("The kernel's TCP with {}.\n", options.congestion);
    if options.raw {
        println!(
            "{}",
            raw::measure(&options.ways, options.congestion, options.rounds.unwrap_or(raw::ROUNDS))
        );
    }
    for scenario in &options.scenarios {
        let mut table = table::Table::new(scenario);
        for way in options.ways.iter().filter(|way| way.missing().is_none()) {
            for round in 0..options.rounds.unwrap_or(1) {
                let mut scenario = scenario.clone();
                scenario.seed += round;
                table.add(&way.to_string(), &way.run(&scenario, options.congestion));
            }
        }
        println!("{table}");
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("nothing measured: the links stand between network namespaces, which are Linux's");
}
