//! Which tensors the engine holds, and of which tensors of the checkpoint each is made. Everything that
//! can be wrong with a checkpoint's tensors, their numbers aside, is found here, before any work.

use std::collections::BTreeSet;

use super::BuildError;
use super::checkpoint::{Checkpoint, Tensor};
use super::convert::{width, wrong_type};
use super::head::{ARMO_SCALE, ARMO_TRANSFORM, Gating, Head};
use crate::engine::cpu;
use crate::manifest::{Dtype, Family, Model, Norm};

/// One tensor of the engine: those of the checkpoint one below the other, converted.
#[derive(Clone)]
pub(super) struct Planned<'a> {
    /// Its name.
    pub(super) name: String,
    /// What it is made of, top to bottom; all have the same row length.
    pub(super) sources: Vec<Tensor<'a>>,
    /// How it is written.
    pub(super) form: Form,
    /// What is added to every number: the weights of some families' norms count from 1.
    pub(super) add: f32,
    /// What is subtracted from each source, number by number.
    pub(super) minus: Option<Tensor<'a>>,
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
    /// Scales of the rows of the int8 matrix before it.
    Scales {
        /// How many they are.
        rows: usize,
    },
}

impl Form {
    /// Bytes that it fills in the file.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Plain { dtype, shape } => shape.iter().product::<usize>() * width(*dtype),
            Self::Packed { bytes, .. } => *bytes,
            Self::Scales { rows } => rows * size_of::<f32>(),
        }
    }
}

/// What stands behind the last layer.
pub(super) enum Ending {
    /// A head that scores.
    Scores(Box<Head>),
    /// The language model's, made of the tensor of this name.
    Vocabulary(&'static str),
}

/// The tensors of an engine.
pub(super) struct Tensors<'a> {
    /// The weights, in the order of their file.
    pub(super) weights: Vec<Planned<'a>>,
    /// What follows the products of the head's first layers, in a file of its own; may be empty.
    pub(super) head: Vec<Planned<'a>>,
}

/// The engine's tensors; matrices `packed` for the CPU, or plain.
///
/// # Errors
/// A tensor is missing, surplus, misshapen or of a type that cannot be built; its name says which.
pub(super) fn plan<'a>(
    checkpoint: &'a Checkpoint,
    model: &Model,
    ending: &Ending,
    dtype: Dtype,
    packed: bool,
) -> Result<Tensors<'a>, BuildError> {
    let mut planner =
        Planner { checkpoint, dtype, packed, taken: BTreeSet::new(), planned: Vec::new(), head: Vec::new() };
    let hidden = model.hidden_size;
    let embedding = match model.family {
        Family::InternLm2 => "model.tok_embeddings.weight",
        _ => "model.embed_tokens.weight",
    };
    planner.plain("embedding", cpu::state_dtype(dtype), &[embedding], &[model.vocab_size, hidden])?;
    for layer in 0..model.num_layers {
        planner.layer(layer, model)?;
    }
    planner.norm(model, "final_norm", "model.norm", hidden)?;
    match ending {
        Ending::Scores(head) => planner.head(head, hidden)?,
        Ending::Vocabulary(matrix) => planner.lm_head(matrix, model)?,
    }
    planner.refuse_surplus()?;
    Ok(Tensors { weights: planner.planned, head: planner.head })
}

/// A family's names of the tensors of one layer.
struct Names {
    input_norm: &'static str,
    qkv: Fused<3>,
    output: &'static str,
    mlp_norm: &'static str,
    gate_up: Fused<2>,
    down: &'static str,
}

/// Matrices of the same input: one by one, or one below the other in a single tensor.
enum Fused<const N: usize> {
    Parts([&'static str; N]),
    Whole(&'static str),
}

impl Names {
    fn of(family: Family) -> Self {
        let common = Self {
            input_norm: "input_layernorm",
            qkv: Fused::Parts(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
            output: "self_attn.o_proj",
            mlp_norm: "post_attention_layernorm",
            gate_up: Fused::Parts(["mlp.gate_proj", "mlp.up_proj"]),
            down: "mlp.down_proj",
        };
        match family {
            Family::Phi3 => Self {
                qkv: Fused::Whole("self_attn.qkv_proj"),
                gate_up: Fused::Whole("mlp.gate_up_proj"),
                ..common
            },
            Family::Gemma2 | Family::Gemma3 => Self { mlp_norm: "pre_feedforward_layernorm", ..common },
            Family::InternLm2 => Self {
                input_norm: "attention_norm",
                qkv: Fused::Whole("attention.wqkv"),
                output: "attention.wo",
                mlp_norm: "ffn_norm",
                gate_up: Fused::Parts(["feed_forward.w1", "feed_forward.w3"]),
                down: "feed_forward.w2",
            },
            _ => common,
        }
    }
}

struct Planner<'a> {
    checkpoint: &'a Checkpoint,
    dtype: Dtype,
    packed: bool,
    taken: BTreeSet<&'a str>,
    planned: Vec<Planned<'a>>,
    /// Tensors of the head's own file.
    head: Vec<Planned<'a>>,
}

impl<'a> Planner<'a> {
    fn layer(&mut self, layer: usize, model: &Model) -> Result<(), BuildError> {
        let (hidden, ffn) = (model.hidden_size, model.intermediate_size);
        let (q, kv) = (model.num_heads * model.head_dim, model.num_kv_heads * model.head_dim);
        let names = Names::of(model.family);
        let from = format!("model.layers.{layer}");
        let to = format!("layers.{layer}");

        self.norm(model, &format!("{to}.input_norm"), &format!("{from}.{}", names.input_norm), hidden)?;
        if model.variant.qk_norm {
            for (name, source) in [("query_norm", "self_attn.q_norm"), ("key_norm", "self_attn.k_norm")] {
                self.norm(model, &format!("{to}.{name}"), &format!("{from}.{source}"), model.head_dim)?;
            }
        }
        if model.family == Family::InternLm2 {
            self.interleaved_qkv(layer, model)?;
        } else {
            let qkv: &[_] = match names.qkv {
                Fused::Parts([query, key, value]) => &[(query, q), (key, kv), (value, kv)],
                Fused::Whole(name) => &[(name, q + 2 * kv)],
            };
            self.linear(layer, "qkv", qkv, hidden, model.qkv_bias)?;
        }
        self.linear(layer, "output", &[(names.output, hidden)], q, model.output_bias)?;
        if model.variant.post_norms {
            let source = format!("{from}.post_attention_layernorm");
            self.norm(model, &format!("{to}.attention_post_norm"), &source, hidden)?;
        }
        self.norm(model, &format!("{to}.post_norm"), &format!("{from}.{}", names.mlp_norm), hidden)?;
        let gate_up: &[_] = match names.gate_up {
            Fused::Parts([_, up]) if !model.variant.activation.gated() => &[(up, ffn)],
            Fused::Parts([gate, up]) => &[(gate, ffn), (up, ffn)],
            Fused::Whole(name) => &[(name, 2 * ffn)],
        };
        self.linear(layer, "gate_up", gate_up, hidden, model.mlp_bias)?;
        self.linear(layer, "down", &[(names.down, hidden)], ffn, model.mlp_bias)?;
        if model.variant.post_norms {
            let source = format!("{from}.post_feedforward_layernorm");
            self.norm(model, &format!("{to}.mlp_post_norm"), &source, hidden)?;
        }
        Ok(())
    }

    /// A norm's weights and, of a layer norm, its bias.
    fn norm(&mut self, model: &Model, name: &str, source: &str, width: usize) -> Result<(), BuildError> {
        self.plain(name, Dtype::F32, &[&format!("{source}.weight")], &[width])?;
        if let Some(planned) = self.planned.last_mut() {
            let from_one = matches!(model.family, Family::Gemma2 | Family::Gemma3 | Family::Nemotron);
            planned.add = f32::from(u8::from(from_one));
        }
        match model.variant.norm {
            Norm::Rms => Ok(()),
            Norm::Layer => {
                self.plain(&format!("{name}_bias"), Dtype::F32, &[&format!("{source}.bias")], &[width])
            }
        }
    }

    /// The first layers' matrices, one below the other, become the weights' `head`; biases and the layers
    /// above go into the head's own file, under the names of [`crate::manifest::HeadLayer`].
    fn head(&mut self, head: &Head, hidden: usize) -> Result<(), BuildError> {
        let scores = self.chosen("head", &head.matrix, head, &[head.outputs, hidden])?;
        let mut first = match &head.hidden {
            None => scores,
            Some([weight, bias]) => {
                self.above("head.0_bias", bias, &[hidden])?;
                self.head.push(Planned { name: "head.1".to_owned(), ..scores });
                let sources = vec![self.take(weight, &[hidden, hidden])?];
                let form = Form::Plain { dtype: Dtype::F32, shape: vec![hidden, hidden] };
                Planned { name: "head".to_owned(), sources, form, add: 0.0, minus: None }
            }
        };
        if let Some(bias) = &head.bias {
            let name = if head.hidden.is_some() { "head.1_bias" } else { "head.0_bias" };
            let bias = self.chosen(name, bias, head, &[head.outputs])?;
            self.head.push(bias);
        }
        if let Some(gating) = &head.gating {
            first.sources.push(self.gating(gating, hidden)?);
            let rows = first.sources.iter().map(Tensor::row_count).sum();
            first.form = Form::Plain { dtype: Dtype::F32, shape: vec![rows, hidden] };
        }
        self.planned.push(first);
        Ok(())
    }

    /// The language model's head, never in int8. Where it is the embedding too, that is stored twice: rows of
    /// a packed matrix cannot be looked up, and TensorRT-LLM has two tensors.
    fn lm_head(&mut self, matrix: &str, model: &Model) -> Result<(), BuildError> {
        let (out, inp) = (model.vocab_size, model.hidden_size);
        let source = self.take(matrix, &[out, inp])?;
        let form = self.matrix(cpu::state_dtype(self.dtype), out, inp)?;
        let name = "lm_head".to_owned();
        self.planned.push(Planned { name, sources: vec![source], form, add: 0.0, minus: None });
        Ok(())
    }

    /// Plans the gating network's upper layers and returns the matrix of its first. What mixes its outputs
    /// goes into the manifest.
    fn gating(&mut self, gating: &Gating, hidden: usize) -> Result<Tensor<'a>, BuildError> {
        let mut widths = gating.hidden.clone();
        widths.push(gating.objectives);
        let first = self.take("gating.layers.0.weight", &[widths[0], hidden])?;
        for (layer, &out) in widths.iter().enumerate() {
            let from = format!("gating.layers.{layer}");
            if layer > 0 {
                self.above(&format!("gating.{layer}"), &format!("{from}.weight"), &[out, widths[layer - 1]])?;
            }
            if layer < gating.hidden.len() || gating.bias {
                self.above(&format!("gating.{layer}_bias"), &format!("{from}.bias"), &[out])?;
            }
        }
        self.take(ARMO_TRANSFORM, &[gating.objectives, gating.objectives])?;
        self.take(ARMO_SCALE, &[1])?;
        Ok(first)
    }

    /// A tensor of the head's own file.
    fn above(&mut self, name: &str, source: &str, shape: &[usize]) -> Result<(), BuildError> {
        let sources = vec![self.take(source, shape)?];
        let form = Form::Plain { dtype: Dtype::F32, shape: shape.to_vec() };
        self.head.push(Planned { name: name.to_owned(), sources, form, add: 0.0, minus: None });
        Ok(())
    }

    /// The head's rows of a tensor of its last layer.
    fn chosen(
        &mut self,
        name: &str,
        source: &str,
        head: &Head,
        shape: &[usize],
    ) -> Result<Planned<'a>, BuildError> {
        let whole = self.take(source, shape)?;
        let sources = head.rows.iter().map(|&row| whole.rows(row..row + 1)).collect();
        let shape = [&[head.rows.len()], &shape[1..]].concat();
        let minus = head.minus.map(|row| whole.rows(row..row + 1));
        let form = Form::Plain { dtype: Dtype::F32, shape };
        Ok(Planned { name: name.to_owned(), sources, form, add: 0.0, minus })
    }

    /// InternLM2's queries, keys and values, which lie by key-value head: its queries, the key, the value.
    fn interleaved_qkv(&mut self, layer: usize, model: &Model) -> Result<(), BuildError> {
        let (dim, group) = (model.head_dim, model.num_heads / model.num_kv_heads);
        let rows = (model.num_heads + 2 * model.num_kv_heads) * dim;
        self.linear(layer, "qkv", &[("attention.wqkv", rows)], model.hidden_size, model.qkv_bias)?;
        let name = format!("layers.{layer}.qkv");
        for planned in self.planned.iter_mut().filter(|planned| planned.name.starts_with(&name)) {
            let Some(&whole) = planned.sources.first() else { continue };
            let part = |begin: usize, heads: usize| {
                (0..model.num_kv_heads).map(move |head| {
                    let from = (head * (group + 2) + begin) * dim;
                    whole.rows(from..from + heads * dim)
                })
            };
            planned.sources = part(0, group).chain(part(group, 1)).chain(part(group + 1, 1)).collect();
        }
        Ok(())
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
        let form = self.matrix(self.dtype, out, inp)?;
        self.planned.push(Planned {
            name: format!("layers.{layer}.{name}"),
            sources,
            form,
            add: 0.0,
            minus: None,
        });
        if self.dtype == Dtype::Int8 {
            let form = Form::Scales { rows: out };
            let name = format!("layers.{layer}.{name}_scale");
            self.planned.push(Planned { name, sources: vec![], form, add: 0.0, minus: None });
        }
        if bias {
            let sources = take(self, "bias", &|rows| vec![rows])?;
            let form = Form::Plain { dtype: Dtype::F32, shape: vec![out] };
            self.planned.push(Planned {
                name: format!("layers.{layer}.{name}_bias"),
                sources,
                form,
                add: 0.0,
                minus: None,
            });
        }
        Ok(())
    }

    /// How a matrix is written.
    fn matrix(&self, dtype: Dtype, out: usize, inp: usize) -> Result<Form, BuildError> {
        Ok(match self.packed {
            true => Form::Packed { dtype, out, inp, bytes: cpu::packed_bytes(dtype, out, inp)? },
            false => Form::Plain { dtype, shape: vec![out, inp] },
        })
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
        self.planned.push(Planned { name: name.to_owned(), sources, form, add: 0.0, minus: None });
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
