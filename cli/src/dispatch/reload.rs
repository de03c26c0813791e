//! SIGHUP: switches and files read again, all or nothing.
//!
//! ```text
//! command line, file ──▶ Args ──▶ Plan, Config ──▶ may it be? ──▶ pool, monitor, names, workers
//!                          └──────────┴──────────────────┴──▶ an error: nothing has changed
//! ```

use super::args::Args;
use super::service::{Fixed, Plan, machine_config};
use super::upstream;
use super::watch::{DispatchWatch, Named};
use crate::host;
use crate::host::monitor::Watched;
use crate::process::logging;
use crate::process::record::Recorded;
use crate::process::reload::{changed, fixed_common};
use ropewalk_core::dispatch::{Config, Dispatch};
use ropewalk_core::machine::UplinkId;
use ropewalk_core::uplink::PoolError;
use ropewalk_mio::{Handle, Shared};
use std::sync::Arc;

/// What runs, and what it was started with.
pub(super) struct Running<'a> {
    pub(super) options: &'a Args,
    pub(super) fixed: Fixed,
    pub(super) shared: Arc<Shared>,
    pub(super) watch: &'a DispatchWatch,
    pub(super) watched: Watched,
    pub(super) handles: Vec<Handle>,
    #[cfg(feature = "names")]
    pub(super) resolvers: Arc<std::sync::Mutex<Vec<super::resolver::ResolverArg>>>,
}

impl Running<'_> {
    /// Says in some words what holds now.
    ///
    /// # Errors
    /// What was expected, what came and where: nothing has changed.
    pub(super) fn reload(&self) -> Result<String, String> {
        let mut again = crate::reread()?.into_iter();
        let Some(crate::Command::Dispatch(options)) = again.next() else {
            return Err("expected the command dispatch again".into());
        };
        self.check_fixed(&options)?;
        let links = host::links::snapshot()
            .map_err(|error| format!("cannot read this host's interfaces: {error}"))?;
        let plan = Plan::new(&options, &links)?;
        #[cfg(feature = "names")]
        let mut names = plan.names;
        let Plan { pool, uplinks, probes, rates, credentials, .. } = plan;
        let users = credentials.as_ref().map_or(0, |credentials| credentials.len());
        let upstreams = upstream::introductions(&uplinks);
        let config =
            machine_config(&options, self.fixed.clone(), credentials, pool.uplinks.len(), upstreams.clone());
        // What a new machine would take, those that run take.
        Dispatch::new(Config { probes: probes.clone(), rates: rates.clone(), ..config.clone() })
            .map_err(|error| error.to_string())?;
        let named: Vec<Named> = pool.uplinks.iter().map(Named::of).collect();
        let count = named.len();
        let mut ids = Vec::new();
        self.watched
            .change(uplinks, &links, || {
                let mut all = self.shared.pool();
                ids = all.check_change(&pool)?;
                // Before an event can tell of them.
                ids.iter().zip(named).for_each(|(id, named)| self.watch.name(*id, named));
                all.reconfigure(pool)
            })
            .map_err(|error| self.no_room(&error))?;
        logging::set_level(options.common.verbose, options.common.quiet);
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
        let mut probes = by_id(&ids, probes);
        for (number, handle) in self.handles.iter().enumerate() {
            #[cfg(not(feature = "names"))]
            let _ = number;
            #[cfg(feature = "names")]
            let names = super::resolver::of_worker(config.names.clone(), number);
            #[cfg(feature = "names")]
            let config = Config { names, ..config.clone() };
            // As at the start, the first worker probes for all.
            let config = Config { probes: std::mem::take(&mut probes), ..config.clone() };
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
