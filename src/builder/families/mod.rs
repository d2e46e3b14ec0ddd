//! The families of decoders: one file each, and the list of them.
//!
//! To add a family, describe it in a file of its own and add that to the list below. If its layers compute
//! something new, that is a part of the decoder (`cpp/cpu`) with a field in the manifest's `Variant` besides.

mod gemma2;
mod gemma3;
mod internlm2;
mod llama;
mod mistral;
mod nemotron;
mod olmo2;
mod phi3;
mod qwen2;
mod qwen3;
pub(super) mod rope;
pub(super) mod spec;
mod trtllm_fields;
mod variant;
mod windows;

use super::BuildError;
use super::json::Object;
pub(super) use spec::FamilySpec;
pub(super) use trtllm_fields::number;
pub(super) use variant::{biases, final_softcap, rotary, variant};

/// Every family that can be built.
const FAMILIES: [&FamilySpec; 10] = [
    &llama::SPEC,
    &mistral::SPEC,
    &qwen2::SPEC,
    &qwen3::SPEC,
    &gemma2::SPEC,
    &gemma3::SPEC,
    &nemotron::SPEC,
    &internlm2::SPEC,
    &phi3::SPEC,
    &olmo2::SPEC,
];

/// What `architectures` in `config.json` says.
pub(super) struct Architecture {
    /// For example `Qwen3ForSequenceClassification`.
    pub(super) name: String,
    pub(super) family: &'static FamilySpec,
    /// What follows the family in the name; all of the name if it does not start with the family, as those of
    /// training code's own classes.
    pub(super) class: String,
}

impl Architecture {
    /// Recognises the family of an architecture.
    ///
    /// # Errors
    /// `model_type` names another family.
    pub(super) fn recognise(config: &Object, name: &str) -> Result<Option<Self>, BuildError> {
        let model_type: Option<String> = config.optional("model_type")?;
        for family in FAMILIES {
            let Some(class) = name.strip_prefix(family.architecture) else { continue };
            if !(class.is_empty() || class.starts_with("For") || class == "Model") {
                continue;
            }
            if let Some(other) = model_type.filter(|model_type| model_type != family.model_type) {
                let reason = format!(
                    "{other} does not go with the architecture {name}, which is {}",
                    family.model_type
                );
                return Err(config.error("model_type", &reason));
            }
            return Ok(Some(Self { name: name.to_owned(), family, class: class.to_owned() }));
        }
        // Training code gives its classes names of its own, such as `RewardModel`.
        let family = match model_type {
            Some(model_type) if !name.contains("For") => {
                FAMILIES.into_iter().find(|family| family.model_type == model_type)
            }
            _ => None,
        };
        Ok(family.map(|family| Self { name: name.to_owned(), family, class: name.to_owned() }))
    }
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
/// family has this `model_type`.
pub(crate) fn is_gated(model_type: &str) -> Option<bool> {
    let family = FAMILIES.into_iter().find(|family| family.model_type == model_type)?;
    Some(family.activation.activation.gated())
}

/// The `model_type` of every family.
pub(crate) fn model_types() -> String {
    FAMILIES.map(|family| family.model_type).join(", ")
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
