//! Classifiers of encoders: a layer over the first token's state or the mean of all, an activation, and a row for each
//! label.

use super::network::Layer;
use super::{CheckpointHead, Context, HeadKind, labels};
use crate::builder::BuildError;
use crate::builder::config::Config;
use crate::builder::families::{self, encoders::EncoderHead};
use crate::manifest::HeadActivation;

pub(super) const KIND: HeadKind = HeadKind {
    architectures: &["...ForSequenceClassification"],
    fits: |architecture| {
        architecture.class == "ForSequenceClassification" && architecture.family.encoder.is_some()
    },
    read,
};

fn read(context: &Context<'_>) -> Result<Option<CheckpointHead>, BuildError> {
    let Context { config, checkpoint, .. } = *context;
    let Some(spec) = config.architecture.family.encoder.as_ref().map(|encoder| &encoder.head) else {
        return Ok(None);
    };
    let dense = Layer {
        activation: activation(config, spec)?,
        norm: spec.norm.map(|norm| format!("{norm}.weight")),
        ..Layer::new(spec.dense, checkpoint)
    };
    let last = Layer::new(spec.last, checkpoint);
    let labels = match last.outputs(checkpoint) {
        Ok(rows) => context.labels(rows)?,
        // The missing matrix will be reported with the shape that the labels ask for.
        Err(_) => labels::listed(&config.object)?.unwrap_or_else(|| labels::made_up(1)),
    };
    let mut head = CheckpointHead::new(vec![dense, last], labels.len(), labels);
    head.mean = reads_mean(config, spec)?;
    Ok(Some(head))
}

fn activation(config: &Config, spec: &EncoderHead) -> Result<HeadActivation, BuildError> {
    let field = spec.activation_field.unwrap_or_default();
    let named: Option<String> = if field.is_empty() { None } else { config.object.optional(field)? };
    match families::common_name(named.as_deref().unwrap_or(spec.activation)) {
        "gelu" => Ok(HeadActivation::Gelu),
        "gelu_pytorch_tanh" => Ok(HeadActivation::GeluTanh),
        "relu" => Ok(HeadActivation::Relu),
        "silu" => Ok(HeadActivation::Silu),
        "tanh" => Ok(HeadActivation::Tanh),
        other => {
            let reason = format!(
                "the activation {other} is not supported; known are gelu, gelu_new, relu, silu and tanh"
            );
            Err(config.object.error(field, &reason))
        }
    }
}

fn reads_mean(config: &Config, spec: &EncoderHead) -> Result<bool, BuildError> {
    let Some(field) = spec.pooling_field else { return Ok(false) };
    match config.object.optional::<String>(field)?.as_deref() {
        None | Some("cls") => Ok(false),
        Some("mean") => Ok(true),
        Some(other) => {
            Err(config.object.error(field, &format!("{other} is not supported; known are cls and mean")))
        }
    }
}
