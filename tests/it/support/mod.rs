//! Engines for tests: random weights of any shape, and a driver; and requests to servers.

mod driver;
pub mod engine_suite;
pub mod golden;
pub mod http;
pub mod tiny;
#[cfg_attr(not(feature = "trtllm-stand-in"), allow(dead_code, reason = "some binaries build for CPUs only"))]
pub mod wide;

use std::path::Path;

use assay::engine::cpu;
use assay::hardware::Cpu;
use assay::manifest::{
    Bidirectional, BuildLimits, BuiltWith, Dtype, Experts, LearnedPositions, Manifest, ManifestHead, Model,
    Norm, Pooling, QkNorm, RelativePositions, Rope, RopeScaling, Segments, Target, Variant,
};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

#[allow(unused_imports, reason = "not every binary that mounts this module uses both")]
pub use driver::{Batch, Driver};

/// A model of the family and sizes that tests vary.
pub fn model(
    hidden: usize,
    ffn: usize,
    layers: usize,
    (heads, kv_heads, head_dim): (usize, usize, usize),
) -> Model {
    Model {
        name: "random".into(),
        vocab_size: 300,
        hidden_size: hidden,
        intermediate_size: ffn,
        num_layers: layers,
        num_heads: heads,
        num_kv_heads: kv_heads,
        head_dim,
        norm_eps: 1e-6,
        qkv_bias: true,
        rope: Rope { theta: 10000.0, scaling: RopeScaling::Default },
        ..tiny::manifest().model
    }
}

/// A model of 300 tokens in the form of DeBERTa-v3, but with positions and segments, too.
pub fn encoder(shared_projections: bool) -> Model {
    let relative = RelativePositions {
        span: 21,
        buckets: Some(21),
        longest: 80,
        normed: true,
        content_to_position: true,
        position_to_content: true,
        shared_projections,
    };
    let mut model = model(72, 104, 3, (3, 3, 24));
    (model.output_bias, model.mlp_bias) = (true, true);
    model.variant = Variant {
        norm: Norm::Layer,
        pre_norms: false,
        activation: assay::manifest::Activation::Gelu,
        attention_scale: Some(0.12),
        rotary_dim: Some(0),
        positions: Some(LearnedPositions { rows: 600, first: 2, padding: Some(1) }),
        bidirectional: Some(Bidirectional {
            sum_norms: true,
            final_norm: false,
            segments: Some(Segments { rows: 2, separator: Some(2) }),
            relative: Some(relative),
        }),
        ..Variant::default()
    };
    model
}

/// Writes an engine of an encoder, whose head is read at the first token.
pub fn random_encoder(directory: &Path, model: Model, pooling: Pooling, dtype: Dtype, seed: u64) -> Manifest {
    let attributes = ["a", "b", "c"].map(str::to_owned).to_vec();
    random_engine_with(
        directory,
        model,
        ManifestHead { attributes, pooling, ..ManifestHead::default() },
        dtype,
        seed,
    )
}

/// Writes an engine of random weights for this machine and returns its manifest.
pub fn random_engine(directory: &Path, model: Model, dtype: Dtype, seed: u64) -> Manifest {
    let head =
        ManifestHead { attributes: ["a", "b", "c"].map(str::to_owned).to_vec(), ..ManifestHead::default() };
    random_engine_with(directory, model, head, dtype, seed)
}

/// The same with a head of any kind.
pub fn random_engine_with(
    directory: &Path,
    model: Model,
    head: ManifestHead,
    dtype: Dtype,
    seed: u64,
) -> Manifest {
    let mut writer = Writer { rng: SmallRng::seed_from_u64(seed), dtype, tensors: Vec::new() };
    let (hidden, ffn) = (model.hidden_size, model.intermediate_size);
    let q_width = model.num_heads * model.head_dim;
    let qkv_width = q_width + 2 * model.num_kv_heads * model.head_dim;
    writer.matrix("embedding", model.vocab_size, hidden);
    let parts = model.variant.bidirectional;
    writer.encoder(&model, hidden);
    for layer in 0..model.num_layers {
        let name = |part: &str| format!("layers.{layer}.{part}");
        let layer_norm = model.variant.norm == Norm::Layer;
        // An encoder's embeddings are normed already.
        let input_norm = model.variant.pre_norms && (parts.is_none() || layer > 0);
        writer.norm_if(input_norm, &name("input_norm"), hidden);
        writer.floats_if(layer_norm && input_norm, &name("input_norm_bias"), hidden);
        for norm in ["attention_sum_norm", "mlp_sum_norm"] {
            let present = parts.is_some_and(|parts| parts.sum_norms);
            writer.norm_if(present, &name(norm), hidden);
            writer.floats_if(layer_norm && present, &name(&format!("{norm}_bias")), hidden);
        }
        if parts.and_then(|parts| parts.relative).is_some_and(|relative| !relative.shared_projections) {
            writer.packed(&name("relative"), 2 * q_width, hidden);
            writer.floats_if(true, &name("relative_bias"), 2 * q_width);
        }
        for (norm, heads) in [("query_norm", model.num_heads), ("key_norm", model.num_kv_heads)] {
            match model.variant.qk_norm {
                QkNorm::None => {}
                QkNorm::EachHead => writer.floats_if(true, &name(norm), model.head_dim),
                QkNorm::AllHeads => writer.floats_if(true, &name(norm), heads * model.head_dim),
                QkNorm::OwnHead => {
                    writer.floats_if(true, &name(norm), heads * model.head_dim);
                    writer.floats_if(true, &name(&format!("{norm}_bias")), heads * model.head_dim);
                }
            }
        }
        for added_norm in ["attention_post_norm", "mlp_post_norm"] {
            writer.floats_if(model.variant.post_norms, &name(added_norm), hidden);
        }
        writer.packed(&name("qkv"), qkv_width, hidden);
        writer.floats_if(model.qkv_bias, &name("qkv_bias"), qkv_width);
        writer.packed(&name("output"), hidden, q_width);
        writer.floats_if(model.output_bias, &name("output_bias"), hidden);
        writer.norm_if(model.variant.pre_norms, &name("post_norm"), hidden);
        writer.floats_if(layer_norm && model.variant.pre_norms, &name("post_norm_bias"), hidden);
        if let Some(experts) = model.variant.experts.as_ref().filter(|it| it.layers.contains(&layer)) {
            writer.experts(layer, experts, hidden);
            continue;
        }
        let gate_up = if model.variant.activation.gated() { 2 * ffn } else { ffn };
        writer.packed(&name("gate_up"), gate_up, hidden);
        writer.floats_if(model.mlp_bias, &name("gate_up_bias"), gate_up);
        writer.packed(&name("down"), hidden, ffn);
        writer.floats_if(model.mlp_bias, &name("down_bias"), hidden);
    }
    let final_norm = parts.is_none_or(|parts| parts.final_norm);
    writer.norm_if(final_norm, "final_norm", hidden);
    writer.floats_if(final_norm && model.variant.norm == Norm::Layer, "final_norm_bias", hidden);
    writer.floats_if(true, "head", head.products() * hidden);
    std::fs::write(directory.join("weights.safetensors"), writer.finish()).expect("the weights are written");
    let mut writer = Writer { rng: SmallRng::seed_from_u64(seed), dtype, tensors: Vec::new() };
    for network in head.networks() {
        let mut inputs = 0;
        for (index, layer) in network.iter().enumerate() {
            writer.floats_if(index > 0, &layer.name, layer.outputs * inputs);
            writer.floats_if(layer.bias, &layer.bias_name(), layer.outputs);
            inputs = layer.outputs;
        }
    }
    std::fs::write(directory.join("head.safetensors"), writer.finish()).expect("the head is written");
    manifest(model, head, dtype)
}

fn manifest(model: Model, head: ManifestHead, dtype: Dtype) -> Manifest {
    Manifest {
        model,
        target: Target::Cpu { instruction_set: Cpu::detect().instruction_set },
        built_with: BuiltWith { assay: String::new(), onednn: Cpu::detect().onednn },
        dtype,
        limits: BuildLimits { max_seq_len: 2048, max_batch_size: 64, max_num_tokens: 4096 },
        head,
        ..tiny::manifest()
    }
}

struct Writer {
    rng: SmallRng,
    dtype: Dtype,
    tensors: Vec<(String, &'static str, Vec<usize>, Vec<u8>)>,
}

impl Writer {
    fn values(&mut self, count: usize, scale: f32, around: f32) -> Vec<f32> {
        (0..count).map(|_| around + scale * self.rng.random_range(-1.0f32..1.0)).collect()
    }

    fn experts(&mut self, layer: usize, experts: &Experts, hidden: usize) {
        let dtype = self.dtype;
        self.dtype = cpu::state_dtype(dtype);
        self.packed(&format!("layers.{layer}.router"), experts.router_rows(), hidden);
        self.dtype = dtype;
        let mut expert = |name: &str, width: usize| {
            self.packed(&format!("layers.{layer}.{name}.gate_up"), 2 * width, hidden);
            self.packed(&format!("layers.{layer}.{name}.down"), hidden, width);
        };
        for number in 0..experts.count {
            expert(&format!("experts.{number}"), experts.intermediate_size);
        }
        if let Some(shared) = &experts.shared {
            expert("shared", shared.intermediate_size);
        }
    }

    fn push(&mut self, name: &str, dtype: &'static str, shape: Vec<usize>, mut bytes: Vec<u8>) {
        let missing = bytes.len().next_multiple_of(64) - bytes.len();
        if dtype == "U8" {
            bytes.resize(bytes.len() + missing, 0);
        }
        self.tensors.push((name.into(), dtype, shape, bytes));
        if dtype != "U8" && missing > 0 {
            let pad = format!("pad.{}", self.tensors.len());
            self.tensors.push((pad, "U8", vec![missing], vec![0; missing]));
        }
    }

    fn norm(&mut self, name: &str, n: usize) {
        self.norm_if(true, name, n);
    }

    /// What an encoder has beside its layers, with both kinds of products with relative positions.
    fn encoder(&mut self, model: &Model, hidden: usize) {
        let Some(parts) = model.variant.bidirectional else { return };
        self.norm("embedding_norm", hidden);
        self.floats_if(true, "embedding_norm_bias", hidden);
        let positions = model.variant.positions.map_or(0, |positions| positions.rows);
        self.floats_if(positions > 0, "position_embedding", positions * hidden);
        let segments = parts.segments.map_or(0, |segments| segments.rows);
        self.floats_if(segments > 0, "segment_embedding", segments * hidden);
        let Some(relative) = parts.relative else { return };
        self.floats_if(true, "relative_embedding", 2 * relative.span * hidden);
        self.norm_if(relative.normed, "relative_norm", hidden);
        self.floats_if(relative.normed, "relative_norm_bias", hidden);
    }

    fn norm_if(&mut self, wanted: bool, name: &str, n: usize) {
        if !wanted {
            return;
        }
        let values = self.values(n, 0.2, 1.0);
        self.push(name, "F32", vec![n], bytemuck::cast_slice(&values).to_vec());
    }

    fn floats_if(&mut self, wanted: bool, name: &str, n: usize) {
        if wanted {
            let values = self.values(n, 0.3, 0.0);
            self.push(name, "F32", vec![n], bytemuck::cast_slice(&values).to_vec());
        }
    }

    fn rounded(&mut self, dtype: Dtype, rows: usize, columns: usize) -> Vec<u8> {
        let values = self.values(rows * columns, 2.0 / (columns as f32).sqrt(), 0.0);
        match dtype {
            Dtype::F32 => bytemuck::cast_slice(&values).to_vec(),
            Dtype::Int8 => values.iter().map(|v| (v * 60.0 * (columns as f32).sqrt()) as i8 as u8).collect(),
            Dtype::Bf16 => values.iter().flat_map(|&v| half::bf16::from_f32(v).to_le_bytes()).collect(),
        }
    }

    fn matrix(&mut self, name: &str, rows: usize, columns: usize) {
        let dtype = cpu::state_dtype(self.dtype);
        let bytes = self.rounded(dtype, rows, columns);
        let dtype = if dtype == Dtype::F32 { "F32" } else { "BF16" };
        self.push(name, dtype, vec![rows, columns], bytes);
    }

    fn packed(&mut self, name: &str, out: usize, inp: usize) {
        let source = self.rounded(self.dtype, out, inp);
        let mut packed = vec![0; cpu::packed_bytes(self.dtype, out, inp).expect("the shape packs")];
        cpu::pack(self.dtype, out, inp, &source, &mut packed).expect("the matrix packs");
        self.push(name, "U8", vec![packed.len()], packed);
        if self.dtype == Dtype::Int8 {
            let scales = self.values(out, 0.2 / 60.0, 1.0 / 60.0 / (inp as f32).sqrt());
            self.push(&format!("{name}_scale"), "F32", vec![out], bytemuck::cast_slice(&scales).to_vec());
        }
    }

    fn finish(self) -> Vec<u8> {
        let mut header = serde_json::Map::new();
        let mut data = Vec::new();
        for (name, dtype, shape, bytes) in self.tensors {
            let offsets = [data.len(), data.len() + bytes.len()];
            header
                .insert(name, serde_json::json!({ "dtype": dtype, "shape": shape, "data_offsets": offsets }));
            data.extend_from_slice(&bytes);
        }
        let mut text = serde_json::to_string(&header).expect("a header is JSON");
        let length = (8 + text.len()).next_multiple_of(64) - 8;
        text.extend(std::iter::repeat_n(' ', length - text.len()));
        let mut file = (text.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(text.as_bytes());
        file.extend_from_slice(&data);
        file
    }
}
