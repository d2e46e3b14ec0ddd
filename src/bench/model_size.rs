//! The size of a model, read from a Hugging Face `config.json`: the numbers that determine its cost.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::builder::families;
use crate::manifest::read_plain_text;

/// Bytes of the largest config.json that is read.
const LARGEST_CONFIG: u64 = 16 << 20;

/// The numbers of a decoder that determine its cost.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ModelSize {
    pub(super) num_layers: usize,
    /// Width of the residual stream.
    pub(super) hidden_size: usize,
    /// Width of the feed-forward network.
    pub(super) intermediate_size: usize,
    /// Whether the feed-forward network has a gate: three matrices instead of two.
    pub(super) gated: bool,
    /// Number of query heads.
    pub(super) num_heads: usize,
    /// Number of key and value heads.
    pub(super) num_kv_heads: usize,
    /// Width of one head.
    pub(super) head_dim: usize,
    /// Rows of the embedding.
    pub(super) vocab_size: usize,
    /// Rows of the output head: labels of a reward model, or else the vocabulary.
    pub(super) head_rows: usize,
    /// Length of the longest sequence in tokens.
    pub(super) max_seq_len: usize,
}

/// Why a model's configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}; --model-config must be the config.json of a Hugging Face checkpoint")]
pub struct ModelSizeError {
    path: PathBuf,
    source: ModelConfigError,
}

#[derive(Debug, thiserror::Error)]
enum ModelConfigError {
    #[error("cannot read it: {0}")]
    Io(#[from] std::io::Error),
    #[error("it is not JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{name} is {value}, not a positive integer")]
    NotPositive { name: &'static str, value: Value },
    #[error("there is no timing for model_type {family:?}; supported are {}", families::dense_model_types())]
    UnknownFamily { family: String },
}

impl ModelSize {
    /// Reads a Hugging Face `config.json`.
    ///
    /// # Errors
    /// A number is missing or invalid, or the family is not supported.
    pub(super) fn read(path: &Path) -> Result<Self, ModelSizeError> {
        Self::try_read(path).map_err(|source| ModelSizeError { path: path.to_owned(), source })
    }

    fn try_read(path: &Path) -> Result<Self, ModelConfigError> {
        Self::from_config(&serde_json::from_str(&read_plain_text(path, LARGEST_CONFIG)?)?)
    }

    fn from_config(config: &Value) -> Result<Self, ModelConfigError> {
        let family = config.get("model_type").and_then(Value::as_str).unwrap_or_default();
        let Some(gated) = families::is_gated(family) else {
            return Err(ModelConfigError::UnknownFamily { family: family.to_owned() });
        };
        let hidden_size = required(config, "hidden_size")?;
        let num_heads = required(config, "num_attention_heads")?;
        let vocab_size = required(config, "vocab_size")?;
        Ok(Self {
            num_layers: required(config, "num_hidden_layers")?,
            hidden_size,
            intermediate_size: required(config, "intermediate_size")?,
            gated,
            num_heads,
            num_kv_heads: optional(config, "num_key_value_heads")?.unwrap_or(num_heads),
            head_dim: optional(config, "head_dim")?.unwrap_or(hidden_size / num_heads),
            vocab_size,
            head_rows: labels(config).unwrap_or(vocab_size),
            max_seq_len: optional(config, "max_position_embeddings")?.unwrap_or(4096),
        })
    }

    /// Number of weights in all layers.
    pub(super) fn layer_weights(&self) -> f64 {
        let heads = (2 * self.num_heads + 2 * self.num_kv_heads) * self.head_dim;
        let matrices = if self.gated { 3 } else { 2 };
        (self.num_layers * self.hidden_size * (heads + matrices * self.intermediate_size)) as f64
    }

    /// Number of weights in the output head.
    pub(super) fn head_weights(&self) -> f64 {
        (self.head_rows * self.hidden_size) as f64
    }

    /// Number of all weights, including the embedding.
    pub(super) fn all_weights(&self) -> f64 {
        self.layer_weights() + self.head_weights() + (self.vocab_size * self.hidden_size) as f64
    }
}

fn optional(config: &Value, name: &'static str) -> Result<Option<usize>, ModelConfigError> {
    match config.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64() {
            Some(number) if number > 0 => Ok(Some(number as usize)),
            _ => Err(ModelConfigError::NotPositive { name, value: value.clone() }),
        },
    }
}

fn required(config: &Value, name: &'static str) -> Result<usize, ModelConfigError> {
    optional(config, name)?.ok_or(ModelConfigError::Missing(name))
}

/// Number of labels of a sequence classification model; `None` for other architectures.
fn labels(config: &Value) -> Option<usize> {
    let architecture = config.get("architectures")?.get(0)?.as_str()?;
    if !architecture.ends_with("ForSequenceClassification") {
        return None;
    }
    let names = config.get("id2label").and_then(Value::as_object).map(serde_json::Map::len);
    Some(names.or(config.get("num_labels").and_then(Value::as_u64).map(|n| n as usize)).unwrap_or(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_from_a_checkpoints_config() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints");
        let size = ModelSize::read(&folder.join("llama3-tiny/config.json")).unwrap();
        assert_eq!((size.num_layers, size.hidden_size, size.num_kv_heads, size.head_dim), (3, 64, 2, 16));
        assert_eq!((size.head_rows, size.max_seq_len), (5, 1024));
    }

    #[test]
    fn an_unusable_config_is_refused_with_the_reason() {
        let refuse =
            |text| ModelSize::from_config(&serde_json::from_str(text).unwrap()).unwrap_err().to_string();
        assert!(refuse(r#"{"model_type":"mamba"}"#).contains("\"mamba\""));
        assert_eq!(refuse(r#"{"model_type":"llama"}"#), "hidden_size is missing");
        let negative = r#"{"model_type":"llama","hidden_size":-1}"#;
        assert_eq!(refuse(negative), "hidden_size is -1, not a positive integer");
    }
}
