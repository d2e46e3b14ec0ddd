//! `config.json`: which decoder a checkpoint holds.
//!
//! Fields are those of transformers' configurations, in the layout of its fifth version
//! (`rope_parameters`) and the ones before (`rope_theta`, `rope_scaling`).

use super::BuildError;
use super::families::{self, Architecture, FamilySpec, rope};
use super::json::Object;
use crate::manifest::{Bidirectional, Model};

/// What a checkpoint's `config.json` says.
pub(super) struct Config {
    pub(super) architecture: Architecture,
    /// The decoder.
    pub(super) model: Model,
    /// Cap on the logits of the vocabulary.
    pub(super) final_softcap: Option<f32>,
    /// What the logits of the vocabulary are multiplied by.
    pub(super) logit_scale: f32,
    /// Whether the embedding is the language model's head, too.
    pub(super) tied: bool,
    /// The file, for fields that only some heads have, and for errors.
    pub(super) object: Object,
    /// What the user should know about how it was read.
    pub(super) notes: Vec<String>,
    /// The longest sequence that the model was made for.
    pub(super) max_position_embeddings: usize,
    /// The longest sequence that its rotary scaling stretches to; at least `max_position_embeddings`.
    pub(super) longest: usize,
}

/// Reads `config.json` of a checkpoint that will be served as `name`.
pub(super) fn read(object: Object, architecture: Architecture, name: String) -> Result<Config, BuildError> {
    let section = architecture.decoder_config(&object)?;
    let family = architecture.family;
    let (decoder, ignored) = section.as_ref().unwrap_or(&object).without(family.ignored);
    let decoder = &decoder.aliased(family.aliases);
    for config in [&object, decoder] {
        refuse_what_no_engine_does(config)?;
        if family.encoder.is_none() {
            refuse_bidirectional(config)?;
        }
    }
    let defaults = &family.defaults;
    let mut notes: Vec<String> = ignored
        .iter()
        .map(|field| {
            format!(
                "{field} in config.json has no effect: a {} does not have it, as in transformers",
                family.title
            )
        })
        .collect();
    let max_position_embeddings =
        decoder.size("max_position_embeddings", Some(defaults.max_position_embeddings))?;
    let hidden_size = decoder.size("hidden_size", None)?;
    let num_layers = decoder.size("num_hidden_layers", None)?;
    let num_heads = decoder.size("num_attention_heads", defaults.num_heads)?;
    let num_kv_heads =
        decoder.size("num_key_value_heads", Some(defaults.num_kv_heads.unwrap_or(num_heads)))?;
    if !num_heads.is_multiple_of(num_kv_heads) {
        let reason = format!("{num_kv_heads} does not divide num_attention_heads, {num_heads}");
        return Err(decoder.error("num_key_value_heads", &reason));
    }
    let head_dim = head_dim(decoder, hidden_size, num_heads, defaults.head_dim)?;
    let [qkv_bias, output_bias, mlp_bias] = families::biases(decoder, family)?;
    let sizes = families::Sizes { hidden_size, num_layers, head_dim, max_position_embeddings };
    let mut variant = families::variant(decoder, family, &sizes, &mut notes)?;
    let rope =
        families::rotary(decoder, family, max_position_embeddings, head_dim, &mut variant, &mut notes)?;
    let model = Model {
        name,
        architecture: architecture.name.clone(),
        family: family.name.to_owned(),
        vocab_size: decoder.size("vocab_size", defaults.vocab_size)?,
        hidden_size,
        intermediate_size: intermediate_size(decoder, family, hidden_size)?,
        num_layers,
        num_heads,
        num_kv_heads,
        head_dim,
        norm_eps: norm_eps(decoder, family.norms.eps_field, family.norms.default_eps)?,
        qkv_bias,
        output_bias,
        mlp_bias,
        rope,
        variant,
    };
    let longest = match (&model.variant.positions, &model.variant.bidirectional) {
        (Some(positions), _) => positions.rows - positions.first,
        // Relative positions have no end.
        (None, Some(Bidirectional { relative: Some(_), .. })) => usize::MAX,
        _ => rope::longest(&model.rope.scaling, max_position_embeddings),
    };
    Ok(Config {
        longest,
        logit_scale: families::logit_scale(decoder, family)?,
        final_softcap: families::final_softcap(decoder, family)?,
        // Models of images and text are tied by default, whatever their text part is by itself.
        tied: object
            .optional("tie_word_embeddings")?
            .unwrap_or(architecture.multimodal || defaults.tied_embeddings),
        architecture,
        model,
        max_position_embeddings: max_position_embeddings.min(longest),
        object,
        notes,
    })
}

/// GPT-2 leaves it out where it is four times the width of the residual stream.
fn intermediate_size(config: &Object, family: &FamilySpec, hidden_size: usize) -> Result<usize, BuildError> {
    config.size("intermediate_size", family.tensors.transposed.then_some(4 * hidden_size))
}

/// Refuses settings that would change the scores if they were ignored.
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
    if config.optional("scale_attn_by_inverse_layer_idx")?.unwrap_or(false) {
        let reason = "attention that is scaled by the number of the layer is not supported";
        return Err(config.error("scale_attn_by_inverse_layer_idx", reason));
    }
    if config.optional("scale_attn_weights")? == Some(false) {
        return Err(config.error("scale_attn_weights", "attention that is not scaled is not supported"));
    }
    if config.optional::<f64>("clip_qkv")?.is_some() {
        return Err(config.error("clip_qkv", "queries, keys and values that are clipped are not supported"));
    }
    Ok(())
}

/// Refuses decoders whose tokens also attend to those that follow. In transformers anything that Python counts as false
/// makes `is_causal` such a setting, null included.
fn refuse_bidirectional(config: &Object) -> Result<(), BuildError> {
    let reason = "the decoder attends to the tokens that follow, too; only causal attention is supported";
    if config.has("is_causal") && !config.optional("is_causal")?.unwrap_or(false) {
        return Err(config.error("is_causal", reason));
    }
    if config.optional("use_bidirectional_attention")?.unwrap_or(false) {
        return Err(config.error("use_bidirectional_attention", reason));
    }
    Ok(())
}

fn head_dim(
    config: &Object,
    hidden_size: usize,
    num_heads: usize,
    default: Option<usize>,
) -> Result<usize, BuildError> {
    let head_dim = config.size("head_dim", Some(default.unwrap_or(hidden_size / num_heads)))?;
    let given = default.is_some() || config.optional::<usize>("head_dim")?.is_some();
    if !given && !hidden_size.is_multiple_of(num_heads) {
        let reason =
            format!("hidden_size {hidden_size} is not a multiple of {num_heads}, and head_dim is not given");
        return Err(config.error("num_attention_heads", &reason));
    }
    if !head_dim.is_multiple_of(2) {
        let reason = format!("rotary embeddings need an even width, not {head_dim}");
        return Err(config.error("head_dim", &reason));
    }
    Ok(head_dim)
}

fn norm_eps(config: &Object, field: &str, default: f32) -> Result<f32, BuildError> {
    let eps = config.optional(field)?.unwrap_or(default);
    if eps.is_finite() && eps >= 0.0 {
        Ok(eps)
    } else {
        Err(config.error(field, &format!("{eps} is not a small positive number")))
    }
}
