//! Where a server is, as the kernel's routes tell: on this host, or behind one of its interfaces (a
//! container, a namespace).

use super::kernel::Kernel;
use crate::host::policy::Way;
use crate::unwrap::target::Target;

/// Each network namespace has its own.
pub(crate) const LO: &str = "lo";

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// The address is this host's.
    Here,
    /// It is another's, directly behind this interface.
    Behind(String),
}

impl Place {
    /// Where its answers come in.
    pub(crate) fn interface(&self) -> &str {
        match self {
            Place::Here => LO,
            Place::Behind(interface) => interface,
        }
    }
}

/// A target and where it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Placed {
    pub(crate) target: Target,
    pub(crate) place: Place,
}

impl Kernel {
    /// Asks the kernel where `target` is.
    ///
    /// # Errors
    /// A sentence: it is where its answers cannot come back from.
    pub(crate) fn place(&mut self, target: Target) -> Result<Placed, String> {
        if target.ip.is_loopback() {
            return Ok(Placed { target, place: Place::Here });
        }
        let unknown = |why: String| format!("no route leads to {}: {why}", target.ip);
        let answer = self.0.way(target.ip);
        let way = answer.map_err(|refusal| unknown(refusal.to_string()))?;
        let place = match way {
            Some(Way { local: true, .. }) => Place::Here,
            Some(Way { by_gateway: false, interface: Some(index), .. }) => {
                Place::Behind(self.0.name_of(index).map_err(|error| unknown(error.to_string()))?)
            }
            Some(Way { by_gateway: true, .. }) => {
                return Err(format!(
                    "{} is another host's, behind a gateway, and would answer the clients by ways of its own: \
                     expected a server on this host, or in a container or namespace directly behind it",
                    target.ip
                ));
            }
            Some(_) | None => return Err(unknown("the kernel's answer names no interface".into())),
        };
        Ok(Placed { target, place })
    }
}
