//! Which tensors a rank holds, and of which parts of the checkpoint each is made.
//!
//! Names and order of rows are those of TensorRT-LLM 1.2.1's models: its `mlp.fc` is the gate's projection,
//! its `mlp.gate` the other one; a network without a gate has `mlp.fc` only; Phi-3 has both in `mlp.fc`, the
//! gate last.

use std::collections::BTreeMap;
use std::ops::Range;
use std::slice::from_ref;

use super::config_json::shares_embedding;
use super::head::LmHead;
use super::mapping::{Mapping, Rank};
use super::quantize::Format;
use crate::builder::checkpoint::Tensor;
use crate::builder::plan::Planned;
use crate::manifest::{Family, Model};

/// One tensor of a rank's file, or a quantized one and its scales.
pub(super) struct RankTensor<'a> {
    /// Its name.
    pub(super) name: String,
    /// Its shape before it is quantized, `[out, in]` of a matrix.
    pub(super) shape: Vec<usize>,
    /// What it is made of, top to bottom. Rows that are missing to its shape are zero.
    pub(super) parts: Vec<Tensor<'a>>,
    /// What is added to every number.
    pub(super) add: f32,
    /// What is subtracted from each part, number by number.
    pub(super) minus: Option<Tensor<'a>>,
    /// How it is quantized.
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
    /// What stands in the file of it, in this order: weights, then scales.
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

    /// Bytes that it fills in the file.
    pub(super) fn bytes(&self) -> u64 {
        self.entries().iter().map(|entry| entry.bytes as u64).sum()
    }
}

/// What the ranks' tensors are made of.
pub(super) struct Layout<'p, 'a> {
    planned: BTreeMap<&'p str, &'p Planned<'a>>,
    /// Those in `lm_head`, top to bottom, and its rows.
    lm_head: (Option<&'p Planned<'a>>, usize),
    model: &'p Model,
    mapping: Mapping,
    format: Option<Format>,
}

impl<'p, 'a> Layout<'p, 'a> {
    /// Divides a checkpoint's tensors as `mapping` says, and writes layers' matrices in `format`.
    pub(super) fn new(
        planned: &'p [Planned<'a>],
        lm_head: &LmHead,
        model: &'p Model,
        mapping: Mapping,
        format: Option<Format>,
    ) -> Self {
        let planned: BTreeMap<_, _> =
            planned.iter().map(|planned| (planned.name.as_str(), planned)).collect();
        let lm_head = (planned.get(lm_head.matrix).copied(), lm_head.rows);
        Self { planned, lm_head, model, mapping, format }
    }

    /// The tensors of one rank, in the order of its file.
    pub(super) fn rank(&self, rank: Rank) -> Vec<RankTensor<'a>> {
        let mut tensors = Tensors { layout: self, list: Vec::new() };
        let hidden = self.model.hidden_size;
        if rank.is_first_stage() {
            let rows = match shares_embedding(self.model.family, self.mapping) {
                true => rank.share(self.padded_vocab()),
                false => 0..self.model.vocab_size,
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

    /// This rank's part of the vocabulary's head, or of the one that scores, whose rows come first.
    pub(super) fn lm_head(&self, rank: Rank) -> Option<RankTensor<'a>> {
        let (matrix, rows) = self.lm_head;
        let (matrix, rows) = (matrix?, rank.share(rows));
        Some(RankTensor {
            name: "lm_head.weight".to_owned(),
            shape: vec![rows.len(), self.model.hidden_size],
            parts: slice(&matrix.sources, &rows),
            add: 0.0,
            minus: matrix.minus,
            format: None,
        })
    }

    /// Rows of the embedding where it is divided.
    fn padded_vocab(&self) -> usize {
        self.model.vocab_size.next_multiple_of(self.mapping.tensor_parallel)
    }

    fn layer(&self, rank: Rank, to: &str, from: &str, tensors: &mut Tensors<'_, 'p, 'a>) {
        let model = self.model;
        let (dim, ffn, hidden) = (model.head_dim, model.intermediate_size, model.hidden_size);
        let (q, kv) = (model.num_heads * dim, model.num_kv_heads * dim);
        // Rows of what is divided by columns.
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
        if model.variant.qk_norm {
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
        if model.family == Family::Phi3 {
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

/// The tensors of a rank as they are put together.
struct Tensors<'l, 'p, 'a> {
    layout: &'l Layout<'p, 'a>,
    list: Vec<RankTensor<'a>>,
}

impl<'p, 'a> Tensors<'_, 'p, 'a> {
    /// Some rows of a planned tensor, and of those some columns.
    fn put(
        &mut self,
        name: &str,
        from: &str,
        rows: &[Range<usize>],
        columns: Option<Range<usize>>,
        shape: Vec<usize>,
    ) {
        let Some(planned) = self.layout.planned.get(from) else { return };
        let mut parts: Vec<Tensor<'a>> = rows.iter().flat_map(|rows| slice(&planned.sources, rows)).collect();
        if let Some(columns) = columns {
            parts = parts.iter().map(|part| part.columns(columns.clone())).collect();
        }
        let (add, minus) = (planned.add, planned.minus);
        self.list.push(RankTensor { name: name.to_owned(), shape, parts, add, minus, format: None });
    }

    /// A norm's weights and, where it has one, its bias: the same on every rank.
    fn norm(&mut self, to: &str, from: &str) {
        for (kind, from) in [("weight", from.to_owned()), ("bias", format!("{from}_bias"))] {
            let width = self.layout.planned.get(from.as_str()).map_or(0, |planned| height(planned));
            self.put(&format!("{to}.{kind}"), &from, from_ref(&(0..width)), None, vec![width]);
        }
    }

    /// Some rows or columns of a matrix with `inp` columns. A bias follows the rows; where columns are
    /// divided every rank holds it, for it is added to their sum.
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
            matrix.format = self.layout.format;
        }
        self.put(&format!("{to}.bias"), &format!("{from}_bias"), rows, None, vec![out]);
    }
}

fn height(planned: &Planned<'_>) -> usize {
    planned.sources.iter().map(Tensor::row_count).sum()
}

/// Rows of tensors that stand one below the other; those beyond the last are left out.
fn slice<'a>(sources: &[Tensor<'a>], rows: &Range<usize>) -> Vec<Tensor<'a>> {
    let mut parts = Vec::new();
    let mut begin = 0;
    for source in sources {
        let end = begin + source.row_count();
        let (from, to) = (rows.start.max(begin), rows.end.min(end));
        if from < to {
            parts.push(source.rows(from - begin..to - begin));
        }
        begin = end;
    }
    parts
}
