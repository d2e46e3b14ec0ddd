//! Two layers with a ReLU between them: the reward models of Qwen2.5-Math.

use super::{Head, HeadKind};
use crate::builder::checkpoint::Checkpoint;

const ARCHITECTURE: &str = "Qwen2ForRewardModel";

pub(super) const KIND: HeadKind = HeadKind {
    architectures: &[ARCHITECTURE],
    fits: |architecture| architecture.name == ARCHITECTURE,
    read: |_, checkpoint| Ok(Some(with_hidden_layer(Head::one_row(LAST_LAYER), checkpoint))),
};

/// The matrix of the second layer.
pub(super) const LAST_LAYER: &str = "score.2.weight";

/// Adds the first layer, and the bias of the second.
pub(super) fn with_hidden_layer(head: Head, checkpoint: &Checkpoint) -> Head {
    let mut head = head.with_bias("score.2.bias", checkpoint);
    head.hidden = Some(["score.0.weight".to_owned(), "score.0.bias".to_owned()]);
    head
}
