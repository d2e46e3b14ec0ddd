//! TensorRT-LLM engines over the stand-in, for the tests of the whole server: the stand-in's hash of the
//! tokens is the simulated engine's, so clients are answered alike. What loads has scored one token.

use std::path::PathBuf;

use assay::engine::manifest::Manifest;
use assay::engine::{Engine as Running, EngineError, EngineFactory, Report};
use crossbeam_channel::Sender;

use crate::server::LIMITS;
use crate::support::Engine;

/// A factory and the directory that it reads whenever it starts.
struct StandIn(Engine);

impl EngineFactory for StandIn {
    fn start(&mut self, reports: Sender<Report>) -> Result<Box<dyn Running>, EngineError> {
        self.0.factory().start(reports)
    }
}

/// One that does what `script` says; see `stand-in/script.h`.
pub(crate) fn scripted(script: &str) -> Box<dyn EngineFactory> {
    Box::new(StandIn(Engine::new(&format!("tokens_per_block {}\n{script}", LIMITS.tokens_per_block))))
}

/// One that answers at once.
pub(crate) fn instant() -> Box<dyn EngineFactory> {
    scripted("")
}

/// One that loads and never answers.
pub(crate) fn stalled() -> Box<dyn EngineFactory> {
    scripted("stall_in_step 2")
}

/// One that loads and then ends; its words are the bridge's own.
pub(crate) fn failing(_: &str) -> Box<dyn EngineFactory> {
    scripted("die_in_step 2")
}

/// One whose logits are no numbers.
pub(crate) fn not_a_number() -> Box<dyn EngineFactory> {
    scripted("logits nan nan nan nan nan")
}

/// An engine built of a test's checkpoint, and what starts it.
pub(crate) struct Built {
    pub(crate) path: PathBuf,
    pub(crate) manifest: Manifest,
    pub(crate) factory: Option<Box<dyn EngineFactory>>,
}

/// That of one for GPUs, whose first layer's products are as many numbers of the stand-in's hash.
pub(crate) fn of_checkpoint(name: &str) -> Built {
    let engine = Engine::of_checkpoint(name, "rows 64");
    let (path, manifest) = (engine.directory.path().to_owned(), engine.manifest.clone());
    Built { path, manifest, factory: Some(Box::new(StandIn(engine))) }
}

mod keeps_to_the_trait {
    use crate::engine_suite::Subject;

    fn subject() -> Subject {
        Subject { factory: super::instant(), keeps: Box::new(()) }
    }

    crate::engine_suite!(subject());
}
