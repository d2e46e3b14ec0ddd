//! The size of a model, read from a Hugging Face `config.json`: what sets its cost, no more.

use std::path::{Path, PathBuf};

use crate::builder::families;

/// The numbers of a decoder that set its cost.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSize {
    /// Decoder layers.
    pub num_layers: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward network.
    pub intermediate_size: usize,
    /// Whether the feed-forward network has a gate: three matrices, else two.
    pub gated: bool,
    /// Query heads.
    pub num_heads: usize,
    /// Key and value heads.
    pub num_kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Rows of the head: labels of a reward model, else the vocabulary.
    pub head_rows: usize,
    /// Longest sequence.
    pub max_seq_len: usize,
}

/// The model's configuration cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}; --model-config wants the config.json of a Hugging Face checkpoint")]
pub struct SizeError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub reason: String,
}

impl ModelSize {
    /// Reads the numbers from a Hugging Face `config.json`.
    ///
    /// # Errors
    /// Names what is missing or unknown.
    pub fn read(path: &Path) -> Result<Self, SizeError> {
        let failed = |reason: String| SizeError { path: path.to_owned(), reason };
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        let config = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
        Self::from_config(&config).map_err(failed)
    }

    fn from_config(config: &serde_json::Value) -> Result<Self, String> {
        let optional = |name: &str| match config.get(name) {
            None | Some(serde_json::Value::Null) => Ok(None),
            Some(value) => match value.as_u64() {
                Some(number) if number > 0 => Ok(Some(number as usize)),
                _ => Err(format!("{name} is {value}, not a positive integer")),
            },
        };
        let required = |name: &str| optional(name)?.ok_or_else(|| format!("{name} is missing"));
        let family = config.get("model_type").and_then(|value| value.as_str()).unwrap_or_default();
        let Some(gated) = families::is_gated(family) else {
            return Err(format!(
                "model_type {family:?} has no timing; known are {}",
                families::model_types()
            ));
        };
        let (hidden_size, num_heads) = (required("hidden_size")?, required("num_attention_heads")?);
        let vocab_size = required("vocab_size")?;
        Ok(Self {
            num_layers: required("num_hidden_layers")?,
            hidden_size,
            intermediate_size: required("intermediate_size")?,
            gated,
            num_heads,
            num_kv_heads: optional("num_key_value_heads")?.unwrap_or(num_heads),
            head_dim: optional("head_dim")?.unwrap_or(hidden_size / num_heads),
            vocab_size,
            head_rows: labels(config).unwrap_or(vocab_size),
            max_seq_len: optional("max_position_embeddings")?.unwrap_or(4096),
        })
    }

    /// Weights of all layers.
    pub fn layer_weights(&self) -> f64 {
        let heads = (2 * self.num_heads + 2 * self.num_kv_heads) * self.head_dim;
        let matrices = if self.gated { 3 } else { 2 };
        (self.num_layers * self.hidden_size * (heads + matrices * self.intermediate_size)) as f64
    }

    /// Weights of the head.
    pub fn head_weights(&self) -> f64 {
        (self.head_rows * self.hidden_size) as f64
    }

    /// All weights, the embedding included.
    pub fn all_weights(&self) -> f64 {
        self.layer_weights() + self.head_weights() + (self.vocab_size * self.hidden_size) as f64
    }
}

/// Labels of a sequence classification model; none for other architectures.
fn labels(config: &serde_json::Value) -> Option<usize> {
    let architecture = config.get("architectures")?.get(0)?.as_str()?;
    if !architecture.ends_with("ForSequenceClassification") {
        return None;
    }
    let names = config.get("id2label").and_then(|value| value.as_object()).map(serde_json::Map::len);
    Some(names.or(config.get("num_labels").and_then(|n| n.as_u64()).map(|n| n as usize)).unwrap_or(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_from_a_checkpoints_config() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints");
        let size = ModelSize::read(&folder.join("llama3-tiny/config.json")).unwrap();
        assert_eq!((size.num_layers, size.hidden_size, size.num_kv_heads, size.head_dim), (3, 64, 2, 16));
        assert_eq!((size.head_rows, size.max_seq_len), (5, 1024));
    }

    #[test]
    fn a_config_that_cannot_be_timed_is_refused_with_the_reason() {
        let refuse = |text| ModelSize::from_config(&serde_json::from_str(text).unwrap()).unwrap_err();
        assert!(refuse(r#"{"model_type":"mamba"}"#).contains("\"mamba\""));
        assert_eq!(refuse(r#"{"model_type":"llama"}"#), "hidden_size is missing");
        let negative = r#"{"model_type":"llama","hidden_size":-1}"#;
        assert_eq!(refuse(negative), "hidden_size is -1, not a positive integer");
    }
}
