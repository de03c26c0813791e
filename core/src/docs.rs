//! The manual, as modules: each page is compiled, and its examples are run.

#[doc = include_str!("../docs/contract.md")]
pub mod contract {}

#[cfg(feature = "std")]
#[doc = include_str!("../docs/porting.md")]
pub mod porting {}
