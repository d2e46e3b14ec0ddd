//! `assay bench`: what each of its modes does.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

pub use super::arguments::BenchArgs;
use super::arguments::{CompareArgs, GenerateArgs, LoadArgs, Mode, Sharing, SimulateArgs};
use super::compare::CompareError;
use super::generate::{Recipe, Shape, generate};
use super::load::{self, Address, Load, LoadError};
use super::report::Report;
use super::simulate::{Setup, SimulationError, ideal, simulate};
use super::trace::{self, Request, TraceError};
use crate::bench::model_size::{ModelSize, SizeError};
use crate::bench::timing::{Assumptions, Timing, TimingError};
use crate::engine::cpu::{self, CpuFactory};
use crate::engine::{EngineError, EngineFactory, PrefixSharing};
use crate::hardware::targets::{Target, TargetError};
use crate::manifest::{Manifest, ManifestError};
use crate::scheduler::Options;

/// Why a benchmark did not run.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// An option is missing or out of its range.
    #[error("{0}")]
    Setting(String),
    /// The trace cannot be read or written.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The target is unknown or does not fit.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The model's config.json cannot be used.
    #[error(transparent)]
    Model(#[from] SizeError),
    /// The model of the time does not cover this case.
    #[error(transparent)]
    Timing(#[from] TimingError),
    /// The simulation failed.
    #[error(transparent)]
    Simulation(#[from] SimulationError),
    /// The engine directory cannot be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The comparison failed.
    #[error(transparent)]
    Compare(#[from] CompareError),
    /// The server cannot be measured.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The report cannot be written, or the runtime cannot start.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Runs the chosen mode, and writes its result to `out`.
///
/// # Errors
/// See [`BenchError`].
pub fn run(args: &BenchArgs, out: &mut dyn Write) -> Result<(), BenchError> {
    match &args.mode {
        Mode { generate_trace: Some(shape), .. } => args.generate.run(*shape, out),
        Mode { engine: Some(directory), .. } => args.compare.run(directory, out),
        Mode { url: Some(url), .. } => args.load.run(url, out),
        Mode { .. } => args.simulate.run(out),
    }
}

impl LoadArgs {
    fn run(&self, url: &str, out: &mut dyn Write) -> Result<(), BenchError> {
        let address = Address::parse(url)?;
        check_count("--connections", self.connections, 10_000)?;
        check_count("--seconds", self.seconds, 24 * 3600)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let body = match &self.body {
            Some(path) => std::fs::read(path)
                .map_err(|error| BenchError::Setting(format!("--body {}: {error}", path.display())))?,
            None => load::conversation(&runtime.block_on(address.first_model())?),
        };
        let time = Duration::from_secs(self.seconds as u64);
        let load = Load { address, body, connections: self.connections, time };
        writeln!(out, "{}", runtime.block_on(load.run())?)?;
        Ok(())
    }
}

impl CompareArgs {
    fn run(&self, directory: &Path, out: &mut dyn Write) -> Result<(), BenchError> {
        check_count("--rounds", self.rounds, 1000)?;
        let manifest = Manifest::read(directory)?;
        manifest.verify(directory)?;
        // A comparison has up to 16 texts of 640 tokens, or 62 of up to 700, at once.
        let options = cpu::Options {
            threads: self.threads,
            kv_cache_tokens: Some(24 << 10),
            max_seq_len: Some(manifest.limits.max_seq_len.min(1024)),
            ..Default::default()
        };
        let open = || -> Result<EngineFactory, EngineError> {
            Ok(CpuFactory::open(directory, &manifest, options)?.into())
        };
        let vocab_size = u32::try_from(manifest.model.vocab_size).unwrap_or(u32::MAX);
        let compared = self.compare.run(open, vocab_size, self.rounds)?;
        writeln!(out, "{}, {}", manifest.model.name, manifest.profile.name)?;
        writeln!(out, "{compared}")?;
        Ok(())
    }
}

impl GenerateArgs {
    fn run(&self, shape: Shape, out: &mut dyn Write) -> Result<(), BenchError> {
        let path = given("--output", self.output.as_ref())?;
        if !(self.rate > 0.0 && self.rate <= 1e6) {
            return Err(BenchError::Setting(format!(
                "--rate is {}; it must be above 0 and at most 1e6",
                self.rate
            )));
        }
        for (name, value, most) in [
            ("--requests", self.requests, 10_000_000),
            ("--prompt-tokens", self.prompt_tokens, 1 << 20),
            ("--response-tokens", self.response_tokens, 1 << 20),
            ("--group", self.group, 10_000_000),
        ] {
            check_count(name, value, most)?;
        }
        let requests = generate(&Recipe {
            shape,
            rate: self.rate,
            requests: self.requests,
            seed: self.seed,
            prompt_tokens: self.prompt_tokens,
            response_tokens: self.response_tokens,
            group: self.group,
        });
        trace::write(path, &requests)?;
        let tokens: usize = requests.iter().map(|request| request.prompt_tokens).sum();
        let seconds = requests.last().map_or(0.0, |request| request.arrival);
        writeln!(out, "{}: {} requests, {tokens} tokens, {seconds:.1} s", path.display(), requests.len())?;
        Ok(())
    }
}

impl SimulateArgs {
    fn run(&self, out: &mut dyn Write) -> Result<(), BenchError> {
        let setup = self.setup()?;
        let mut requests = trace::read(given("--trace", self.trace.as_ref())?)?;
        if let Some(load) = self.load {
            scale(&setup, &mut requests, load)?;
        }
        writeln!(out, "A simulation, not a measurement. It assumes:")?;
        for line in setup.timing.describe() {
            writeln!(out, "- {line}")?;
        }
        let limits = setup.limits;
        writeln!(
            out,
            "- batches of at most {} tokens and {} sequences, a KV cache of {} tokens\n",
            limits.max_num_tokens,
            limits.max_batch_size,
            limits.kv_blocks * limits.tokens_per_block
        )?;
        let bar = progress_bar(requests.len());
        let outcome = simulate(&setup, &requests, &mut |answered| bar.set_position(answered as u64))?;
        bar.finish_and_clear();
        writeln!(out, "{}", Report::new(&setup, &requests, &outcome))?;
        Ok(())
    }

    fn setup(&self) -> Result<Setup, BenchError> {
        let target = Target::find(given("--target", self.target.as_ref())?)?;
        let model = ModelSize::read(given("--model-config", self.model_config.as_ref())?)?;
        if !(0.0..=60_000.0).contains(&self.fixed_cost) {
            let given = self.fixed_cost;
            return Err(BenchError::Setting(format!(
                "--fixed-cost is {given}; it must be from 0 to 60000 ms"
            )));
        }
        let timing = Timing::new(
            model,
            target,
            Assumptions {
                gpus: self.gpus,
                precision: self.dtype,
                efficiency: self.efficiency,
                memory_efficiency: self.memory_efficiency,
                fixed: Duration::from_secs_f64(self.fixed_cost / 1e3),
            },
        )?;
        let mut limits = timing.limits();
        check_count("--max-num-tokens", self.max_num_tokens, 1 << 24)?;
        check_count("--max-batch-size", self.max_batch_size, 1 << 20)?;
        check_count("--max-queue-requests", self.max_queue_requests, 1 << 30)?;
        limits.max_num_tokens = self.max_num_tokens;
        limits.max_batch_size = self.max_batch_size;
        if let Some(tokens) = self.kv_cache_tokens {
            check_count("--kv-cache-tokens", tokens, 1 << 32)?;
            limits.kv_blocks = limits.blocks_for(tokens);
        }
        let options = Options {
            prefix_sharing: self.sharing != Sharing::Off,
            max_queue_requests: self.max_queue_requests,
            // Requests alone bound the queue.
            max_queue_tokens: usize::MAX,
            ..Options::default()
        };
        let sharing = match self.sharing {
            Sharing::Within => PrefixSharing::WithinIteration,
            Sharing::Cached | Sharing::Off => PrefixSharing::Cached,
        };
        Ok(Setup { timing, limits, sharing, options })
    }
}

/// Scales arrivals so that the ideal engine time is `load` of the trace's span.
fn scale(setup: &Setup, requests: &mut [Request], load: f64) -> Result<(), BenchError> {
    if !(load > 0.0 && load <= 100.0) {
        return Err(BenchError::Setting(format!("--load is {load}; it must be above 0 and at most 100")));
    }
    let last = requests.last().map_or(0.0, |request| request.arrival);
    let first = requests.first().map_or(0.0, |request| request.arrival);
    if last <= first {
        return Err(BenchError::Setting(
            "--load needs a trace whose requests do not all arrive at once".to_owned(),
        ));
    }
    let factor = ideal(setup, requests.iter()).as_secs_f64() / load / (last - first);
    for request in requests {
        request.arrival = (request.arrival - first) * factor;
    }
    Ok(())
}

fn progress_bar(requests: usize) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(requests as u64), target);
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} requests, {eta} left");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn given<'a, T>(name: &str, value: Option<&'a T>) -> Result<&'a T, BenchError> {
    value.ok_or_else(|| BenchError::Setting(format!("{name} is missing")))
}

fn check_count(name: &str, value: usize, most: usize) -> Result<(), BenchError> {
    if (1..=most).contains(&value) {
        return Ok(());
    }
    Err(BenchError::Setting(format!("{name} is {value}; it must be from 1 to {most}")))
}
