//! The heads of reward models: one file per kind, and the list of them.
//!
//! To add a kind, write a file with a [`HeadKind`] and add that to the list below.

mod classifier;
mod context;
mod encoder;
mod from_file;
mod gated_mixture;
mod judge;
pub(super) mod judged_tokens;
mod labels;
mod network;
mod normalisation;
mod padding;
mod process_reward;
pub(super) mod quantiles;
mod steps;
mod two_layers;
mod value_head;
pub(super) mod vocabulary_rows;
mod weighted_objectives;

use std::path::PathBuf;

use super::BuildError;
use super::adapter::AdapterTask;
use super::checkpoint::Checkpoint;
use super::config::Config;
use super::families::{self, Architecture};
use super::json::Object;
use crate::manifest::score_options::ScoreOptions;
use crate::manifest::{self, HeadActivation, HiddenLayer, Judge, Pooling, SeparateSteps, StepValue};
use crate::prompt::Encoder;
use context::Context;
use from_file::HeadFile;
pub(super) use gated_mixture::{GatedMixture, Shares};
pub(super) use network::Layer;

/// A kind of head and how to recognise it.
struct HeadKind {
    /// The architectures that may have it, as an error lists them.
    architectures: &'static [&'static str],
    /// Whether an architecture may have it.
    fits: fn(&Architecture) -> bool,
    /// Reads it; `None` if the tensors are those of another kind.
    read: fn(&Context<'_>) -> Result<Option<CheckpointHead>, BuildError>,
}

/// Every kind; a checkpoint's head is of the first that recognises it.
const KINDS: [HeadKind; 9] = [
    encoder::KIND,
    judged_tokens::KIND,
    weighted_objectives::KIND,
    classifier::KIND,
    process_reward::KIND,
    two_layers::KIND,
    value_head::KIND,
    gated_mixture::KIND,
    vocabulary_rows::KIND,
];

/// The only score of a head that does not name it.
const ONE_SCORE: &str = "reward";

/// A checkpoint's head.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CheckpointHead {
    /// Names of the scores.
    pub(super) attributes: Vec<String>,
    /// Its layers, at least one; the rows of the last are scores.
    pub(super) layers: Vec<Layer>,
    /// Rows of the last matrix.
    pub(super) outputs: usize,
    /// Rows that are scores, in the order of the attributes; or classes of a step.
    pub(super) rows: Vec<usize>,
    /// A row that is subtracted from each of them.
    pub(super) subtract: Option<usize>,
    /// Token ids that follow every conversation.
    pub(super) suffix: Vec<u32>,
    /// Whether the start of a response follows the conversation.
    pub(super) generation_prompt: bool,
    /// Where the steps that it scores end; `None` if it is read at the last token.
    pub(super) steps: Option<Steps>,
    /// The padding token, if the head is read at the last token that is not padding.
    pub(super) pad: Option<u32>,
    /// Whether the head of an encoder is read over the mean of all tokens, and not at the first.
    pub(super) mean: bool,
    /// A power of two that the scores are multiplied by.
    pub(super) scale: f32,
    /// What the model is asked, if it judges; the rows are then the tokens of its answers.
    pub(super) judge: Option<Judge>,
    /// A second head, whose outputs mix the scores.
    pub(super) mixture: Option<GatedMixture>,
    /// What is done to the scores.
    pub(super) score: ScoreOptions,
    /// A chat template that the model needs instead of the checkpoint's own.
    pub(super) template: Option<&'static str>,
    /// What a template of the checkpoint has if it is such a template itself.
    pub(super) template_mark: &'static str,
    /// What the user should know about how it was recognised.
    pub(super) notes: Vec<String>,
}

/// Where the steps of a conversation end, and how their scores are made.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Steps {
    token: StepToken,
    value: StepValue,
}

/// What a step ends with.
#[derive(Clone, Debug, PartialEq)]
enum StepToken {
    /// A control token, which only assistants' turns may spell.
    Control(String),
    /// A text; the last of its tokens.
    Text(String),
    /// Every assistant's turn answers one step, and is read where its text starts.
    Turn,
    /// Each step is encoded by itself.
    Encoded(SeparateSteps),
}

impl CheckpointHead {
    /// The first rows of the last layer's matrix, which has `outputs` rows, one for each attribute.
    fn new(layers: Vec<Layer>, outputs: usize, attributes: Vec<String>) -> Self {
        Self {
            layers,
            outputs,
            rows: (0..attributes.len()).collect(),
            attributes,
            subtract: None,
            suffix: vec![],
            generation_prompt: false,
            steps: None,
            pad: None,
            mean: false,
            scale: 1.0,
            judge: None,
            mixture: None,
            score: ScoreOptions::default(),
            template: None,
            template_mark: "\0",
            notes: vec![],
        }
    }

    /// A matrix of one row.
    fn one_row(layer: Layer) -> Self {
        Self::new(vec![layer], 1, vec![ONE_SCORE.to_owned()])
    }

    /// A head that scores steps by these rows.
    fn from_steps(layers: Vec<Layer>, rows: Vec<usize>, steps: Steps) -> Self {
        let outputs = rows.len();
        let attributes = vec!["step".to_owned()];
        Self { rows, attributes, steps: Some(steps), ..Self::new(layers, outputs, vec![]) }
    }

    /// The last layer.
    fn last(&self) -> Option<&Layer> {
        self.layers.last()
    }

    /// The step token, if it is one that prompts must keep apart from text.
    pub(super) fn step_token(&self, encoder: &Encoder) -> Option<&str> {
        match &self.steps.as_ref()?.token {
            StepToken::Control(token) => Some(token),
            StepToken::Text(text) => encoder.token_id(text).map(|_| text.as_str()),
            StepToken::Turn | StepToken::Encoded(_) => None,
        }
    }

    /// How steps are encoded, if it is one by one.
    pub(super) fn separate_steps(&self) -> Option<&SeparateSteps> {
        match &self.steps.as_ref()?.token {
            StepToken::Encoded(steps) => Some(steps),
            _ => None,
        }
    }

    /// What was recognised, and what the user should know about it, a line for each.
    pub(super) fn describe(&self, config: &Config) -> String {
        let rows = match self.subtract {
            Some(subtracted) => format!("rows {:?} minus row {subtracted}", self.rows),
            None if self.rows.len() == self.outputs => "all rows".to_owned(),
            None => format!("rows {:?} of {}", self.rows, self.outputs),
        };
        let layers = match self.layers.len() {
            1 => String::new(),
            2 if self.layers[0].activation == HeadActivation::Relu => "two layers with ReLU, ".to_owned(),
            count => format!("{count} layers, "),
        };
        let matrix = self.last().map_or("", |layer| layer.matrix.as_str());
        let bias = if self.last().is_some_and(|layer| layer.bias.is_some()) { " with bias" } else { "" };
        let place = match (self.steps.as_ref().map(|steps| &steps.token), &self.mixture) {
            (Some(StepToken::Control(token)), _) => format!("at every {token}"),
            (Some(StepToken::Text(token)), _) => format!("at every {token:?}"),
            (Some(StepToken::Turn), _) => "where each assistant's turn starts".to_owned(),
            (Some(StepToken::Encoded(steps)), _) => {
                format!("after each step, encoded by itself with {:?} at its end", steps.separator)
            }
            (None, Some(GatedMixture { shares: Shares::OfPrompt { .. }, .. })) => {
                "at the last token, mixed by a network read where the prompt ends".to_owned()
            }
            (None, Some(_)) => "at the last token, where a second network weighs them".to_owned(),
            (None, None) if config.model.variant.bidirectional.is_some() && self.mean => {
                "over the mean of all tokens".to_owned()
            }
            (None, None) if config.model.variant.bidirectional.is_some() => "at the first token".to_owned(),
            (None, None) if self.judge.is_some() => "where the answer to each question starts".to_owned(),
            (None, None) => "at the last token".to_owned(),
        };
        let recognised = format!(
            "recognised {} ({}): {layers}{rows} of {matrix}{bias}, read {place}",
            config.model.architecture, config.architecture.family.title
        );
        [&[recognised], &self.notes[..]].concat().join("\n")
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
    ) -> Result<manifest::ManifestHead, BuildError> {
        let pooling = match &self.steps {
            Some(steps) => steps.pooling(config, encoder)?,
            None if config.model.variant.bidirectional.is_some() => {
                if self.mean {
                    Pooling::Mean
                } else {
                    Pooling::FirstToken
                }
            }
            None => self.pad.map_or(Pooling::LastToken, |pad| Pooling::LastNonPad { pad }),
        };
        let gating = self.mixture.map(|mixture| mixture.manifest(config, checkpoint, encoder)).transpose()?;
        let all_rows = self.rows.iter().copied().eq(0..self.outputs);
        let bias = self.layers.last().is_some_and(|layer| layer.bias.is_some());
        let mut hidden = Vec::new();
        for layer in &self.layers[..self.layers.len().saturating_sub(1)] {
            let (width, bias) = (layer.outputs(checkpoint)?, layer.bias.is_some());
            let norm_eps = layer.norm.as_ref().map(|_| config.model.norm_eps);
            hidden.push(HiddenLayer { width, bias, activation: layer.activation, norm_eps });
        }
        Ok(manifest::ManifestHead {
            attributes: self.attributes,
            pooling,
            bias,
            hidden,
            rows: if all_rows && self.judge.is_none() { vec![] } else { self.rows },
            judge: self.judge,
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
/// No family is known for it, or no kind of head unless the file that `--head` names says what its head is.
pub(super) fn architecture(
    config: &Object,
    adapted: AdapterTask,
    head_file: Option<&PathBuf>,
) -> Result<Architecture, BuildError> {
    let has_layers =
        head_file.map(|path| HeadFile::read(path)).transpose()?.is_some_and(|file| file.has_layers());
    let names: Vec<String> = config.required("architectures")?;
    let mut family_known = false;
    if let [name] = &names[..]
        && let Some(architecture) = Architecture::recognise(config, &adapted.architecture(name))?
    {
        if has_layers || KINDS.iter().any(|kind| (kind.fits)(&architecture)) {
            return Ok(architecture);
        }
        family_known = true;
    }
    Err(unknown(config, &names.join(", "), family_known))
}

/// The error for an architecture that cannot be built. If its decoder is of a known family, a description of its head
/// is enough.
fn unknown(config: &Object, names: &str, family_known: bool) -> BuildError {
    let mut known: Vec<&str> = Vec::new();
    for name in KINDS.iter().flat_map(|kind| kind.architectures) {
        if !known.contains(name) {
            known.push(name);
        }
    }
    let kind = families::unsupported_kind(config, names).unwrap_or("cannot be built");
    let head = if family_known {
        "; a decoder of these families with another linear head is built with --head FILE, where FILE has `matrix: NAME`"
    } else {
        ""
    };
    let reason = format!(
        "{names} {kind}; known are {}, where ... is one of {}{head}",
        known.join(", "),
        families::architectures()
    );
    config.error("architectures", &reason)
}

/// Finds the head of a checkpoint, or takes it from the file that `--head` names.
///
/// # Errors
/// The checkpoint does not say which logits are scores, or has a head that is not supported; or the file is
/// malformed.
pub(super) fn recognise(
    config: &Config,
    checkpoint: &Checkpoint,
    encoder: &Encoder,
    file: Option<&PathBuf>,
) -> Result<CheckpointHead, BuildError> {
    let file = file.map(|path| HeadFile::read(path)).transpose()?;
    let context = Context { config, checkpoint, encoder, file: file.as_ref() };
    if let Some(file) = &file
        && let Some(judge) = file.judge()
    {
        return judge::head(&context, file, judge);
    }
    let mut head = match &file {
        Some(file) if file.has_layers() => file.head(&context)?,
        _ => match (find(&context), &file) {
            // The file chooses the rows.
            (Err(_), Some(_)) if config.architecture.class == "ForCausalLM" => {
                vocabulary_rows::lm_head(config, checkpoint)?
            }
            (found, _) => found?,
        },
    };
    normalisation::apply(config, &mut head)?;
    let mut head = match &file {
        Some(file) => file.change(&context, head)?,
        None => head,
    };
    padding::explain(&context, &mut head);
    Ok(head)
}

fn find(context: &Context<'_>) -> Result<CheckpointHead, BuildError> {
    for kind in KINDS.iter().filter(|kind| (kind.fits)(&context.config.architecture)) {
        if let Some(head) = (kind.read)(context)? {
            return Ok(head);
        }
    }
    Err(context.which_head())
}

/// Whether models of this class may have a prompt of their own, so that they need no chat template.
pub(super) fn may_bring_prompt(architecture: &Architecture) -> bool {
    (process_reward::KIND.fits)(architecture)
}

/// Whether a language model's checkpoint has another head than `lm_head`, so that it is a reward model.
pub(super) fn has_own_head(checkpoint: &Checkpoint) -> bool {
    !network::known(checkpoint).is_empty()
}
