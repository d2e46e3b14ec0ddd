//! The server and its tools.

#![warn(clippy::unwrap_used, clippy::expect_used)]

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;

use assay::api::serve::{self, Exit};
use assay::bench::cli::{self as bench, BenchArgs};
use assay::cli::man::Manual;
use assay::cli::output::{print, say};
use assay::config::{ConfigError, ServeOptions, Settings};
use assay::hardware::machine::Machine;
use assay::hardware::profiles;
use assay::score::ScoreError;
use assay::score::cli::{self as score, EvalArgs, ReportArgs, ScoreArgs};
use assay::serving::load;
use assay::telemetry::logs;
use clap::{CommandFactory, Parser, Subcommand};

/// Serves LLM reward models: scores the last turn of a conversation, attribute by attribute.
#[derive(Parser)]
#[command(name = "assay", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve an engine over HTTP
    ///
    /// Options come from the command line, else from environment variables (ASSAY_MAX_SEQ_LEN for --max-seq-len), else
    /// from the YAML file that --config names (max_seq_len), else they have their defaults.
    Serve(Serve),
    Score(ScoreArgs),
    Eval(EvalArgs),
    Report(ReportArgs),
    /// List the engines there are, which of them run on this machine, and why the others do not
    Profiles(Profiles),
    /// Plan capacity on simulated time, make request traces, measure an engine or a server
    Bench(BenchArgs),
    #[command(flatten)]
    Manual(Manual),
}

#[derive(clap::Args)]
struct Serve {
    /// YAML file with options
    #[arg(long, env = "ASSAY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the effective options as YAML and exit
    #[arg(long)]
    print_config: bool,
    /// Print the number of processes (MPI ranks) that the engine needs and exit
    #[arg(long)]
    print_ranks: bool,
    #[command(flatten)]
    options: Box<ServeOptions>,
}

#[derive(clap::Args)]
struct Profiles {
    /// Folder of engine directories, or one of them
    #[arg(long, visible_alias = "engine", env = "ASSAY_ENGINE", value_name = "DIR")]
    engines: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    if matches!(command, Command::Serve(_) | Command::Score(_) | Command::Bench(_)) {
        spin_briefly();
    }
    let done = match command {
        Command::Score(arguments) => on_runtime(score::score(&arguments)),
        Command::Eval(arguments) => on_runtime(score::eval(&arguments)),
        Command::Report(arguments) => {
            score::report(&arguments).map(ExitCode::from).map_err(|error| error.to_string())
        }
        Command::Manual(manual) => manual.tell(Arguments::command()).map(|()| ExitCode::SUCCESS),
        Command::Serve(arguments) => return end(serve(arguments)),
        Command::Profiles(arguments) => list(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Bench(arguments) => bench::run(&arguments, &mut std::io::stdout())
            .map(|()| ExitCode::SUCCESS)
            .map_err(|error| error.to_string()),
    };
    done.unwrap_or_else(|reason| {
        say(format_args!("assay: {reason}"));
        ExitCode::from(Exit::NotStarted as u8)
    })
}

/// Ends a server's process with what became of it.
fn end(ended: Result<Exit, String>) -> ExitCode {
    let exit = ended.unwrap_or_else(|reason| {
        say(format_args!("assay: {reason}"));
        Exit::NotStarted
    });
    #[cfg(feature = "trtllm")]
    if exit != Exit::Drained {
        assay::engine::trtllm::leave(exit as u8);
    }
    ExitCode::from(exit as u8)
}

/// Unless they are told otherwise, OpenMP's threads spin for milliseconds where they wait for each other: where
/// other processes want the cores, in the very time that the one waited for needs. How long is read as a
/// process starts, so this one starts once more, under the same id.
fn spin_briefly() {
    const SPINS: &str = "GOMP_SPINCOUNT";
    if [SPINS, "OMP_WAIT_POLICY"].iter().any(|name| std::env::var_os(name).is_some()) {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let mut arguments = std::env::args_os();
    let mut again = std::process::Command::new(program);
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    // It returns only where that cannot be done; then they spin for longer, and all else is the same.
    let _ = again.args(arguments).env(SPINS, "10000").exec();
}

fn list(arguments: &Profiles) -> Result<(), String> {
    let nim = ServeOptions::from_nim(variable).map_err(|error| error.to_string())?;
    let root = arguments.engines.clone().or(nim.directory);
    let root = root.ok_or("no folder is named: say --engines DIR, or set NIM_CACHE_PATH")?;
    let profiles = profiles::Profiles::find(&root, &Machine::this()).map_err(|error| error.to_string())?;
    let text = match arguments.json {
        true => serde_json::to_string_pretty(&profiles.listed()).map_err(|error| error.to_string())? + "\n",
        false => profiles.to_string(),
    };
    print(text);
    Ok(())
}

fn serve(arguments: Serve) -> Result<Exit, String> {
    let settings = Settings::load(*arguments.options, arguments.config.as_deref(), variable);
    let mut settings = settings.map_err(|error| refuse(&error))?;
    if arguments.print_config {
        print(serde_saphyr::to_string(&settings).map_err(|error| error.to_string())?);
        return Ok(Exit::Drained);
    }
    if arguments.print_ranks {
        print(format_args!("{}\n", load::choose(&mut settings).map_err(|error| error.to_string())?.ranks()));
        return Ok(Exit::Drained);
    }
    logs::start(&settings.logging.log_level, settings.logging.log_format)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("the runtime cannot be started: {error}"))?;
    let exit = runtime.block_on(serve::run(settings));
    // A load or a tokenization that still runs has nobody left to answer.
    runtime.shutdown_background();
    exit
}

/// The value of an environment variable that is set to text.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Ends the process, as clap does, if the error is a mistake in one of our own variables; else returns its text.
fn refuse(error: &ConfigError) -> String {
    if error.is_usage() {
        clap::Error::raw(clap::error::ErrorKind::ValueValidation, format!("{error}\n")).exit();
    }
    error.to_string()
}

/// Runs a command that waits for many things at once.
fn on_runtime(command: impl Future<Output = Result<u8, ScoreError>>) -> Result<ExitCode, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("the runtime cannot be started: {error}"))?;
    let done = runtime.block_on(command);
    runtime.shutdown_background();
    done.map(ExitCode::from).map_err(|error| error.to_string())
}
