//! Which class of transformers loads a checkpoint's tokenizer, by `tokenizer_class` and `model_type`, as in
//! `AutoTokenizer` of its version 5.23.

use super::class::TokenizerClass;
use super::settings::Settings;

/// Classes that assemble a tokenizer of their own, too, but not here.
const NOT_ASSEMBLED: &[&str] = &[
    "AlbertTokenizer",
    "BarthezTokenizer",
    "BigBirdTokenizer",
    "BlenderbotTokenizer",
    "CLIPTokenizer",
    "CamembertTokenizer",
    "CodeLlamaTokenizer",
    "ConvBertTokenizer",
    "CpmTokenizer",
    "DebertaTokenizer",
    "EsmcTokenizer",
    "FNetTokenizer",
    "FunnelTokenizer",
    "HerbertTokenizer",
    "LayoutLMv2Tokenizer",
    "LayoutLMv3Tokenizer",
    "LayoutXLMTokenizer",
    "LukeTokenizer",
    "MBart50Tokenizer",
    "MBartTokenizer",
    "MLukeTokenizer",
    "MPNetTokenizer",
    "MarkupLMTokenizer",
    "NllbTokenizer",
    "NougatTokenizer",
    "OpenAIGPTTokenizer",
    "PegasusTokenizer",
    "Qwen3_5Tokenizer",
    "ReformerTokenizer",
    "RemBertTokenizer",
    "RoFormerTokenizer",
    "SeamlessM4TTokenizer",
    "Siglip2Tokenizer",
    "SplinterTokenizer",
    "T5Tokenizer",
    "Tipsv2Tokenizer",
    "UdopTokenizer",
    "VideoPrismTokenizer",
    "WhisperTokenizer",
    "XGLMTokenizer",
    "XLNetTokenizer",
];

/// The class that loads a checkpoint's tokenizer.
pub(super) struct Choice {
    pub(super) class: TokenizerClass,
    /// The class that the checkpoint names, if that would assemble a tokenizer in a way that is not known here.
    not_assembled: Option<String>,
}

impl Choice {
    /// Chooses the class for a checkpoint of `model_type`. `is_byte_level` says whether its `tokenizer.json`
    /// spells bytes in GPT-2's alphabet.
    pub(super) fn new(settings: &Settings, model_type: Option<&str>, is_byte_level: bool) -> Self {
        let registered = model_type.and_then(Registered::find);
        let name = settings.class.as_deref().map(|name| name.strip_suffix("Fast").unwrap_or(name));
        let Some(name) = name else {
            let class = registered.map_or(TokenizerClass::File, |registered| registered.class);
            return Self { class, not_assembled: None };
        };
        let named = named(name);
        let class = match registered {
            // Many checkpoints with byte-level tokenizers name Llama's class, which would misread them.
            _ if name == "LlamaTokenizer" && is_byte_level && model_type != Some("qwen2") => {
                TokenizerClass::File
            }
            Some(Registered { class, overrides: true }) if !settings.has_own_code => class,
            _ => {
                let not_assembled = NOT_ASSEMBLED.contains(&name).then(|| name.to_owned());
                return Self { class: named, not_assembled };
            }
        };
        Self { class, not_assembled: None }
    }

    /// What a build says about a class that is not assembled.
    pub(super) fn note(&self) -> Option<String> {
        let name = self.not_assembled.as_ref()?;
        Some(format!(
            "tokenizer_class {name} normalizes and splits texts in its own way in transformers; tokenizer.json is used \
             as it is, so compare token ids (tools/compare_with_transformers.py)"
        ))
    }
}

/// The class that transformers knows for a `model_type`.
struct Registered {
    class: TokenizerClass,
    /// Whether it overrides a class that the checkpoint names.
    overrides: bool,
}

impl Registered {
    fn find(model_type: &str) -> Option<Self> {
        let (class, overrides) = match model_type {
            "qwen2" => (TokenizerClass::Qwen2, true),
            "qwen3" | "qwen2_moe" | "qwen3_moe" => (TokenizerClass::Qwen2, false),
            "gemma" | "gemma2" | "gemma3" | "gemma3_text" => (TokenizerClass::Gemma, false),
            "gpt2" => (TokenizerClass::Gpt2, false),
            "gpt_neox" | "olmoe" => (TokenizerClass::GptNeoX, false),
            "cohere" | "cohere2" => (TokenizerClass::Cohere, false),
            "deberta-v2" => (TokenizerClass::DebertaV2, false),
            "bert" => (TokenizerClass::Bert, false),
            "roberta" => (TokenizerClass::Roberta, false),
            "xlm-roberta" => (TokenizerClass::XlmRoberta, false),
            "mistral" | "mistral3" | "ministral" | "ministral3" | "mixtral" | "nemotron" | "internlm2"
            | "phi3" | "olmo2" | "olmo3" | "glm" | "glm4" | "granite" | "modernbert" => {
                (TokenizerClass::File, true)
            }
            _ => return None,
        };
        Some(Self { class, overrides })
    }
}

/// The class of this name, and of the names that are aliases of it.
fn named(name: &str) -> TokenizerClass {
    match name {
        "LlamaTokenizer" | "Phi3Tokenizer" => TokenizerClass::Llama,
        "Qwen2Tokenizer" => TokenizerClass::Qwen2,
        "GemmaTokenizer" => TokenizerClass::Gemma,
        "GPT2Tokenizer" | "CodeGenTokenizer" => TokenizerClass::Gpt2,
        "GPTNeoXTokenizer" => TokenizerClass::GptNeoX,
        "CohereTokenizer" => TokenizerClass::Cohere,
        "DebertaV2Tokenizer" => TokenizerClass::DebertaV2,
        "BertTokenizer"
        | "ElectraTokenizer"
        | "LxmertTokenizer"
        | "MobileBertTokenizer"
        | "SqueezeBertTokenizer" => TokenizerClass::Bert,
        "DistilBertTokenizer" => TokenizerClass::DistilBert,
        "RobertaTokenizer" | "BartTokenizer" | "LongformerTokenizer" => TokenizerClass::Roberta,
        "XLMRobertaTokenizer" => TokenizerClass::XlmRoberta,
        _ => TokenizerClass::File,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_of_llamas_class_is_not_replaced_for_byte_level_files() {
        for (name, expected) in
            [("LlamaTokenizerFast", TokenizerClass::File), ("Phi3Tokenizer", TokenizerClass::Llama)]
        {
            let settings = Settings { class: Some(name.to_owned()), ..Settings::default() };
            assert_eq!(Choice::new(&settings, Some("llama"), true).class, expected, "{name}");
            assert_eq!(Choice::new(&settings, Some("llama"), false).class, TokenizerClass::Llama, "{name}");
        }
    }
}
