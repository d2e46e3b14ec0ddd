//! Classifiers: `score`, with a row for each label.

use super::{Head, HeadKind, labels};
use crate::builder::BuildError;
use crate::builder::checkpoint::Checkpoint;
use crate::builder::config::Config;

pub(super) const KIND: HeadKind = HeadKind {
    architectures: &["...ForSequenceClassification"],
    fits: |architecture| {
        architecture.class == "ForSequenceClassification" && architecture.family.in_transformers
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

fn read(config: &Config, checkpoint: &Checkpoint) -> Result<Option<Head>, BuildError> {
    let rows = checkpoint.tensor("score.weight").and_then(|tensor| tensor.shape.first().copied());
    let labels = match rows {
        Some(rows) => labels::names(&config.object, rows, config.model.hidden_size)?,
        // The missing matrix will be reported with the shape that the labels ask for.
        None => labels::listed(&config.object)?.unwrap_or_else(|| labels::made_up(1)),
    };
    let is_nemo = labels == NEMO_OUTPUTS;
    let mut head = Head::new("score.weight", labels.len(), labels);
    if is_nemo {
        head.rows = NEMO_SERVED.collect();
        head.attributes = NEMO_OUTPUTS[NEMO_SERVED].iter().map(|&name| name.to_owned()).collect();
    }
    Ok(Some(head.with_bias("score.bias", checkpoint)))
}
