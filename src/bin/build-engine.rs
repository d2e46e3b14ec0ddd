//! Makes engines: a Hugging Face checkpoint in, an engine directory out.

#![warn(clippy::unwrap_used, clippy::expect_used)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use assay::build::{self, BuildError, BuildOptions, Console};
use assay::engine::manifest::Dtype;
use clap::{Parser, ValueEnum};
use indicatif::HumanBytes;
use tokio::signal::unix::{SignalKind, signal};

/// Exit status of a build that was interrupted, as a shell gives it for SIGINT.
const INTERRUPTED: u8 = 130;

/// Builds an engine directory for `assay serve` from a Hugging Face reward checkpoint.
#[derive(Parser)]
#[command(name = "build-engine", version)]
struct Arguments {
    /// Directory of the checkpoint: safetensors, config.json, tokenizer.json, chat template
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Kind of machine to build for; `cpu` is this machine's processor
    #[arg(long, value_enum)]
    target: TargetKind,
    /// Engine directory to make; must not exist, or be empty
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Type of weights and activations; int8 quantizes both [default: bf16 where the processor has it, else
    /// f32]
    #[arg(long, value_enum)]
    dtype: Option<DtypeKind>,
    /// Name under which the engine is served [default: the checkpoint directory's]
    #[arg(long)]
    name: Option<String>,
    /// Longest sequence in tokens [default: the model's, up to 32768]
    #[arg(long, value_name = "TOKENS")]
    max_seq_len: Option<usize>,
    /// File that says which logits are scores, where the checkpoint leaves it open (docs/models.md)
    #[arg(long, value_name = "FILE")]
    head: Option<PathBuf>,
    /// Most sequences in one iteration
    #[arg(long, value_name = "SEQUENCES", default_value_t = build::DEFAULT_MAX_BATCH_SIZE)]
    max_batch_size: usize,
    /// Most tokens in one iteration
    #[arg(long, value_name = "TOKENS", default_value_t = build::DEFAULT_MAX_NUM_TOKENS)]
    max_num_tokens: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum TargetKind {
    Cpu,
}

#[derive(Clone, Copy, ValueEnum)]
enum DtypeKind {
    F32,
    Bf16,
    Int8,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let TargetKind::Cpu = arguments.target;
    let options = BuildOptions {
        model: arguments.model,
        output: arguments.output,
        dtype: arguments.dtype.map(|dtype| match dtype {
            DtypeKind::F32 => Dtype::F32,
            DtypeKind::Bf16 => Dtype::Bf16,
            DtypeKind::Int8 => Dtype::Int8,
        }),
        name: arguments.name,
        max_seq_len: arguments.max_seq_len,
        head: arguments.head,
        max_batch_size: arguments.max_batch_size,
        max_num_tokens: arguments.max_num_tokens,
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("build-engine: {error}");
            match error {
                BuildError::Interrupted => ExitCode::from(INTERRUPTED),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn run(options: &BuildOptions) -> Result<(), BuildError> {
    let console = Console::new(stop_on_signal()?);
    let manifest = build::build(options, &console)?;
    drop(console);
    let bytes = manifest.files.values().map(|file| file.bytes).sum();
    eprintln!(
        "{}: {} ({}) scores {}; profile {} {}",
        options.output.display(),
        manifest.model.name,
        HumanBytes(bytes),
        manifest.head.attributes.join(", "),
        manifest.profile.name,
        &manifest.profile.id[..12],
    );
    Ok(())
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
