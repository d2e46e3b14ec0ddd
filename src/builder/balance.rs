//! Evens out the sizes of a model's channels before its matrices are quantized to int8.
//!
//! In int8 a row of numbers shares one scale, so a few large channels leave few steps for all others, and trained
//! models have such channels. Where one tensor's output is another's input, a channel can be divided in the first and
//! multiplied in the second:
//!
//! - from a norm's weights to the columns that read them,
//! - from the rows of the values to the columns of the attention's output projection,
//! - from the rows of the up projection to the columns of the down projection.
//!
//! All factors are powers of two, so every product stays exactly what it was: in f32 and bf16, scores keep their bits.
//! How large a channel is in use is estimated from the weights alone, layer by layer.

use std::collections::BTreeMap;

use super::convert::{each_row, values};
use super::plan::TensorPlan;
use super::{BuildError, Progress};
use crate::manifest::{Activation, Model};

/// Factors are from 2 to the power of minus this to 2 to the power of this.
const MAX_DOUBLINGS: f32 = 10.0;

/// What was evened out.
#[derive(Debug, Default)]
pub(super) struct Balanced {
    /// Channels of norms, of values and of feed-forward networks that were changed.
    norms: usize,
    values: usize,
    networks: usize,
    /// The largest factor.
    largest: f32,
    /// What the family does not allow.
    left: Vec<&'static str>,
}

impl Balanced {
    /// A line for the user.
    pub(super) fn describe(&self) -> String {
        let Self { norms, values, networks, .. } = self;
        let mut text = if norms + values + networks == 0 {
            "int8: the channels are of even sizes, and nothing was changed".to_owned()
        } else {
            format!(
                "int8: channels were evened out, by powers of two up to {}, which changes scores by rounding only: {norms} \
                 of norms, {values} of values, {networks} of feed-forward networks",
                self.largest
            )
        };
        for left in &self.left {
            text.push_str("; ");
            text.push_str(left);
        }
        text.push_str("; expect about 98 of 100 pairs of texts to rank as in f32");
        text
    }
}

/// Evens out the channels of the planned tensors, where this changes no score.
///
/// # Errors
/// A file cannot be read, a number is not finite, or the build was interrupted.
pub(super) fn balance(
    plans: &mut [TensorPlan<'_>],
    model: &Model,
    progress: &dyn Progress,
) -> Result<Balanced, BuildError> {
    let index = plans.iter().enumerate().map(|(at, plan)| (plan.name.clone(), at)).collect();
    let mut balancer =
        Balancer { plans, index, model, progress, stream: Vec::new(), balanced: Balanced::default() };
    if !model.variant.pre_norms {
        balancer
            .balanced
            .left
            .push("this family has no norms before its matrices, so their inputs stay as they are");
    }
    if !is_balanced(model.variant.activation) {
        balancer.balanced.left.push(
            "no factor can pass through this family's activation, so feed-forward networks stay as they are",
        );
    }
    balancer.balanced.largest = 1.0;
    balancer.embed()?;
    for layer in 0..model.num_layers {
        balancer.attention(&format!("layers.{layer}."))?;
        balancer.feed_forward(layer)?;
    }
    Ok(balancer.balanced)
}

/// Whether a factor on the up projection is one on the activation's output.
fn is_balanced(activation: Activation) -> bool {
    activation.gated() || activation == Activation::Relu2
}

/// The weights of a norm and its bias, zeros if it has none.
type WeightsAndBias = (Vec<f32>, Vec<f32>);

struct Balancer<'p, 'a> {
    plans: &'p mut [TensorPlan<'a>],
    index: BTreeMap<String, usize>,
    model: &'p Model,
    progress: &'p dyn Progress,
    /// Mean squares of the residual stream's channels.
    stream: Vec<f32>,
    balanced: Balanced,
}

/// A matrix, measured.
struct Measured {
    /// The largest magnitude in each column.
    columns: Vec<f32>,
    /// Mean squares of the outputs.
    outputs: Vec<f32>,
}

impl<'a> Balancer<'_, 'a> {
    /// The stream before the first layer.
    fn embed(&mut self) -> Result<(), BuildError> {
        self.stream = vec![0.0; self.model.hidden_size];
        for (name, scale) in [("embedding", self.model.variant.embedding_scale), ("position_embedding", 1.0)]
        {
            let Some(&at) = self.index.get(name) else { continue };
            let sources = &self.plans[at].sources;
            let rows: usize = sources.iter().map(|source| source.elements() / self.stream.len()).sum();
            let weight = scale * scale / rows.max(1) as f32;
            let stream = &mut self.stream;
            each_row(sources, self.model.hidden_size, self.progress, |row| {
                for (sum, value) in stream.iter_mut().zip(row) {
                    *sum += value * value * weight;
                }
            })?;
        }
        self.norm_stream("embedding_norm")
    }

    fn attention(&mut self, layer: &str) -> Result<(), BuildError> {
        let Model { num_heads, num_kv_heads, head_dim: dim, .. } = *self.model;
        let (norm, qkv, output) =
            (format!("{layer}input_norm"), format!("{layer}qkv"), format!("{layer}output"));
        let inputs = self.inputs(&norm)?;
        let measured = self.measure(&qkv, &inputs)?;
        self.fold(&norm, &inputs, std::slice::from_ref(&qkv), &measured.columns);

        let first = (num_heads + num_kv_heads) * dim;
        let values = &measured.outputs[first..];
        // The value that each column of the output projection reads.
        let group = num_heads / num_kv_heads;
        let read: Vec<usize> =
            (0..num_heads * dim).map(|column| column / dim / group * dim + column % dim).collect();
        let inputs: Vec<f32> = read.iter().map(|&value| values[value]).collect();
        let measured = self.measure(&output, &inputs)?;
        let mut columns = vec![0f32; values.len()];
        for (&value, column) in read.iter().zip(&measured.columns) {
            columns[value] = columns[value].max(*column);
        }
        let factors = balancing_factors(values, &columns);
        self.balanced.values += count(&factors, &mut self.balanced.largest);
        self.divide_outputs(&qkv, first, &factors);
        let factors: Vec<f32> = read.iter().map(|&value| factors[value]).collect();
        multiply(&mut self.plan_mut(&output).columns, 0, &factors, read.len());
        self.add(&measured.outputs, &format!("{layer}attention_post_norm"))?;
        self.norm_stream(&format!("{layer}attention_sum_norm"))
    }

    fn feed_forward(&mut self, number: usize) -> Result<(), BuildError> {
        let layer = format!("layers.{number}.");
        let norm = format!("{layer}post_norm");
        let inputs = self.inputs(&norm)?;
        let networks = self.names(&layer, "gate_up");
        let readers = [self.names(&layer, "router"), networks.clone()].concat();
        let mut measured = BTreeMap::new();
        let mut columns = vec![0f32; inputs.len()];
        for reader in &readers {
            let found = self.measure(reader, &inputs)?;
            for (most, column) in columns.iter_mut().zip(&found.columns) {
                *most = most.max(*column);
            }
            measured.insert(reader.clone(), found.outputs);
        }
        self.fold(&norm, &inputs, &readers, &columns);
        let mut outputs = vec![0f32; self.stream.len()];
        for network in &networks {
            let prefix = network.strip_suffix("gate_up").unwrap_or(network);
            let first = measured.remove(network).unwrap_or_default();
            for (sum, output) in outputs.iter_mut().zip(self.network(prefix, &first)?) {
                *sum += output / networks.len() as f32;
            }
        }
        self.add(&outputs, &format!("{layer}mlp_post_norm"))?;
        self.norm_stream(&format!("{layer}mlp_sum_norm"))
    }

    /// Evens out a network whose first matrix has outputs of these mean squares; returns those of its last.
    fn network(&mut self, prefix: &str, first: &[f32]) -> Result<Vec<f32>, BuildError> {
        let activation = self.model.variant.activation;
        let (gate_up, down) = (format!("{prefix}gate_up"), format!("{prefix}down"));
        let width = if activation.gated() { first.len() / 2 } else { first.len() };
        let start = first.len() - width;
        let sizes: Vec<f32> = if activation.gated() {
            first.iter().zip(&first[start..]).map(|(gate, up)| gate * up / 4.0).collect()
        } else if activation == Activation::Relu2 {
            first.iter().map(|up| up * up).collect()
        } else {
            first.iter().map(|up| up / 2.0).collect()
        };
        let measured = self.measure(&down, &sizes)?;
        if is_balanced(activation) {
            let mut factors = balancing_factors(&sizes, &measured.columns);
            let mut ups = factors.clone();
            if activation == Activation::Relu2 {
                // A square: a factor on its input is there twice.
                ups = factors.iter().map(|factor| power_of_two(factor.sqrt())).collect();
                factors = ups.iter().map(|factor| factor * factor).collect();
            }
            self.balanced.networks += count(&factors, &mut self.balanced.largest);
            self.divide_outputs(&gate_up, start, &ups);
            multiply(&mut self.plan_mut(&down).columns, 0, &factors, width);
        }
        Ok(measured.outputs)
    }

    /// Mean squares of what the readers of a norm get, or those of the stream if there is no such norm.
    fn inputs(&self, norm: &str) -> Result<Vec<f32>, BuildError> {
        let Some((weights, bias)) = self.norm(norm)? else { return Ok(self.stream.clone()) };
        let mean = self.stream.iter().sum::<f32>() / self.stream.len().max(1) as f32;
        let normed = |channel: f32| if mean.is_normal() { channel / mean } else { 1.0 };
        let squares = weights.iter().zip(&bias).zip(&self.stream);
        Ok(squares
            .map(|((weight, bias), channel)| weight * weight * normed(*channel) + bias * bias)
            .collect())
    }

    /// A norm's weights and bias, if there is such a norm.
    fn norm(&self, name: &str) -> Result<Option<WeightsAndBias>, BuildError> {
        let Some(weights) = self.vector(name)? else { return Ok(None) };
        let bias = self.vector(&format!("{name}_bias"))?.unwrap_or_else(|| vec![0.0; weights.len()]);
        Ok(Some((weights, bias)))
    }

    fn vector(&self, name: &str) -> Result<Option<Vec<f32>>, BuildError> {
        let Some(plan) = self.index.get(name).map(|&at| &self.plans[at]) else { return Ok(None) };
        let mut numbers = Vec::new();
        for source in &plan.sources {
            numbers.extend(values(source)?.into_iter().map(|value| value + plan.offset));
        }
        if plan.subtract.is_some() {
            numbers.fill(0.0);
        }
        Ok(Some(numbers))
    }

    fn measure(&self, name: &str, inputs: &[f32]) -> Result<Measured, BuildError> {
        let plan = &self.plans[self.index[name]];
        let mut measured = Measured { columns: vec![0.0; inputs.len()], outputs: Vec::new() };
        each_row(&plan.sources, inputs.len(), self.progress, |row| {
            let mut sum = 0.0;
            for ((most, value), input) in measured.columns.iter_mut().zip(row).zip(inputs) {
                *most = most.max(value.abs());
                sum += value * value * input;
            }
            measured.outputs.push(sum);
        })?;
        Ok(measured)
    }

    /// Moves factors from a norm, if there is one, into the columns that read it.
    fn fold(&mut self, norm: &str, inputs: &[f32], readers: &[String], columns: &[f32]) {
        if !self.index.contains_key(norm) {
            return;
        }
        let factors = balancing_factors(inputs, columns);
        self.balanced.norms += count(&factors, &mut self.balanced.largest);
        for name in [norm.to_owned(), format!("{norm}_bias")] {
            if let Some(&at) = self.index.get(&name) {
                divide(&mut self.plans[at].columns, 0, &factors, factors.len());
            }
        }
        for reader in readers {
            multiply(&mut self.plan_mut(reader).columns, 0, &factors, factors.len());
        }
    }

    /// Divides outputs of a linear layer, from `first` on.
    fn divide_outputs(&mut self, name: &str, first: usize, factors: &[f32]) {
        let outputs = first + factors.len();
        divide(&mut self.plan_mut(name).rows, first, factors, outputs);
        if let Some(&bias) = self.index.get(&format!("{name}_bias")) {
            divide(&mut self.plans[bias].columns, first, factors, outputs);
        }
    }

    /// Adds outputs of these mean squares to the stream; after a norm, if there is one.
    fn add(&mut self, outputs: &[f32], norm: &str) -> Result<(), BuildError> {
        let normed = self.norm(norm)?;
        let scale = self.model.variant.residual_scale.unwrap_or(1.0);
        for (at, channel) in self.stream.iter_mut().enumerate() {
            let output = match &normed {
                Some((weights, bias)) => weights[at] * weights[at] + bias[at] * bias[at],
                None => outputs[at],
            };
            *channel += output * scale * scale;
        }
        Ok(())
    }

    /// Norms the stream itself, if there is such a norm.
    fn norm_stream(&mut self, norm: &str) -> Result<(), BuildError> {
        if self.index.contains_key(norm) {
            self.stream = self.inputs(norm)?;
        }
        Ok(())
    }

    /// Names of a layer's tensors that end with `.{part}`, those of experts among them.
    fn names(&self, layer: &str, part: &str) -> Vec<String> {
        let end = format!(".{part}");
        let names = self.index.keys().filter(|name| name.starts_with(layer) && name.ends_with(&end));
        names.cloned().collect()
    }

    fn plan_mut(&mut self, name: &str) -> &mut TensorPlan<'a> {
        &mut self.plans[self.index[name]]
    }
}

/// How many factors are not 1. Raises `largest` to the largest of them, or of their inverses.
fn count(factors: &[f32], largest: &mut f32) -> usize {
    *largest = factors.iter().map(|factor| factor.max(1.0 / factor)).fold(*largest, f32::max);
    factors.iter().filter(|factor| **factor != 1.0).count()
}

/// Powers of two, one for each channel. Dividing the channels by them, and multiplying the columns that read them, makes
/// both as even as possible. Most factors are 1.
fn balancing_factors(mean_squares: &[f32], columns: &[f32]) -> Vec<f32> {
    let ratios: Vec<f32> =
        mean_squares.iter().zip(columns).map(|(square, column)| (square.sqrt() / column).sqrt()).collect();
    let mut known: Vec<f32> = ratios.iter().copied().filter(|ratio| ratio.is_normal()).collect();
    known.sort_by(f32::total_cmp);
    let Some(median) = known.get(known.len() / 2) else { return vec![1.0; ratios.len()] };
    let factor = |ratio: &f32| if ratio.is_normal() { power_of_two(ratio / median) } else { 1.0 };
    ratios.iter().map(factor).collect()
}

fn power_of_two(value: f32) -> f32 {
    2f32.powi(value.log2().round().clamp(-MAX_DOUBLINGS, MAX_DOUBLINGS) as i32)
}

/// Multiplies some of `all` factors, which are 1 at first.
fn multiply(all: &mut Vec<f32>, first: usize, factors: &[f32], length: usize) {
    all.resize(length.max(all.len()), 1.0);
    for (product, factor) in all[first..].iter_mut().zip(factors) {
        *product *= factor;
    }
}

fn divide(all: &mut Vec<f32>, first: usize, factors: &[f32], length: usize) {
    let inverse: Vec<f32> = factors.iter().map(|factor| 1.0 / factor).collect();
    multiply(all, first, &inverse, length);
}

#[cfg(test)]
mod tests;
