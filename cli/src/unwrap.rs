//! `ropewalk unwrap`: a server gets its clients' real addresses back.
//!
//! | module | is |
//! | --- | --- |
//! | `target` | where the server is: address and ports, as switches and in routing rules |
//! | `routes` | `setup` and `teardown`: the server's answers to foreign addresses come back into this host |
//! | `doctor` | `ropewalk doctor unwrap`: what is missing, and a real connection with a foreign source |

#![cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only Linux can lend foreign addresses"))]

pub(crate) mod doctor;
pub(crate) mod routes;
pub(crate) mod target;
