//! What `dispatch` counts and logs of names that are looked up through uplinks.

use crate::process::stats::Samples;
use crate::process::watch::{Flood, add, get};
use ropewalk_core::machine::event::NamesNews;
use ropewalk_core::time::Instant;
use std::fmt;
use std::sync::atomic::AtomicU64;

/// Counters.
#[derive(Default)]
pub(crate) struct Names {
    known: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
    asked: AtomicU64,
    truncated: AtomicU64,
    stray: AtomicU64,
    cache_full: AtomicU64,
    flood: Flood,
}

impl Names {
    /// Counts and tells.
    pub(crate) fn event(&self, now: Instant, news: &NamesNews, via: impl fmt::Display) {
        match news {
            NamesNews::Known => add(&self.known),
            NamesNews::Asked { server } => {
                add(&self.asked);
                log::debug!("{server} is asked for a name{via}");
            }
            NamesNews::Answered { took } => {
                add(&self.answered);
                log::debug!("a name was looked up{via} in {took:?}");
            }
            NamesNews::Failed { fault, took } => {
                add(&self.failed);
                log::debug!("a name was not looked up{via}: {fault}, after {took:?}");
            }
            NamesNews::Truncated { server } => {
                add(&self.truncated);
                log::debug!("{server} is asked over TCP{via}: its answer did not fit into a datagram");
            }
            NamesNews::Stray { server } => {
                add(&self.stray);
                let text = format_args!(
                    "something came{via} on a socket that asks {server} and is no answer to what was asked: \
                     dropped"
                );
                self.flood.warn(now, text);
            }
            NamesNews::CacheFull { limit } => {
                add(&self.cache_full);
                let text = format_args!(
                    "{limit} answers to names are kept: those that expire first go (--name-cache)"
                );
                self.flood.warn(now, text);
            }
            other => log::debug!("{other:?}"),
        }
    }

    pub(crate) fn collect(&self, out: &mut Samples) {
        let help = "Names for uplinks with name servers: known from before, answered, or not.";
        out.counters("dispatch_names_total", help)
            .add(&[("result", "known")], get(&self.known))
            .add(&[("result", "answered")], get(&self.answered))
            .add(&[("result", "failed")], get(&self.failed));
        let help =
            "Name servers asked through uplinks: first over UDP, over TCP where an answer was truncated.";
        out.counters("dispatch_name_questions_total", help)
            .add(&[("over", "udp")], get(&self.asked))
            .add(&[("over", "tcp")], get(&self.truncated));
        let help = "What came where a name server was asked and was no answer to it.";
        out.counter("dispatch_name_strays_total", help, get(&self.stray));
        let help = "Answers to names that could have been kept for longer and made room for others.";
        out.counter("dispatch_name_cache_evicted_total", help, get(&self.cache_full));
    }
}
