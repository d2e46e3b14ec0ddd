//! Which tensors a rank has, and from which parts of the checkpoint each is made.
//!
//! Names and order of rows are those of TensorRT-LLM 1.2.1's models: `mlp.fc` is the gate's projection and `mlp.gate`
//! the other one; a network without a gate has only `mlp.fc`; if the gate is fused, as in experts, `mlp.fc` has both, the
//! gate last.

use std::collections::BTreeMap;
use std::ops::Range;
use std::slice::from_ref;

use super::config_json::divides_embedding;
use super::lm_head::LmHead;
use super::mapping::{Mapping, Rank};
use super::quantize::Format;
use super::rank_tensor::RankTensor;
use crate::builder::checkpoint::Tensor;
use crate::builder::families::spec::TrtllmSpec;
use crate::builder::plan::TensorPlan;
use crate::manifest::{Dtype, Experts, Model, QkNorm};

/// Divides a checkpoint's tensors among ranks.
pub(super) struct RankPlanner<'p, 'a> {
    plans: BTreeMap<&'p str, &'p TensorPlan<'a>>,
    /// The matrix in `lm_head`.
    lm_head: Option<&'p TensorPlan<'a>>,
    lm_head_rows: usize,
    vocab_size: usize,
    model: &'p Model,
    trtllm: &'p TrtllmSpec,
    mapping: Mapping,
    format: Option<Format>,
}

impl<'p, 'a> RankPlanner<'p, 'a> {
    /// Divides tensors as `mapping` says, with layers' matrices in `format`.
    pub(super) fn new(
        plans: &'p [TensorPlan<'a>],
        lm_head: &LmHead,
        model: &'p Model,
        trtllm: &'p TrtllmSpec,
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
            trtllm,
            mapping,
            format,
        }
    }

    /// The tensors of one rank, in the order of its file.
    pub(super) fn rank(&self, rank: Rank) -> Vec<RankTensor<'a>> {
        let mut tensors = Tensors { planner: self, list: Vec::new() };
        let hidden = self.model.hidden_size;
        if rank.is_first_stage() {
            let rows = if divides_embedding(self.trtllm, self.mapping) {
                rank.share(self.vocab_size.next_multiple_of(self.mapping.tensor_parallel))
            } else {
                0..self.vocab_size
            };
            let shape = vec![rows.len(), hidden];
            tensors.put("transformer.vocab_embedding.weight", "embedding", &[rows], None, shape);
            if let Some(positions) = &self.model.variant.positions {
                let (rows, shape) = (0..positions.rows, vec![positions.rows, hidden]);
                tensors.put(
                    "transformer.position_embedding.weight",
                    "position_embedding",
                    &[rows],
                    None,
                    shape,
                );
            }
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
            dtype: Dtype::Bf16,
            parts: slice(&matrix.sources, &rows),
            scale: matrix.scale,
            offset: 0.0,
            subtract: matrix.subtract,
            format: None,
        })
    }

    fn layer(&self, rank: Rank, to: &str, from: &str, tensors: &mut Tensors<'_, 'p, 'a>) {
        let model = self.model;
        let (dim, hidden) = (model.head_dim, model.hidden_size);
        let (q, kv) = (model.num_heads * dim, model.num_kv_heads * dim);
        // The rows of a matrix that is divided by columns.
        let all = 0..hidden;
        let kv_heads = rank.kv_heads(model.num_kv_heads);
        let kv_rows = |first: usize| first + kv_heads.start * dim..first + kv_heads.end * dim;

        tensors.norm(&format!("{to}.input_layernorm"), &format!("{from}.input_norm"));
        let qkv = [rank.share(q), kv_rows(q), kv_rows(q + kv)];
        tensors.linear(&format!("{to}.attention.qkv"), &format!("{from}.qkv"), &qkv, None, hidden);
        let columns = rank.share(q);
        tensors.linear(
            &format!("{to}.attention.dense"),
            &format!("{from}.output"),
            from_ref(&all),
            Some(&columns),
            q,
        );
        let heads = [rank.share(model.num_heads), kv_heads];
        for ((part, query_or_key), heads) in [("q", "query"), ("k", "key")].into_iter().zip(heads) {
            let (to, from) =
                (format!("{to}.attention.{part}_layernorm"), format!("{from}.{query_or_key}_norm"));
            if model.variant.qk_norm == QkNorm::OwnHead {
                let shape = vec![heads.len(), dim];
                tensors.put(&format!("{to}.weight"), &from, &[heads], None, shape);
            } else {
                tensors.norm(&to, &from);
            }
        }
        if model.variant.post_norms {
            tensors.norm(&format!("{to}.post_layernorm"), &format!("{from}.attention_post_norm"));
            tensors.norm(&format!("{to}.pre_feedforward_layernorm"), &format!("{from}.post_norm"));
            tensors.norm(&format!("{to}.post_feedforward_layernorm"), &format!("{from}.mlp_post_norm"));
        } else if let Some(name) = self.trtllm.mlp_norm {
            tensors.norm(&format!("{to}.{name}"), &format!("{from}.post_norm"));
        }
        match &model.variant.experts {
            Some(experts) => self.experts(experts, rank, to, from, tensors),
            None => {
                let network = FeedForward { to: &format!("{to}.mlp"), from, width: model.intermediate_size };
                self.feed_forward(network, self.trtllm.fused_gate, rank, tensors);
            }
        }
    }

    /// A feed-forward network. If its gate is fused, it comes last.
    fn feed_forward(
        &self,
        FeedForward { to, from, width }: FeedForward<'_>,
        fused_gate: bool,
        rank: Rank,
        tensors: &mut Tensors<'_, 'p, 'a>,
    ) {
        let hidden = self.model.hidden_size;
        let first = rank.share(width);
        let second = first.start + width..first.end + width;
        let source = format!("{from}.gate_up");
        let (fc, gate) = (format!("{to}.fc"), format!("{to}.gate"));
        if fused_gate {
            tensors.linear(&fc, &source, &[second, first], None, hidden);
        } else {
            tensors.linear(&fc, &source, &[first], None, hidden);
            if self.model.variant.activation.gated() {
                tensors.linear(&gate, &source, &[second], None, hidden);
            }
        }
        let columns = rank.share(width);
        tensors.linear(
            &format!("{to}.proj"),
            &format!("{from}.down"),
            from_ref(&(0..hidden)),
            Some(&columns),
            width,
        );
    }

    /// A mixture of experts: the router in f32, the matrices of all experts in one tensor each, and the expert that
    /// every token has.
    fn experts(
        &self,
        experts: &Experts,
        rank: Rank,
        to: &str,
        from: &str,
        tensors: &mut Tensors<'_, 'p, 'a>,
    ) {
        let (hidden, count, width) = (self.model.hidden_size, experts.count, experts.intermediate_size);
        let router = format!("{from}.router");
        let mut put = |name: &str, rows: Range<usize>, dtype| {
            let shape = vec![rows.len(), hidden];
            tensors.put(&format!("{to}.mlp.{name}.weight"), &router, &[rows], None, shape);
            if let Some(matrix) = tensors.list.last_mut() {
                matrix.dtype = dtype;
            }
        };
        put("router", 0..count, Dtype::F32);
        if let Some(shared) = &experts.shared {
            put("shared_expert_gate", count..count + 1, Dtype::Bf16);
            let (to, from) = (format!("{to}.mlp.shared_expert"), format!("{from}.shared"));
            let network = FeedForward { to: &to, from: &from, width: shared.intermediate_size };
            self.feed_forward(network, true, rank, tensors);
        }
        let share = rank.share(width);
        let gate_last = [share.start + width..share.end + width, share.clone()];
        let fc = vec![count, 2 * share.len(), hidden];
        tensors.stack(&format!("{to}.mlp.fc.weight"), from, "gate_up", &gate_last, None, fc);
        let proj = vec![count, hidden, share.len()];
        tensors.stack(
            &format!("{to}.mlp.proj.weight"),
            from,
            "down",
            from_ref(&(0..hidden)),
            Some(&share),
            proj,
        );
    }
}

/// Where a feed-forward network goes to and comes from.
struct FeedForward<'n> {
    to: &'n str,
    from: &'n str,
    width: usize,
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
        columns: Option<&Range<usize>>,
        shape: Vec<usize>,
    ) {
        let Some(plan) = self.planner.plans.get(from) else { return };
        self.list.push(RankTensor {
            name: name.to_owned(),
            shape,
            dtype: Dtype::Bf16,
            parts: parts(plan, rows, columns),
            scale: plan.scale,
            offset: plan.offset,
            subtract: plan.subtract,
            format: None,
        });
    }

    /// Adds some rows of a matrix of every expert, or some columns of these rows, one expert after the other.
    fn stack(
        &mut self,
        name: &str,
        layer: &str,
        matrix: &str,
        rows: &[Range<usize>],
        columns: Option<&Range<usize>>,
        shape: Vec<usize>,
    ) {
        let mut stacked = Vec::new();
        for expert in 0..shape[0] {
            if let Some(plan) = self.planner.plans.get(format!("{layer}.experts.{expert}.{matrix}").as_str())
            {
                stacked.extend(parts(plan, rows, columns));
            }
        }
        self.list.push(RankTensor {
            name: name.to_owned(),
            shape,
            dtype: Dtype::Bf16,
            parts: stacked,
            scale: 1.0,
            offset: 0.0,
            subtract: None,
            format: None,
        });
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
        columns: Option<&Range<usize>>,
        inp: usize,
    ) {
        let out = rows.iter().map(ExactSizeIterator::len).sum();
        let inp = columns.map_or(inp, ExactSizeIterator::len);
        self.put(&format!("{to}.weight"), from, rows, columns, vec![out, inp]);
        if let Some(matrix) = self.list.last_mut() {
            matrix.format = self.planner.format;
        }
        self.put(&format!("{to}.bias"), &format!("{from}_bias"), rows, None, vec![out]);
    }
}

/// Some rows of a planned tensor, or some columns of these rows.
fn parts<'a>(
    plan: &TensorPlan<'a>,
    rows: &[Range<usize>],
    columns: Option<&Range<usize>>,
) -> Vec<Tensor<'a>> {
    let rows = rows.iter().flat_map(|rows| slice(&plan.sources, rows));
    match columns {
        Some(columns) => rows.map(|part| part.columns(columns.clone())).collect(),
        None => rows.collect(),
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
