//! The names of tensors without the prefixes that wrappers of training code add.

use super::families::FamilySpec;
use super::stored::Stored;

/// Parts that wrappers put into names, wherever they occur: `torch.compile`, FSDP, activation checkpointing.
const WRAPPERS: [&str; 4] =
    ["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"];
/// Prefixes of whole models: distributed data parallel, TRL's value head models, peft.
const PREFIXES: [&str; 3] = ["module.", "pretrained_model.", "base_model.model."];
/// Modules of a decoder saved without the model around it.
const BARE: [&str; 4] = ["layers.", "embed_tokens.", "norm.", "tok_embeddings."];

/// A name without what wrappers add, and with the names that transformers has had for norms since its first versions.
pub(super) fn plain(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').filter(|part| !WRAPPERS.contains(part)).collect();
    let mut plain = parts.join(".");
    while let Some(rest) = PREFIXES.iter().find_map(|prefix| plain.strip_prefix(prefix)) {
        plain = rest.to_owned();
    }
    for (old, new) in [("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")] {
        if let Some(module) = plain.strip_suffix(old) {
            plain = format!("{module}{new}");
        }
    }
    if BARE.iter().any(|module| plain.starts_with(module)) {
        plain.insert_str(0, "model.");
    }
    plain
}

/// Gives tensors the names that transformers' own classes have.
///
/// A class that holds a whole causal language model as `model` names the decoder `model.model`; its head may be
/// outside. A class that holds the decoder as `transformer` names it so. A model that was saved inside peft's wrapper
/// has its trained modules beside the originals, which no longer count.
pub(super) fn normalise(found: Vec<(String, Stored)>) -> Vec<(String, Stored)> {
    let named = found.into_iter().filter_map(|(name, stored)| Some((trained(&plain(&name))?, stored)));
    let mut tensors: Vec<(String, Stored)> = named.collect();
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

/// The name of a module that peft trained as a whole without what peft adds to it; `None` for the original that it
/// replaces.
fn trained(name: &str) -> Option<String> {
    if name.contains(".original_module.") {
        return None;
    }
    let Some((module, rest)) = name.split_once(".modules_to_save.") else { return Some(name.to_owned()) };
    // The adapter's name is between them.
    let (_, tensor) = rest.split_once('.')?;
    Some(format!("{module}.{tensor}"))
}

/// Gives the modules of a base model that was saved without its head the names that they have in the whole model, as
/// transformers does. `family` names the whole model's tensors.
pub(super) fn in_whole_model(name: &str, family: &FamilySpec) -> Option<String> {
    let tensors = &family.tensors;
    let (base, _) = tensors.embedding.split_once('.')?;
    // The first versions of this name may come from [`plain`], which knows no family.
    let bare = name.strip_prefix("model.").filter(|_| base != "model").unwrap_or(name);
    let encoder = family.encoder.as_ref();
    let modules = [
        Some(tensors.embedding),
        Some(tensors.final_norm),
        Some(tensors.layers),
        family.positions.as_ref().map(|positions| positions.tensor),
        encoder.map(|encoder| encoder.embedding_norm),
        encoder.and_then(|encoder| encoder.segments),
        encoder.and_then(|encoder| encoder.relative.as_ref()).map(|relative| relative.embedding),
        encoder.map(|encoder| encoder.head.dense),
    ];
    let first = |name: &str| name.split('.').next().map(str::to_owned);
    let is_its_own = modules.into_iter().flatten().any(|whole| {
        let part = whole.strip_prefix(base).and_then(|rest| rest.strip_prefix('.'));
        part.is_some_and(|part| first(part) == first(bare))
    });
    is_its_own.then(|| format!("{base}.{bare}"))
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
    use super::super::families;
    use super::{in_whole_model, plain, trained};

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
            ("bert.embeddings.LayerNorm.gamma", "bert.embeddings.LayerNorm.weight"),
            ("bert.encoder.layer.0.output.LayerNorm.beta", "bert.encoder.layer.0.output.LayerNorm.bias"),
        ] {
            assert_eq!(plain(name), expected);
        }
    }

    #[test]
    fn a_module_that_peft_trained_replaces_the_original() {
        for (name, expected) in [
            ("score.modules_to_save.default.weight", Some("score.weight")),
            ("v_head.modules_to_save.default.summary.bias", Some("v_head.summary.bias")),
            ("score.original_module.weight", None),
            ("score.weight", Some("score.weight")),
        ] {
            assert_eq!(trained(name).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn modules_of_a_base_model_get_its_name_in_the_whole_model() {
        for (family, name, expected) in [
            ("gpt2", "wte.weight", Some("transformer.wte.weight")),
            ("gpt2", "h.0.attn.c_attn.bias", Some("transformer.h.0.attn.c_attn.bias")),
            ("gpt2", "score.weight", None),
            ("gpt2", "transformer.wte.weight", None),
            (
                "gpt_neox",
                "model.layers.0.attention.dense.weight",
                Some("gpt_neox.layers.0.attention.dense.weight"),
            ),
            ("gpt_neox", "embed_out.weight", None),
            ("bert", "pooler.dense.weight", Some("bert.pooler.dense.weight")),
            ("bert", "classifier.weight", None),
            ("deberta_v2", "encoder.rel_embeddings.weight", Some("deberta.encoder.rel_embeddings.weight")),
            ("deberta_v2", "pooler.dense.weight", None),
            ("modernbert", "embeddings.norm.weight", Some("model.embeddings.norm.weight")),
            ("modernbert", "head.dense.weight", None),
            ("llama", "embed_tokens.weight", Some("model.embed_tokens.weight")),
        ] {
            let family = families::named(family).unwrap();
            assert_eq!(in_whole_model(name, family).as_deref(), expected, "{name}");
        }
    }
}
