//! What a family of encoders is described by, beyond what it shares with decoders.

use crate::builder::BuildError;
use crate::builder::json::Object;
use crate::manifest::{Bidirectional, LearnedPositions, RelativePositions, Segments};

/// Why encoders have no form in TensorRT-LLM.
pub(super) const NOT_ON_GPUS: &str = "its executor returns hidden states of encoders and no scores; its own classifiers, \
                                      of BERT and RoBERTa, run outside of the executor";

/// Embeddings of positions that are added to those of tokens.
pub(crate) struct PositionsSpec {
    pub(crate) tensor: &'static str,
    /// The model has them unless this field of `config.json` is false.
    pub(crate) unless: Option<&'static str>,
    /// Whether padding tokens are not counted: the first row is then the one after that of the padding token's id.
    pub(crate) skips_padding: bool,
}

/// What is the encoder's own. Its embeddings are normed.
pub(crate) struct EncoderSpec {
    /// Tensors of the norm over the embeddings.
    pub(crate) embedding_norm: &'static str,
    /// Names of the norms over the residual stream after attention and feed-forward network, as in BERT.
    pub(crate) sum_norms: Option<[&'static str; 2]>,
    /// Whether there is a norm after the last layer.
    pub(crate) final_norm: bool,
    /// The embeddings of segments, if the family has them.
    pub(crate) segments: Option<&'static str>,
    /// The embeddings of relative positions, if the family has them.
    pub(crate) relative: Option<RelativeSpec>,
    pub(crate) head: EncoderHead,
}

/// Tensors of embeddings of relative positions.
pub(crate) struct RelativeSpec {
    pub(crate) embedding: &'static str,
    pub(crate) norm: &'static str,
    /// A layer's own projections of them, to queries and to keys.
    pub(crate) projections: [&'static str; 2],
}

/// The classifier: a layer over the state of the first token, or the mean of all, and another one.
pub(crate) struct EncoderHead {
    pub(crate) dense: &'static str,
    /// The field that names the activation between the layers.
    pub(crate) activation_field: Option<&'static str>,
    /// Its name if there is no such field.
    pub(crate) activation: &'static str,
    /// A norm after the activation.
    pub(crate) norm: Option<&'static str>,
    pub(crate) last: &'static str,
    /// The field that says whether the first token is read (`cls`) or the mean.
    pub(crate) pooling_field: Option<&'static str>,
}

/// The embeddings of positions, with as many rows as `config.json` says.
pub(crate) fn positions(
    config: &Object,
    spec: Option<&PositionsSpec>,
    rows: usize,
) -> Result<Option<LearnedPositions>, BuildError> {
    let Some(spec) = spec else { return Ok(None) };
    if let Some(field) = spec.unless
        && config.optional(field)? == Some(false)
    {
        return Ok(None);
    }
    if let Some(kind) =
        config.optional::<String>("position_embedding_type")?.filter(|kind| kind != "absolute")
    {
        let reason = format!("{kind} is not supported; only absolute positions are");
        return Err(config.error("position_embedding_type", &reason));
    }
    if !spec.skips_padding {
        return Ok(Some(LearnedPositions { rows, first: 0, padding: None }));
    }
    let padding: u32 = config.optional("pad_token_id")?.unwrap_or(1);
    let first = padding as usize + 1;
    if first >= rows {
        let reason = format!("{padding} leaves no position in max_position_embeddings, {rows}");
        return Err(config.error("pad_token_id", &reason));
    }
    Ok(Some(LearnedPositions { rows, first, padding: Some(padding) }))
}

/// What makes the model an encoder; which token separates segments is not known yet.
pub(crate) fn bidirectional(
    config: &Object,
    spec: Option<&EncoderSpec>,
) -> Result<Option<Bidirectional>, BuildError> {
    let Some(spec) = spec else { return Ok(None) };
    if config.optional("is_decoder")?.unwrap_or(false) {
        return Err(config.error("is_decoder", "encoders that are trained as decoders are not supported"));
    }
    let segments = match spec.segments {
        Some(_) => {
            let rows: usize = config.optional("type_vocab_size")?.unwrap_or(usual_segments(spec));
            (rows > 0).then_some(Segments { rows, separator: None })
        }
        None => None,
    };
    Ok(Some(Bidirectional {
        sum_norms: spec.sum_norms.is_some(),
        final_norm: spec.final_norm,
        segments,
        relative: if spec.relative.is_some() { relative(config)? } else { None },
    }))
}

/// `type_vocab_size` if it is absent: DeBERTa has no segments, BERT and its kind have two.
fn usual_segments(spec: &EncoderSpec) -> usize {
    if spec.relative.is_some() { 0 } else { 2 }
}

/// DeBERTa's relative positions.
fn relative(config: &Object) -> Result<Option<RelativePositions>, BuildError> {
    for (field, supported) in [("conv_kernel_size", 0), ("embedding_size", config.size("hidden_size", None)?)]
    {
        if config.optional::<usize>(field)?.is_some_and(|found| found != supported) {
            let reason = "convolutions, and embeddings of another width than the layers, are not supported";
            return Err(config.error(field, reason));
        }
    }
    let kinds = attention_kinds(config)?;
    if !config.optional("relative_attention")?.unwrap_or(false) {
        // transformers divides by more for each kind, even if it computes none of them.
        if !kinds.is_empty() {
            let reason = "kinds of relative attention are not supported where `relative_attention` is false";
            return Err(config.error("pos_att_type", reason));
        }
        return Ok(None);
    }
    let positive = |field: &str| -> Result<Option<usize>, BuildError> {
        let value: Option<i64> = config.optional(field)?;
        Ok(value.and_then(|value| usize::try_from(value).ok()).filter(|&value| value > 0))
    };
    let longest = match positive("max_relative_positions")? {
        Some(longest) => longest,
        None => config.size("max_position_embeddings", Some(512))?,
    };
    let buckets = positive("position_buckets")?;
    if let Some(buckets) = buckets.filter(|&buckets| buckets < 4 || buckets > longest) {
        let reason = format!("{buckets} is not from 4 to the longest relative position, {longest}");
        return Err(config.error("position_buckets", &reason));
    }
    let normed = match config.optional::<String>("norm_rel_ebd")?.as_deref() {
        None | Some("none") => false,
        Some("layer_norm") => true,
        Some(other) => {
            let reason = format!("{other} is not supported; known are none and layer_norm");
            return Err(config.error("norm_rel_ebd", &reason));
        }
    };
    Ok(Some(RelativePositions {
        span: buckets.unwrap_or(longest),
        buckets,
        longest,
        normed,
        content_to_position: kinds.iter().any(|kind| kind == "c2p"),
        position_to_content: kinds.iter().any(|kind| kind == "p2c"),
        shared_projections: config.optional("share_att_key")?.unwrap_or(false),
    }))
}

/// `pos_att_type`: a list, or a text with `|` between the kinds. Transformers computes nothing for `p2p`.
fn attention_kinds(config: &Object) -> Result<Vec<String>, BuildError> {
    const FIELD: &str = "pos_att_type";
    let kinds: Vec<String> = match config.optional::<serde_json::Value>(FIELD)? {
        Some(serde_json::Value::String(text)) => {
            text.to_lowercase().split('|').map(|kind| kind.trim().to_owned()).collect()
        }
        Some(_) => config.required(FIELD)?,
        None => vec![],
    };
    match kinds.iter().find(|kind| !["c2p", "p2c", "p2p"].contains(&kind.as_str())) {
        Some(other) => {
            Err(config.error(FIELD, &format!("{other} is not supported; known are c2p, p2c and p2p")))
        }
        None => Ok(kinds.into_iter().filter(|kind| kind != "p2p").collect()),
    }
}

/// The factor on DeBERTa's scores: they are sums of as many products as there are kinds of attention.
pub(crate) fn attention_scale(bidirectional: Option<&Bidirectional>, head_dim: usize) -> Option<f32> {
    let relative = bidirectional?.relative?;
    let products = 1 + usize::from(relative.content_to_position) + usize::from(relative.position_to_content);
    Some(((head_dim * products) as f32).sqrt().recip())
}
