//! Fields whose values change nothing: clients send their defaults, and a default must not be refused.
//!
//! One table serves all routes. A route takes the fields that it acts on first; of the others, those in the table
//! may have a value that changes nothing, and any other value is refused with the sentence in the table.

use serde_json::Value;

use self::Neutral::{Any, Empty, False, NoLimit, One, Words, Zero};
use super::error::ApiError;
use super::fields::{Field, Fields};

/// The values of a field that change nothing.
#[derive(Clone, Copy)]
enum Neutral {
    /// Every one.
    Any,
    /// False.
    False,
    /// 0.
    Zero,
    /// 1.
    One,
    /// -1.
    NoLimit,
    /// An empty list, object or text.
    Empty,
    /// One of these words.
    Words(&'static [&'static str]),
}

const PLAIN: &str = "responses are plain text; leave it out";
const SAMPLED: &str = "text is sampled token by token; leave it out";
const ONE_ANSWER: &str = "a request of this format has one result; leave it out or send 1";
const NO_TEXT: &str = "no text is generated here; leave it out";
const RAW: &str = "this route gives the model's own scores; leave it out, or send the text to /classify";
const NO_MEDIA: &str = "only text is read; leave it out";
const NO_TOOLS: &str = "no tools are called here; leave it out";
const TEMPLATE: &str = "no chat template is applied to this request; leave it out";
const NOT_RETURNED: &str = "the response has no place for it; leave it out";

/// Name, neutral values, and what is said about any other value.
const FIELDS: &[(&str, Neutral, &str)] = &[
    // Notes to a hosted service.
    ("user", Any, ""),
    ("store", Any, ""),
    ("metadata", Any, ""),
    ("service_tier", Any, ""),
    ("safety_identifier", Any, ""),
    ("prompt_cache_key", Any, ""),
    ("prompt_cache_retention", Any, ""),
    ("prediction", Any, ""),
    // Names that clients give to requests.
    ("request_id", Any, ""),
    ("rid", Any, ""),
    ("session_id", Any, ""),
    // Tools and formats.
    ("tools", Empty, NO_TOOLS),
    ("functions", Empty, NO_TOOLS),
    ("tool_choice", Words(&["none", "auto"]), NO_TOOLS),
    ("function_call", Words(&["none", "auto"]), NO_TOOLS),
    ("parallel_tool_calls", Any, ""),
    ("verbosity", Words(&["medium"]), PLAIN),
    ("audio", Empty, NO_MEDIA),
    ("image_data", Empty, NO_MEDIA),
    ("media_io_kwargs", Any, ""),
    ("mm_processor_kwargs", Any, ""),
    // The prompt.
    ("add_generation_prompt", False, "the engine knows what follows a conversation; leave it out"),
    ("continue_final_message", False, "conversations are closed by the chat template; leave it out"),
    ("add_special_tokens", Any, ""),
    ("do_preprocess", Any, ""),
    ("chat_template", Empty, "the engine has its own, so that a conversation has one score; leave it out"),
    ("documents", Empty, TEMPLATE),
    ("chat_template_kwargs", Empty, TEMPLATE),
    (
        "padding",
        Words(&["do_not_pad", "false", "longest", "max_length", "true"]),
        "texts are computed without padding; leave it out",
    ),
    ("suffix", Empty, "texts are only continued; leave it out"),
    ("echo", False, "the response does not repeat the prompt; leave it out"),
    ("cache_salt", Empty, "all requests share one cache of prompts; leave it out"),
    // Sampling and search.
    ("n", One, ONE_ANSWER),
    ("best_of", One, ONE_ANSWER),
    ("seed", Any, ""),
    ("sampling_params", Any, ""),
    ("stop", Empty, NO_TEXT),
    ("stop_token_ids", Empty, NO_TEXT),
    ("logit_bias", Empty, NO_TEXT),
    ("allowed_token_ids", Empty, "tokens are excluded by `logit_bias`; leave it out"),
    ("use_beam_search", False, SAMPLED),
    ("length_penalty", Any, ""),
    ("early_stopping", Any, ""),
    ("watermarking", False, SAMPLED),
    ("bad_words", Empty, "tokens are excluded by `logit_bias`; leave it out"),
    ("repetition_ngram_size", Zero, SAMPLED),
    ("repetition_ngram_threshold", Zero, SAMPLED),
    ("vllm_xargs", Empty, SAMPLED),
    ("kwargs", Empty, "this server has no further fields; leave it out"),
    // How text is written.
    ("spaces_between_special_tokens", Any, ""),
    ("include_stop_str_in_output", False, "a stop string is not part of the text; leave it out"),
    ("no_stop_trim", False, "a stop string is not part of the text; leave it out"),
    ("include_reasoning", Any, ""),
    (
        "thinking_token_budget",
        NoLimit,
        "reasoning tokens are not limited separately; leave it out, or send -1",
    ),
    ("separate_reasoning", Any, ""),
    ("stream_reasoning", Any, ""),
    ("stream_interval", Any, ""),
    ("stream", False, "the response comes as a whole; leave it out"),
    ("stream_options", Empty, "the response comes as a whole; leave it out"),
    ("extra_body", Empty, "its fields belong to the request itself"),
    // Further parts of a response.
    ("logprobs", False, NOT_RETURNED),
    ("top_logprobs", Zero, NOT_RETURNED),
    ("use_activation", False, RAW),
    ("activation", False, RAW),
    ("softmax", False, RAW),
    ("return_token_ids", False, NOT_RETURNED),
    ("return_tokens_as_token_ids", False, NOT_RETURNED),
    ("return_prompt_text", False, NOT_RETURNED),
    ("return_token_offsets", False, NOT_RETURNED),
    ("return_logprob", False, "send `logprobs` instead"),
    ("return_hidden_states", False, NOT_RETURNED),
    ("return_pooled_hidden_states", False, "the response has scores only; leave it out"),
    ("return_routed_experts", False, NOT_RETURNED),
    ("return_cached_tokens_details", False, NOT_RETURNED),
    ("return_mm_kwargs", Any, ""),
    ("routed_experts_prompt_start", Any, ""),
];

impl Fields {
    /// Takes out the fields that change nothing.
    ///
    /// # Errors
    /// One of them asks for something else.
    pub(super) fn take_neutral(&mut self) -> Result<(), ApiError> {
        if self.is_empty() {
            return Ok(());
        }
        for &(name, neutral, reason) in FIELDS {
            let value = self.take::<Value>(name)?;
            if value.is_some_and(|value| !neutral.has(value)) {
                return Err(ApiError::unsupported(self.path(name), reason));
            }
        }
        self.take_format()
    }

    /// Takes out the two fields that may ask for text by name.
    fn take_format(&mut self) -> Result<(), ApiError> {
        if let Some(format) = self.take::<Value>("response_format")?
            && format.get("type").and_then(Value::as_str) != Some("text")
        {
            return Err(ApiError::unsupported(self.path("response_format"), PLAIN));
        }
        if let Some(list) = self.take::<Vec<Value>>("modalities")?
            && list.iter().any(|modality| modality != "text")
        {
            return Err(ApiError::unsupported(self.path("modalities"), PLAIN));
        }
        Ok(())
    }
}

impl Neutral {
    /// Whether `value` changes nothing.
    fn has(self, value: Value) -> bool {
        match self {
            Any => true,
            False => bool::from_value(value) == Ok(false),
            Zero => f64::from_value(value) == Ok(0.0),
            One => f64::from_value(value) == Ok(1.0),
            NoLimit => f64::from_value(value) == Ok(-1.0),
            Words(words) => match &value {
                Value::String(word) => words.contains(&word.as_str()),
                Value::Bool(flag) => words.contains(&if *flag { "true" } else { "false" }),
                _ => false,
            },
            Empty => match &value {
                Value::Array(list) => list.is_empty(),
                Value::Object(map) => map.is_empty(),
                Value::String(text) => text.is_empty(),
                _ => false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `docs/api.md` calls the values.
    fn label(neutral: Neutral) -> String {
        match neutral {
            Any => "any value".to_owned(),
            False => "`false`".to_owned(),
            Zero => "0".to_owned(),
            One => "1".to_owned(),
            NoLimit => "-1".to_owned(),
            Empty => "an empty list, object or text".to_owned(),
            Words(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        }
    }

    #[test]
    fn the_page_lists_every_field_that_changes_nothing() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/api.md");
        let page = std::fs::read_to_string(page).unwrap();
        let mut lines: Vec<(String, Vec<String>)> = Vec::new();
        for &(name, neutral, _) in FIELDS {
            let (label, name) = (label(neutral), format!("`{name}`"));
            match lines.iter_mut().find(|(listed, _)| *listed == label) {
                Some((_, names)) => names.push(name),
                None => lines.push((label, vec![name])),
            }
        }
        for (label, names) in lines {
            let line = format!("\n- {label}: {}\n", names.join(", "));
            assert!(page.contains(&line), "docs/api.md lacks this line:{line}");
        }
    }
}
