//! What transformers gave on the checkpoints of the tests.

use std::path::Path;

use serde::Deserialize;

/// `tests/golden/scores/NAME.json`, which `tools/make_test_checkpoints.py` writes.
#[derive(Deserialize)]
pub struct Golden {
    pub cases: Vec<Case>,
}

/// A text, and its logits in two precisions.
#[derive(Deserialize)]
pub struct Case {
    pub ids: Vec<u32>,
    pub f32: Vec<f32>,
    pub bf16: Vec<f32>,
}

impl Golden {
    pub fn read(name: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/scores");
        serde_json::from_slice(&std::fs::read(root.join(format!("{name}.json"))).unwrap()).unwrap()
    }
}
