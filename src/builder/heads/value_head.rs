//! Value heads: one row, under the names that training code gives it.

use super::{Head, HeadKind};
use crate::builder::BuildError;
use crate::builder::checkpoint::Checkpoint;
use crate::builder::config::Config;
use crate::builder::families::Architecture;
use crate::builder::json::Object;

pub(super) const KIND: HeadKind = HeadKind {
    architectures: &["...ForCausalLM", INTERNLM2, "RewardModel with a known model_type"],
    fits: |architecture| {
        architecture.name == INTERNLM2 || architecture.class == "ForCausalLM" || is_trainers(architecture)
    },
    read,
};

const INTERNLM2: &str = "InternLM2ForRewardModel";

/// Whether it is a class of training code, which leaves open what its head is called.
fn is_trainers(architecture: &Architecture) -> bool {
    let class = architecture.class.as_str();
    architecture.family.in_transformers && ["Model", "RewardModel", "CriticModel"].contains(&class)
}

fn read(config: &Config, checkpoint: &Checkpoint) -> Result<Option<Head>, BuildError> {
    let has = |name: &str| checkpoint.has(name);
    let architecture = &config.architecture;
    if architecture.name == INTERNLM2 {
        let suffix = vec![reward_token(&config.object, config.model.vocab_size)?];
        return Ok(Some(Head { suffix, ..Head::one_row("v_head.weight") }));
    }
    if architecture.class == "ForCausalLM" {
        // TRL's. Without it, this is a language model.
        let head = || Head::one_row("v_head.summary.weight").with_bias("v_head.summary.bias", checkpoint);
        return Ok(has("v_head.summary.weight").then(head));
    }
    // OpenRLHF's, which is called `score` unless its user names it otherwise.
    let name = if has("value_head.weight") { "value_head" } else { "score" };
    let head = Head::one_row(&format!("{name}.weight")).with_bias(&format!("{name}.bias"), checkpoint);
    Ok(Some(head))
}

/// The token at which InternLM2's score is read. It follows the conversation.
fn reward_token(config: &Object, vocab_size: usize) -> Result<u32, BuildError> {
    let token: u32 = config.required("reward_token_id")?;
    if (token as usize) < vocab_size {
        Ok(token)
    } else {
        Err(config.error("reward_token_id", &format!("{token} is not below vocab_size, {vocab_size}")))
    }
}
