//! Models of images and text, whose text part is a decoder of one of the families.

use super::{Architecture, with_model_type};
use crate::builder::BuildError;
use crate::builder::json::Object;

/// The section of `config.json` that describes the text part.
pub(super) const SECTION: &str = "text_config";

struct Wrapper {
    /// What the names of its architectures start with.
    architecture: &'static str,
    model_type: &'static str,
    /// `model_type` of the text part unless its section names another.
    text: &'static str,
}

const WRAPPERS: [Wrapper; 2] = [
    Wrapper { architecture: "Gemma3", model_type: "gemma3", text: "gemma3_text" },
    Wrapper { architecture: "Mistral3", model_type: "mistral3", text: "mistral" },
];

/// Recognises a model of images and text: a language model (`...ForConditionalGeneration`) or a classifier.
///
/// # Errors
/// The section of the text part is missing, or its family cannot be built.
pub(super) fn recognise(config: &Object, name: &str) -> Result<Option<Architecture>, BuildError> {
    let model_type: Option<String> = config.optional("model_type")?;
    let found = WRAPPERS.iter().find_map(|wrapper| Some((wrapper, class(name, wrapper)?)));
    let Some((wrapper, class)) = found else { return Ok(None) };
    if model_type.is_some_and(|model_type| model_type != wrapper.model_type) {
        return Ok(None);
    }
    let text = config.nested(SECTION)?;
    if text.is_empty() {
        let reason = format!("it is missing; it describes the text part of {name}");
        return Err(config.error(SECTION, &reason));
    }
    let text_type: String = text.optional("model_type")?.unwrap_or_else(|| wrapper.text.to_owned());
    match with_model_type(&text_type) {
        Some(family) => Ok(Some(Architecture { multimodal: true, ..Architecture::new(name, family, class) })),
        None => Err(text.error("model_type", &format!("{text_type} cannot be built"))),
    }
}

/// The name of the class in a text model.
fn class(name: &str, wrapper: &Wrapper) -> Option<&'static str> {
    match name.strip_prefix(wrapper.architecture)? {
        "ForConditionalGeneration" => Some("ForCausalLM"),
        "ForSequenceClassification" => Some("ForSequenceClassification"),
        _ => None,
    }
}

/// The name that a tensor of such a model has in a model of the text part alone. `None` for tensors of other parts.
///
/// Checkpoints name the text part `language_model.model` or, as transformers' classes do, `model.language_model`.
pub(crate) fn text_tensor(name: &str) -> Option<String> {
    if let Some(part) = name.strip_prefix("language_model.") {
        return Some(part.to_owned());
    }
    match name.strip_prefix("model.") {
        Some(part) => part.strip_prefix("language_model.").map(|text| format!("model.{text}")),
        // The head is outside of the model of images and text.
        None => (!is_other_part(name)).then(|| name.to_owned()),
    }
}

fn is_other_part(name: &str) -> bool {
    ["vision_tower.", "multi_modal_projector."].iter().any(|part| name.starts_with(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_both_layouts_become_those_of_the_text_model() {
        for (name, expected) in [
            ("language_model.model.layers.0.mlp.up_proj.weight", Some("model.layers.0.mlp.up_proj.weight")),
            ("model.language_model.layers.0.mlp.up_proj.weight", Some("model.layers.0.mlp.up_proj.weight")),
            ("language_model.lm_head.weight", Some("lm_head.weight")),
            ("lm_head.weight", Some("lm_head.weight")),
            ("score.weight", Some("score.weight")),
            ("model.vision_tower.encoder.layers.0.mlp.fc1.weight", None),
            ("vision_tower.encoder.layers.0.mlp.fc1.weight", None),
            ("multi_modal_projector.mm_input_projection_weight", None),
        ] {
            assert_eq!(text_tensor(name).as_deref(), expected, "{name}");
        }
    }
}
