//! Both machines against each other: what changes while they run, and who comes in.
//!
//! | file | is |
//! | --- | --- |
//! | `pair` | a client and a server with two paths between them, in virtual time |
//! | `change` | modes, weights and links |
//! | `enrol` | invitations |
//! | `hostile` | peers that mean ill |
//! | `idle` | what it costs to be there |
//! | `mtu` | the tunnel's size |
//! | `shared` | two hosts with one key |
//! | `stuck` | sockets and devices that take nothing for a while |
//! | `turns` | which path sends next |

mod change;
mod enrol;
mod hostile;
mod idle;
mod mtu;
mod pair;
mod shared;
mod stuck;
mod turns;
