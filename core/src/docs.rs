//! The manual, as modules: each page is compiled, and its examples are run.
//!
//! The pages are also read where no link to an item works, so they name items without one. The
//! words of the contract are items of [`machine`](crate::machine), those of a runtime of
//! [`drive`](crate::drive).

#[doc = include_str!("../docs/contract.md")]
pub mod contract {}

#[cfg(feature = "std")]
#[doc = include_str!("../docs/porting.md")]
pub mod porting {}

#[cfg(feature = "dispatch")]
#[doc = include_str!("../docs/record.md")]
pub mod record {}

#[cfg(feature = "bond")]
#[doc = include_str!("../docs/bond.md")]
pub mod bond_protocol {}
