//! What the names of an adapter's tensors mean.

use regex::Regex;

use crate::builder::tensor_names::plain;

/// A part of the change of one module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    A,
    B,
    BBias,
    EmbeddingA,
    EmbeddingB,
    /// DoRA's.
    Magnitude,
}

impl Part {
    /// Its name after that of the module.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::A => "lora_A.weight",
            Self::B => "lora_B.weight",
            Self::BBias => "lora_B.bias",
            Self::EmbeddingA => "lora_embedding_A",
            Self::EmbeddingB => "lora_embedding_B",
            Self::Magnitude => "lora_magnitude_vector",
        }
    }
}

/// What a tensor of an adapter is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// A part of the change of a module. The adapter's name is only there if peft did not save the file itself.
    LowRank {
        module: String,
        part: Part,
        adapter: Option<String>,
    },
    /// A whole tensor of this name.
    Whole(String),
    /// A copy of the base model's own.
    Ignored,
    Unknown,
}

/// Reads names.
pub(super) struct Parts {
    low_rank: Option<Regex>,
    saved: Option<Regex>,
}

impl Parts {
    pub(super) fn new() -> Self {
        let low_rank = r"^(.+)\.lora_(A|B|embedding_A|embedding_B|magnitude_vector)(?:\.([^.]+?))??(?:\.(weight|bias))?$";
        let saved = r"^(.+)\.modules_to_save(?:\.[^.]+)?\.(weight|bias|summary\.weight|summary\.bias|\d+\.(?:weight|bias))$";
        Self { low_rank: Regex::new(low_rank).ok(), saved: Regex::new(saved).ok() }
    }

    pub(super) fn read(&self, name: &str) -> Name {
        let name = plain(name);
        if name.contains(".original_module.") {
            return Name::Ignored;
        }
        if let Some(found) = self.saved.as_ref().and_then(|pattern| pattern.captures(&name)) {
            return Name::Whole(format!("{}.{}", &found[1], &found[2]));
        }
        if let Some(found) = self.low_rank.as_ref().and_then(|pattern| pattern.captures(&name)) {
            let part = match (&found[2], found.get(4).map(|end| end.as_str())) {
                ("A", Some("weight")) => Part::A,
                ("B", Some("weight")) => Part::B,
                ("B", Some("bias")) => Part::BBias,
                ("embedding_A", None) => Part::EmbeddingA,
                ("embedding_B", None) => Part::EmbeddingB,
                ("magnitude_vector", None | Some("weight")) => Part::Magnitude,
                _ => return Name::Unknown,
            };
            let adapter = found.get(3).map(|adapter| adapter.as_str().to_owned());
            return Name::LowRank { module: found[1].to_owned(), part, adapter };
        }
        let unknown = ["lora_", "token_adapter", "trainable_tokens", "modules_to_save"];
        if unknown.iter().any(|part| name.contains(part)) {
            return Name::Unknown;
        }
        Name::Whole(name.replace(".base_layer.", "."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_name_is_read() {
        let low_rank = |module: &str, part, adapter: Option<&str>| Name::LowRank {
            module: module.to_owned(),
            part,
            adapter: adapter.map(str::to_owned),
        };
        let query = "model.layers.0.self_attn.q_proj";
        for (name, expected) in [
            (
                "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
                low_rank(query, Part::A, None),
            ),
            (
                "base_model.model.model.layers.0.self_attn.q_proj.lora_B.default.weight",
                low_rank(query, Part::B, Some("default")),
            ),
            ("base_model.model.layers.0.self_attn.q_proj.lora_B.bias", low_rank(query, Part::BBias, None)),
            (
                "base_model.model.model.embed_tokens.lora_embedding_A",
                low_rank("model.embed_tokens", Part::EmbeddingA, None),
            ),
            (
                "base_model.model.model.embed_tokens.lora_embedding_B.default",
                low_rank("model.embed_tokens", Part::EmbeddingB, Some("default")),
            ),
            (
                "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector",
                low_rank(query, Part::Magnitude, None),
            ),
            (
                "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector.default.weight",
                low_rank(query, Part::Magnitude, Some("default")),
            ),
            ("base_model.model.score.weight", Name::Whole("score.weight".into())),
            ("base_model.model.score.modules_to_save.default.weight", Name::Whole("score.weight".into())),
            ("base_model.model.score.original_module.weight", Name::Ignored),
            (
                "base_model.model.v_head.modules_to_save.default.summary.bias",
                Name::Whole("v_head.summary.bias".into()),
            ),
            (
                "base_model.model.model.embed_tokens.base_layer.weight",
                Name::Whole("model.embed_tokens.weight".into()),
            ),
            ("base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta", Name::Unknown),
            ("base_model.model.model.layers.0.mlp.up_proj.lora_E", Name::Unknown),
        ] {
            assert_eq!(Parts::new().read(name), expected, "{name}");
        }
    }
}
