//! The command line of `assay bench`.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::compare::{CompareError, Comparison};
use super::generate::{Recipe, Shape, generate};
use super::load::{self, Address, Load, LoadError};
use super::report::Report;
use super::simulate::{Setup, SimulationError, ideal, simulate};
use super::trace::{self, Request, TraceError};
use crate::bench::model_size::{ModelSize, SizeError};
use crate::bench::timing::{Assumptions, Timing, TimingError};
use crate::engine::cpu::{self, CpuFactory};
use crate::engine::{EngineError, EngineFactory, PrefixSharing};
use crate::hardware::targets::{Precision, Target, TargetError};
use crate::manifest::{Manifest, ManifestError};
use crate::scheduler::Options;

/// Plans capacity and measures speed. One of the modes must be given.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct BenchArgs {
    #[command(flatten)]
    mode: Mode,
    #[command(flatten)]
    simulate: SimulateArgs,
    #[command(flatten)]
    generate: GenerateArgs,
    #[command(flatten)]
    compare: CompareArgs,
    #[command(flatten)]
    load: LoadArgs,
}

#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Mode {
    /// Replay a request trace on a machine that is not here, on simulated time
    #[arg(long, requires_all = ["target", "model_config", "trace"])]
    simulate: bool,
    /// Write a request trace of this shape
    #[arg(long, value_name = "SHAPE", requires = "output")]
    generate_trace: Option<Shape>,
    /// Compare two loads on this engine directory
    #[arg(long, value_name = "DIR", requires = "compare")]
    engine: Option<PathBuf>,
    /// Send requests to a running server, for example http://127.0.0.1:8000
    #[arg(long)]
    url: Option<String>,
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Simulation")]
struct SimulateArgs {
    /// Machine: the name of a file in engines/targets, or a GPU's name as nvidia-smi prints it
    #[arg(long)]
    target: Option<String>,
    /// GPUs that the model is split over
    #[arg(long, default_value_t = 1)]
    gpus: usize,
    /// Format of the weights
    #[arg(long, default_value = "bf16")]
    dtype: Precision,
    /// config.json of the model's Hugging Face checkpoint
    #[arg(long, value_name = "FILE")]
    model_config: Option<PathBuf>,
    /// Request trace, JSONL
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Scale the trace's arrivals so that it offers this share of the ideal capacity
    #[arg(long, value_name = "SHARE")]
    load: Option<f64>,
    /// Share of the dense rate that matrix products reach
    #[arg(long, value_name = "SHARE", default_value_t = 0.6)]
    efficiency: f64,
    /// Share of the memory bandwidth that is reached
    #[arg(long, value_name = "SHARE", default_value_t = 0.8)]
    memory_efficiency: f64,
    /// Cost of an iteration whatever is in it
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 1.0)]
    fixed_cost: f64,
    /// Most tokens in an iteration
    #[arg(long, value_name = "N", default_value_t = 8192)]
    max_num_tokens: usize,
    /// Most sequences in an iteration
    #[arg(long, value_name = "N", default_value_t = 2048)]
    max_batch_size: usize,
    /// Tokens of the KV cache; as many as fit beside the weights if not given
    #[arg(long, value_name = "N")]
    kv_cache_tokens: Option<usize>,
    /// What sequences may share: prefixes within an iteration, cached ones, or nothing
    #[arg(long, value_enum, default_value_t = Sharing::Cached)]
    sharing: Sharing,
    /// Most requests that may wait
    #[arg(long, value_name = "N", default_value_t = Options::default().max_queue_requests)]
    max_queue_requests: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Sharing {
    /// Within an iteration and what is cached, as the CPU engine does
    Within,
    /// Only what is cached, as TensorRT-LLM does
    Cached,
    /// Nothing
    Off,
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Traces")]
struct GenerateArgs {
    /// Where to write the trace
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Mean requests per second
    #[arg(long, default_value_t = 10.0)]
    rate: f64,
    /// How many requests
    #[arg(long, default_value_t = 1000)]
    requests: usize,
    /// Equal seeds make equal traces
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Mean tokens of a prompt
    #[arg(long, value_name = "N", default_value_t = 512)]
    prompt_tokens: usize,
    /// Mean tokens of a response
    #[arg(long, value_name = "N", default_value_t = 128)]
    response_tokens: usize,
    /// Responses to one prompt in a best-of-n trace
    #[arg(long, value_name = "N", default_value_t = 16)]
    group: usize,
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Engine")]
struct CompareArgs {
    /// What to compare
    #[arg(long, value_name = "WHAT")]
    compare: Option<Comparison>,
    /// How often, by turns
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: usize,
    /// Threads of the CPU engine; one per core if not given
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Load")]
struct LoadArgs {
    /// Connections, one request in flight on each
    #[arg(long, value_name = "N", default_value_t = 32)]
    connections: usize,
    /// How long
    #[arg(long, value_name = "N", default_value_t = 10)]
    seconds: usize,
    /// JSON body of every request; a short conversation to score if not given
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
}

/// Why a bench did not run.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A setting is out of its range.
    #[error("{0}")]
    Setting(String),
    /// The trace.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The target.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The model.
    #[error(transparent)]
    Model(#[from] SizeError),
    /// The timing.
    #[error(transparent)]
    Timing(#[from] TimingError),
    /// The scheduler.
    #[error(transparent)]
    Simulation(#[from] SimulationError),
    /// The engine directory.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The comparison.
    #[error(transparent)]
    Compare(#[from] CompareError),
    /// The load.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The report could not be written, or the runtime not started.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Runs the mode that `args` ask for, and writes what it found to `out`.
///
/// # Errors
/// A sentence that says what to change.
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
        let comparison = given("--compare", self.compare.as_ref())?;
        check_count("--rounds", self.rounds, 1000)?;
        let manifest = Manifest::read(directory)?;
        manifest.verify(directory)?;
        // Room for every text of a comparison at once: 16 of 640 tokens, 62 of up to 700.
        let options = cpu::Options {
            threads: self.threads,
            kv_cache_tokens: Some(24 << 10),
            max_seq_len: Some(manifest.limits.max_seq_len.min(1024)),
            ..Default::default()
        };
        let open = || -> Result<Box<dyn EngineFactory>, EngineError> {
            Ok(Box::new(CpuFactory::open(directory, &manifest, options)?))
        };
        let vocab_size = u32::try_from(manifest.model.vocab_size).unwrap_or(u32::MAX);
        let compared = comparison.run(open, vocab_size, self.rounds)?;
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
        writeln!(out, "A model, not a measurement. It assumes:")?;
        for line in setup.timing.describe() {
            writeln!(out, "- {line}")?;
        }
        let limits = setup.limits;
        writeln!(
            out,
            "- iterations of at most {} tokens and {} sequences, a KV cache of {} tokens\n",
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
            // The queue is bounded by requests alone: traces say how long they are.
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
            "--load wants a trace whose requests do not all arrive at once".to_owned(),
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
