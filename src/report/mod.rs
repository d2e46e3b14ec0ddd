//! `assay report`: what to look at before trusting a reward model, on one page that needs no network.
//!
//! Rows are added to [`ReportData`] one by one, so that a file of any length is read once and only numbers
//! and a few texts are kept. [`page::render`] draws the page.

mod charts;
mod data;
pub(crate) mod page;
mod sample;
pub(crate) mod statistics;

use data::WrongPair;
pub(crate) use data::{ReportData, Response};
