//! Which tensors the engine holds, and of which tensors of the checkpoint each is made. Everything that
//! can be wrong with a checkpoint's tensors, their numbers aside, is found here, before any work.

use std::collections::BTreeSet;

use super::BuildError;
use super::checkpoint::{Checkpoint, Tensor};
use super::convert::{width, wrong_type};
use crate::engine::cpu;
use crate::engine::manifest::{Dtype, Model};

/// One tensor of the engine: those of the checkpoint one below the other, converted.
pub(super) struct Planned<'a> {
    /// Its name.
    pub(super) name: String,
    /// What it is made of, top to bottom; all have the same row length.
    pub(super) sources: Vec<Tensor<'a>>,
    /// How it is written.
    pub(super) form: Form,
}

/// How a tensor of the engine is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Row-major.
    Plain {
        /// Type of its elements.
        dtype: Dtype,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// A weight matrix in oneDNN's own layout for this instruction set.
    Packed {
        /// Type of its elements.
        dtype: Dtype,
        /// Outputs: rows of the sources.
        out: usize,
        /// Inputs: their row length.
        inp: usize,
        /// Size in bytes, a multiple of 64.
        bytes: usize,
    },
}

impl Form {
    /// Bytes that it fills in the file.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Plain { dtype, shape } => shape.iter().product::<usize>() * width(*dtype),
            Self::Packed { bytes, .. } => *bytes,
        }
    }
}

/// The engine's tensors in the order of the file.
///
/// # Errors
/// A tensor is missing, surplus, misshapen or of a type that cannot be built; its name says which.
pub(super) fn plan<'a>(
    checkpoint: &'a Checkpoint,
    model: &Model,
    attributes: usize,
    dtype: Dtype,
) -> Result<Vec<Planned<'a>>, BuildError> {
    let mut planner = Planner { checkpoint, dtype, taken: BTreeSet::new(), planned: Vec::new() };
    let hidden = model.hidden_size;
    planner.plain("embedding", dtype, &["model.embed_tokens.weight"], &[model.vocab_size, hidden])?;
    for layer in 0..model.num_layers {
        planner.layer(layer, model)?;
    }
    planner.plain("final_norm", Dtype::F32, &["model.norm.weight"], &[hidden])?;
    planner.plain("head", Dtype::F32, &["score.weight"], &[attributes, hidden])?;
    planner.refuse_surplus()?;
    Ok(planner.planned)
}

struct Planner<'a> {
    checkpoint: &'a Checkpoint,
    dtype: Dtype,
    taken: BTreeSet<&'a str>,
    planned: Vec<Planned<'a>>,
}

impl<'a> Planner<'a> {
    fn layer(&mut self, layer: usize, model: &Model) -> Result<(), BuildError> {
        let (hidden, ffn) = (model.hidden_size, model.intermediate_size);
        let (q, kv) = (model.num_heads * model.head_dim, model.num_kv_heads * model.head_dim);
        let qkv = [("self_attn.q_proj", q), ("self_attn.k_proj", kv), ("self_attn.v_proj", kv)];

        self.norm(layer, "input_norm", "input_layernorm", hidden)?;
        self.linear(layer, "qkv", &qkv, hidden, model.qkv_bias)?;
        self.linear(layer, "output", &[("self_attn.o_proj", hidden)], q, model.output_bias)?;
        self.norm(layer, "post_norm", "post_attention_layernorm", hidden)?;
        let gate_up = [("mlp.gate_proj", ffn), ("mlp.up_proj", ffn)];
        self.linear(layer, "gate_up", &gate_up, hidden, model.mlp_bias)?;
        self.linear(layer, "down", &[("mlp.down_proj", hidden)], ffn, model.mlp_bias)
    }

    fn norm(&mut self, layer: usize, name: &str, source: &str, width: usize) -> Result<(), BuildError> {
        let source = format!("model.layers.{layer}.{source}.weight");
        self.plain(&format!("layers.{layer}.{name}"), Dtype::F32, &[&source], &[width])
    }

    /// A linear layer made of `parts` (name and rows), and its bias in f32 where it has one.
    fn linear(
        &mut self,
        layer: usize,
        name: &str,
        parts: &[(&str, usize)],
        inp: usize,
        bias: bool,
    ) -> Result<(), BuildError> {
        let take = |planner: &mut Self, kind: &str, shape: &dyn Fn(usize) -> Vec<usize>| {
            let source = |(part, rows): &(&str, usize)| {
                planner.take(&format!("model.layers.{layer}.{part}.{kind}"), &shape(*rows))
            };
            parts.iter().map(source).collect::<Result<Vec<_>, _>>()
        };
        let out = parts.iter().map(|(_, rows)| rows).sum();
        let sources = take(self, "weight", &|rows| vec![rows, inp])?;
        let bytes = cpu::packed_bytes(self.dtype, out, inp)?;
        let form = Form::Packed { dtype: self.dtype, out, inp, bytes };
        self.planned.push(Planned { name: format!("layers.{layer}.{name}"), sources, form });
        if bias {
            let sources = take(self, "bias", &|rows| vec![rows])?;
            let form = Form::Plain { dtype: Dtype::F32, shape: vec![out] };
            self.planned.push(Planned { name: format!("layers.{layer}.{name}_bias"), sources, form });
        }
        Ok(())
    }

    fn plain(
        &mut self,
        name: &str,
        dtype: Dtype,
        sources: &[&str],
        shape: &[usize],
    ) -> Result<(), BuildError> {
        let sources = sources.iter().map(|source| self.take(source, shape)).collect::<Result<Vec<_>, _>>()?;
        let form = Form::Plain { dtype, shape: shape.to_vec() };
        self.planned.push(Planned { name: name.to_owned(), sources, form });
        Ok(())
    }

    /// A tensor of the checkpoint, which must have this shape.
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor<'a>, BuildError> {
        let Some(tensor) = self.checkpoint.tensor(name) else {
            let reason = format!("is missing; config.json asks for it with the shape {shape:?}");
            return Err(BuildError::tensor(self.checkpoint.listing(), name, reason));
        };
        if tensor.shape != shape {
            let reason = format!("has the shape {:?}; config.json asks for {shape:?}", tensor.shape);
            return Err(BuildError::tensor(tensor.path, name, reason));
        }
        match tensor.dtype {
            safetensors::Dtype::F32 | safetensors::Dtype::BF16 | safetensors::Dtype::F16 => {}
            other => return Err(wrong_type(&tensor, other)),
        }
        self.taken.insert(tensor.name);
        Ok(tensor)
    }

    /// A tensor that nothing uses would be part of the score in the model as it was trained.
    fn refuse_surplus(&self) -> Result<(), BuildError> {
        let surplus: Vec<Tensor<'_>> = self
            .checkpoint
            .tensors()
            .filter(|tensor| !self.taken.contains(tensor.name) && !harmless(tensor.name))
            .collect();
        let Some(first) = surplus.first() else { return Ok(()) };
        let more = match surplus.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        let reason = format!(
            "of shape {:?} is surplus{more}: the model that config.json describes has none of that name, \
             and building without it would change the scores",
            first.shape
        );
        Err(BuildError::tensor(first.path, first.name, reason))
    }
}

/// Tensors that some checkpoints hold and no classifier uses: a language model's head, and the rotary
/// frequencies that old versions of transformers saved.
fn harmless(name: &str) -> bool {
    name == "lm_head.weight" || name.ends_with("rotary_emb.inv_freq")
}
