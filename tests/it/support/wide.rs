//! Test checkpoints with attention heads as wide as TensorRT-LLM needs them.

use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

/// How often wider: 8, 16 and 24 become 32, 64 and 96.
const TIMES: usize = 4;
/// Widths that TensorRT-LLM has attention for, as far as test checkpoints have them.
const WIDE: [usize; 2] = [32, 64];
/// Parts of the names of tensors whose rows belong to heads, and of those whose columns do.
const ROWS: [&str; 7] = ["q_proj", "k_proj", "v_proj", "qkv_proj", "wqkv", "q_norm", "k_norm"];
const COLUMNS: [&str; 2] = ["o_proj.weight", "attention.wo.weight"];

/// Fills the heads of the checkpoint in `directory` up with zeros, unless they are wide enough. It scores differently
/// then: the stand-in computes nothing from it. `tests/trtllm_checkpoint/wide.py` keeps the scores.
pub fn widen(directory: &Path) {
    let path = directory.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let size = |name: &str| config[name].as_u64().map(|size| size as usize);
    let dim = size("head_dim")
        .unwrap_or_else(|| size("hidden_size").unwrap() / size("num_attention_heads").unwrap());
    if WIDE.contains(&dim) {
        return;
    }
    if config["model_type"] == "phi3" {
        // All heads of this family together are as wide as the hidden state: half as many, twice as wide.
        for (name, value) in [
            ("num_attention_heads", size("num_attention_heads").unwrap() / 2),
            ("num_key_value_heads", size("num_key_value_heads").unwrap() / 2),
            ("head_dim", 2 * dim),
        ] {
            config[name] = json!(value);
        }
        for name in ["short_factor", "long_factor"] {
            if let Some(factors) = config["rope_scaling"][name].as_array() {
                config["rope_scaling"][name] = factors.iter().chain(factors).cloned().collect();
            }
        }
        std::fs::write(path, config.to_string()).unwrap();
        return;
    }
    config["head_dim"] = json!(TIMES * dim);
    std::fs::write(path, config.to_string()).unwrap();

    let path = directory.join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let wide: Vec<(String, safetensors::Dtype, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, tensor)| {
            let is = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
            let mut shape = tensor.shape().to_vec();
            let element = tensor.data().len() / shape.iter().product::<usize>();
            let row = element * shape.get(1).copied().unwrap_or(1);
            let data = if is(&ROWS) {
                shape[0] *= TIMES;
                filled(tensor.data(), dim * row)
            } else if is(&COLUMNS) {
                shape[1] *= TIMES;
                filled(tensor.data(), dim * element)
            } else {
                tensor.data().to_vec()
            };
            (name.to_owned(), tensor.dtype(), shape, data)
        })
        .collect();
    let views = wide.iter().map(|(name, dtype, shape, data)| {
        (name.as_str(), TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    let bytes = safetensors::serialize(views, None).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// `data` with zeros after every `head` bytes.
fn filled(data: &[u8], head: usize) -> Vec<u8> {
    let zeros = vec![0; (TIMES - 1) * head];
    data.chunks(head).flat_map(|head| head.iter().chain(&zeros)).copied().collect()
}
