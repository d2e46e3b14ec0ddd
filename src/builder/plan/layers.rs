//! The tensors of the decoder or encoder.

mod experts;

use super::{Planner, TensorLayout, TensorPlan};
use crate::builder::BuildError;
use crate::builder::checkpoint::Tensor;
use crate::builder::config::Config;
use crate::builder::families::FamilySpec;
use crate::builder::families::encoders::EncoderSpec;
use crate::builder::families::spec::{GateUp, Qkv};
use crate::engine::cpu;
use crate::manifest::{Bidirectional, Dtype, Model, Norm, QkNorm};

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
            Norm::Layer if !self.packed => Ok(()),
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
        self.qk_norms(queries, keys)?;
        self.qkv()?;
        // TensorRT-LLM rotates neighbours where the family does.
        if family.rotary.interleaved && self.planner.packed {
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

    /// Norms of queries and keys.
    fn qk_norms(&mut self, queries: usize, keys: usize) -> Result<(), BuildError> {
        let dim = self.model.head_dim;
        let norms = [("query_norm", "self_attn.q_norm", queries), ("key_norm", "self_attn.k_norm", keys)];
        for (name, source, width) in norms {
            match self.model.variant.qk_norm {
                QkNorm::None => {}
                QkNorm::EachHead => self.norm(name, source, dim)?,
                QkNorm::AllHeads => self.norm(name, source, width)?,
                QkNorm::OwnHead => self.norm_by_head(name, source, width / dim)?,
            }
        }
        Ok(())
    }

    /// A layer norm over each head with weights of its own, in the order of the rows of queries and keys, and a bias of
    /// zeros.
    fn norm_by_head(&mut self, name: &str, source: &str, heads: usize) -> Result<(), BuildError> {
        let dim = self.model.head_dim;
        let (name, source) = (self.engine_name(name), self.checkpoint_name(&format!("{source}.weight")));
        let whole = self.planner.take(&source, &[heads, dim])?.as_matrix(1);
        let layout = TensorLayout::RowMajor { dtype: Dtype::F32, shape: vec![heads * dim] };
        if !self.planner.packed {
            self.planner.push(&name, vec![whole.as_matrix(dim)], layout);
            return Ok(());
        }
        let order = if self.family.rotary.interleaved { self.separated() } else { (0..dim).collect() };
        let places = (0..heads).flat_map(|head| order.iter().map(move |number| head * dim + number));
        let weights = places.map(|place| whole.rows(place..place + 1)).collect();
        self.planner.push(&name, weights, layout.clone());
        let zeros = TensorPlan {
            subtract: Some(whole),
            ..TensorPlan::new(&format!("{name}_bias"), vec![whole], layout)
        };
        self.planner.plans.push(zeros);
        Ok(())
    }

    /// Where the numbers of a head come from: first numbers of all pairs, second numbers, those that are not rotated.
    fn separated(&self) -> Vec<usize> {
        let dim = self.model.head_dim;
        let rotated = self.model.variant.rotary_dim.unwrap_or(dim);
        (0..rotated).step_by(2).chain((1..rotated).step_by(2)).chain(rotated..dim).collect()
    }

    /// Puts the rows of each query's and key's head in the order of [`Self::separated`]. In the checkpoint the two of a
    /// pair are neighbours. Scores of queries and keys do not change.
    fn separate_pairs(&mut self) {
        let Model { head_dim: dim, num_heads, num_kv_heads, .. } = *self.model;
        let order = self.separated();
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

    fn has(&self, name: &str) -> bool {
        self.planner.checkpoint.has(&self.checkpoint_name(name))
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
