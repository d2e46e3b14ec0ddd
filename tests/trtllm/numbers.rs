//! The path's numbers: the library answers with what the CPU engine computes for the same weights, the
//! head in the first rows of a row as wide as the vocabulary.

use std::ffi::c_void;
use std::path::Path;
use std::sync::Mutex;

use assay::build::{self, BuildOptions, Silent};
use assay::engine::cpu::{self, CpuFactory};
use assay::engine::manifest::Dtype;
use assay::engine::{Chunk, EngineFactory, Iteration, Report};
use assay::scheduler;
use crossbeam_channel::{Receiver, bounded};

use crate::golden::Golden;
use crate::support::{Engine, score};

type Model = unsafe extern "C" fn(*mut c_void, *const i32, usize, *mut f32, usize);

unsafe extern "C" {
    /// Of the stand-in: what sequences are answered with.
    fn stand_in_set_model(model: Model, context: *mut c_void);
}

struct Cpu {
    engine: Box<dyn assay::engine::Engine>,
    reports: Receiver<Report>,
}

static CPU: Mutex<Option<Cpu>> = Mutex::new(None);

/// # Safety
/// `tokens` and `logits` point to `count` and `width` elements.
unsafe extern "C" fn compute(
    _: *mut c_void,
    tokens: *const i32,
    count: usize,
    logits: *mut f32,
    width: usize,
) {
    // SAFETY: the caller's promise.
    let (tokens, row) =
        unsafe { (std::slice::from_raw_parts(tokens, count), std::slice::from_raw_parts_mut(logits, width)) };
    let mut cpu = CPU.lock().unwrap();
    let cpu = cpu.as_mut().unwrap();
    let blocks = count.div_ceil(cpu.engine.limits().tokens_per_block);
    let iteration = Iteration {
        token_ids: tokens.iter().map(|&token| token as u32).collect(),
        block_table: (0..blocks as u32).collect(),
        chunks: vec![Chunk {
            sequence: 0,
            tokens: 0..count,
            position: 0,
            blocks: 0..blocks,
            logits: vec![count - 1],
        }],
    };
    cpu.engine.submit(iteration).unwrap();
    let (_, computed) = cpu.reports.recv().unwrap().unwrap().logits.remove(0);
    row[..computed.len()].copy_from_slice(&computed);
}

#[tokio::test(flavor = "multi_thread")]
async fn scores_are_those_of_transformers() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let golden = Golden::read("llama3-tiny");
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("engine");
    let mut options = BuildOptions::new(root.join("checkpoints/llama3-tiny"), &output);
    options.dtype = Some(Dtype::F32);
    let manifest = build::build(&options, &Silent).unwrap();
    let (send, reports) = bounded(1);
    let engine = CpuFactory::open(&output, &manifest, cpu::Options::default()).unwrap().start(send).unwrap();
    *CPU.lock().unwrap() = Some(Cpu { engine, reports });
    // SAFETY: `compute` uses no context, and lives as long as the program.
    unsafe { stand_in_set_model(compute, std::ptr::null_mut()) };

    let mut engine = Engine::new(&format!("callback\nvocabulary {}\nreorder", manifest.model.vocab_size));
    engine.manifest.head = manifest.head.clone();
    engine.manifest.limits = manifest.limits;
    let handle = engine.schedule(scheduler::Options::default());
    for case in &golden.cases {
        let ours = score(&handle, &case.ids).await.unwrap();
        assert_eq!(ours.len(), case.f32.len());
        for (ours, theirs) in ours.iter().zip(&case.f32) {
            assert!((ours - theirs).abs() <= 1e-4 * theirs.abs().max(1.0), "{ours} {theirs}");
        }
    }
}
