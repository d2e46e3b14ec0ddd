//! `assay bench`: capacity planning on simulated time, request traces, and load on real paths.

pub mod cli;
pub mod compare;
pub mod generate;
mod ledger;
pub mod load;
pub mod report;
pub mod simulate;
pub mod trace;
