//! Logits of a language model that serve as scores.

use super::network::Layer;
use super::{CheckpointHead, Context, HeadKind, ONE_SCORE};
use crate::builder::BuildError;
use crate::builder::checkpoint::Checkpoint;
use crate::builder::config::Config;
use crate::manifest::HeadActivation;

pub(super) const KIND: HeadKind = HeadKind {
    architectures: &["...ForCausalLM"],
    fits: |architecture| architecture.class == "ForCausalLM",
    read,
};

/// Rows of Llama 3's `lm_head` for `Yes` and `No`, whose difference is the score of the Principle reward models.
const LLAMA3_YES: usize = 9642;
const LLAMA3_NO: usize = 2822;

/// Whether a model's name says which of its logits are the score.
pub(in crate::builder) fn known_by_name(config: &Config) -> bool {
    let name = config.model.name.to_lowercase();
    name.contains("nemotron") && name.contains("reward")
}

fn read(context: &Context<'_>) -> Result<Option<CheckpointHead>, BuildError> {
    let config = context.config;
    let head = lm_head(config, context.checkpoint)?;
    if !known_by_name(config) {
        return Err(config.object.error(
            "architectures",
            "this is a language model, and nothing says which of its logits are scores; say it with --head FILE, where \
             FILE holds for example `rows: [0]`, or `rows: [9642]` and `minus: 2822`",
        ));
    }
    let attributes = vec![ONE_SCORE.to_owned()];
    if !config.model.name.to_lowercase().contains("principle") {
        return Ok(Some(CheckpointHead { rows: vec![0], attributes, ..head }));
    }
    if head.outputs <= LLAMA3_YES {
        let reason = format!("{} leaves out the token {LLAMA3_YES}, whose logit is the score", head.outputs);
        return Err(config.object.error("vocab_size", &reason));
    }
    Ok(Some(CheckpointHead {
        rows: vec![LLAMA3_YES],
        subtract: Some(LLAMA3_NO),
        attributes,
        generation_prompt: true,
        ..head
    }))
}

/// The language model's head, without a choice of rows.
pub(super) fn lm_head(config: &Config, checkpoint: &Checkpoint) -> Result<CheckpointHead, BuildError> {
    if config.final_softcap.is_some() {
        return Err(config.object.error(
            "final_logit_softcapping",
            "logits of lm_head that are capped are not supported as scores",
        ));
    }
    let layer = Layer {
        matrix: matrix(config, checkpoint).to_owned(),
        bias: None,
        activation: HeadActivation::None,
        norm: None,
    };
    Ok(CheckpointHead {
        scale: config.logit_scale,
        ..CheckpointHead::new(vec![layer], config.model.vocab_size, vec![])
    })
}

/// The tensor that gives a language model's logits.
pub(in crate::builder) fn matrix(config: &Config, checkpoint: &Checkpoint) -> &'static str {
    let tensors = &config.architecture.family.tensors;
    if config.tied && !checkpoint.has(tensors.lm_head) { tensors.embedding } else { tensors.lm_head }
}
