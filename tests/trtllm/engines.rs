//! TensorRT-LLM engines over the stand-in, for the tests of the whole server: the stand-in's hash of the
//! tokens is the simulated engine's, so clients are answered alike. An engine that has loaded has scored one
//! token.

use std::path::{Path, PathBuf};
use std::process::Command;

use assay::engine::trtllm::TrtllmFactory;
use assay::engine::{EngineError, EngineFactory, EngineOptions, QueueEngine, StartEngine};
use assay::manifest::Manifest;

use crate::engine_directory::{Engine, copy_wide};
use crate::language::{Built as Language, Engine as Generating};
use crate::model;
use crate::server::LIMITS;
use crate::support::Driver;

/// A factory and the directory that it reads whenever it starts.
struct StandIn(Engine);

impl StartEngine<dyn QueueEngine> for StandIn {
    fn start(&mut self) -> Result<Box<dyn QueueEngine>, EngineError> {
        self.0.factory().start()
    }
}

/// One that does what `script` says; see `stand-in/script.h`.
pub(crate) fn scripted(script: &str) -> EngineFactory {
    EngineFactory::queue(StandIn(Engine::new(&format!(
        "tokens_per_block {}\n{script}",
        LIMITS.tokens_per_block
    ))))
}

/// One that answers at once.
pub(crate) fn instant() -> EngineFactory {
    scripted("")
}

/// One that loads and never answers.
pub(crate) fn stalled() -> EngineFactory {
    scripted("stall_in_step 2")
}

/// One that loads and then ends; its words are the bridge's own.
pub(crate) fn failing(_: &str) -> EngineFactory {
    scripted("die_in_step 2")
}

/// An engine that returns NaN.
pub(crate) fn not_a_number() -> EngineFactory {
    scripted("logits nan nan nan nan nan")
}

/// An engine built of a test's checkpoint, and what starts it.
pub(crate) struct Built {
    pub(crate) path: PathBuf,
    pub(crate) manifest: Manifest,
    pub(crate) factory: Option<EngineFactory>,
}

/// The same for GPUs: the products of the head's first layer are numbers of the stand-in's hash.
pub(crate) fn of_checkpoint(name: &str) -> Built {
    let engine = Engine::of_checkpoint(name, "rows 64");
    let (path, manifest) = (engine.directory.path().to_owned(), engine.manifest.clone());
    Built { path, manifest, factory: Some(EngineFactory::queue(StandIn(engine))) }
}

/// An engine for GPUs of the checkpoint of a CPU engine, which computes its answers. `build-engine` builds
/// it, with a script in the place of `trtllm-build`.
pub(crate) fn generating(built: Language) -> Generating {
    build_generating(built, &[])
}

/// The same with more options of `build-engine`.
pub(crate) fn build_generating(built: Language, options: &[&str]) -> Generating {
    let path = built.directory.path().join("gpu");
    let bin = built.directory.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/build_engine/trtllm-build.sh");
    std::os::unix::fs::symlink(script, bin.join("trtllm-build")).unwrap();
    let search = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let wide = built.directory.path().join("wide");
    std::fs::create_dir(&wide).unwrap();
    copy_wide(&built.directory.path().join("checkpoint"), &wide);
    let mut command = Command::new(env!("CARGO_BIN_EXE_build-engine"));
    command.env("PATH", search).env("FAKE_LOG", bin.join("log")).env("FAKE_MODE", "");
    command.arg("--model").arg(wide).arg("--output").arg(&path);
    let output = command.args(["--target", "h100", "--name", "tiny"]).args(options).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let manifest = Manifest::read(&path).unwrap();
    manifest.verify(&path).unwrap();
    let model = model::script(
        Driver::start(&built.path(), &built.manifest, EngineOptions::default()),
        manifest.model.vocab_size,
    );
    std::fs::write(path.join("stand-in.conf"), model).unwrap();
    let factory = TrtllmFactory::open(&path, &manifest, &EngineOptions::default()).unwrap();
    Generating { path, manifest, factory: factory.into(), built }
}

mod keeps_to_the_trait {
    use crate::support::engine_suite::Subject;

    fn subject() -> Subject {
        Subject { factory: super::instant(), keeps: Box::new(()) }
    }

    crate::support::engine_suite::engine_suite!(subject());
}
