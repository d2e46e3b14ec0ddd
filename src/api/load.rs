//! Takes an engine directory into service.

use super::{App, Generator, Scorer};
use crate::config::{Settings, Simulation};
use crate::engine::cpu::{self, CpuFactory};
use crate::engine::simulated::{Behaviour, SimulatedFactory};
use crate::engine::{EngineFactory, Limits, PrefixSharing};
use crate::manifest::{Manifest, Target};
use crate::prompt::Encoder;
use crate::scheduler::{self, Handle, OnFailure};
#[cfg(feature = "trtllm")]
use crate::{engine::trtllm, hardware::machine::Ranks};

/// Tokens of a simulated engine's KV blocks.
const SIMULATED_BLOCK: usize = 16;

const NO_ALIAS: &str = "alias: an alias has some of a reward model's scores, and this engine generates text; \
                        give it more names with served_model_name";

/// Checks the directory, loads its engine and puts it into service. Takes as long as reading it.
///
/// # Errors
/// A file is missing or damaged, or the engine does not fit this machine; the text says what to do.
pub(crate) fn load(app: &App, manifest: &Manifest) -> Result<Handle, String> {
    let settings = &app.settings;
    let head = match manifest.task.generates() {
        true if !settings.server.alias.is_empty() => return Err(NO_ALIAS.into()),
        true => None,
        false => {
            let head = settings.scoring.head(&manifest.head).map_err(|error| error.to_string())?;
            super::models::check(&app.models, &settings.server.alias, &head)?;
            Some(head)
        }
    };
    let factory = factory(settings, manifest)?;
    let encoder =
        Encoder::open(&settings.engine.directory, &manifest.prompt).map_err(|error| error.to_string())?;
    let mut options = settings.scheduler();
    if matches!(&manifest.target, Target::TensorrtLlm(gpus) if gpus.ranks() > 1) {
        // The other ranks are processes of their own: all are started again, or none.
        options.on_failure = OnFailure::Exit;
    }
    let scheduler =
        scheduler::start(factory, options, app.metrics.clone()).map_err(|error| error.to_string())?;
    let (handle, metrics) = (scheduler.clone(), app.metrics.clone());
    match head {
        Some(head) => app.start(Scorer::new(encoder, head, handle, metrics, settings.server.overload_status)),
        None => app.start_generating(Generator::new(encoder, manifest, handle, metrics, settings)),
    }
    Ok(scheduler)
}

fn factory(settings: &Settings, manifest: &Manifest) -> Result<Box<dyn EngineFactory>, String> {
    if let Some(simulation) = settings.engine.simulate {
        tracing::warn!("the engine is simulated: its scores mean nothing");
        return Ok(Box::new(simulated(settings, manifest, simulation)));
    }
    manifest.verify(&settings.engine.directory).map_err(|error| error.to_string())?;
    if let Target::TensorrtLlm(_) = &manifest.target {
        return gpu_factory(settings, manifest);
    }
    let options = cpu::Options {
        threads: settings.engine.threads,
        kv_cache_tokens: settings.engine.kv_cache_tokens,
        max_batch_size: settings.engine.max_batch_size,
        max_num_tokens: settings.engine.max_num_tokens,
        max_seq_len: settings.engine.max_seq_len,
    };
    let factory =
        CpuFactory::open(&settings.engine.directory, manifest, options).map_err(|error| error.to_string())?;
    Ok(Box::new(factory))
}

#[cfg(feature = "trtllm")]
fn gpu_factory(settings: &Settings, manifest: &Manifest) -> Result<Box<dyn EngineFactory>, String> {
    Ok(Box::new(trtllm_factory(settings, manifest)?))
}

#[cfg(not(feature = "trtllm"))]
fn gpu_factory(settings: &Settings, _: &Manifest) -> Result<Box<dyn EngineFactory>, String> {
    Err(format!(
        "{} is for NVIDIA GPUs, and this server was built without them; use the GPU image, or build it with \
         `--features trtllm`",
        settings.engine.directory.display()
    ))
}

#[cfg(feature = "trtllm")]
fn trtllm_factory(settings: &Settings, manifest: &Manifest) -> Result<trtllm::TrtllmFactory, String> {
    let options = trtllm::Options {
        kv_cache_tokens: settings.engine.kv_cache_tokens,
        kv_cache_fraction: settings.gpu.kv_cache_fraction as f32,
        kv_cache_host_bytes: settings.gpu.kv_cache_host_bytes,
        block_reuse: settings.scheduling.prefix_sharing,
        chunked_context: settings.gpu.chunked_context,
        allotted: settings.gpu.allotted_time.map(|time| time.0),
        max_batch_size: settings.engine.max_batch_size,
        max_num_tokens: settings.engine.max_num_tokens,
        max_seq_len: settings.engine.max_seq_len,
        // Where `mpirun` did not start the ranks, the library does.
        worker: Ranks::find().is_none().then(trtllm::default_worker),
    };
    trtllm::TrtllmFactory::open(&settings.engine.directory, manifest, &options)
        .map_err(|error| error.to_string())
}

/// Whether this process is a rank of an engine for several GPUs that another leads: it serves nobody.
pub(super) fn follows(manifest: &Manifest) -> bool {
    match &manifest.target {
        #[cfg(feature = "trtllm")]
        Target::TensorrtLlm(gpus) => gpus.ranks() > 1 && Ranks::find().is_some_and(|ranks| ranks.rank > 0),
        _ => false,
    }
}

/// Takes part in the engine until the rank that leads ends it.
///
/// # Errors
/// It does not load.
#[cfg(feature = "trtllm")]
pub(super) fn follow(settings: &Settings, manifest: &Manifest) -> Result<(), String> {
    let rank = Ranks::find().map_or(0, |ranks| ranks.rank);
    tracing::info!(
        rank,
        of = manifest.ranks(),
        "a rank that another leads: it loads its part and opens no port"
    );
    manifest.verify(&settings.engine.directory).map_err(|error| error.to_string())?;
    trtllm_factory(settings, manifest)?.follow().map_err(|error| error.to_string())?;
    tracing::info!(rank, "the rank that leads has ended the engine");
    Ok(())
}

/// As above: no engine of this build has ranks.
#[cfg(not(feature = "trtllm"))]
pub(super) fn follow(settings: &Settings, manifest: &Manifest) -> Result<(), String> {
    gpu_factory(settings, manifest).map(drop)
}

fn simulated(settings: &Settings, manifest: &Manifest, simulation: Simulation) -> SimulatedFactory {
    let built = manifest.limits;
    let lower = |option: Option<usize>, built: usize| option.unwrap_or(built).min(built);
    let max_seq_len = lower(settings.engine.max_seq_len, built.max_seq_len);
    let max_num_tokens = lower(settings.engine.max_num_tokens, built.max_num_tokens);
    let tokens = settings.engine.kv_cache_tokens.unwrap_or(4 * max_seq_len.max(max_num_tokens));
    let limits = Limits {
        max_seq_len,
        max_batch_size: lower(settings.engine.max_batch_size, built.max_batch_size),
        max_num_tokens,
        kv_blocks: tokens.div_ceil(SIMULATED_BLOCK),
        tokens_per_block: SIMULATED_BLOCK,
    };
    let script = Box::new(move |_| match simulation {
        Simulation::Instant => Behaviour::Report,
        Simulation::Stall => Behaviour::Stall,
        Simulation::Fail => Behaviour::Fail("its simulation says so".into()),
    });
    SimulatedFactory::scripted(limits, PrefixSharing::WithinIteration, manifest.logits(), script)
}
