//! Which tensors a rank has, and from which parts of the checkpoint each is made.
//!
//! Names and order of rows are those of TensorRT-LLM 1.2.1's models: `mlp.fc` is the gate's projection and `mlp.gate`
//! the other one; a network without a gate has only `mlp.fc`; if the gate is fused, `mlp.fc` has both, the gate last.

use std::collections::BTreeMap;
use std::ops::Range;
use std::slice::from_ref;

use super::config_json::divides_embedding;
use super::lm_head::LmHead;
use super::mapping::{Mapping, Rank};
use super::quantize::Format;
use crate::builder::checkpoint::Tensor;
use crate::builder::families::spec::TrtllmSpec;
use crate::builder::plan::TensorPlan;
use crate::manifest::{Model, QkNorm};

/// One tensor of a rank's file, or a quantized matrix and its scales.
pub(super) struct RankTensor<'a> {
    pub(super) name: String,
    /// Its shape before it is quantized; `[out, in]` for a matrix.
    pub(super) shape: Vec<usize>,
    /// What it is made from, top to bottom. If these have fewer rows than `shape`, the rest are zero.
    pub(super) parts: Vec<Tensor<'a>>,
    /// Added to every number.
    pub(super) offset: f32,
    /// Subtracted from each part, element by element.
    pub(super) subtract: Option<Tensor<'a>>,
    /// How it is quantized; `None` if it is not.
    pub(super) format: Option<Format>,
}

/// A tensor as a safetensors header lists it.
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) dtype: String,
    pub(super) shape: Vec<usize>,
    pub(super) bytes: usize,
}

impl RankTensor<'_> {
    /// Its entries in the file: weights, then scales.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let name = self.name.clone();
        let (Some(format), &[out, inp]) = (self.format, &self.shape[..]) else {
            let bytes = 2 * self.shape.iter().product::<usize>();
            return vec![Entry { name, dtype: "BF16".to_owned(), shape: self.shape.clone(), bytes }];
        };
        let shape = format.shape(out, inp);
        let (dtype, width) = format.scale();
        let scale = name.replace(".weight", ".per_channel_scale");
        vec![
            Entry {
                name,
                dtype: format.dtype().to_owned(),
                shape: shape.to_vec(),
                bytes: shape.iter().product(),
            },
            Entry { name: scale, dtype: dtype.to_owned(), shape: vec![out], bytes: width * out },
        ]
    }

    /// Its size in the file.
    pub(super) fn bytes(&self) -> u64 {
        self.entries().iter().map(|entry| entry.bytes as u64).sum()
    }
}

/// Divides a checkpoint's tensors among ranks.
pub(super) struct RankPlanner<'p, 'a> {
    plans: BTreeMap<&'p str, &'p TensorPlan<'a>>,
    /// The matrix in `lm_head`.
    lm_head: Option<&'p TensorPlan<'a>>,
    lm_head_rows: usize,
    vocab_size: usize,
    model: &'p Model,
    form: &'p TrtllmSpec,
    mapping: Mapping,
    format: Option<Format>,
}

impl<'p, 'a> RankPlanner<'p, 'a> {
    /// Divides tensors as `mapping` says, with layers' matrices in `format`.
    pub(super) fn new(
        plans: &'p [TensorPlan<'a>],
        lm_head: &LmHead,
        model: &'p Model,
        form: &'p TrtllmSpec,
        mapping: Mapping,
        format: Option<Format>,
    ) -> Self {
        let plans: BTreeMap<_, _> = plans.iter().map(|plan| (plan.name.as_str(), plan)).collect();
        let matrix = plans.get(lm_head.matrix).copied();
        Self {
            lm_head: matrix,
            lm_head_rows: lm_head.rows,
            vocab_size: lm_head.vocab_size,
            plans,
            model,
            form,
            mapping,
            format,
        }
    }

    /// The tensors of one rank, in the order of its file.
    pub(super) fn rank(&self, rank: Rank) -> Vec<RankTensor<'a>> {
        let mut tensors = Tensors { planner: self, list: Vec::new() };
        let hidden = self.model.hidden_size;
        if rank.is_first_stage() {
            let rows = if divides_embedding(self.form, self.mapping) {
                rank.share(self.vocab_size.next_multiple_of(self.mapping.tensor_parallel))
            } else {
                0..self.vocab_size
            };
            let shape = vec![rows.len(), hidden];
            tensors.put("transformer.vocab_embedding.weight", "embedding", &[rows], None, shape);
        }
        for (local, layer) in rank.layers(self.model.num_layers).enumerate() {
            self.layer(
                rank,
                &format!("transformer.layers.{local}"),
                &format!("layers.{layer}"),
                &mut tensors,
            );
        }
        if rank.is_last_stage() {
            tensors.norm("transformer.ln_f", "final_norm");
            tensors.list.extend(self.lm_head(rank));
        }
        tensors.list
    }

    /// This rank's part of the vocabulary's head, or of the head that scores, whose rows come first.
    pub(super) fn lm_head(&self, rank: Rank) -> Option<RankTensor<'a>> {
        let rows = rank.share(self.lm_head_rows);
        let matrix = self.lm_head?;
        Some(RankTensor {
            name: "lm_head.weight".to_owned(),
            shape: vec![rows.len(), self.model.hidden_size],
            parts: slice(&matrix.sources, &rows),
            offset: 0.0,
            subtract: matrix.subtract,
            format: None,
        })
    }

    fn layer(&self, rank: Rank, to: &str, from: &str, tensors: &mut Tensors<'_, 'p, 'a>) {
        let model = self.model;
        let (dim, ffn, hidden) = (model.head_dim, model.intermediate_size, model.hidden_size);
        let (q, kv) = (model.num_heads * dim, model.num_kv_heads * dim);
        // The rows of a matrix that is divided by columns.
        let all = 0..hidden;
        let kv_heads = rank.kv_heads(model.num_kv_heads);
        let kv_rows = |first: usize| first + kv_heads.start * dim..first + kv_heads.end * dim;

        tensors.norm(&format!("{to}.input_layernorm"), &format!("{from}.input_norm"));
        let qkv = [rank.share(q), kv_rows(q), kv_rows(q + kv)];
        tensors.linear(&format!("{to}.attention.qkv"), &format!("{from}.qkv"), &qkv, None, hidden);
        let columns = Some(rank.share(q));
        tensors.linear(
            &format!("{to}.attention.dense"),
            &format!("{from}.output"),
            from_ref(&all),
            columns,
            q,
        );
        if model.variant.qk_norm != QkNorm::None {
            tensors.norm(&format!("{to}.attention.q_layernorm"), &format!("{from}.query_norm"));
            tensors.norm(&format!("{to}.attention.k_layernorm"), &format!("{from}.key_norm"));
        }
        if model.variant.post_norms {
            tensors.norm(&format!("{to}.post_layernorm"), &format!("{from}.attention_post_norm"));
            tensors.norm(&format!("{to}.pre_feedforward_layernorm"), &format!("{from}.post_norm"));
            tensors.norm(&format!("{to}.post_feedforward_layernorm"), &format!("{from}.mlp_post_norm"));
        } else {
            tensors.norm(&format!("{to}.post_layernorm"), &format!("{from}.post_norm"));
        }

        let first = rank.share(ffn);
        let second = first.start + ffn..first.end + ffn;
        let source = format!("{from}.gate_up");
        let (fc, gate) = (format!("{to}.mlp.fc"), format!("{to}.mlp.gate"));
        if self.form.fused_gate {
            tensors.linear(&fc, &source, &[second, first], None, hidden);
        } else {
            tensors.linear(&fc, &source, &[first], None, hidden);
            if model.variant.activation.gated() {
                tensors.linear(&gate, &source, &[second], None, hidden);
            }
        }
        let columns = Some(rank.share(ffn));
        tensors.linear(&format!("{to}.mlp.proj"), &format!("{from}.down"), from_ref(&all), columns, ffn);
    }
}

/// The tensors of a rank, as they are collected.
struct Tensors<'l, 'p, 'a> {
    planner: &'l RankPlanner<'p, 'a>,
    list: Vec<RankTensor<'a>>,
}

impl<'p, 'a> Tensors<'_, 'p, 'a> {
    /// Adds some rows of a planned tensor, or some columns of these rows. Adds nothing if the model has no such tensor,
    /// as for most biases.
    fn put(
        &mut self,
        name: &str,
        from: &str,
        rows: &[Range<usize>],
        columns: Option<Range<usize>>,
        shape: Vec<usize>,
    ) {
        let Some(plan) = self.planner.plans.get(from) else { return };
        let mut parts: Vec<Tensor<'a>> = rows.iter().flat_map(|rows| slice(&plan.sources, rows)).collect();
        if let Some(columns) = columns {
            parts = parts.iter().map(|part| part.columns(columns.clone())).collect();
        }
        let (offset, subtract) = (plan.offset, plan.subtract);
        self.list.push(RankTensor { name: name.to_owned(), shape, parts, offset, subtract, format: None });
    }

    /// Adds a norm's weights and, if it has one, its bias: the same on every rank.
    fn norm(&mut self, to: &str, from: &str) {
        for (kind, from) in [("weight", from.to_owned()), ("bias", format!("{from}_bias"))] {
            let width = self.planner.plans.get(from.as_str()).map_or(0, |plan| row_count(plan));
            self.put(&format!("{to}.{kind}"), &from, from_ref(&(0..width)), None, vec![width]);
        }
    }

    /// Adds some rows or columns of a matrix with `inp` columns. A bias is divided like the rows. If columns are divided,
    /// every rank has all of it, because it is added to the sum over the ranks.
    fn linear(
        &mut self,
        to: &str,
        from: &str,
        rows: &[Range<usize>],
        columns: Option<Range<usize>>,
        inp: usize,
    ) {
        let out = rows.iter().map(ExactSizeIterator::len).sum();
        let inp = columns.as_ref().map_or(inp, ExactSizeIterator::len);
        self.put(&format!("{to}.weight"), from, rows, columns, vec![out, inp]);
        if let Some(matrix) = self.list.last_mut() {
            matrix.format = self.planner.format;
        }
        self.put(&format!("{to}.bias"), &format!("{from}_bias"), rows, None, vec![out]);
    }
}

fn row_count(plan: &TensorPlan<'_>) -> usize {
    plan.sources.iter().map(Tensor::row_count).sum()
}

/// Rows of stacked tensors. Rows beyond the last are left out.
fn slice<'a>(sources: &[Tensor<'a>], rows: &Range<usize>) -> Vec<Tensor<'a>> {
    let mut parts = Vec::new();
    let mut start = 0;
    for source in sources {
        let end = start + source.row_count();
        let (from, to) = (rows.start.max(start), rows.end.min(end));
        if from < to {
            parts.push(source.rows(from - start..to - start));
        }
        start = end;
    }
    parts
}
