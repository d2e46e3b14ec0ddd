//! The CPU engine next to the same products in oneDNN alone: `cargo bench --bench engine -- DIR [TEXTS TOKENS ROUNDS]`.
#![allow(missing_docs)]

use std::error::Error;
use std::path::PathBuf;

use assay::bench::roofline::{Workload, measure};
use assay::engine::EngineOptions;
use assay::manifest::Manifest;

fn main() -> Result<(), Box<dyn Error>> {
    // Cargo adds `--bench`.
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let Some(directory) = arguments.next().map(PathBuf::from) else {
        println!(
            "skipped: name an engine directory, for example one built from tools/make_bench_checkpoint.py"
        );
        return Ok(());
    };
    let mut number = |default| arguments.next().map_or(Ok(default), |text| text.parse::<usize>());
    let workload = Workload { texts: number(32)?, tokens: number(256)?, rounds: number(5)? };
    let manifest = Manifest::read(&directory)?;
    measure(&directory, &manifest, &EngineOptions::default(), workload, &mut std::io::stdout())?;
    Ok(())
}
