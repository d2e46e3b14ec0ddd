//! Classifiers: `score`, with a row for each label.

use std::collections::BTreeMap;

use super::{Head, HeadKind, ONE_SCORE};
use crate::builder::BuildError;
use crate::builder::checkpoint::Checkpoint;
use crate::builder::config::Config;
use crate::builder::json::Object;
use crate::manifest::check_attribute_names;

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
    let labels = labels(&config.object)?;
    let is_nemo = labels == NEMO_OUTPUTS;
    let mut head = Head::new("score.weight", labels.len(), labels);
    if is_nemo {
        head.rows = NEMO_SERVED.collect();
        head.attributes = NEMO_OUTPUTS[NEMO_SERVED].iter().map(|&name| name.to_owned()).collect();
    }
    Ok(Some(head.with_bias("score.bias", checkpoint)))
}

/// Names of the scores, one for each row of the head.
///
/// Names that transformers made up (`LABEL_0`) become `reward` if there is one score. Two is the number of labels
/// that transformers does not write down.
pub(super) fn labels(config: &Object) -> Result<Vec<String>, BuildError> {
    let Some(labels) = config.optional::<BTreeMap<usize, String>>("id2label")? else {
        return Ok(made_up(config.size("num_labels", Some(2))?));
    };
    if labels.is_empty() || !labels.keys().copied().eq(0..labels.len()) {
        let reason = "its keys must be the numbers from 0 on, one for each row of score.weight";
        return Err(config.error("id2label", reason));
    }
    let names: Vec<String> = labels.values().map(|label| label.to_lowercase()).collect();
    if names == ["label_0"] {
        return Ok(made_up(1));
    }
    match check_attribute_names(&names) {
        Ok(()) => Ok(names),
        Err(error) => Err(config.error("id2label", &error.to_string())),
    }
}

/// Names for scores that have none.
pub(super) fn made_up(count: usize) -> Vec<String> {
    if count == 1 {
        vec![ONE_SCORE.to_owned()]
    } else {
        (0..count).map(|index| format!("label_{index}")).collect()
    }
}
