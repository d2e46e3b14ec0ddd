//! The path's numbers: the library answers with what the CPU engine computes for the same weights, the products of
//! the head's first layers in the first numbers of a row as wide as the vocabulary.

use std::path::{Path, PathBuf};

use assay::builder::Silent;
use assay::builder::cpu::{CpuBuildOptions, build};
use assay::engine::EngineOptions;
use assay::manifest::{Dtype, Manifest};
use assay::reward::Head;
use assay::scheduler;
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

use crate::engine_directory::{Engine, read};
use crate::model;
use crate::support::Driver;
use crate::support::golden::Golden;

fn checkpoint(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints").join(name)
}

/// The CPU engine of a checkpoint, in f32.
fn cpu_engine(checkpoint: &Path, directory: &Path) -> (Driver, Manifest) {
    let options = CpuBuildOptions { dtype: Some(Dtype::F32), ..CpuBuildOptions::new(checkpoint, directory) };
    let manifest = build(&options, &Silent).unwrap();
    (Driver::start(directory, &manifest, EngineOptions::default()), manifest)
}

/// A classifier of the same decoder, whose classes are the products of the matrices in the head's first layer.
fn classifier(name: &str, matrices: &[&str], directory: &Path) {
    std::fs::create_dir(directory).unwrap();
    for file in std::fs::read_dir(checkpoint(name)).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), directory.join(file.file_name())).unwrap();
    }
    let bytes = std::fs::read(checkpoint(name).join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let found: Vec<TensorView<'_>> = matrices.iter().map(|name| tensors.tensor(name).unwrap()).collect();
    let data: Vec<u8> = found.iter().flat_map(|matrix| matrix.data()).copied().collect();
    let rows: usize = found.iter().map(|matrix| matrix.shape()[0]).sum();
    let score = TensorView::new(found[0].dtype(), vec![rows, found[0].shape()[1]], &data).unwrap();
    let decoder = tensors.iter().filter(|(name, _)| name.starts_with("model."));
    let classifier = decoder.chain([("score.weight", score)]);
    std::fs::write(directory.join("model.safetensors"), safetensors::serialize(classifier, None).unwrap())
        .unwrap();

    let path = directory.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let family = config["architectures"][0].as_str().unwrap().split("For").next().unwrap().to_owned();
    config["architectures"] = json!([format!("{family}ForSequenceClassification")]);
    config["id2label"] = (0..rows).map(|row| (row.to_string(), json!(format!("class_{row}")))).collect();
    std::fs::write(path, config.to_string()).unwrap();
}

/// Scores of every text by the CPU engine, and by a TensorRT-LLM engine whose library computes as that does.
async fn scores_agree(name: &str, matrices: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| directory.path().join(name);
    classifier(name, matrices, &place("classifier"));
    let (library, _) = cpu_engine(&place("classifier"), &place("library"));

    let (mut cpu, manifest) = cpu_engine(&checkpoint(name), &place("cpu"));
    let script = model::script(library, manifest.model.vocab_size);
    let engine = Engine::of_checkpoint(name, &format!("{script}reorder"));
    assert_eq!(engine.manifest.head, manifest.head);
    let handle = engine.schedule(scheduler::SchedulerOptions::default());
    let head = Head::new(&manifest.head);
    let golden = Golden::read(name);
    for case in &golden.cases {
        let positions = head.positions(&case.ids).unwrap();
        let scores = |logits: &[f32]| -> Vec<f32> {
            head.scores(logits).unwrap().pairs.into_iter().map(|(_, score)| score).collect()
        };
        let gpu = scores(&read(&handle, &case.ids, &positions).await.unwrap());
        let cpu = scores(&cpu.read(&case.ids, &positions));
        assert_eq!(gpu.len(), case.f32.len(), "{name}");
        for ((gpu, cpu), theirs) in gpu.iter().zip(&cpu).zip(&case.f32) {
            assert_eq!(gpu.to_bits(), cpu.to_bits(), "{name}: {gpu}, and {cpu} on a CPU");
            assert!((gpu - theirs).abs() <= 1e-4 * theirs.abs().max(1.0), "{name}: {gpu} by torch {theirs}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_of_every_kind_score_as_on_a_cpu() {
    scores_agree("llama3-tiny", &["score.weight"]).await;
    scores_agree("math-rm-tiny", &["score.0.weight"]).await;
    scores_agree("math-prm-tiny", &["score.0.weight"]).await;
    scores_agree("armo-tiny", &["regression_layer.weight", "gating.layers.0.weight"]).await;
}
