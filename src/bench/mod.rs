//! `assay bench`: capacity planning on simulated time, request traces, and load on real paths.

mod arguments;
pub mod cli;
pub mod compare;
pub mod generate;
mod ledger;
pub mod load;
pub mod model_size;
pub mod report;
pub mod roofline;
pub mod simulate;
pub mod timing;
pub mod trace;
