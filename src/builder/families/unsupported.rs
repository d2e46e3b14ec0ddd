//! Names the kind of an architecture that cannot be built, for the error about it.

use crate::builder::json::Object;

const ENCODERS: [&str; 8] =
    ["Albert", "Camembert", "DebertaFor", "DistilBert", "Electra", "Ernie", "MPNet", "XLNet"];
const STATE_SPACES: [&str; 13] = [
    "Bamba",
    "FalconH1",
    "FalconMamba",
    "GraniteMoeHybrid",
    "Jamba",
    "KimiLinear",
    "Mamba",
    "NemotronH",
    "Qwen3Next",
    "Qwen3_5",
    "RecurrentGemma",
    "Rwkv",
    "Zamba",
];
const ENCODER_DECODERS: [&str; 8] = ["Bart", "MBart", "MT5", "Pegasus", "Switch", "T5", "UMT5", "Whisper"];

/// Names of the fields that give the number of experts.
const EXPERT_COUNTS: [&str; 4] = ["num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"];
/// Names of the sections that describe parts for other media.
const OTHER_MEDIA: [&str; 4] = ["vision_config", "audio_config", "visual", "speech_config"];

/// The kind, as the end of a sentence that starts with the architecture; `None` if nothing is known.
pub(crate) fn kind(config: &Object, architecture: &str) -> Option<&'static str> {
    let named = |names: &[&str]| names.iter().any(|name| architecture.starts_with(name));
    // Some of these take images, too.
    if named(&STATE_SPACES) || config.has("linear_num_key_heads") || config.has("ssm_cfg") {
        Some(
            "has layers with a recurrent state instead of attention (a hybrid with linear attention, or a state-space \
             model), which cannot be built",
        )
    } else if OTHER_MEDIA.iter().any(|section| config.has(section)) || architecture.contains("VL") {
        Some("takes images or sound besides text, and of such models only Gemma 3 and Mistral 3 can be built")
    } else if named(&ENCODER_DECODERS) || matches!(config.optional("is_encoder_decoder"), Ok(Some(true))) {
        Some("has an encoder beside its decoder, and only plain decoders can be built")
    } else if named(&ENCODERS) {
        Some("is an encoder of a family that cannot be built")
    } else if architecture.ends_with("ForTokenClassification") {
        Some(
            "classifies each token, and only heads that are read at one token, or at those of steps, can be built",
        )
    } else if EXPERT_COUNTS.iter().any(|field| config.has(field)) || architecture.contains("Moe") {
        Some("is a mixture of experts of a family that cannot be built")
    } else {
        None
    }
}
