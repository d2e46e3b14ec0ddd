//! QRM's head: quantiles of each objective, and a gating network with batch norms.
//!
//! Its score needs only the mean of each objective's quantiles, and a batch norm that is not trained any more is a
//! factor and a shift of each number. Folded into the matrices, the head is ArmoRM's.

use crate::builder::BuildError;
use crate::builder::checkpoint::Checkpoint;
use crate::builder::config::Config;
use crate::builder::convert;
use crate::builder::families::Architecture;

const ARCHITECTURES: [&str; 2] = ["LlamaForRewardModelWithGating31", "LlamaForRewardModelWithGating3"];
/// Added to the variance of a batch norm, as PyTorch does by default.
const EPSILON: f32 = 1e-5;
/// Modules of the network for each of its layers but the last: a matrix, ReLU and a batch norm.
const MODULES: usize = 3;

/// Whether an architecture has this head.
pub(super) fn fits(architecture: &Architecture) -> bool {
    ARCHITECTURES.contains(&architecture.name.as_str())
}

/// A tensor that is computed from those of the checkpoint.
struct Computed {
    name: String,
    shape: Vec<usize>,
    values: Vec<f32>,
}

/// Replaces the head's tensors by those of ArmoRM's head that give the same scores, if the checkpoint has such a
/// head.
///
/// # Errors
/// A tensor is missing or misshapen, or a field of `config.json` is malformed.
pub(in crate::builder) fn fold(config: &Config, checkpoint: &mut Checkpoint) -> Result<(), BuildError> {
    if !fits(&config.architecture) {
        return Ok(());
    }
    let mut computed = vec![mean_quantiles(config, checkpoint)?];
    computed.extend(folded_network(config, checkpoint)?);
    checkpoint.remove("regression_layer.");
    checkpoint.remove("gating.layers.");
    for Computed { name, shape, values } in computed {
        checkpoint.insert_computed(name, shape, values);
    }
    Ok(())
}

/// The matrix of the objectives: the mean of each one's rows.
fn mean_quantiles(config: &Config, checkpoint: &Checkpoint) -> Result<Computed, BuildError> {
    let hidden = config.model.hidden_size;
    let objectives = objectives(config)?;
    let quantiles = config.object.size("num_quantiles", None)?;
    let name = "regression_layer.weight";
    let rows = read(checkpoint, name, &[objectives * quantiles, hidden])?;
    let mut values = vec![0.0; objectives * hidden];
    for (mean, rows) in values.chunks_mut(hidden).zip(rows.chunks(quantiles * hidden)) {
        for row in rows.chunks(hidden) {
            mean.iter_mut().zip(row).for_each(|(mean, value)| *mean += value / quantiles as f32);
        }
    }
    Ok(Computed { name: name.to_owned(), shape: vec![objectives, hidden], values })
}

/// The layers of the gating network, each with the batch norm below it folded in.
fn folded_network(config: &Config, checkpoint: &Checkpoint) -> Result<Vec<Computed>, BuildError> {
    let layers: usize = config.object.optional("gating_n_hidden")?.unwrap_or(3);
    if layers > 64 {
        return Err(config.object.error("gating_n_hidden", &format!("{layers} layers are more than 64")));
    }
    let width = config.object.size("gating_hidden_dim", Some(1024))?;
    let mut inputs = config.model.hidden_size;
    let (mut factors, mut shifts) = (vec![1.0; inputs], vec![0.0; inputs]);
    let mut computed = Vec::new();
    for layer in 0..=layers {
        let outputs = if layer < layers { width } else { objectives(config)? };
        let module = format!("gating.layers.{}", layer * MODULES);
        let mut matrix = read(checkpoint, &format!("{module}.weight"), &[outputs, inputs])?;
        let bias_name = format!("{module}.bias");
        let mut bias = if checkpoint.has(&bias_name) {
            read(checkpoint, &bias_name, &[outputs])?
        } else {
            vec![0.0; outputs]
        };
        for (row, bias) in matrix.chunks_mut(inputs).zip(&mut bias) {
            *bias += row.iter().zip(&shifts).map(|(weight, shift)| weight * shift).sum::<f32>();
            row.iter_mut().zip(&factors).for_each(|(weight, factor)| *weight *= factor);
        }
        let name = |kind: &str| format!("gating.layers.{layer}.{kind}");
        computed.push(Computed { name: name("weight"), shape: vec![outputs, inputs], values: matrix });
        computed.push(Computed { name: name("bias"), shape: vec![outputs], values: bias });
        if layer < layers {
            (factors, shifts) = batch_norm(checkpoint, layer * MODULES + MODULES - 1, outputs)?;
        }
        inputs = outputs;
    }
    Ok(computed)
}

/// What a batch norm multiplies each number by, and adds to it.
fn batch_norm(
    checkpoint: &Checkpoint,
    module: usize,
    width: usize,
) -> Result<(Vec<f32>, Vec<f32>), BuildError> {
    let part = |name: &str| read(checkpoint, &format!("gating.layers.{module}.{name}"), &[width]);
    let (weights, biases) = (part("weight")?, part("bias")?);
    let (means, variances) = (part("running_mean")?, part("running_var")?);
    let factors: Vec<f32> = weights
        .iter()
        .zip(variances)
        .map(|(weight, variance)| weight / (variance + EPSILON).sqrt())
        .collect();
    let shifts =
        biases.iter().zip(means).zip(&factors).map(|((bias, mean), factor)| bias - mean * factor).collect();
    Ok((factors, shifts))
}

fn objectives(config: &Config) -> Result<usize, BuildError> {
    config.object.size("num_objectives", Some(19))
}

/// The numbers of a tensor of this shape.
fn read(checkpoint: &Checkpoint, name: &str, shape: &[usize]) -> Result<Vec<f32>, BuildError> {
    let Some(tensor) = checkpoint.tensor(name) else {
        let reason = format!("is missing; config.json asks for it with the shape {shape:?}");
        return Err(BuildError::tensor(checkpoint.listing(), name, reason));
    };
    if tensor.shape != shape {
        let reason = format!("has the shape {:?}; config.json asks for {shape:?}", tensor.shape);
        return Err(BuildError::tensor(tensor.path, name, reason));
    }
    convert::values(&tensor)
}
