//! `assay report`: what a person looks at before trusting a reward model, on one page that needs no
//! network.
//!
//! Rows go into a [`Collector`] one by one, so that a file of any length is read once and only numbers
//! and a few texts are kept; [`page::render`] draws what it found.

mod charts;
mod collector;
pub mod page;
pub mod statistics;

pub use collector::{Collector, Response};
