//! The manual, as modules: each page is compiled, and its examples are run.

#[doc = include_str!("../docs/contract.md")]
pub mod contract {}
