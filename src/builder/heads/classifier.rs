//! Classifiers: `score`, with a row for each label.

use super::network::{self, Layer};
use super::{CheckpointHead, Context, HeadKind, labels, padding};
use crate::builder::BuildError;

pub(super) const KIND: HeadKind = HeadKind {
    architectures: &["...ForSequenceClassification"],
    fits: |architecture| {
        architecture.class == "ForSequenceClassification"
            && architecture.family.in_transformers
            && architecture.family.encoder.is_none()
    },
    read,
};

/// Outputs of NeMo's reward models, the last five of which NIM serves.
const NEMO_OUTPUTS: [&str; 9] = [
    "quality",
    "toxicity",
    "humor",
    "creativity",
    "helpfulness",
    "correctness",
    "coherence",
    "complexity",
    "verbosity",
];
const NEMO_SERVED: std::ops::Range<usize> = 4..9;

fn read(context: &Context<'_>) -> Result<Option<CheckpointHead>, BuildError> {
    let checkpoint = context.checkpoint;
    let (name, layers) = match network::layers("score", checkpoint) {
        Some(layers) => ("score", layers),
        None => network::only(checkpoint).unwrap_or_else(|| ("score", vec![Layer::new("score", checkpoint)])),
    };
    if layers.len() > 1 {
        return Err(context.unknown_activation(name, &layers));
    }
    let has_matrix = checkpoint.has(&layers[0].matrix);
    let labels = if !has_matrix {
        if checkpoint.has("lm_head.weight") {
            return Err(context.never_saved());
        }
        // The missing matrix will be reported with the shape that the labels ask for.
        labels::listed(&context.config.object)?.unwrap_or_else(|| labels::made_up(1))
    } else {
        context.labels(layers[0].outputs(checkpoint)?)?
    };
    let is_nemo = labels == NEMO_OUTPUTS;
    let mut head = CheckpointHead::new(layers, labels.len(), labels);
    head.pad = padding::token(context);
    padding::explain_unusable(context, &mut head);
    if name != "score" && has_matrix {
        head.notes.push(format!("the head is {name}, not score as in transformers' own classifiers"));
    }
    if is_nemo {
        head.rows = NEMO_SERVED.collect();
        head.attributes = NEMO_OUTPUTS[NEMO_SERVED].iter().map(|&name| name.to_owned()).collect();
    }
    Ok(Some(head))
}
