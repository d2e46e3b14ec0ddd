//! `config.json`: which decoder a checkpoint holds, and what its labels are called.
//!
//! Fields are those of transformers' configurations, in the layout of its fifth version
//! (`rope_parameters`) and the ones before (`rope_theta`, `rope_scaling`).

use std::collections::BTreeMap;
use std::path::Path;

use super::BuildError;
use super::family;
use super::json::Object;
use super::rope;
use crate::manifest::{Family, Model, fault_of_names};

/// No size in a model exceeds this, so that the product of any two fits an integer.
const LARGEST_SIZE: usize = 1 << 31;
/// What Gemma 2 caps logits of the vocabulary at unless its configuration says otherwise.
const GEMMA2_SOFTCAP: f32 = 30.0;

/// What a checkpoint's `config.json` says.
pub(super) struct Config {
    /// The decoder.
    pub(super) model: Model,
    /// What follows the family in the architecture's name, or all of a name of training code's own.
    pub(super) rest: String,
    /// What logits of the vocabulary are capped at: `cap * tanh(logit / cap)`.
    pub(super) final_softcap: Option<f32>,
    /// Whether the embedding serves as the language model's head too.
    pub(super) tied: bool,
    /// The file, to complain about.
    pub(super) object: Object,
    /// Labels of a classifier, in the order of the head's rows.
    pub(super) attributes: Vec<String>,
    /// Token ids that follow every conversation.
    pub(super) suffix: Vec<u32>,
    /// Longest sequence that the model was made for.
    pub(super) max_position_embeddings: usize,
    /// Longest sequence that its rotary scaling stretches to; at least `max_position_embeddings`.
    pub(super) longest: usize,
}

/// Reads `config.json` of a checkpoint that will be served as `name`.
pub(super) fn read(checkpoint: &Path, name: String) -> Result<Config, BuildError> {
    let config = Object::read(&checkpoint.join("config.json"))?;
    let (architecture, family, rest) = architecture(&config)?;
    refuse_what_no_engine_does(&config)?;

    let defaults = family::defaults(family);
    let max_position_embeddings =
        size(&config, "max_position_embeddings", Some(defaults.max_position_embeddings))?;
    let hidden_size = size(&config, "hidden_size", None)?;
    let num_layers = size(&config, "num_hidden_layers", None)?;
    let num_heads = size(&config, "num_attention_heads", None)?;
    let num_kv_heads =
        size(&config, "num_key_value_heads", Some(defaults.num_kv_heads.unwrap_or(num_heads)))?;
    if !num_heads.is_multiple_of(num_kv_heads) {
        let reason = format!("{num_kv_heads} does not divide num_attention_heads, {num_heads}");
        return Err(config.error("num_key_value_heads", &reason));
    }
    let head_dim = head_dim(&config, hidden_size, num_heads, defaults.head_dim)?;
    let (rope, window_rope, rotary_dim) = family::ropes(&config, family, max_position_embeddings, head_dim)?;
    let (qkv_bias, output_bias, mlp_bias) = family::biases(&config, family)?;
    let mut variant = family::variant(&config, family, hidden_size, num_layers)?;
    variant.rotary_dim = rotary_dim;
    if let Some(window) = &mut variant.sliding_window {
        window.rope = window_rope;
    }
    let model = Model {
        name,
        architecture,
        family,
        vocab_size: size(&config, "vocab_size", None)?,
        hidden_size,
        intermediate_size: size(&config, "intermediate_size", None)?,
        num_layers,
        num_heads,
        num_kv_heads,
        head_dim,
        norm_eps: norm_eps(&config, defaults.norm_eps)?,
        qkv_bias,
        output_bias,
        mlp_bias,
        rope,
        variant,
    };
    let longest = rope::longest(&model.rope.scaling, max_position_embeddings);
    let attributes = match rest.as_str() {
        "ForSequenceClassification" => attributes(&config)?,
        "ForRewardModelWithGating" if config.has("id2label") => attributes(&config)?,
        _ => vec![],
    };
    let gemma = matches!(family, Family::Gemma2 | Family::Gemma3);
    let final_softcap = match config.has("final_logit_softcapping") {
        true if gemma => config.optional::<f32>("final_logit_softcapping")?,
        false if family == Family::Gemma2 => Some(GEMMA2_SOFTCAP),
        _ => None,
    };
    if let Some(cap) = final_softcap.filter(|cap| !(cap.is_finite() && *cap > 0.0)) {
        return Err(config.error("final_logit_softcapping", &format!("{cap} is not positive")));
    }
    let tied = config.optional("tie_word_embeddings")?.unwrap_or(gemma);
    let suffix = match model.family {
        Family::InternLm2 if rest == "ForRewardModel" => vec![reward_token(&config, model.vocab_size)?],
        _ => vec![],
    };
    Ok(Config {
        model,
        attributes,
        suffix,
        max_position_embeddings,
        longest,
        rest,
        final_softcap,
        tied,
        object: config,
    })
}

fn architecture(config: &Object) -> Result<(String, Family, String), BuildError> {
    let named: Vec<String> = config.required("architectures")?;
    if let [name] = &named[..]
        && let Some((family, rest)) = family::of(config, name)?
        && can_be_built(family, rest)
    {
        return Ok((name.clone(), family, rest.to_owned()));
    }
    let reason = format!(
        "{} cannot be built; known are ...ForSequenceClassification and ...ForCausalLM of {}, \
         Qwen2ForRewardModel, Qwen2ForProcessRewardModel, LlamaForRewardModelWithGating, \
         InternLM2ForRewardModel, and RewardModel with a known model_type",
        named.join(", "),
        family::names()
    );
    Err(config.error("architectures", &reason))
}

/// Whether a head of that kind is known; of training code's own classes, by the tensors.
fn can_be_built(family: Family, rest: &str) -> bool {
    match rest {
        "ForCausalLM" => true,
        "ForSequenceClassification" => family != Family::InternLm2,
        "ForRewardModel" => matches!(family, Family::InternLm2 | Family::Qwen2),
        "ForProcessRewardModel" => family == Family::Qwen2,
        "ForRewardModelWithGating" => family == Family::Llama,
        "Model" | "RewardModel" | "CriticModel" => family != Family::InternLm2,
        _ => false,
    }
}

/// Settings that would change the scores if they were ignored.
fn refuse_what_no_engine_does(config: &Object) -> Result<(), BuildError> {
    for field in ["quantization_config", "compression_config"] {
        let quantization = config.nested(field)?;
        if !quantization.is_empty() {
            let method = quantization.optional::<String>("quant_method")?.unwrap_or_default();
            let reason = format!(
                "the checkpoint is quantized ({method}); use the original checkpoint in f32, bf16 or f16"
            );
            return Err(config.error(field, &reason));
        }
    }
    Ok(())
}

/// A size: whole, at least 1. Without a default the field must be there.
pub(super) fn size(config: &Object, field: &str, default: Option<usize>) -> Result<usize, BuildError> {
    let value = match default {
        Some(default) => config.optional(field)?.unwrap_or(default),
        None => config.required(field)?,
    };
    if (1..=LARGEST_SIZE).contains(&value) {
        Ok(value)
    } else {
        Err(config.error(field, &format!("{value} is not between 1 and {LARGEST_SIZE}")))
    }
}

fn head_dim(
    config: &Object,
    hidden_size: usize,
    num_heads: usize,
    by_default: Option<usize>,
) -> Result<usize, BuildError> {
    let head_dim = size(config, "head_dim", Some(by_default.unwrap_or(hidden_size / num_heads)))?;
    let given = by_default.is_some() || config.optional::<usize>("head_dim")?.is_some();
    if !given && !hidden_size.is_multiple_of(num_heads) {
        let reason =
            format!("hidden_size {hidden_size} is not a multiple of {num_heads}, and head_dim is not given");
        return Err(config.error("num_attention_heads", &reason));
    }
    if !head_dim.is_multiple_of(2) {
        let reason = format!("rotary embeddings need an even width, and it is {head_dim}");
        return Err(config.error("head_dim", &reason));
    }
    Ok(head_dim)
}

fn norm_eps(config: &Object, (field, by_default): (&str, f32)) -> Result<f32, BuildError> {
    let eps = config.optional(field)?.unwrap_or(by_default);
    if eps.is_finite() && eps >= 0.0 {
        Ok(eps)
    } else {
        Err(config.error(field, &format!("{eps} is not a small positive number")))
    }
}

/// Names of the scores. Names that transformers made up (`LABEL_0`) become `reward` where there is one
/// score. Two is the number of labels that transformers does not write down.
fn attributes(config: &Object) -> Result<Vec<String>, BuildError> {
    let Some(labels) = config.optional::<BTreeMap<usize, String>>("id2label")? else {
        let count = size(config, "num_labels", Some(2))?;
        return Ok(made_up(count));
    };
    if labels.is_empty() || !labels.keys().copied().eq(0..labels.len()) {
        let reason = "its keys must be the numbers from 0 on, one for each row of score.weight";
        return Err(config.error("id2label", reason));
    }
    let names: Vec<String> = labels.values().map(|label| label.to_lowercase()).collect();
    if names == ["label_0"] {
        return Ok(made_up(1));
    }
    match fault_of_names(&names) {
        Some(reason) => Err(config.error("id2label", &reason)),
        None => Ok(names),
    }
}

/// The token behind the conversation, at which InternLM2 reads the score.
fn reward_token(config: &Object, vocab_size: usize) -> Result<u32, BuildError> {
    let token: u32 = config.required("reward_token_id")?;
    if (token as usize) < vocab_size {
        Ok(token)
    } else {
        Err(config.error("reward_token_id", &format!("{token} is not below vocab_size, {vocab_size}")))
    }
}

fn made_up(count: usize) -> Vec<String> {
    match count {
        1 => vec!["reward".to_owned()],
        _ => (0..count).map(|index| format!("label_{index}")).collect(),
    }
}
