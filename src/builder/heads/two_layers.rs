//! Two layers with a ReLU between them: the reward models of Qwen2.5-Math and INF-ORM.

use super::network::Layer;
use super::{CheckpointHead, Context, HeadKind, ONE_SCORE};

const ARCHITECTURES: [&str; 2] = ["Qwen2ForRewardModel", "INFORMForSequenceClassification"];

pub(super) const KIND: HeadKind = HeadKind {
    architectures: &ARCHITECTURES,
    fits: |architecture| ARCHITECTURES.contains(&architecture.name.as_str()),
    read: |context| Ok(Some(CheckpointHead::new(layers(context), 1, vec![ONE_SCORE.to_owned()]))),
};

/// `score.0` and `score.2`.
pub(super) fn layers(context: &Context<'_>) -> Vec<Layer> {
    // Every published one has the first bias.
    let first = Layer::new("score.0", context.checkpoint).with_bias();
    vec![first, Layer::new("score.2", context.checkpoint)]
}
