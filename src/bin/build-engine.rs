//! Builds engines: a Hugging Face checkpoint in, an engine directory out.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use assay::builder::cpu::{self, CpuBuildOptions};
use assay::builder::trtllm::{self, GPU_HEADING, GpuBuildOptions, Outcome, TrtllmBuildOptions};
use assay::builder::{BuildError, BuildOptions, Console};
use assay::cli::advice;
use assay::cli::man::Manual;
use assay::cli::output::{eprint_line, print};
use assay::hardware::Gpus;
use assay::hardware::targets::{HardwareTarget, Kind};
use assay::manifest::{Dtype, Task};
use clap::parser::ValueSource;
use clap::{Args, FromArgMatches, Subcommand};
use indicatif::HumanBytes;
use tokio::signal::unix::{SignalKind, signal};

/// Exit status of a build that was interrupted, as a shell reports it for SIGINT.
const INTERRUPTED: u8 = 130;

/// Build an engine directory for `assay serve` from a Hugging Face checkpoint
#[derive(Args)]
#[command(version)]
struct Arguments {
    /// Machine to build for: `cpu` for this processor, or a GPU such as `h100` or `l40s`
    #[arg(long, value_name = "NAME")]
    target: String,
    #[command(flatten)]
    common: BuildOptions,
    /// Type of weights and activations, for CPU engines [default: bf16 if the processor has it, else f32]
    #[arg(long)]
    dtype: Option<Dtype>,
    #[command(flatten)]
    gpu: GpuBuildOptions,
}

/// The command line: a build, or a subcommand that documents the command line.
fn command() -> clap::Command {
    Arguments::augment_args(Manual::augment_subcommands(clap::Command::new("build-engine")))
        .args_conflicts_with_subcommands(true)
        .subcommand_negates_reqs(true)
}

fn main() -> ExitCode {
    let matches =
        command().try_get_matches().unwrap_or_else(|error| advice::explain(error, &command()).exit());
    let (error, status) = if matches.subcommand_name().is_some() {
        let manual = Manual::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        match manual.write(command()) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(error) => (error.to_string(), ExitCode::FAILURE),
        }
    } else {
        let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        match run(arguments, &gpu_flags(&matches)) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(error @ BuildError::Interrupted) => (error.to_string(), ExitCode::from(INTERRUPTED)),
            Err(error) => (error.to_string(), ExitCode::FAILURE),
        }
    };
    eprint_line(format_args!("build-engine: {error}"));
    status
}

/// The options for GPU engines that the command line has.
fn gpu_flags(matches: &clap::ArgMatches) -> Vec<String> {
    let mut given = Vec::new();
    for argument in command().get_arguments() {
        let on_command_line =
            matches.value_source(argument.get_id().as_str()) == Some(ValueSource::CommandLine);
        if let (Some(GPU_HEADING), Some(flag), true) =
            (argument.get_help_heading(), argument.get_long(), on_command_line)
        {
            given.push(format!("--{flag}"));
        }
    }
    given
}

fn run(arguments: Arguments, gpu_flags: &[String]) -> Result<(), BuildError> {
    let target = HardwareTarget::find(&arguments.target)?;
    let console = Console::new(stop_on_signal()?);
    let output = arguments.common.output.clone();
    let outcome = match target.kind {
        Kind::Cpu => Outcome::Engine(Box::new(cpu::build(&cpu_options(arguments, gpu_flags)?, &console)?)),
        Kind::Gpu => trtllm::build(&gpu_options(arguments)?, &Gpus::detect(), &console)?,
    };
    drop(console);
    let output = output.display();
    match outcome {
        Outcome::Plan(plan) => print(format_args!("{plan}\n")),
        Outcome::Checkpoint(ranks) => eprint_line(format_args!(
            "{output}: checkpoint for {ranks} ranks; build the engine with --model {output} on the machine with the GPUs"
        )),
        Outcome::Engine(manifest) => eprint_line(format_args!(
            "{output}: {} ({}) {}; profile {} {}",
            manifest.model.name,
            HumanBytes(manifest.files.values().map(|file| file.bytes).sum()),
            match manifest.task {
                Task::Reward => format!("scores {}", manifest.head.attributes.join(", ")),
                task => format!("for {task}"),
            },
            manifest.profile.name,
            &manifest.profile.id[..12],
        )),
    }
    Ok(())
}

fn cpu_options(arguments: Arguments, gpu_flags: &[String]) -> Result<CpuBuildOptions, BuildError> {
    if !gpu_flags.is_empty() {
        let flags = gpu_flags.join(", ");
        let reason = format!("{flags}: only for GPU engines; leave out, or choose a GPU with --target");
        return Err(BuildError::Option(reason));
    }
    Ok(CpuBuildOptions { common: arguments.common, dtype: arguments.dtype, balance: None })
}

fn gpu_options(arguments: Arguments) -> Result<TrtllmBuildOptions, BuildError> {
    let Arguments { common, target, dtype, gpu } = arguments;
    if dtype.is_some_and(|dtype| dtype != Dtype::Bf16) {
        let reason = "--dtype: GPU engines are bf16; leave it out, and quantize with --quantization";
        return Err(BuildError::Option(reason.to_owned()));
    }
    Ok(TrtllmBuildOptions { common, target, gpu })
}

/// A flag that SIGINT and SIGTERM set, so that the build can clean up.
fn stop_on_signal() -> Result<Arc<AtomicBool>, BuildError> {
    let stop = Arc::new(AtomicBool::new(false));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(BuildError::Signals)?;
    // The handlers are registered inside the runtime, and before the thread starts, so that no signal is missed.
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        let watch = |kind| signal(kind).map_err(BuildError::Signals);
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
