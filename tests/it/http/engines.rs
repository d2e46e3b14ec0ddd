//! Simulated engines, which answer with a hash of the tokens. The same tests run over engines of another
//! kind where a module of this name offers them: see `tests/trtllm`.

use std::path::{Path, PathBuf};

use assay::builder::Silent;
use assay::builder::cpu::{CpuBuildOptions, build};
use assay::engine::cpu::CpuFactory;
use assay::engine::simulated::{Behaviour, Script, SimulatedFactory};
use assay::engine::{
    EngineError, EngineFactory, EngineOptions, Iteration, Limits, PrefixSharing, StartEngine, StepEngine,
    StepError, StepReport,
};
use assay::manifest::{Dtype, Manifest};
use crossbeam_channel::{Receiver, Sender, unbounded};
use tempfile::TempDir;

use super::server::{ATTRIBUTES, LIMITS};

/// One that answers at once.
pub fn instant() -> EngineFactory {
    scripted(Box::new(|_| Behaviour::Report))
}

/// One that loads and never answers.
pub fn stalled() -> EngineFactory {
    scripted(Box::new(|_| Behaviour::Stall))
}

/// One that loads and then fails in these words.
pub fn failing(words: &'static str) -> EngineFactory {
    scripted(Box::new(move |_| Behaviour::Fail(words.into())))
}

/// An engine that returns NaN.
pub fn not_a_number() -> EngineFactory {
    EngineFactory::step(NotANumberFactory)
}

/// An engine built from a test's checkpoint, and what starts it.
pub struct Built {
    pub path: PathBuf,
    pub manifest: Manifest,
    pub factory: Option<EngineFactory>,
    _directory: TempDir,
}

/// Builds a checkpoint for the CPU engine.
pub fn of_checkpoint(name: &str) -> Built {
    of_checkpoint_with(name, None)
}

/// The same with a file for `--head` that has this text.
pub fn of_checkpoint_with(name: &str, head: Option<&str>) -> Built {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("engine");
    let checkpoint = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints").join(name);
    let mut options = CpuBuildOptions { dtype: Some(Dtype::F32), ..CpuBuildOptions::new(checkpoint, &path) };
    if let Some(head) = head {
        let file = directory.path().join("head.yaml");
        std::fs::write(&file, head).unwrap();
        options.common.checkpoint.head = Some(file);
    }
    let manifest = build(&options, &Silent).unwrap();
    let factory = CpuFactory::open(&path, &manifest, &EngineOptions::default()).unwrap();
    Built { path, manifest, factory: Some(factory.into()), _directory: directory }
}

/// One that behaves as the script says.
pub fn scripted(script: Script) -> EngineFactory {
    SimulatedFactory::scripted(LIMITS, PrefixSharing::WithinIteration, ATTRIBUTES.len(), script).into()
}

type Report = Result<StepReport, StepError>;

struct NotANumber(Sender<Report>, Receiver<Report>);

impl StepEngine for NotANumber {
    fn limits(&self) -> Limits {
        LIMITS
    }

    fn sharing(&self) -> PrefixSharing {
        PrefixSharing::Cached
    }

    fn submit(&mut self, iteration: Iteration) -> Result<(), StepError> {
        let wanted = iteration.chunks.iter().filter(|chunk| !chunk.logits.is_empty());
        let logits = wanted.map(|chunk| (chunk.sequence, vec![f32::NAN; ATTRIBUTES.len()])).collect();
        self.0.send(Ok(StepReport { logits, ..StepReport::default() })).unwrap();
        Ok(())
    }

    fn reports(&self) -> &Receiver<Report> {
        &self.1
    }
}

struct NotANumberFactory;

impl StartEngine<dyn StepEngine> for NotANumberFactory {
    fn start(&mut self) -> Result<Box<dyn StepEngine>, EngineError> {
        let (reporter, reports) = unbounded();
        Ok(Box::new(NotANumber(reporter, reports)))
    }
}
