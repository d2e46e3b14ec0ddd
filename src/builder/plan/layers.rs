//! The tensors of the decoder or encoder.

use super::{Planner, TensorLayout};
use crate::builder::BuildError;
use crate::builder::checkpoint::Tensor;
use crate::builder::config::Config;
use crate::builder::families::FamilySpec;
use crate::builder::families::encoders::EncoderSpec;
use crate::builder::families::experts::ExpertTensors;
use crate::builder::families::spec::{GateUp, Qkv};
use crate::engine::cpu;
use crate::manifest::{Bidirectional, Dtype, Experts, Model, Norm, QkNorm};

impl<'a> Planner<'a> {
    /// Embedding, layers and last norm.
    pub(super) fn decoder(&mut self, config: &Config) -> Result<(), BuildError> {
        let (model, family) = (&config.model, config.architecture.family);
        let hidden = model.hidden_size;
        let shape = [model.vocab_size, hidden];
        self.row_major("embedding", cpu::state_dtype(self.dtype), family.tensors.embedding, &shape)?;
        if let (Some(spec), Some(positions)) = (&family.positions, &model.variant.positions) {
            self.row_major("position_embedding", Dtype::F32, spec.tensor, &[positions.rows, hidden])?;
        }
        if let (Some(spec), Some(parts)) = (&family.encoder, &model.variant.bidirectional) {
            self.encoder(spec, parts, family, hidden)?;
        }
        for number in 0..model.num_layers {
            Layer { planner: &mut *self, family, model, number }.plan()?;
        }
        if family.encoder.as_ref().is_none_or(|encoder| encoder.final_norm) {
            self.norm("final_norm", family.tensors.final_norm, family, hidden)?;
        }
        Ok(())
    }

    /// The tensors of an encoder outside of its layers.
    fn encoder(
        &mut self,
        spec: &EncoderSpec,
        parts: &Bidirectional,
        family: &FamilySpec,
        hidden: usize,
    ) -> Result<(), BuildError> {
        self.norm("embedding_norm", spec.embedding_norm, family, hidden)?;
        if let (Some(source), Some(segments)) = (spec.segments, &parts.segments) {
            self.row_major("segment_embedding", Dtype::F32, source, &[segments.rows, hidden])?;
        }
        if let (Some(spec), Some(relative)) = (&spec.relative, &parts.relative) {
            let shape = [2 * relative.span, hidden];
            self.row_major("relative_embedding", Dtype::F32, spec.embedding, &shape)?;
            if relative.normed {
                self.norm("relative_norm", spec.norm, family, hidden)?;
            }
        }
        Ok(())
    }

    /// A norm's weights and, if it is a layer norm, its bias.
    fn norm(
        &mut self,
        name: &str,
        source: &str,
        family: &FamilySpec,
        width: usize,
    ) -> Result<(), BuildError> {
        self.row_major(name, Dtype::F32, &format!("{source}.weight"), &[width])?;
        if let Some(weights) = self.plans.last_mut() {
            weights.offset = family.norms.weight_offset;
        }
        let bias = format!("{name}_bias");
        match family.norms.kind {
            Norm::Rms => Ok(()),
            Norm::Layer if family.norms.bias => {
                self.row_major(&bias, Dtype::F32, &format!("{source}.bias"), &[width])
            }
            Norm::Layer => {
                // Zeros: the weights minus themselves.
                self.row_major(&bias, Dtype::F32, &format!("{source}.weight"), &[width])?;
                if let Some(zeros) = self.plans.last_mut() {
                    zeros.subtract = zeros.sources.first().copied();
                }
                Ok(())
            }
        }
    }
}

/// A layer's tensors with the matrices of all experts.
const STACKED_GATE_UP: &str = "mlp.experts.gate_up_proj";
const STACKED_DOWN: &str = "mlp.experts.down_proj";

/// One layer.
struct Layer<'l, 'a> {
    planner: &'l mut Planner<'a>,
    family: &'l FamilySpec,
    model: &'l Model,
    number: usize,
}

impl<'a> Layer<'_, 'a> {
    fn plan(&mut self) -> Result<(), BuildError> {
        let Self { family, model, .. } = *self;
        let (hidden, ffn) = (model.hidden_size, model.intermediate_size);
        let (queries, keys) = (model.num_heads * model.head_dim, model.num_kv_heads * model.head_dim);

        let encoder = family.encoder.as_ref();
        // An encoder's embeddings are normed already.
        if let Some([attention_norm, _]) =
            family.norms.inputs.filter(|_| encoder.is_none() || self.number > 0)
        {
            self.norm("input_norm", attention_norm, hidden)?;
        }
        let norm_widths = match family.norms.queries_and_keys {
            QkNorm::None => None,
            QkNorm::EachHead => Some([model.head_dim; 2]),
            QkNorm::AllHeads => Some([queries, keys]),
        };
        if let Some([query_width, key_width]) = norm_widths {
            self.norm("query_norm", "self_attn.q_norm", query_width)?;
            self.norm("key_norm", "self_attn.k_norm", key_width)?;
        }
        self.qkv()?;
        if family.rotary.interleaved {
            self.separate_pairs();
        }
        self.linear("output", &[(family.tensors.attention_output, hidden)], queries, model.output_bias)?;
        if let Some([attention_norm, _]) = family.norms.outputs {
            self.norm("attention_post_norm", attention_norm, hidden)?;
        }
        if let Some([_, mlp_norm]) = family.norms.inputs {
            self.norm("post_norm", mlp_norm, hidden)?;
        }
        match (&model.variant.experts, &family.experts) {
            (Some(experts), Some(spec)) if experts.layers.contains(&self.number) => {
                self.experts(experts, &spec.tensors)?;
            }
            _ => {
                self.gate_up()?;
                self.linear("down", &[(family.tensors.down, hidden)], ffn, model.mlp_bias)?;
            }
        }
        if let Some([_, mlp_norm]) = family.norms.outputs {
            self.norm("mlp_post_norm", mlp_norm, hidden)?;
        }
        encoder.map_or(Ok(()), |encoder| self.encoder(encoder, hidden, queries))
    }

    /// What an encoder's layers have of their own.
    fn encoder(&mut self, spec: &EncoderSpec, hidden: usize, queries: usize) -> Result<(), BuildError> {
        if let Some([attention_norm, mlp_norm]) = spec.sum_norms {
            self.norm("attention_sum_norm", attention_norm, hidden)?;
            self.norm("mlp_sum_norm", mlp_norm, hidden)?;
        }
        let relative = self.model.variant.bidirectional.and_then(|parts| parts.relative);
        let Some((names, relative)) = spec.relative.as_ref().zip(relative) else { return Ok(()) };
        let [query, key] = names.projections;
        let parts: Vec<(&str, usize)> =
            [(query, relative.position_to_content), (key, relative.content_to_position)]
                .into_iter()
                .filter(|(_, present)| *present)
                .map(|(name, _)| (name, queries))
                .collect();
        if relative.shared_projections || parts.is_empty() {
            return Ok(());
        }
        self.linear("relative", &parts, hidden, true)
    }

    fn norm(&mut self, name: &str, source: &str, width: usize) -> Result<(), BuildError> {
        let (name, source) = (self.engine_name(name), self.checkpoint_name(source));
        self.planner.norm(&name, &source, self.family, width)
    }

    fn qkv(&mut self) -> Result<(), BuildError> {
        let Model { hidden_size: hidden, head_dim, num_heads, num_kv_heads, qkv_bias, .. } = *self.model;
        let (q, kv) = (num_heads * head_dim, num_kv_heads * head_dim);
        match self.family.tensors.qkv {
            Qkv::Separate([query, key, value]) => {
                self.linear("qkv", &[(query, q), (key, kv), (value, kv)], hidden, qkv_bias)
            }
            Qkv::Fused(name) => self.linear("qkv", &[(name, q + 2 * kv)], hidden, qkv_bias),
            Qkv::FusedByKvHead(name) => {
                self.linear("qkv", &[(name, q + 2 * kv)], hidden, qkv_bias)?;
                self.separate_kv_heads();
                Ok(())
            }
        }
    }

    /// Puts the rows of the matrix `qkv`, and of its bias, in order: all queries, all keys, all values. In the
    /// checkpoint each key-value head has its queries, its key and its value one after the other.
    fn separate_kv_heads(&mut self) {
        let (dim, kv_heads) = (self.model.head_dim, self.model.num_kv_heads);
        let group = self.model.num_heads / kv_heads;
        let name = self.engine_name("qkv");
        for plan in self.planner.plans.iter_mut().filter(|plan| plan.name.starts_with(&name)) {
            let Some(&whole) = plan.sources.first() else { continue };
            plan.sources.clear();
            // Where each part starts within a key-value head, and its length, in heads.
            for (start, heads) in [(0, group), (group, 1), (group + 1, 1)] {
                for kv_head in 0..kv_heads {
                    let first = (kv_head * (group + 2) + start) * dim;
                    plan.sources.push(whole.rows(first..first + heads * dim));
                }
            }
        }
    }

    /// Puts the rows of each query's and key's head in order: first numbers of all pairs, second numbers, those that
    /// are not rotated. In the checkpoint the two of a pair are neighbours. Scores of queries and keys do not change.
    fn separate_pairs(&mut self) {
        let Model { head_dim: dim, num_heads, num_kv_heads, .. } = *self.model;
        let rotated = self.model.variant.rotary_dim.unwrap_or(dim);
        let order: Vec<usize> =
            (0..rotated).step_by(2).chain((1..rotated).step_by(2)).chain(rotated..dim).collect();
        let name = self.engine_name("qkv");
        for plan in self.planner.plans.iter_mut().filter(|plan| plan.name.starts_with(&name)) {
            let [queries, keys, values] = plan.sources[..] else { continue };
            plan.sources.clear();
            for (part, heads) in [(queries, num_heads), (keys, num_kv_heads)] {
                for head in 0..heads {
                    let row = |&row: &usize| part.rows(head * dim + row..head * dim + row + 1);
                    plan.sources.extend(order.iter().map(row));
                }
            }
            plan.sources.push(values);
        }
    }

    fn gate_up(&mut self) -> Result<(), BuildError> {
        let Model { hidden_size: hidden, intermediate_size: ffn, mlp_bias, .. } = *self.model;
        let gated = self.model.variant.activation.gated();
        match self.family.tensors.gate_up {
            GateUp::Separate([gate, up]) if gated => {
                self.linear("gate_up", &[(gate, ffn), (up, ffn)], hidden, mlp_bias)
            }
            GateUp::Separate([_, up]) => self.linear("gate_up", &[(up, ffn)], hidden, mlp_bias),
            GateUp::Fused(name) => self.linear("gate_up", &[(name, 2 * ffn)], hidden, mlp_bias),
        }
    }

    /// The router, with the gate of the shared expert as its last row, and the experts.
    fn experts(&mut self, experts: &Experts, tensors: &ExpertTensors) -> Result<(), BuildError> {
        let hidden = self.model.hidden_size;
        let has_router = self.has(&format!("{}.weight", tensors.router));
        let router = if has_router { tensors.router } else { ExpertTensors::COMMON.router };
        let mut rows = vec![(router, experts.count)];
        if experts.shared.is_some() {
            rows.push((ExpertTensors::SHARED_GATE, 1));
        }
        let router = self.take_parts(&rows, "weight", &[hidden])?;
        // Which experts are chosen hangs on small differences, so the router is never in int8.
        let dtype = cpu::state_dtype(self.planner.dtype);
        let layout = self.planner.matrix_layout(dtype, experts.router_rows(), hidden)?;
        self.planner.push(&self.engine_name("router"), router, layout);
        let stacked = self.has(STACKED_GATE_UP);
        if stacked {
            self.stacked_experts(experts, hidden)?;
        }
        for expert in 0..if stacked { 0 } else { experts.count } {
            let source = format!("{}.{expert}", tensors.experts);
            self.expert(&format!("experts.{expert}"), &source, tensors, experts.intermediate_size)?;
        }
        if let Some(shared) = &experts.shared {
            let tensors = ExpertTensors::COMMON;
            self.expert("shared", ExpertTensors::SHARED, &tensors, shared.intermediate_size)?;
        }
        Ok(())
    }

    fn has(&self, name: &str) -> bool {
        self.planner.checkpoint.has(&self.checkpoint_name(name))
    }

    /// Experts whose matrices are stored one after the other in one tensor, as transformers 5 holds them.
    fn stacked_experts(&mut self, experts: &Experts, hidden: usize) -> Result<(), BuildError> {
        let (count, width) = (experts.count, experts.intermediate_size);
        let (gate_up, down) = (self.checkpoint_name(STACKED_GATE_UP), self.checkpoint_name(STACKED_DOWN));
        let gate_up = self.planner.take(&gate_up, &[count, 2 * width, hidden])?;
        let down = self.planner.take(&down, &[count, hidden, width])?;
        for expert in 0..count {
            let name = self.engine_name(&format!("experts.{expert}"));
            let own = |whole: Tensor<'a>| vec![whole.rows(expert..expert + 1)];
            self.matrix(&format!("{name}.gate_up"), own(gate_up), 2 * width, hidden)?;
            self.matrix(&format!("{name}.down"), own(down), hidden, width)?;
        }
        Ok(())
    }

    fn expert(
        &mut self,
        name: &str,
        source: &str,
        tensors: &ExpertTensors,
        width: usize,
    ) -> Result<(), BuildError> {
        let hidden = self.model.hidden_size;
        let [gate, up] = tensors.gate_up.map(|part| format!("{source}.{part}"));
        self.linear(&format!("{name}.gate_up"), &[(&gate, width), (&up, width)], hidden, false)?;
        let down = format!("{source}.{}", tensors.down);
        self.linear(&format!("{name}.down"), &[(&down, hidden)], width, false)
    }

    /// A linear layer with `inp` inputs made from `parts` (name and rows), and its bias in f32 if it has one.
    fn linear(
        &mut self,
        name: &str,
        parts: &[(&str, usize)],
        inp: usize,
        bias: bool,
    ) -> Result<(), BuildError> {
        let name = self.engine_name(name);
        let out = parts.iter().map(|(_, rows)| rows).sum();
        let sources = self.take_parts(parts, "weight", &[inp])?;
        self.matrix(&name, sources, out, inp)?;
        if bias {
            let sources = self.take_parts(parts, "bias", &[])?;
            let layout = TensorLayout::RowMajor { dtype: Dtype::F32, shape: vec![out] };
            self.planner.push(&format!("{name}_bias"), sources, layout);
        }
        Ok(())
    }

    /// A matrix in the engine's type and, in int8, its scales.
    fn matrix(
        &mut self,
        name: &str,
        sources: Vec<Tensor<'a>>,
        out: usize,
        inp: usize,
    ) -> Result<(), BuildError> {
        let layout = self.planner.matrix_layout(self.planner.dtype, out, inp)?;
        self.planner.push(name, sources, layout);
        if self.planner.dtype == Dtype::Int8 {
            self.planner.push(&format!("{name}_scale"), vec![], TensorLayout::Scales { rows: out });
        }
        Ok(())
    }

    /// The weights or biases of `parts`, each of the shape `[rows, ...rest]`.
    fn take_parts(
        &mut self,
        parts: &[(&str, usize)],
        kind: &str,
        rest: &[usize],
    ) -> Result<Vec<Tensor<'a>>, BuildError> {
        let mut tensors = Vec::new();
        for (part, rows) in parts {
            let name = format!("{}.{kind}", self.checkpoint_name(part));
            tensors.push(match rest {
                &[inputs] if self.family.tensors.transposed => {
                    self.planner.take(&name, &[inputs, *rows])?.transposed()
                }
                _ => self.planner.take(&name, &[&[*rows], rest].concat())?,
            });
        }
        Ok(tensors)
    }

    fn engine_name(&self, name: &str) -> String {
        format!("layers.{}.{name}", self.number)
    }

    fn checkpoint_name(&self, name: &str) -> String {
        format!("{}.{}.{name}", self.family.tensors.layers, self.number)
    }
}
