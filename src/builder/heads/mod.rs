//! The heads of reward models: one file per kind, and the list of them.
//!
//! To add a kind, write a file with a [`HeadKind`] and add that to the list below.

mod classifier;
mod from_file;
mod gated_mixture;
mod labels;
mod process_reward;
mod two_layers;
mod value_head;
pub(super) mod vocabulary_rows;

use std::path::PathBuf;

use super::BuildError;
use super::adapter::Task as Adapted;
use super::checkpoint::Checkpoint;
use super::config::Config;
use super::families::{self, Architecture};
use super::json::Object;
use crate::manifest::score_options::ScoreOptions;
use crate::manifest::{self, Pooling};
use crate::prompt::Encoder;
pub(super) use gated_mixture::GatedMixture;

/// A kind of head and how to recognise it.
struct HeadKind {
    /// The architectures that may have it, as an error lists them.
    architectures: &'static [&'static str],
    /// Whether an architecture may have it.
    fits: fn(&Architecture) -> bool,
    /// Reads it; `None` if the tensors are those of another kind.
    read: fn(&Config, &Checkpoint) -> Result<Option<Head>, BuildError>,
}

/// Every kind; the first that a checkpoint has counts.
const KINDS: [HeadKind; 6] = [
    classifier::KIND,
    value_head::KIND,
    two_layers::KIND,
    process_reward::KIND,
    gated_mixture::KIND,
    vocabulary_rows::KIND,
];

/// The only score of a head that does not name it.
const ONE_SCORE: &str = "reward";

/// A checkpoint's head.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Head {
    /// Names of the scores.
    pub(super) attributes: Vec<String>,
    /// The tensor of its last matrix.
    pub(super) matrix: String,
    /// Rows of that matrix.
    pub(super) outputs: usize,
    /// Rows that are scores, in the order of the attributes.
    pub(super) rows: Vec<usize>,
    /// A row that is subtracted from each of them.
    pub(super) subtract: Option<usize>,
    /// The tensor of its bias.
    pub(super) bias: Option<String>,
    /// Weight and bias of a layer before it, as wide as the model, that is followed by a ReLU.
    pub(super) hidden: Option<[String; 2]>,
    /// Token ids that follow every conversation.
    pub(super) suffix: Vec<u32>,
    /// Whether the start of a response follows the conversation.
    pub(super) generation_prompt: bool,
    /// The token at which it is read, wherever that occurs; `None` if it is read at the last token.
    pub(super) step_token: Option<&'static str>,
    /// A second head, whose outputs mix the scores.
    pub(super) mixture: Option<GatedMixture>,
    /// What is done to the scores.
    pub(super) score: ScoreOptions,
}

impl Head {
    /// The first rows of a matrix of `outputs` rows, one for each attribute.
    fn new(matrix: &str, outputs: usize, attributes: Vec<String>) -> Self {
        Self {
            matrix: matrix.to_owned(),
            outputs,
            rows: (0..attributes.len()).collect(),
            attributes,
            subtract: None,
            bias: None,
            hidden: None,
            suffix: vec![],
            generation_prompt: false,
            step_token: None,
            mixture: None,
            score: ScoreOptions::default(),
        }
    }

    /// A matrix of one row.
    fn one_row(matrix: &str) -> Self {
        Self::new(matrix, 1, vec![ONE_SCORE.to_owned()])
    }

    /// Adds a bias if the checkpoint has this tensor.
    fn with_bias(mut self, tensor: &str, checkpoint: &Checkpoint) -> Self {
        self.bias = checkpoint.has(tensor).then(|| tensor.to_owned());
        self
    }

    /// One line about what was recognised.
    pub(super) fn describe(&self, config: &Config) -> String {
        let rows = match self.subtract {
            Some(subtracted) => format!("rows {:?} minus row {subtracted}", self.rows),
            None if self.rows.len() == self.outputs => "all rows".to_owned(),
            None => format!("rows {:?} of {}", self.rows, self.outputs),
        };
        let layers = if self.hidden.is_some() { "two layers with ReLU, " } else { "" };
        let bias = if self.bias.is_some() { " with bias" } else { "" };
        let place = match (self.step_token, &self.mixture) {
            (Some(token), _) => format!("at every {token}"),
            (None, Some(_)) => "at the last token, mixed by a network read where the prompt ends".to_owned(),
            (None, None) => "at the last token".to_owned(),
        };
        format!(
            "recognised {} ({}): {layers}{rows} of {}{bias}, read {place}",
            config.model.architecture, config.architecture.family.title, self.matrix
        )
    }

    /// The head as the manifest describes it, once its tensors were found.
    ///
    /// # Errors
    /// The tokenizer lacks a token that the head is read at, or a number is not finite.
    pub(super) fn manifest(
        self,
        config: &Config,
        checkpoint: &Checkpoint,
        encoder: &Encoder,
    ) -> Result<manifest::Head, BuildError> {
        let pooling = match self.step_token {
            Some(token) => {
                Pooling::EachStep { token: token.to_owned(), id: token_id(config, encoder, token)? }
            }
            None => Pooling::LastToken,
        };
        let gating = self.mixture.map(|mixture| mixture.manifest(config, checkpoint, encoder)).transpose()?;
        let all_rows = self.rows.iter().copied().eq(0..self.outputs);
        Ok(manifest::Head {
            attributes: self.attributes,
            pooling,
            bias: self.bias.is_some(),
            hidden: self.hidden.map(|_| config.model.hidden_size),
            rows: if all_rows { vec![] } else { self.rows },
            gating,
            score: self.score,
            softcap: None,
        })
    }
}

/// The id of a control token that the head needs.
fn token_id(config: &Config, encoder: &Encoder, token: &str) -> Result<u32, BuildError> {
    encoder.token_id(token).ok_or_else(|| {
        let reason = format!(
            "{} is read at the token {token}, which the tokenizer does not have; the tokenizer is that of another \
             checkpoint",
            config.model.architecture
        );
        config.object.error("architectures", &reason)
    })
}

/// Reads `architectures` from `config.json`.
///
/// # Errors
/// No family or no kind of head is known for it.
pub(super) fn architecture(config: &Object, adapted: Adapted) -> Result<Architecture, BuildError> {
    let names: Vec<String> = config.required("architectures")?;
    if let [name] = &names[..]
        && let Some(architecture) = Architecture::recognise(config, &adapted.architecture(name))?
        && KINDS.iter().any(|kind| (kind.fits)(&architecture))
    {
        return Ok(architecture);
    }
    let mut known: Vec<&str> = Vec::new();
    for name in KINDS.iter().flat_map(|kind| kind.architectures) {
        if !known.contains(name) {
            known.push(name);
        }
    }
    let names = names.join(", ");
    let kind = families::unsupported_kind(config, &names).unwrap_or("cannot be built");
    let reason = format!(
        "{names} {kind}; known are {}, where ... is one of {}",
        known.join(", "),
        families::architectures()
    );
    Err(config.error("architectures", &reason))
}

/// Finds the head of a checkpoint, or takes it from the file that `--head` names.
///
/// # Errors
/// The checkpoint does not say which logits are scores, or has a head that is not supported; or the file is
/// malformed.
pub(super) fn recognise(
    config: &Config,
    checkpoint: &Checkpoint,
    file: Option<&PathBuf>,
) -> Result<Head, BuildError> {
    let found = find(config, checkpoint);
    let Some(path) = file else { return found };
    let head = match found {
        // The file chooses the rows.
        Err(_) if config.architecture.class == "ForCausalLM" => vocabulary_rows::lm_head(config, checkpoint)?,
        found => found?,
    };
    if head.step_token.is_some() || head.mixture.is_some() {
        return Err(BuildError::Option(format!(
            "--head {}: {} defines its scores itself; leave --head out",
            path.display(),
            config.model.architecture
        )));
    }
    from_file::read(path, head)
}

fn find(config: &Config, checkpoint: &Checkpoint) -> Result<Head, BuildError> {
    for kind in KINDS.iter().filter(|kind| (kind.fits)(&config.architecture)) {
        if let Some(head) = (kind.read)(config, checkpoint)? {
            return Ok(head);
        }
    }
    Err(config.object.error("architectures", "no head was found among the tensors of the checkpoint"))
}
