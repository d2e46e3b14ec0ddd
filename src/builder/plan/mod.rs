//! Which tensors an engine has, and from which tensors of the checkpoint each is made.
//!
//! Everything that can be wrong with a checkpoint's tensors, except their numbers, is found here, before any work.

mod head;
mod layers;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::BuildError;
use super::checkpoint::{Checkpoint, Tensor};
use super::config::Config;
use super::convert::{width, wrong_type};
use super::heads::CheckpointHead;
use crate::engine::cpu;
use crate::manifest::Dtype;

/// One tensor of the engine: tensors of the checkpoint, stacked and converted.
#[derive(Clone)]
pub(super) struct TensorPlan<'a> {
    pub(super) name: String,
    /// Top to bottom. All have the same row length.
    pub(super) sources: Vec<Tensor<'a>>,
    pub(super) layout: TensorLayout,
    /// Added to every number: the norm weights of some families count from 1.
    pub(super) offset: f32,
    /// Subtracted from each source, element by element.
    pub(super) subtract: Option<Tensor<'a>>,
    /// A power of two that every number is multiplied by.
    pub(super) scale: f32,
    /// Powers of two that rows are multiplied by; empty for none.
    pub(super) rows: Vec<f32>,
    /// The same for columns, or for the numbers of a vector.
    pub(super) columns: Vec<f32>,
}

impl<'a> TensorPlan<'a> {
    fn new(name: &str, sources: Vec<Tensor<'a>>, layout: TensorLayout) -> Self {
        Self {
            name: name.to_owned(),
            sources,
            layout,
            offset: 0.0,
            subtract: None,
            scale: 1.0,
            rows: Vec::new(),
            columns: Vec::new(),
        }
    }

    /// Multiplies a row by its factor and by those of the columns.
    pub(super) fn multiply_row(&self, row: usize, values: &mut [f32]) {
        for (value, factor) in values.iter_mut().zip(&self.columns) {
            *value *= factor;
        }
        if let Some(factor) = self.rows.get(row) {
            for value in values {
                *value *= factor;
            }
        }
    }

    /// Whether rows or columns have factors.
    pub(super) fn has_factors(&self) -> bool {
        !(self.rows.is_empty() && self.columns.is_empty())
    }
}

/// How a tensor of the engine is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TensorLayout {
    RowMajor {
        dtype: Dtype,
        shape: Vec<usize>,
    },
    /// A weight matrix in oneDNN's own layout for this instruction set.
    Packed {
        dtype: Dtype,
        /// Outputs: rows of the sources.
        out: usize,
        /// Inputs: their row length.
        inp: usize,
        /// Size in bytes, a multiple of 64.
        bytes: usize,
    },
    /// Scales of the rows of the int8 matrix before it, in f32.
    Scales {
        rows: usize,
    },
}

impl TensorLayout {
    /// Size in the file.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::RowMajor { dtype, shape } => shape.iter().product::<usize>() * width(*dtype),
            Self::Packed { bytes, .. } => *bytes,
            Self::Scales { rows } => rows * size_of::<f32>(),
        }
    }
}

/// What follows the last layer.
pub(super) enum OutputHead {
    /// A head that scores.
    Scores(Box<CheckpointHead>),
    /// The language model's, made from the tensor of this name.
    Vocabulary(&'static str),
}

/// The tensors of an engine.
pub(super) struct EngineTensors<'a> {
    /// The weights, in the order of their file.
    pub(super) weights: Vec<TensorPlan<'a>>,
    /// What follows the products of the head's first layers, in a file of its own; may be empty.
    pub(super) head: Vec<TensorPlan<'a>>,
}

/// The engine's tensors; matrices `packed` for the CPU, or row-major.
///
/// # Errors
/// A tensor is missing, unexpected, misshapen or of a type that cannot be built; the error names it.
pub(super) fn plan<'a>(
    checkpoint: &'a Checkpoint,
    config: &Config,
    head: &OutputHead,
    dtype: Dtype,
    packed: bool,
) -> Result<EngineTensors<'a>, BuildError> {
    let (taken, plans, head_plans) = (BTreeSet::new(), Vec::new(), Vec::new());
    let mut planner = Planner { checkpoint, dtype, packed, taken, plans, head_plans };
    planner.decoder(config)?;
    match head {
        OutputHead::Scores(head) => planner.head(head, config.model.hidden_size)?,
        OutputHead::Vocabulary(matrix) => planner.lm_head(matrix, &config.model, config.logit_scale)?,
    }
    for module in unused_modules(config) {
        planner.ignore(&module);
    }
    planner.refuse_unexpected()?;
    Ok(EngineTensors { weights: planner.plans, head: planner.head_plans })
}

struct Planner<'a> {
    checkpoint: &'a Checkpoint,
    dtype: Dtype,
    packed: bool,
    /// Tensors of the checkpoint that the engine uses.
    taken: BTreeSet<&'a str>,
    plans: Vec<TensorPlan<'a>>,
    /// Tensors of the head's own file.
    head_plans: Vec<TensorPlan<'a>>,
}

impl<'a> Planner<'a> {
    fn push(&mut self, name: &str, sources: Vec<Tensor<'a>>, layout: TensorLayout) {
        self.plans.push(TensorPlan::new(name, sources, layout));
    }

    /// A tensor that is made from one of the checkpoint, of the same shape.
    fn row_major(
        &mut self,
        name: &str,
        dtype: Dtype,
        source: &str,
        shape: &[usize],
    ) -> Result<(), BuildError> {
        let source = self.take(source, shape)?;
        self.push(name, vec![source], TensorLayout::RowMajor { dtype, shape: shape.to_vec() });
        Ok(())
    }

    /// How a weight matrix is written.
    fn matrix_layout(&self, dtype: Dtype, out: usize, inp: usize) -> Result<TensorLayout, BuildError> {
        if self.packed {
            Ok(TensorLayout::Packed { dtype, out, inp, bytes: cpu::packed_bytes(dtype, out, inp)? })
        } else {
            Ok(TensorLayout::RowMajor { dtype, shape: vec![out, inp] })
        }
    }

    /// A tensor of the checkpoint, which must have this shape.
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor<'a>, BuildError> {
        let Some(tensor) = self.checkpoint.tensor(name) else {
            let mut reason = format!("is missing; config.json asks for it with the shape {shape:?}");
            if let Some(other) = self.checkpoint.resembling(name) {
                let _ = write!(
                    reason,
                    "; the checkpoint has {other}, so another class or a wrapper saved it: save the model with \
                     transformers' own class, or rename its tensors"
                );
            }
            return Err(BuildError::tensor(self.checkpoint.listing(), name, reason));
        };
        if tensor.shape != shape {
            let reason = format!("has the shape {:?}; config.json asks for {shape:?}", tensor.shape);
            return Err(BuildError::tensor(tensor.path, name, reason));
        }
        match tensor.dtype {
            safetensors::Dtype::F64
            | safetensors::Dtype::F32
            | safetensors::Dtype::BF16
            | safetensors::Dtype::F16 => {}
            other => return Err(wrong_type(&tensor, other)),
        }
        self.taken.insert(tensor.name);
        Ok(tensor)
    }

    /// Leaves the tensors of a module out.
    fn ignore(&mut self, module: &str) {
        let names = self.checkpoint.tensors().map(|tensor| tensor.name);
        self.taken
            .extend(names.filter(|name| name.strip_prefix(module).is_some_and(|rest| rest.starts_with('.'))));
    }

    /// Refuses tensors that the engine would not use: in the model as it was trained they are part of the score.
    fn refuse_unexpected(&self) -> Result<(), BuildError> {
        let unused = |tensor: &Tensor<'_>| !self.taken.contains(tensor.name) && !is_harmless(tensor.name);
        let unexpected: Vec<Tensor<'_>> = self.checkpoint.tensors().filter(unused).collect();
        let Some(first) = unexpected.first() else { return Ok(()) };
        let more = match unexpected.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        let reason = format!(
            "of shape {:?} is unexpected{more}: the model that config.json describes has no tensor of that name, and \
             building without it would change the scores",
            first.shape
        );
        Err(BuildError::tensor(first.path, first.name, reason))
    }
}

/// Heads that encoders are trained with before they become classifiers: BERT's, RoBERTa's, DeBERTa's.
const PRETRAINING: [&str; 4] = ["cls", "lm_head", "lm_predictions", "mask_predictions"];

/// Modules of an encoder that its classifier does not compute, as in transformers: heads of its pre-training, the base
/// model's pooler where the classifier has a layer of its own, and the norm of relative positions if the model has no
/// such positions, or does not norm them.
fn unused_modules(config: &Config) -> Vec<String> {
    let family = config.architecture.family;
    let Some(encoder) = &family.encoder else { return Vec::new() };
    let mut unused: Vec<String> = PRETRAINING.map(str::to_owned).to_vec();
    let base = family.tensors.embedding.split('.').next().unwrap_or_default();
    let pooler = format!("{base}.pooler");
    if !encoder.head.dense.starts_with(&pooler) {
        unused.push(pooler);
    }
    let relative = config.model.variant.bidirectional.as_ref().and_then(|parts| parts.relative);
    if let Some(spec) = &encoder.relative
        && relative.is_none_or(|relative| !relative.normed)
    {
        unused.push(spec.norm.to_owned());
    }
    unused
}

/// Tensors that some checkpoints have and no classifier uses: a language model's head, and the rotary frequencies
/// and causal masks that old versions of transformers saved.
fn is_harmless(name: &str) -> bool {
    let mask = name.ends_with(".attention.bias") || name.ends_with(".attention.masked_bias");
    name == "lm_head.weight"
        || name.ends_with("rotary_emb.inv_freq")
        || name.ends_with("embeddings.position_ids")
        || (name.starts_with("gpt_neox.layers.") && mask)
        || (name.starts_with("transformer.h.")
            && (name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias")))
}
