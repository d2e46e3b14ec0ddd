//! `assay bench`: capacity planning on simulated time, request traces, and measurements of engines and
//! servers.

mod arguments;
pub mod cli;
mod compare;
mod generate;
mod ledger;
mod load;
mod model_size;
mod percentiles;
mod replica;
mod report;
pub mod roofline;
mod route;
mod setup;
mod simulate;
mod timing;
mod trace;
