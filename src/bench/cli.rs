//! What each mode of `assay bench` does.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

pub use super::arguments::BenchArgs;
use super::arguments::{CompareArgs, GenerateArgs, LoadArgs, Mode, Sharing, SimulateArgs};
use super::compare::CompareError;
use super::generate::{TraceShape, TraceSpec, generate};
use super::load::{self, Address, LoadError, LoadTest};
use super::model_size::{ModelSize, ModelSizeError};
use super::report::SimulationReport;
use super::setup::SimulationSetup;
use super::simulate::{SimulationError, ideal_time, simulate};
use super::timing::{Assumptions, TimingError, TimingModel};
use super::trace::{self, TraceError, TraceRequest};
use crate::builder::Console;
use crate::cache::{ModelError, ModelOptions, prepare};
use crate::engine::cpu::CpuFactory;
use crate::engine::{EngineError, EngineFactory, EngineOptions, PrefixSharing};
use crate::hardware::targets::{HardwareTarget, TargetError};
use crate::manifest::{LimitOverrides, Manifest, ManifestError};
use crate::scheduler::SchedulerOptions;

/// Why a benchmark did not run.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum BenchError {
    /// An option that the mode needs is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// The value of an option is out of its range.
    #[error("{option} is {value}; it must be {range}")]
    OutOfRange {
        option: &'static str,
        value: String,
        /// What the value must be.
        range: String,
    },
    /// A trace without time between its requests cannot be scaled.
    #[error("--load needs a trace whose requests do not all arrive at once")]
    NoSpan,
    /// The body to send cannot be read.
    #[error("--body {}: {source}", path.display())]
    Body { path: PathBuf, source: std::io::Error },
    /// The trace cannot be read or written.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The target is unknown or does not fit.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The model's config.json cannot be used.
    #[error(transparent)]
    Model(#[from] ModelSizeError),
    /// The model cannot be timed on the target.
    #[error(transparent)]
    Timing(#[from] TimingError),
    /// The simulation failed.
    #[error(transparent)]
    Simulation(#[from] SimulationError),
    /// The model cannot be used as it was named.
    #[error(transparent)]
    Named(#[from] ModelError),
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
            Some(path) => {
                std::fs::read(path).map_err(|source| BenchError::Body { path: path.clone(), source })?
            }
            None => load::default_body(&runtime.block_on(address.first_model())?),
        };
        let duration = Duration::from_secs(self.seconds as u64);
        let test = LoadTest { address, body, connections: self.connections, duration };
        writeln!(out, "{}", runtime.block_on(test.run())?)?;
        Ok(())
    }
}

impl CompareArgs {
    fn run(&self, model: &Path, out: &mut dyn Write) -> Result<(), BenchError> {
        check_count("--rounds", self.rounds, 1000)?;
        let (limits, progress) = (LimitOverrides::default(), Console::default());
        let build = ModelOptions { download: self.download, ..ModelOptions::for_cpu() };
        let prepared = prepare(model, &build, &limits, "assay bench --engine", &progress)?;
        let directory = &prepared.directory;
        let manifest = Manifest::read(directory)?;
        let files = manifest.read_files(directory)?;
        // A comparison has up to 16 texts of 640 tokens, or 61 of up to 700, at once.
        let options = EngineOptions {
            threads: self.threads,
            kv_cache_tokens: Some(24 << 10),
            limits: LimitOverrides {
                max_seq_len: Some(manifest.limits.max_seq_len.min(1024)),
                ..LimitOverrides::default()
            },
            ..EngineOptions::default()
        };
        let open = || -> Result<EngineFactory, EngineError> {
            Ok(CpuFactory::new(&files, &manifest, &options)?.into())
        };
        let vocab_size = u32::try_from(manifest.model.vocab_size).unwrap_or(u32::MAX);
        let result = self.compare.run(open, vocab_size, self.rounds)?;
        writeln!(out, "{}, {}", manifest.model.name, manifest.profile.name)?;
        writeln!(out, "{result}")?;
        Ok(())
    }
}

impl GenerateArgs {
    fn run(&self, shape: TraceShape, out: &mut dyn Write) -> Result<(), BenchError> {
        let path = self.output.as_ref().ok_or(BenchError::Missing("--output"))?;
        check_number("--rate", self.rate, self.rate > 0.0 && self.rate <= 1e6, "above 0 and at most 1e6")?;
        check_count("--requests", self.requests, 10_000_000)?;
        check_count("--prompt-tokens", self.prompt_tokens, 1 << 20)?;
        check_count("--response-tokens", self.response_tokens, 1 << 20)?;
        check_count("--group", self.group, 10_000_000)?;
        if let Some(timeout) = self.timeout {
            check_number(
                "--timeout",
                timeout,
                timeout > 0.0 && timeout <= 86_400.0,
                "above 0 and at most 86400",
            )?;
        }
        let requests = generate(&TraceSpec {
            shape,
            rate: self.rate,
            requests: self.requests,
            seed: self.seed,
            prompt_tokens: self.prompt_tokens,
            response_tokens: self.response_tokens,
            group: self.group,
            timeout: self.timeout,
        });
        trace::write(path, &requests)?;
        let tokens: usize = requests.iter().map(|request| request.prompt_tokens).sum();
        let seconds = requests.last().map_or(0.0, |request| request.arrival);
        let count = requests.len();
        writeln!(out, "wrote {}: {count} requests, {tokens} tokens, {seconds:.1} s", path.display())?;
        Ok(())
    }
}

impl SimulateArgs {
    fn run(&self, out: &mut dyn Write) -> Result<(), BenchError> {
        let setup = self.setup()?;
        let mut requests = trace::read(self.trace.as_ref().ok_or(BenchError::Missing("--trace"))?)?;
        if let Some(load) = self.load {
            scale_arrivals(&setup, &mut requests, load)?;
        }
        writeln!(out, "A simulation, not a measurement. It assumes:")?;
        for line in setup.timing.describe() {
            writeln!(out, "- {line}")?;
        }
        let limits = setup.limits;
        writeln!(
            out,
            "- batches of at most {} tokens and {} sequences, a KV cache of {} tokens",
            limits.max_num_tokens,
            limits.max_batch_size,
            limits.kv_blocks * limits.tokens_per_block
        )?;
        if self.replicas > 1 {
            let (replicas, gpus, route) = (self.replicas, self.replicas * self.gpus, self.route.describe());
            writeln!(out, "- {replicas} such servers, {gpus} GPUs in all; each request goes {route}")?;
        }
        writeln!(out)?;
        let bar = progress_bar(requests.len());
        let outcome = simulate(&setup, &requests, &mut |answered| bar.set_position(answered as u64))?;
        bar.finish_and_clear();
        writeln!(out, "{}", SimulationReport::new(&setup, &requests, &outcome))?;
        Ok(())
    }

    fn setup(&self) -> Result<SimulationSetup, BenchError> {
        let target = HardwareTarget::find(self.target.as_ref().ok_or(BenchError::Missing("--target"))?)?;
        let config = self.model_config.as_ref().ok_or(BenchError::Missing("--model-config"))?;
        let model = ModelSize::read(config)?;
        let fixed = self.fixed_cost;
        check_number("--fixed-cost", fixed, (0.0..=60_000.0).contains(&fixed), "from 0 to 60000 ms")?;
        check_count("--max-num-tokens", self.max_num_tokens, 1 << 24)?;
        check_count("--max-batch-size", self.max_batch_size, 1 << 20)?;
        check_count("--replicas", self.replicas, 100_000)?;
        check_count("--max-queue-requests", self.max_queue_requests, 1 << 30)?;
        let assumptions = Assumptions {
            gpus: self.gpus,
            precision: self.dtype,
            efficiency: self.efficiency,
            memory_efficiency: self.memory_efficiency,
            fixed: Duration::from_secs_f64(fixed / 1e3),
        };
        let timing = TimingModel::new(model, target, assumptions)?;
        let mut limits = timing.limits();
        limits.max_num_tokens = self.max_num_tokens;
        limits.max_batch_size = self.max_batch_size;
        if let Some(tokens) = self.kv_cache_tokens {
            check_count("--kv-cache-tokens", tokens, 1 << 32)?;
            limits.kv_blocks = limits.blocks_for(tokens);
        }
        let options = SchedulerOptions {
            prefix_sharing: self.sharing != Sharing::Off,
            max_queue_requests: self.max_queue_requests,
            // Only the number of requests limits the queue.
            max_queue_tokens: usize::MAX,
            ..SchedulerOptions::default()
        };
        let sharing = match self.sharing {
            Sharing::Within => PrefixSharing::WithinIteration,
            Sharing::Cached | Sharing::Off => PrefixSharing::Cached,
        };
        Ok(SimulationSetup { timing, limits, sharing, options, replicas: self.replicas, route: self.route })
    }
}

/// Scales arrivals so that the ideal engine time is the share `load` of the trace's span, on every server.
fn scale_arrivals(
    setup: &SimulationSetup,
    requests: &mut [TraceRequest],
    load: f64,
) -> Result<(), BenchError> {
    check_number("--load", load, load > 0.0 && load <= 100.0, "above 0 and at most 100")?;
    let last = requests.last().map_or(0.0, |request| request.arrival);
    let first = requests.first().map_or(0.0, |request| request.arrival);
    if last <= first {
        return Err(BenchError::NoSpan);
    }
    let ideal = ideal_time(setup, requests.iter()).as_secs_f64() / setup.replicas as f64;
    let factor = ideal / load / (last - first);
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

fn check_count(option: &'static str, value: usize, max: usize) -> Result<(), BenchError> {
    if (1..=max).contains(&value) {
        return Ok(());
    }
    Err(BenchError::OutOfRange { option, value: value.to_string(), range: format!("from 1 to {max}") })
}

fn check_number(option: &'static str, value: f64, is_valid: bool, range: &str) -> Result<(), BenchError> {
    if is_valid {
        return Ok(());
    }
    Err(BenchError::OutOfRange { option, value: value.to_string(), range: range.to_owned() })
}
