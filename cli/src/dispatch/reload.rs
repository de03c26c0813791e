//! SIGHUP: switches and files read again, all or nothing. The same way goes what `auto` finds
//! later: the switches as they are, and more uplinks.
//!
//! ```text
//! command line, file ──▶ Args ─┬─▶ Plan, Config ──▶ may it be? ──▶ pool, monitor, names, workers
//! an interface has come ───────┘        └──────────────────┴──▶ an error: nothing has changed
//! ```

use super::args::{self, Args};
use super::plan::{Fixed, Plan, machine_config, of_worker};
use super::upstream;
use super::watch::{DispatchWatch, Named};
use crate::host;
use crate::host::links::Link;
use crate::host::monitor::{Watched, catch_up};
use crate::host::select;
use crate::host::uplink::{Selector, UplinkArg};
use crate::process::logging;
use crate::process::record::Recorded;
use crate::process::reload::{changed, fixed_common};
use ropewalk_core::dispatch::{Config, Dispatch};
use ropewalk_core::machine::UplinkId;
use ropewalk_core::uplink::PoolError;
use ropewalk_mio::{Handle, Shared};
use std::sync::Arc;

/// What runs, and what it was started with.
pub(super) struct Running {
    pub(super) options: &'static Args,
    /// What was read last, if that was not at the start.
    pub(super) again: Option<Box<Args>>,
    /// What `auto` has found so far.
    pub(super) found: Vec<UplinkArg>,
    pub(super) fixed: Fixed,
    pub(super) shared: Arc<Shared>,
    pub(super) watch: Arc<DispatchWatch>,
    pub(super) watched: Watched,
    pub(super) handles: Vec<Handle>,
    #[cfg(feature = "names")]
    pub(super) resolvers: Arc<std::sync::Mutex<Vec<super::resolver::ResolverArg>>>,
}

impl Running {
    /// Says in some words what holds now.
    ///
    /// # Errors
    /// What was expected, what came and where: nothing has changed.
    pub(super) fn reload(&mut self) -> Result<String, String> {
        let mut again = crate::reread()?.into_iter();
        let Some(crate::Command::Dispatch(options)) = again.next() else {
            return Err("expected the command dispatch again".into());
        };
        self.check_fixed(&options)?;
        let links = host::links::snapshot()
            .map_err(|error| format!("cannot read this host's interfaces: {error}"))?;
        let news = self.take(&options, &[], &links)?;
        logging::set_level(options.common.verbose, options.common.quiet);
        self.found = select::auto(&links).uplinks;
        self.again = Some(options);
        // Names of proxies and files that are pipes take their time.
        catch_up(&self.watched, &self.shared, &self.handles, links);
        Ok(news)
    }

    /// The host's links have changed: what `auto` finds now, and did not before, is used too. What
    /// it found before stays, as an interface by its name does.
    pub(super) fn links_changed(&mut self, links: &[Link]) {
        let options = self.again.as_deref().unwrap_or(self.options);
        let written = args::uplinks(&options.uplinks).unwrap_or_default();
        if options.tunnel || !has_auto(&written) {
            return;
        }
        let is_in = |all: &[UplinkArg], arg: &UplinkArg| all.iter().any(|one| one.device() == arg.device());
        let now = select::auto(links).uplinks;
        let before = self.found.len();
        let come: Vec<_> = now.iter().filter(|arg| !is_in(&self.found, arg)).cloned().collect();
        self.found.extend(come);
        let gone = self.found.iter().filter(|arg| !is_in(&now, arg) && !is_in(&written, arg));
        let gone: Vec<_> = gone.cloned().collect();
        for come in &self.found[before..] {
            match self.take(options, &gone, links) {
                Ok(_) => log::info!("auto takes {} too", come.label),
                Err(error) => log::warn!("auto cannot take {}: {error}", come.label),
            }
        }
    }

    /// Has all that runs do as `options` say, with `more` uplinks.
    fn take(&self, options: &Args, more: &[UplinkArg], links: &[Link]) -> Result<String, String> {
        let plan = Plan::new(options, more, links)?;
        #[cfg(feature = "names")]
        let mut names = plan.names;
        let Plan { pool, uplinks, probes, rates, credentials, .. } = plan;
        let users = credentials.as_ref().map_or(0, |credentials| credentials.len());
        let upstreams = upstream::introductions(&uplinks);
        let config =
            machine_config(options, self.fixed.clone(), credentials, pool.uplinks.len(), upstreams.clone());
        // What a new machine would take, those that run take.
        Dispatch::new(Config { probes: probes.clone(), rates: rates.clone(), ..config.clone() })
            .map_err(|error| error.to_string())?;
        let named: Vec<Named> = pool.uplinks.iter().map(Named::of).collect();
        let (count, now) = (named.len(), self.shared.now());
        let mut ids = Vec::new();
        self.watched
            .change(uplinks, links, || {
                let mut all = self.shared.pool();
                ids = all.check_change(&pool)?;
                // Before an event can tell of them.
                ids.iter().zip(named).for_each(|(id, named)| self.watch.name(now, *id, named));
                all.reconfigure(pool)
            })
            .map_err(|error| self.no_room(&error))?;
        upstream::follow(&self.watched, &self.shared);
        let config = Config { upstreams: by_id(&ids, upstreams), rates: by_id(&ids, rates), ..config };
        #[cfg(feature = "names")]
        let config = {
            names.resolvers = by_id(&ids, names.resolvers);
            names.v6_only = super::resolver::by_id(&ids, names.v6_only);
            let mut wanted = self.resolvers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            wanted.clone_from(&options.resolver);
            Config { names, ..config }
        };
        let config = Config { probes: by_id(&ids, probes), ..config };
        for (number, handle) in self.handles.iter().enumerate() {
            let config = of_worker(&config, number);
            handle.call(move |now, machine: &mut Recorded<Dispatch>| {
                match machine.reconfigure(now, config) {
                    Ok(0) => {}
                    Ok(ended) => log::info!("connections of removed users have ended: {ended}"),
                    Err(error) => log::error!("a worker did not take the configuration: {error}"),
                }
            });
        }
        Ok(format!("the configuration was read again: {count} uplinks, {users} users"))
    }

    /// What cannot change while it runs.
    fn check_fixed(&self, options: &Args) -> Result<(), String> {
        let before = self.options;
        fixed_common(&before.common, &options.common)?;
        changed("--listen", before.listen != options.listen)?;
        changed("--cap", before.cap != options.cap)?;
        changed("--usage-file", before.usage_file != options.usage_file)?;
        changed("--record", before.record != options.record)?;
        changed("--tunnel", before.tunnel != options.tunnel)?;
        changed("--user-timeout", before.user_timeout != options.user_timeout)
    }

    fn no_room(&self, error: &PoolError) -> String {
        match error {
            PoolError::TooMany(_) => {
                format!("{error}, those counted that were taken out since the start: start anew for them")
            }
            other => other.to_string(),
        }
    }
}

pub(super) fn has_auto(all: &[UplinkArg]) -> bool {
    all.iter().any(|arg| arg.selector == Selector::Auto)
}

/// What each uplink has, in the order of the uplinks' ids.
fn by_id<T: Clone + Default>(ids: &[UplinkId], each: Vec<T>) -> Vec<T> {
    let len = ids.iter().map(|id| usize::from(id.0) + 1).max().unwrap_or(0);
    let mut all = vec![T::default(); len];
    for (id, its) in ids.iter().zip(each) {
        all[usize::from(id.0)] = its;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_follow_their_uplinks_ids() {
        let probe = |text: &str| Some(super::super::probe::parse(text).expect("valid").config);
        let (a, b) = (probe("192.0.2.1:443"), probe("192.0.2.2:443"));
        let ids = [2, 0].map(UplinkId);
        assert_eq!(by_id(&ids, vec![a.clone(), b.clone()]), [b, None, a]);
        assert_eq!(by_id::<()>(&[], Vec::new()), []);
    }
}
