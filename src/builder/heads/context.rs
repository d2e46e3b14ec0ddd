//! What a head is read from, and the sentences for checkpoints whose head cannot be.

use super::from_file::HeadFile;
use super::labels;
use super::network::{Layer, beside_decoder};
use crate::builder::BuildError;
use crate::builder::checkpoint::Checkpoint;
use crate::builder::config::Config;
use crate::prompt::{Encoder, PromptError};

/// What a head is read from.
pub(super) struct Context<'a> {
    pub(super) config: &'a Config,
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) encoder: &'a Encoder,
    pub(super) file: Option<&'a HeadFile>,
}

/// Why a text does not name a token.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenError {
    #[error("{0:?} is not a token of the model")]
    Unknown(String),
    #[error(transparent)]
    Encoding(#[from] PromptError),
}

impl Context<'_> {
    /// Names of the scores of a head with this many rows. Names in the file of `--head` take precedence over
    /// the labels of `config.json`, which then need not be usable.
    pub(super) fn labels(&self, rows: usize) -> Result<Vec<String>, BuildError> {
        if self.file.is_some_and(HeadFile::names_scores) {
            return Ok(labels::made_up(rows));
        }
        labels::names(&self.config.object, rows, self.config.model.hidden_size)
    }

    /// The id of a token by its text: an added token, or the last token of the text. Tokenizers with a token for the
    /// space before a word give that of the word.
    pub(super) fn token(&self, text: &str) -> Result<usize, TokenError> {
        if let Some(id) = self.encoder.token_id(text) {
            return Ok(id as usize);
        }
        let ids = self.encoder.encode_text(text)?;
        let id = ids.last().map_or(usize::MAX, |&id| id as usize);
        if id < self.config.model.vocab_size { Ok(id) } else { Err(TokenError::Unknown(text.to_owned())) }
    }

    /// The ids of several tokens.
    pub(super) fn tokens<const N: usize>(&self, texts: [&str; N]) -> Result<[usize; N], BuildError> {
        let mut ids = [0; N];
        for (id, text) in ids.iter_mut().zip(texts) {
            let token = self.token(text);
            *id = token.map_err(|error| self.config.object.error("architectures", &error.to_string()))?;
        }
        Ok(ids)
    }

    /// The error for a head of several layers in a class that does not say what is between them.
    pub(super) fn unknown_activation(&self, name: &str, layers: &[Layer]) -> BuildError {
        let listed: Vec<String> = layers
            .iter()
            .map(|layer| match &layer.bias {
                Some(bias) => format!("{{matrix: {}, bias: {bias}}}", layer.matrix),
                None => format!("{{matrix: {}}}", layer.matrix),
            })
            .collect();
        let reason = format!(
            "the head {name} has {} layers, and {} does not say what is between them; say it with --head FILE, where \
             FILE has `layers: [{}]`, each layer but the last with its `activation` (relu by default)",
            layers.len(),
            self.config.architecture.name,
            listed.join(", ")
        );
        self.config.object.error("architectures", &reason)
    }

    /// The error for weights of a language model with the configuration of a classifier.
    pub(super) fn never_saved(&self) -> BuildError {
        let family = self.config.architecture.family.architecture;
        let reason = format!(
            "{} has the head score.weight, which is missing, and the checkpoint has lm_head.weight: these are the weights \
             of a language model, and the classifier's head was never saved with them; save it, or set architectures \
             to [\"{family}ForCausalLM\"] to use the language model",
            self.config.architecture.name
        );
        self.config.object.error("architectures", &reason)
    }

    /// The error for a classifier's head under a language model's configuration.
    pub(super) fn another_class(&self, name: &str, rows: usize) -> BuildError {
        let family = self.config.architecture.family.architecture;
        let reason = format!(
            "it is {}, and the checkpoint has the head {name}.weight with {rows} rows; set architectures to \
             [\"{family}ForSequenceClassification\"] if texts are classified, or [\"{family}ForTokenClassification\"] \
             if steps are",
            self.config.architecture.name
        );
        self.config.object.error("architectures", &reason)
    }

    /// The error for a head that has no known name, or for several.
    pub(super) fn which_head(&self) -> BuildError {
        let beside = beside_decoder(self.checkpoint);
        let class = &self.config.architecture.name;
        let reason = if beside.is_empty() {
            format!(
                "{class} is a reward model, and the checkpoint has no tensors beside the decoder: its head was never saved, \
                 or is in another file"
            )
        } else {
            format!(
                "nothing says which of these tensors is the head of {class}: {}; say it with --head FILE, where FILE has \
                 `matrix: NAME` and, if there is one, `bias: NAME`",
                beside.join(", ")
            )
        };
        self.config.object.error("architectures", &reason)
    }
}
