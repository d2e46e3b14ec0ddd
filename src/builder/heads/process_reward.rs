//! Process reward models: two classes, read at the end of every step.

use super::two_layers::{LAST_LAYER, with_hidden_layer};
use super::{Head, HeadKind};

const ARCHITECTURE: &str = "Qwen2ForProcessRewardModel";

pub(super) const KIND: HeadKind = HeadKind {
    architectures: &[ARCHITECTURE],
    fits: |architecture| architecture.name == ARCHITECTURE,
    read: |_, checkpoint| {
        let head = Head::new(LAST_LAYER, 2, vec![]);
        let head = Head { rows: vec![0, 1], attributes: vec!["step".to_owned()], ..head };
        let head = with_hidden_layer(head, checkpoint);
        Ok(Some(Head { step_token: Some(STEP_TOKEN), ..head }))
    },
};

/// Ends a step.
const STEP_TOKEN: &str = "<extra_0>";
