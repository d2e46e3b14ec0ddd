//! The names of tensors without the prefixes that wrappers of training code add.

use super::stored::Stored;

/// Parts that wrappers put into names, wherever they occur: `torch.compile`, FSDP, activation checkpointing.
const WRAPPERS: [&str; 4] =
    ["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"];
/// Prefixes of whole models: distributed data parallel, TRL's value head models, peft.
const PREFIXES: [&str; 3] = ["module.", "pretrained_model.", "base_model.model."];
/// Modules of a decoder saved without the model around it.
const BARE: [&str; 4] = ["layers.", "embed_tokens.", "norm.", "tok_embeddings."];

/// A name without what wrappers add.
pub(super) fn plain(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').filter(|part| !WRAPPERS.contains(part)).collect();
    let mut plain = parts.join(".");
    while let Some(rest) = PREFIXES.iter().find_map(|prefix| plain.strip_prefix(prefix)) {
        plain = rest.to_owned();
    }
    if BARE.iter().any(|module| plain.starts_with(module)) {
        plain.insert_str(0, "model.");
    }
    plain
}

/// Gives tensors the names that transformers' own classes have.
///
/// A class that holds a whole causal language model as `model` names the decoder `model.model`; its head may be
/// outside. A class that holds the decoder as `transformer` names it so.
pub(super) fn normalise(found: Vec<(String, Stored)>) -> Vec<(String, Stored)> {
    let mut tensors: Vec<(String, Stored)> =
        found.into_iter().map(|(name, stored)| (plain(&name), stored)).collect();
    let has = |start: &str| tensors.iter().any(|(name, _)| name.starts_with(start));
    if has("model.model.layers.") {
        strip(&mut tensors, "model.");
    }
    let has = |start: &str| tensors.iter().any(|(name, _)| name.starts_with(start));
    if has("transformer.layers.") && !has("model.layers.") {
        for (name, _) in &mut tensors {
            if let Some(rest) = name.strip_prefix("transformer.") {
                *name = format!("model.{rest}");
            }
        }
    }
    tensors
}

fn strip(tensors: &mut [(String, Stored)], prefix: &str) {
    for (name, _) in tensors {
        if let Some(rest) = name.strip_prefix(prefix) {
            *name = rest.to_owned();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn names_lose_what_wrappers_add_and_nothing_else() {
        for (name, expected) in [
            ("model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.up_proj.weight"),
            ("_orig_mod.model.norm.weight", "model.norm.weight"),
            ("module._orig_mod.model.norm.weight", "model.norm.weight"),
            (
                "model.layers.3._checkpoint_wrapped_module.input_layernorm.weight",
                "model.layers.3.input_layernorm.weight",
            ),
            ("pretrained_model.lm_head.weight", "lm_head.weight"),
            ("base_model.model.model.embed_tokens.weight", "model.embed_tokens.weight"),
            ("base_model.model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.up_proj.weight"),
            ("layers.0.mlp.up_proj.weight", "model.layers.0.mlp.up_proj.weight"),
            ("norm.weight", "model.norm.weight"),
            ("v_head.summary.weight", "v_head.summary.weight"),
            ("score.weight", "score.weight"),
        ] {
            assert_eq!(plain(name), expected);
        }
    }
}
