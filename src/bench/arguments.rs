//! The arguments of `assay bench`.

use std::path::PathBuf;

use super::compare::Comparison;
use super::generate::TraceShape;
use super::route::Route;
use crate::hardware::targets::Precision;
use crate::scheduler::SchedulerOptions;

/// Plan capacity, generate request traces, and measure an engine or a server
///
/// The first group of options chooses what to do; each of the other groups belongs to one of them.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct BenchArgs {
    #[command(flatten)]
    pub(super) mode: Mode,
    #[command(flatten)]
    pub(super) simulate: SimulateArgs,
    #[command(flatten)]
    pub(super) generate: GenerateArgs,
    #[command(flatten)]
    pub(super) compare: CompareArgs,
    #[command(flatten)]
    pub(super) load: LoadArgs,
}

#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(super) struct Mode {
    /// Replay a request trace on a modelled machine, on simulated time
    #[arg(long, requires_all = ["target", "model_config", "trace"])]
    pub(super) simulate: bool,
    /// Write a request trace of this shape
    #[arg(long, value_name = "SHAPE", requires = "output")]
    pub(super) generate_trace: Option<TraceShape>,
    /// Compare two loads on a CPU engine: an engine directory, a checkpoint directory, or OWNER/NAME of a model in the
    /// Hugging Face cache
    #[arg(long, value_name = "MODEL")]
    pub(super) engine: Option<PathBuf>,
    /// Send requests to a running server, such as http://127.0.0.1:8000
    #[arg(long, value_name = "URL")]
    pub(super) url: Option<String>,
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Simulation (--simulate)")]
pub(super) struct SimulateArgs {
    /// GPU to simulate: a name from engines/targets, or as nvidia-smi prints it
    #[arg(long, value_name = "NAME")]
    pub(super) target: Option<String>,
    /// GPUs that share the model, in each server
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub(super) gpus: usize,
    /// Servers
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub(super) replicas: usize,
    /// Which of them gets a request
    #[arg(long, value_enum, default_value_t = Route::Hash)]
    pub(super) route: Route,
    /// Type of the weights
    #[arg(long, default_value = "bf16")]
    pub(super) dtype: Precision,
    /// config.json of the model's Hugging Face checkpoint
    #[arg(long, value_name = "FILE")]
    pub(super) model_config: Option<PathBuf>,
    /// Request trace to replay, in JSONL
    #[arg(long, value_name = "FILE")]
    pub(super) trace: Option<PathBuf>,
    /// Scale arrivals to this share of the ideal capacity [default: as in the trace]
    #[arg(long, value_name = "SHARE")]
    pub(super) load: Option<f64>,
    /// Share of the peak compute rate that matrix products reach
    #[arg(long, value_name = "SHARE", default_value_t = 0.6)]
    pub(super) efficiency: f64,
    /// Share of the memory bandwidth that is reached
    #[arg(long, value_name = "SHARE", default_value_t = 0.8)]
    pub(super) memory_efficiency: f64,
    /// Fixed cost of a batch
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 1.0)]
    pub(super) fixed_cost: f64,
    /// Maximum tokens in a batch
    #[arg(long, value_name = "TOKENS", default_value_t = 8192)]
    pub(super) max_num_tokens: usize,
    /// Maximum sequences in a batch
    #[arg(long, value_name = "COUNT", default_value_t = 2048)]
    pub(super) max_batch_size: usize,
    /// Size of the KV cache [default: what fits beside the weights]
    #[arg(long, value_name = "TOKENS")]
    pub(super) kv_cache_tokens: Option<usize>,
    /// Prefixes that sequences share
    #[arg(long, value_enum, default_value_t = Sharing::Cached)]
    pub(super) sharing: Sharing,
    /// Maximum number of queued requests
    #[arg(long, value_name = "COUNT", default_value_t = SchedulerOptions::default().max_queue_requests)]
    pub(super) max_queue_requests: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Sharing {
    /// Those in the same batch and cached ones, as the CPU engine
    Within,
    /// Cached ones only, as TensorRT-LLM
    Cached,
    /// None
    Off,
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Traces (--generate-trace)")]
pub(super) struct GenerateArgs {
    /// Trace file to write
    #[arg(long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Mean number of requests per second
    #[arg(long, value_name = "RATE", default_value_t = 10.0)]
    pub(super) rate: f64,
    /// Number of requests
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    pub(super) requests: usize,
    /// Random seed; the same seed gives the same trace
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    pub(super) seed: u64,
    /// Mean length of a prompt
    #[arg(long, value_name = "TOKENS", default_value_t = 512)]
    pub(super) prompt_tokens: usize,
    /// Mean length of a response
    #[arg(long, value_name = "TOKENS", default_value_t = 128)]
    pub(super) response_tokens: usize,
    /// Responses per prompt in a best-of-n trace
    #[arg(long, value_name = "COUNT", default_value_t = 16)]
    pub(super) group: usize,
    /// Time after which a response is of no use [default: none]
    #[arg(long, value_name = "SECONDS")]
    pub(super) timeout: Option<f64>,
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Engine (--engine)")]
pub(super) struct CompareArgs {
    /// Loads to compare
    #[arg(long, value_name = "WHAT", default_value = "best-of-n")]
    pub(super) compare: Comparison,
    /// Rounds, each of which measures both loads
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    pub(super) rounds: usize,
    /// Threads of the CPU engine [default: one per core]
    #[arg(long, value_name = "COUNT")]
    pub(super) threads: Option<usize>,
    /// Download the model from the Hugging Face hub if this machine does not have it, with the `hf` command
    #[arg(long, env = "ASSAY_DOWNLOAD")]
    pub(super) download: bool,
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Server (--url)")]
pub(super) struct LoadArgs {
    /// Connections, each with one request in flight
    #[arg(long, value_name = "COUNT", default_value_t = 32)]
    pub(super) connections: usize,
    /// Duration of the load
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub(super) seconds: usize,
    /// JSON body of every request [default: a short conversation]
    #[arg(long, value_name = "FILE")]
    pub(super) body: Option<PathBuf>,
}
