//! How fast the CPU engine is, and how near to what oneDNN's matrix products alone reach.

use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

use crate::engine::bridge::ffi;
use crate::engine::cpu::{self, CpuFactory, Options};
use crate::engine::{BlockId, Chunk, EngineError, Iteration, StartEngine, StepEngine};
use crate::manifest::{Manifest, Model};

/// What is measured: `texts` texts of `tokens` tokens, `rounds` times.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// Texts of one round; none shares a prefix.
    pub texts: usize,
    /// Tokens of one text.
    pub tokens: usize,
    /// Rounds; the median counts.
    pub rounds: usize,
}

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub struct Speed {
    /// Tokens scored in a second.
    pub tokens_per_second: f64,
    /// 2 x parameters outside the embedding x tokens, in a second, in units of 10^9.
    pub gflops: f64,
    /// The same of oneDNN's matrix products alone.
    pub roofline_gflops: f64,
    /// Median over rounds of the engine's rate by the roofline's.
    pub ratio: f64,
}

/// Floating-point operations of one token: 2 for each parameter outside the embedding.
pub fn operations_per_token(model: &Model) -> f64 {
    let heads = (2 * model.num_heads + 2 * model.num_kv_heads) * model.head_dim;
    let matrices = if model.variant.activation.gated() { 3 } else { 2 };
    (2 * model.num_layers * model.hidden_size * (heads + matrices * model.intermediate_size)) as f64
}

/// Runs the engine and oneDNN's bare products by turns, so that what else the machine does slows both.
///
/// # Errors
/// The engine does not open, fails, or a text does not fit it.
pub fn measure(
    directory: &Path,
    manifest: &Manifest,
    options: Options,
    workload: Workload,
    out: &mut dyn Write,
) -> Result<Speed, EngineError> {
    let started = Instant::now();
    let mut factory = CpuFactory::open(directory, manifest, options)?;
    let limits = factory.limits();
    let mut engine = factory.start()?;
    say(out, format_args!("opened in {:.2} s", started.elapsed().as_secs_f64()))?;

    let iterations = iterations(&workload, manifest, limits.max_num_tokens, limits.tokens_per_block);
    if let Some(blocks) = iterations.iter().map(|iteration| iteration.block_table.len()).max()
        && blocks > limits.kv_blocks
    {
        return Err(EngineError::Load(format!(
            "one iteration takes {blocks} KV blocks, the cache has {}; raise kv_cache_tokens",
            limits.kv_blocks
        )));
    }
    pass(&mut *engine, &iterations)?;
    let weights =
        std::fs::metadata(directory.join(crate::manifest::WEIGHTS_FILE)).map_or(0, |file| file.len());
    if let Some(resident) = resident_bytes() {
        let ratio = resident as f64 / weights as f64;
        say(out, format_args!("resident {} MB, {ratio:.2} x the weights", resident >> 20))?;
    }

    let (model, threads) = (cpu::model_view(manifest), options.threads.unwrap_or(0));
    let mut rooflines = Vec::new();
    for iteration in &iterations {
        let rows = iteration.token_ids.len();
        if rooflines.iter().all(|(of, _)| *of != rows) {
            rooflines.push((rows, ffi::open_roofline(&model, threads, rows).map_err(failed)?));
        }
    }
    let tokens = (workload.texts * workload.tokens) as f64;
    let operations = operations_per_token(&manifest.model) * tokens;
    let (mut ours, mut bare, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=workload.rounds {
        let engine_seconds = pass(&mut *engine, &iterations)?;
        let mut bare_seconds = 0.0;
        for iteration in &iterations {
            for (rows, roofline) in &mut rooflines {
                if *rows == iteration.token_ids.len() {
                    bare_seconds += roofline.pin_mut().seconds().map_err(failed)?;
                }
            }
        }
        // The first round compiles the products.
        if round > 0 {
            ours.push(engine_seconds);
            bare.push(bare_seconds);
            ratios.push(bare_seconds / engine_seconds);
        }
    }
    let speed = Speed {
        tokens_per_second: tokens / median(&mut ours),
        gflops: operations / median(&mut ours) / 1e9,
        roofline_gflops: operations / median(&mut bare) / 1e9,
        ratio: median(&mut ratios),
    };
    let dtype = manifest.dtype;
    let Workload { texts, tokens, rounds } = workload;
    say(out, format_args!("{texts} texts of {tokens} tokens, {dtype}, median of {rounds} rounds:"))?;
    let Speed { tokens_per_second, gflops, roofline_gflops, ratio } = speed;
    say(out, format_args!("{tokens_per_second:.0} tokens/s, {gflops:.0} GFLOP/s"))?;
    say(out, format_args!("oneDNN alone {roofline_gflops:.0} GFLOP/s; ratio {ratio:.3}"))?;
    Ok(speed)
}

fn say(out: &mut dyn Write, line: std::fmt::Arguments<'_>) -> Result<(), EngineError> {
    writeln!(out, "{line}").map_err(|error: io::Error| EngineError::Load(error.to_string()))
}

fn failed(error: cxx::Exception) -> EngineError {
    EngineError::Step(error.what().to_owned())
}

/// The texts, in iterations as full as whole texts make them. Token ids are those of a fixed sequence.
fn iterations(workload: &Workload, manifest: &Manifest, most: usize, per_block: usize) -> Vec<Iteration> {
    let each = (most / workload.tokens.max(1)).max(1);
    let mut iterations = Vec::new();
    let mut state = 1u32;
    for first in (0..workload.texts).step_by(each) {
        let mut iteration = Iteration::default();
        for text in first..(first + each).min(workload.texts) {
            let (token, block) = (iteration.token_ids.len(), iteration.block_table.len());
            iteration.token_ids.extend((0..workload.tokens).map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) % manifest.model.vocab_size as u32
            }));
            iteration
                .block_table
                .extend((block..block + workload.tokens.div_ceil(per_block)).map(|block| block as BlockId));
            iteration.chunks.push(Chunk {
                sequence: text as u64,
                tokens: token..iteration.token_ids.len(),
                position: 0,
                blocks: block..iteration.block_table.len(),
                logits: vec![workload.tokens - 1],
            });
        }
        iterations.push(iteration);
    }
    iterations
}

/// Seconds of all iterations, one after the other.
fn pass(engine: &mut dyn StepEngine, iterations: &[Iteration]) -> Result<f64, EngineError> {
    let started = Instant::now();
    for iteration in iterations {
        engine.submit(iteration.clone())?;
        engine.reports().recv().map_err(|_| EngineError::Step("the engine's thread has ended".into()))??;
    }
    Ok(started.elapsed().as_secs_f64())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Resident memory of this process, mapped weights included; Linux only.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}
