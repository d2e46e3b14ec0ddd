//! The server and its tools.

use std::error::Error;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;

use assay::api::serve::{self, Exit};
use assay::bench::cli::{self as bench, BenchArgs};
use assay::builder::{Console, Progress};
use assay::cache::cli::{self as cache, CacheArgs};
use assay::cache::{LoggedProgress, ModelOptions, check_engines, is_engine, prepare};
use assay::cli::advice;
use assay::cli::man::Manual;
use assay::cli::output::{eprint_line, print};
use assay::config::{ConfigError, ServeOptions, Settings};
use assay::engine::{backends, exit_now};
use assay::hardware::Machine;
use assay::hardware::profiles;
use assay::score::ScoreError;
use assay::score::check::{self, CheckArgs};
use assay::score::cli::{self as score, EvalArgs, ReportArgs, ScoreArgs};
use assay::score::drift::{self, DriftArgs};
use assay::score::verify::{self, VerifyArgs};
use assay::telemetry::logs::{self, LogFormat};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use tokio::runtime::Runtime;

/// Unlike glibc's, it gives back what is freed whichever thread had it: glibc keeps memory for every thread that has parsed
/// a large body.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What the allocator reads when it starts: a thread of its own gives back what has been free for a tenth of a second, and
/// what is larger than the third number, in bytes, is given back at once.
// SAFETY: the allocator declares a pointer to a C string of this name, which a reference to an array is.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static ALLOCATOR_OPTIONS: &[u8; 68] =
    b"background_thread:true,dirty_decay_ms:100,oversize_threshold:200000\0";

/// An inference server for reward models: scores the last turn of a conversation.
#[derive(Parser)]
#[command(name = "assay", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve a model over HTTP
    ///
    /// A checkpoint is built for this machine's processor first, and the engine is kept for the next start: see
    /// `assay cache`.
    ///
    /// Options come from the command line, else from environment variables (ASSAY_MAX_SEQ_LEN for --max-seq-len), else
    /// from the YAML file that --config names (max_seq_len), else they have their defaults.
    Serve(ServeArgs),
    Score(ScoreArgs),
    Eval(EvalArgs),
    Report(ReportArgs),
    Check(CheckArgs),
    Drift(DriftArgs),
    Verify(VerifyArgs),
    /// List engines, and which of them run on this machine
    Profiles(ProfilesArgs),
    Cache(CacheArgs),
    Bench(BenchArgs),
    #[command(flatten)]
    Manual(Manual),
}

#[derive(clap::Args)]
struct ServeArgs {
    /// Engine directory, checkpoint directory, or OWNER/NAME of a model in the Hugging Face cache
    #[arg(conflicts_with = "engine")]
    model: Option<PathBuf>,
    /// YAML file with options
    #[arg(long, env = "ASSAY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the effective options as YAML and exit
    #[arg(long)]
    print_config: bool,
    /// Print how many MPI ranks the engine needs and exit
    #[arg(long)]
    print_ranks: bool,
    #[command(flatten)]
    build: ModelOptions,
    #[command(flatten)]
    options: Box<ServeOptions>,
}

#[derive(clap::Args)]
struct ProfilesArgs {
    /// Folder of engine directories, or one engine directory
    #[arg(long, visible_alias = "engine", env = "ASSAY_ENGINE", value_name = "DIR")]
    engines: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The command line up to the model that is served, for advice.
const SERVE: &str = "assay serve";

fn main() -> ! {
    let status = run();
    let _ = std::io::stdout().flush();
    exit_now(status)
}

/// Runs the command, and returns the exit status.
fn run() -> u8 {
    let arguments =
        Arguments::try_parse().unwrap_or_else(|error| advice::explain(error, &Arguments::command()).exit());
    let command = arguments.command;
    if matches!(command, Command::Serve(_) | Command::Score(_) | Command::Check(_) | Command::Bench(_)) {
        limit_spinning();
    }
    let done = match command {
        Command::Serve(arguments) => serve(arguments),
        Command::Score(arguments) => on_runtime(score::score(&arguments)),
        Command::Check(arguments) => on_runtime(check::check(&arguments)),
        Command::Drift(arguments) => on_runtime(drift::drift(&arguments)),
        Command::Eval(arguments) => on_runtime(score::eval(&arguments)),
        Command::Report(arguments) => score::report(&arguments).map_err(Into::into),
        Command::Verify(arguments) => verify::verify(&arguments).map_err(Into::into),
        Command::Profiles(arguments) => list_profiles(&arguments),
        Command::Cache(arguments) => cache::run(&arguments).map(|()| 0).map_err(Into::into),
        Command::Bench(arguments) => {
            bench::run(&arguments, &mut std::io::stdout()).map(|()| 0).map_err(Into::into)
        }
        Command::Manual(manual) => manual.write(Arguments::command()).map(|()| 0).map_err(Into::into),
    };
    done.unwrap_or_else(|error| {
        eprint_line(format_args!("assay: {error}"));
        Exit::NotStarted as u8
    })
}

/// Keeps OpenMP's threads from spinning for long.
///
/// By default libgomp's threads spin for milliseconds at a barrier. On a loaded host that takes the CPU from the very
/// thread they wait for. libgomp reads GOMP_SPINCOUNT once, when the process starts, so this process starts itself
/// again, under the same process id.
fn limit_spinning() {
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
    // `exec` returns only if it fails. The threads then spin for longer, and all else is the same.
    let _ = again.args(arguments).env(SPINS, "10000").exec();
}

fn list_profiles(arguments: &ProfilesArgs) -> Result<u8, Box<dyn Error>> {
    let nim = ServeOptions::from_nim(variable)?;
    let root = arguments.engines.clone().or(nim.directory);
    let root = root.ok_or("no folder is given: use --engines DIR, or set NIM_CACHE_PATH")?;
    check_engines(&root, "assay profiles --engines")?;
    let machine = Machine::detect();
    let profiles = profiles::Profiles::find(&root, &backends::fit(&machine))?;
    if arguments.json {
        print(serde_json::to_string_pretty(&profiles.listed())? + "\n");
    } else {
        print(profiles);
    }
    Ok(0)
}

fn serve(arguments: ServeArgs) -> Result<u8, Box<dyn Error>> {
    let mut options = *arguments.options;
    options.directory = arguments.model.or(options.directory);
    let settings = Settings::load(options, arguments.config.as_deref(), variable);
    let mut settings = settings.map_err(exit_on_wrong_variable)?;
    if arguments.print_config {
        print(serde_saphyr::to_string(&settings)?);
        return Ok(0);
    }
    if arguments.print_ranks {
        // The engine of a checkpoint runs as one process.
        let is_engine = is_engine(&settings.engine.directory, &arguments.build, SERVE)?;
        let ranks = if is_engine { settings.choose_engine()?.ranks() } else { 1 };
        print(format_args!("{ranks}\n"));
        return Ok(0);
    }
    logs::start(&settings.logging.log_level, settings.logging.log_format)?;
    let progress: Box<dyn Progress> = match settings.logging.log_format {
        LogFormat::Human => Box::new(Console::default()),
        LogFormat::Json => Box::new(LoggedProgress::default()),
    };
    let engine = &settings.engine;
    let prepared = prepare(&engine.directory, &arguments.build, &engine.limits(), SERVE, &*progress)?;
    drop(progress);
    settings.engine.directory.clone_from(&prepared.directory);
    let manifest = settings.choose_engine()?;
    let interruptible = backends::for_manifest(&manifest).is_interruptible();
    let runtime = runtime()?;
    let exit = runtime.block_on(serve::run(settings, manifest));
    // Nobody waits for the result of a load or a tokenization that is still running.
    runtime.shutdown_background();
    let exit = exit?;
    if exit == Exit::Drained && !interruptible {
        // The exit handlers of its library let all ranks of the engine end together.
        std::process::exit(exit as i32);
    }
    Ok(exit as u8)
}

/// The value of an environment variable, if it is set to valid UTF-8.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Ends the process, as clap does, if the mistake is in one of Assay's own variables.
fn exit_on_wrong_variable(error: ConfigError) -> ConfigError {
    if error.is_usage() {
        clap::Error::raw(ErrorKind::ValueValidation, format!("{error}\n")).exit();
    }
    error
}

/// Runs an asynchronous command.
fn on_runtime(command: impl Future<Output = Result<u8, ScoreError>>) -> Result<u8, Box<dyn Error>> {
    let runtime = runtime()?;
    let done = runtime.block_on(command);
    runtime.shutdown_background();
    Ok(done?)
}

fn runtime() -> Result<Runtime, RuntimeError> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// The threads for asynchronous work could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the runtime: {0}")]
struct RuntimeError(#[from] std::io::Error);
