//! The families of decoders and encoders: one file each, and the list of them.
//!
//! To add a family, describe it in a file of its own and add that to the list below. If its layers compute something
//! new, also add a part to the decoder or the encoder (`cpp/cpu`), with a field in the manifest's `Variant`.

mod bert;
mod cohere;
mod cohere2;
mod deberta_v2;
pub(super) mod encoders;
pub(super) mod experts;
mod gemma2;
mod gemma3;
mod glm;
mod glm4;
mod gpt2;
mod gpt_neox;
mod granite;
mod internlm2;
mod llama;
mod ministral;
mod ministral3;
mod mistral;
mod mixtral;
mod modernbert;
mod multimodal;
mod nemotron;
mod olmo2;
mod olmo3;
mod olmoe;
mod phi3;
mod qwen2;
mod qwen2_moe;
mod qwen3;
mod qwen3_moe;
mod roberta;
pub(super) mod rope;
mod rope_scaling;
pub(super) mod spec;
mod trtllm_fields;
mod unsupported;
mod variant;
mod windows;
mod xlm_roberta;

use super::BuildError;
use super::json::Object;
pub(super) use multimodal::text_tensor;
pub(super) use spec::FamilySpec;
pub(super) use trtllm_fields::number;
pub(super) use unsupported::kind as unsupported_kind;
pub(super) use variant::{Sizes, biases, common_name, final_softcap, logit_scale, rotary, variant};

/// Every family that can be built.
const FAMILIES: [&FamilySpec; 29] = [
    &llama::SPEC,
    &mistral::SPEC,
    &ministral::SPEC,
    &ministral3::SPEC,
    &qwen2::SPEC,
    &qwen3::SPEC,
    &gemma2::SPEC,
    &gemma3::SPEC,
    &nemotron::SPEC,
    &internlm2::SPEC,
    &phi3::SPEC,
    &olmo2::SPEC,
    &mixtral::SPEC,
    &qwen2_moe::SPEC,
    &qwen3_moe::SPEC,
    &olmoe::SPEC,
    &olmo3::SPEC,
    &glm::SPEC,
    &glm4::SPEC,
    &granite::SPEC,
    &cohere::SPEC,
    &cohere2::SPEC,
    &gpt_neox::SPEC,
    &gpt2::SPEC,
    &deberta_v2::SPEC,
    &bert::SPEC,
    &roberta::SPEC,
    &xlm_roberta::SPEC,
    &modernbert::SPEC,
];

/// What `architectures` in `config.json` says.
pub(super) struct Architecture {
    /// For example `Qwen3ForSequenceClassification`.
    pub(super) name: String,
    pub(super) family: &'static FamilySpec,
    /// The rest of the name after the family; the whole name if it does not start with the family, as in the class
    /// names of training code.
    pub(super) class: String,
    /// Whether the decoder is the text part of a model that takes images, too.
    pub(super) multimodal: bool,
}

impl Architecture {
    /// Recognises the family of an architecture.
    ///
    /// # Errors
    /// `model_type` names another family, or the text part is of a family that cannot be built.
    pub(super) fn recognise(config: &Object, name: &str) -> Result<Option<Self>, BuildError> {
        if let Some(found) = multimodal::recognise(config, name)? {
            return Ok(Some(found));
        }
        let model_type: Option<String> = config.optional("model_type")?;
        for family in FAMILIES {
            let Some(class) = class_of(name, family) else { continue };
            if let Some(other) = model_type.filter(|model_type| model_type != family.model_type) {
                let reason = format!(
                    "{other} does not go with the architecture {name}, which is {}",
                    family.model_type
                );
                return Err(config.error("model_type", &reason));
            }
            let family = ministral::if_layers_are_listed(config, family);
            return Ok(Some(Self::new(name, family, class)));
        }
        // Training code gives its classes names of its own, such as `RewardModel`.
        let family = model_type.as_deref().and_then(with_model_type);
        Ok(family.map(|family| Self::new(name, ministral::if_layers_are_listed(config, family), name)))
    }

    fn new(name: &str, family: &'static FamilySpec, class: &str) -> Self {
        Self { name: name.to_owned(), family, class: class.to_owned(), multimodal: false }
    }

    /// The part of `config.json` that describes the decoder.
    ///
    /// # Errors
    /// It is not an object.
    pub(super) fn decoder_config(&self, config: &Object) -> Result<Option<Object>, BuildError> {
        if self.multimodal { config.nested(multimodal::SECTION).map(Some) } else { Ok(None) }
    }
}

/// What follows the family's name in that of an architecture, if it starts with it.
fn class_of<'a>(name: &'a str, family: &FamilySpec) -> Option<&'a str> {
    let rest = name.strip_prefix(family.architecture)?;
    // GPT-2's language model has an older name.
    if rest == "LMHeadModel" {
        return Some("ForCausalLM");
    }
    let class = rest.strip_prefix("Text").unwrap_or(rest);
    (class.is_empty() || class.starts_with("For") || class == "Model").then_some(class)
}

fn with_model_type(model_type: &str) -> Option<&'static FamilySpec> {
    FAMILIES.into_iter().find(|family| family.model_type == model_type)
}

/// How the names of the architectures that can be built start.
pub(super) fn architectures() -> String {
    FAMILIES.map(|family| family.architecture).join(", ")
}

/// The family that a manifest names.
pub(super) fn named(name: &str) -> Option<&'static FamilySpec> {
    FAMILIES.into_iter().find(|family| family.name == name)
}

/// Whether the feed-forward networks of a `model_type` have a gate: three matrices instead of two. `None` if no
/// family has this `model_type`, or if it has experts instead.
pub(crate) fn is_gated(model_type: &str) -> Option<bool> {
    let family = with_model_type(model_type).filter(|family| family.experts.is_none())?;
    Some(family.activation.activation.gated())
}

/// The `model_type` of every family without experts.
pub(crate) fn dense_model_types() -> String {
    let dense = FAMILIES.into_iter().filter(|family| family.experts.is_none());
    dense.map(|family| family.model_type).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_families_are_unique() {
        for (index, family) in FAMILIES.into_iter().enumerate() {
            for other in &FAMILIES[..index] {
                assert!(family.name != other.name && family.architecture != other.architecture);
                assert!(family.model_type != other.model_type && family.title != other.title);
            }
        }
    }
}
