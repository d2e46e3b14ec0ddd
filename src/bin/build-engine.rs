//! Makes engines: a Hugging Face checkpoint in, an engine directory out.

#![warn(clippy::unwrap_used, clippy::expect_used)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use assay::builder::trtllm::{self, Outcome};
use assay::builder::{self, BuildError, BuildOptions, Console};
use assay::cli::man::Manual;
use assay::cli::output::{print, say};
use assay::hardware::gpus::Gpus;
use assay::hardware::targets::{Kind, Target};
use assay::manifest::{Dtype, Objective, Quantization, Task};
use clap::{Args, FromArgMatches, Subcommand, ValueEnum};
use indicatif::HumanBytes;
use tokio::signal::unix::{SignalKind, signal};

/// Exit status of a build that was interrupted, as a shell gives it for SIGINT.
const INTERRUPTED: u8 = 130;

/// Builds an engine directory for `assay serve` from a Hugging Face checkpoint.
#[derive(Args)]
#[command(version)]
struct Arguments {
    /// Directory of the checkpoint: safetensors, config.json, tokenizer.json, chat template
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Kind of machine to build for: `cpu`, this machine's processor, or a GPU such as `h100` or `l40s`
    #[arg(long, value_name = "NAME")]
    target: String,
    /// Engine directory to make; must not exist, or be empty
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Type of weights and activations; int8 quantizes both, and is for CPUs as f32 is [default: bf16 where
    /// the processor has it, else f32]
    #[arg(long, value_enum)]
    dtype: Option<DtypeKind>,
    /// Name under which the engine is served [default: the checkpoint directory's]
    #[arg(long)]
    name: Option<String>,
    /// Longest sequence in tokens [default: the model's, up to 32768]
    #[arg(long, value_name = "TOKENS")]
    max_seq_len: Option<usize>,
    /// What to build it for [default: reward for a reward model; chat for a language model with a chat
    /// template, completion for one without]
    #[arg(long, value_enum)]
    task: Option<TaskKind>,
    /// File that says which logits are scores, where the checkpoint leaves it open (docs/models.md)
    #[arg(long, value_name = "FILE")]
    head: Option<PathBuf>,
    /// Most sequences in one iteration [default: 256; 32 for latency]
    #[arg(long, value_name = "SEQUENCES")]
    max_batch_size: Option<usize>,
    /// Most tokens in one iteration [default: 2048; on GPUs 8192, and 4096 for latency]
    #[arg(long, value_name = "TOKENS")]
    max_num_tokens: Option<usize>,
    #[command(flatten)]
    gpu: GpuArguments,
}

/// What only engines for GPUs have.
#[derive(Args, PartialEq, Default)]
#[command(next_help_heading = "Engines for GPUs")]
struct GpuArguments {
    /// GPUs that each hold a part of every layer [default: 1]
    #[arg(long, value_name = "N")]
    tp: Option<usize>,
    /// Groups of GPUs that each hold some of the layers [default: 1]
    #[arg(long, value_name = "N")]
    pp: Option<usize>,
    /// How layers are quantized [default: none]
    #[arg(long, value_enum)]
    quantization: Option<QuantizationKind>,
    /// TensorRT-LLM checkpoint of NVIDIA's modelopt whose quantized layers are taken
    #[arg(long, value_name = "DIR")]
    quantized: Option<PathBuf>,
    /// Give lm_head as many rows as the head has instead of the vocabulary's; Llama's kin and Qwen only, and
    /// not tried on TensorRT-LLM yet
    #[arg(long)]
    small_head: bool,
    /// What it is tuned for [default: throughput]
    #[arg(long, value_enum)]
    objective: Option<ObjectiveKind>,
    /// Write the checkpoint for trtllm-build and no engine; give it as --model later, on the GPU's machine
    #[arg(long)]
    checkpoint_only: bool,
    /// Print the plan, the memory of each GPU and the command, and write nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum TaskKind {
    Reward,
    Chat,
    Completion,
}

impl From<TaskKind> for Task {
    fn from(kind: TaskKind) -> Self {
        match kind {
            TaskKind::Reward => Self::Reward,
            TaskKind::Chat => Self::Chat,
            TaskKind::Completion => Self::Completion,
        }
    }
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum DtypeKind {
    F32,
    Bf16,
    Int8,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum QuantizationKind {
    None,
    Fp8,
    Int8WeightOnly,
    Int4WeightOnly,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum ObjectiveKind {
    Throughput,
    Latency,
}

/// The command line: what to build, or what to tell of the command line itself.
fn command() -> clap::Command {
    Arguments::augment_args(Manual::augment_subcommands(clap::Command::new("build-engine")))
        .args_conflicts_with_subcommands(true)
        .subcommand_negates_reqs(true)
}

fn main() -> ExitCode {
    let line = command().get_matches();
    let done = match line.subcommand_name() {
        Some(_) => Manual::from_arg_matches(&line)
            .unwrap_or_else(|error| error.exit())
            .tell(command())
            .map_err(|reason| (reason, ExitCode::FAILURE)),
        None => {
            run(Arguments::from_arg_matches(&line).unwrap_or_else(|error| error.exit())).map_err(|error| {
                let interrupted = matches!(error, BuildError::Interrupted);
                (error.to_string(), if interrupted { ExitCode::from(INTERRUPTED) } else { ExitCode::FAILURE })
            })
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err((reason, status)) => {
            say(format_args!("build-engine: {reason}"));
            status
        }
    }
}

fn run(arguments: Arguments) -> Result<(), BuildError> {
    let target = Target::find(&arguments.target)?;
    let console = Console::new(stop_on_signal()?);
    let output = arguments.output.clone();
    let outcome = match target.kind {
        Kind::Cpu => Outcome::Engine(Box::new(builder::build(&cpu_options(arguments)?, &console)?)),
        Kind::Gpu => trtllm::build(&gpu_options(arguments)?, &Gpus::find(), &console)?,
    };
    drop(console);
    let output = output.display();
    match outcome {
        Outcome::Plan(plan) => print(format_args!("{plan}\n")),
        Outcome::Checkpoint(ranks) => say(format_args!(
            "{output}: a checkpoint of {ranks} ranks; build its engine with --model {output} on the machine with the GPUs"
        )),
        Outcome::Engine(manifest) => say(format_args!(
            "{output}: {} ({}) {}; profile {} {}",
            manifest.model.name,
            HumanBytes(manifest.files.values().map(|file| file.bytes).sum()),
            match manifest.task {
                Task::Reward => format!("scores {}", manifest.head.attributes.join(", ")),
                task => format!("is for {task}"),
            },
            manifest.profile.name,
            &manifest.profile.id[..12],
        )),
    }
    Ok(())
}

fn cpu_options(arguments: Arguments) -> Result<BuildOptions, BuildError> {
    if arguments.gpu != GpuArguments::default() {
        let reason = "--target cpu: --tp, --pp, --quantization, --quantized, --small-head, --objective, \
                      --checkpoint-only and --dry-run are of engines for GPUs";
        return Err(BuildError::Option(reason.to_owned()));
    }
    Ok(BuildOptions {
        model: arguments.model,
        output: arguments.output,
        dtype: arguments.dtype.map(|dtype| match dtype {
            DtypeKind::F32 => Dtype::F32,
            DtypeKind::Bf16 => Dtype::Bf16,
            DtypeKind::Int8 => Dtype::Int8,
        }),
        name: arguments.name,
        max_seq_len: arguments.max_seq_len,
        task: arguments.task.map(Task::from),
        head: arguments.head,
        max_batch_size: arguments.max_batch_size.unwrap_or(builder::DEFAULT_MAX_BATCH_SIZE),
        max_num_tokens: arguments.max_num_tokens.unwrap_or(builder::DEFAULT_MAX_NUM_TOKENS),
    })
}

fn gpu_options(arguments: Arguments) -> Result<trtllm::Options, BuildError> {
    if arguments.dtype.is_some_and(|dtype| dtype != DtypeKind::Bf16) {
        let reason = "--dtype: engines for GPUs are bf16, and quantized with --quantization; leave it out";
        return Err(BuildError::Option(reason.to_owned()));
    }
    let gpu = arguments.gpu;
    Ok(trtllm::Options {
        model: arguments.model,
        output: arguments.output,
        target: arguments.target,
        name: arguments.name,
        task: arguments.task.map(Task::from),
        head: arguments.head,
        small_head: gpu.small_head,
        tensor_parallel: gpu.tp.unwrap_or(1),
        pipeline_parallel: gpu.pp.unwrap_or(1),
        quantization: match gpu.quantization {
            None | Some(QuantizationKind::None) => Quantization::None,
            Some(QuantizationKind::Fp8) => Quantization::Fp8,
            Some(QuantizationKind::Int8WeightOnly) => Quantization::Int8WeightOnly,
            Some(QuantizationKind::Int4WeightOnly) => Quantization::Int4WeightOnly,
        },
        quantized: gpu.quantized,
        objective: gpu.objective.map(|objective| match objective {
            ObjectiveKind::Throughput => Objective::Throughput,
            ObjectiveKind::Latency => Objective::Latency,
        }),
        max_seq_len: arguments.max_seq_len,
        max_batch_size: arguments.max_batch_size,
        max_num_tokens: arguments.max_num_tokens,
        checkpoint_only: gpu.checkpoint_only,
        dry_run: gpu.dry_run,
    })
}

/// A flag that SIGINT and SIGTERM set, so that the build can clean up after itself.
fn stop_on_signal() -> Result<Arc<AtomicBool>, BuildError> {
    let unwatchable = |error| BuildError::Option(format!("signals cannot be watched: {error}"));
    let stop = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(unwatchable)?;
    // Within the runtime, for the signals' handlers are its; before the thread, so that none is missed.
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        let watch = |kind| signal(kind).map_err(unwatchable);
        (watch(SignalKind::interrupt())?, watch(SignalKind::terminate())?)
    };
    let stopped = stop.clone();
    std::thread::spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                stopped.store(true, Ordering::Relaxed);
            }
        });
    });
    Ok(stop)
}
