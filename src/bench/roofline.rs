//! Measures the CPU engine, and compares it with the roofline: oneDNN's matrix products alone.

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use super::percentiles::median;
use crate::engine::bridge::ffi;
use crate::engine::cpu::{self, CpuFactory};
use crate::engine::{
    BlockId, Chunk, EngineError, EngineOptions, Iteration, Limits, StartEngine, StepEngine, StepError,
};
use crate::hardware::cores;
use crate::manifest::{Manifest, Model, WEIGHTS_FILE};

/// Scores `texts` texts of `tokens` tokens, `rounds` times.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// Number of texts in a round; none shares a prefix.
    pub texts: usize,
    /// Number of tokens of each text.
    pub tokens: usize,
    /// Number of rounds, of which the median counts.
    pub rounds: usize,
}

/// Seconds that each round took.
#[derive(Default)]
struct Measurements {
    engine: Vec<f64>,
    /// The same matrix products by oneDNN alone.
    roofline: Vec<f64>,
}

/// Why a measurement failed.
#[derive(Debug, thiserror::Error)]
pub enum RooflineError {
    /// The engine does not open.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The engine fails.
    #[error(transparent)]
    Step(#[from] StepError),
    /// The KV cache is too small for the workload.
    #[error("one iteration takes {needed} KV blocks, but the cache has {available}; raise kv_cache_tokens")]
    KvCache {
        /// Blocks that an iteration takes.
        needed: usize,
        /// Blocks of the cache.
        available: usize,
    },
    /// oneDNN's products failed.
    #[error("oneDNN: {0}")]
    OneDnn(#[from] cxx::Exception),
    /// The engine's thread ended.
    #[error("the engine's thread has ended")]
    Ended(#[from] crossbeam_channel::RecvError),
    /// The results cannot be printed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Number of floating-point operations for one token: 2 for each parameter outside the embedding that the token goes
/// through.
fn operations_per_token(model: &Model) -> f64 {
    let heads = (2 * model.num_heads + 2 * model.num_kv_heads) * model.head_dim;
    let matrices = if model.variant.activation.gated() { 3 } else { 2 };
    let (mut widths, mut dense) = (0, model.num_layers);
    if let Some(experts) = &model.variant.experts {
        let shared = experts.shared.as_ref().map_or(0, |shared| shared.intermediate_size);
        widths = experts.layers.len() * (experts.active * experts.intermediate_size + shared);
        dense -= experts.layers.len();
    }
    widths += dense * model.intermediate_size;
    (2 * model.hidden_size * (model.num_layers * heads + matrices * widths)) as f64
}

/// Measures the engine and oneDNN's bare products in turn, so that other work on the machine slows both,
/// and prints the results to `out`.
///
/// # Errors
/// See [`RooflineError`].
pub fn measure(
    directory: &Path,
    manifest: &Manifest,
    options: &EngineOptions,
    workload: Workload,
    out: &mut dyn Write,
) -> Result<(), RooflineError> {
    let started = Instant::now();
    let mut factory = CpuFactory::open(directory, manifest, options)?;
    let limits = factory.limits();
    let mut engine = factory.start()?;
    writeln!(out, "opened in {:.2} s", started.elapsed().as_secs_f64())?;

    let iterations = iterations(&workload, manifest, &limits);
    let needed = iterations.iter().map(|iteration| iteration.block_table.len()).max().unwrap_or(0);
    if needed > limits.kv_blocks {
        return Err(RooflineError::KvCache { needed, available: limits.kv_blocks });
    }
    run_engine(&mut *engine, &iterations)?;
    let weights = std::fs::metadata(directory.join(WEIGHTS_FILE)).map_or(0, |file| file.len());
    if let Some(resident) = resident_bytes() {
        let ratio = resident as f64 / weights as f64;
        writeln!(out, "resident {} MiB, {ratio:.2} x the weights", resident >> 20)?;
    }
    let threads = options.threads.unwrap_or_else(cores::usable);
    let measured = measure_rounds(&mut *engine, &iterations, manifest, threads, workload.rounds)?;
    print_results(manifest, &workload, &measured, out)
}

fn measure_rounds(
    engine: &mut dyn StepEngine,
    iterations: &[Iteration],
    manifest: &Manifest,
    threads: usize,
    rounds: usize,
) -> Result<Measurements, RooflineError> {
    let model = cpu::model_view(manifest);
    // One for each number of rows.
    let mut rooflines = Vec::new();
    for iteration in iterations {
        let rows = iteration.token_ids.len();
        if rooflines.iter().all(|(known, _)| *known != rows) {
            rooflines.push((rows, ffi::open_roofline(&model, threads, rows)?));
        }
    }
    let mut measured = Measurements::default();
    for round in 0..=rounds {
        let engine_seconds = run_engine(engine, iterations)?;
        let mut roofline_seconds = 0.0;
        for iteration in iterations {
            for (rows, roofline) in &mut rooflines {
                if *rows == iteration.token_ids.len() {
                    roofline_seconds += roofline.pin_mut().seconds()?;
                }
            }
        }
        // The first round compiles the products, and does not count.
        if round > 0 {
            measured.engine.push(engine_seconds);
            measured.roofline.push(roofline_seconds);
        }
    }
    Ok(measured)
}

fn print_results(
    manifest: &Manifest,
    workload: &Workload,
    measured: &Measurements,
    out: &mut dyn Write,
) -> Result<(), RooflineError> {
    let Workload { texts, tokens, rounds } = workload;
    let total = (texts * tokens) as f64;
    let operations = operations_per_token(&manifest.model) * total;
    let engine = median(measured.engine.iter().copied());
    let roofline = median(measured.roofline.iter().copied());
    let ratio = median(measured.roofline.iter().zip(&measured.engine).map(|(bare, engine)| bare / engine));
    writeln!(out, "{texts} texts of {tokens} tokens, {}, median of {rounds} rounds:", manifest.dtype)?;
    writeln!(out, "{:.0} tokens/s, {:.0} GFLOP/s", total / engine, operations / engine / 1e9)?;
    writeln!(out, "oneDNN alone {:.0} GFLOP/s; ratio {ratio:.3}", operations / roofline / 1e9)?;
    Ok(())
}

/// The texts, in iterations with as many whole texts as fit. Token ids are pseudorandom, with a fixed seed.
fn iterations(workload: &Workload, manifest: &Manifest, limits: &Limits) -> Vec<Iteration> {
    let texts_per_iteration = (limits.max_num_tokens / workload.tokens.max(1)).max(1);
    let blocks_per_text = limits.blocks_for(workload.tokens);
    let mut iterations = Vec::new();
    let mut state = 1u32;
    for first in (0..workload.texts).step_by(texts_per_iteration) {
        let mut iteration = Iteration::default();
        for text in first..(first + texts_per_iteration).min(workload.texts) {
            let (token, block) = (iteration.token_ids.len(), iteration.block_table.len());
            for _ in 0..workload.tokens {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                iteration.token_ids.push((state >> 8) % manifest.model.vocab_size as u32);
            }
            let blocks = block..block + blocks_per_text;
            iteration.block_table.extend(blocks.clone().map(|block| block as BlockId));
            iteration.chunks.push(Chunk {
                sequence: text as u64,
                tokens: token..iteration.token_ids.len(),
                position: 0,
                text_tokens: workload.tokens,
                blocks,
                logits: vec![workload.tokens - 1],
            });
        }
        iterations.push(iteration);
    }
    iterations
}

/// Runs the iterations one after the other, and returns the seconds that they took.
fn run_engine(engine: &mut dyn StepEngine, iterations: &[Iteration]) -> Result<f64, RooflineError> {
    let started = Instant::now();
    for iteration in iterations {
        engine.submit(iteration.clone())?;
        engine.reports().recv()??;
    }
    Ok(started.elapsed().as_secs_f64())
}

/// Resident memory of this process, including mapped weights; on Linux only.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}
