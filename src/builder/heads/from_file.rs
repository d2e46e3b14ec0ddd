//! Heads that `--head` describes, for checkpoints that do not say what their scores are.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::network::Layer;
use super::steps::PLAIN_PROMPT;
use super::{CheckpointHead, Context, StepToken, Steps, labels, padding};
use crate::builder::BuildError;
use crate::builder::json::read_plain;
use crate::manifest::judge::parse_text;
use crate::manifest::score_options::ScoreOptions;
use crate::manifest::wording::counted;
use crate::manifest::{HeadActivation, JudgeFile, StepValue, check_attribute_names};

/// Layers of a head, at most.
const MAX_LAYERS: usize = 64;

/// The file.
pub(super) struct HeadFile {
    path: PathBuf,
    content: Content,
    /// The judge that it describes instead.
    judge: Option<JudgeFile>,
}

/// What it says.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    /// The tensor of the head's matrix, if the head is one layer.
    matrix: Option<String>,
    /// The tensor of its bias.
    bias: Option<String>,
    /// The head's layers from the first on, if they are several.
    layers: Option<Vec<FileLayer>>,
    /// Names of the scores; by default those of the checkpoint, or made up.
    attributes: Option<Vec<String>>,
    /// Rows of the head's last matrix, or of `lm_head`, where they are token ids; by default those that the checkpoint
    /// serves.
    rows: Option<Vec<usize>>,
    /// A row that is subtracted from each.
    minus: Option<usize>,
    /// Whether the start of a response follows the conversation.
    #[serde(default)]
    generation_prompt: bool,
    /// Token ids that follow every conversation.
    suffix: Option<Vec<u32>>,
    /// Which token is read; by default the checkpoint's own choice.
    read: Option<Read>,
    /// What each step ends with, if steps are scored: a control token or a text.
    step_token: Option<String>,
    /// What the steps follow, if each is encoded by itself.
    step_prompt: Option<StepPrompt>,
    /// How a step's score is made: by default the probability of the second of two rows, or the sigmoid of one.
    step_value: Option<StepValue>,
    /// What is done to the scores.
    #[serde(default)]
    score: ScoreOptions,
}

/// Which token of a text is read.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Read {
    LastToken,
    LastNonPad,
}

/// What steps follow that are encoded one by one.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StepPrompt {
    /// The text of the turns before, as it is.
    Text,
    /// What the chat template makes of these turns, with the start of a response.
    ChatTemplate,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileLayer {
    matrix: String,
    bias: Option<String>,
    #[serde(default)]
    activation: HeadActivation,
}

impl HeadFile {
    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read or is malformed.
    pub(super) fn read(path: &Path) -> Result<Self, BuildError> {
        let wrong = |reason: String| BuildError::Option(format!("--head {}: {reason}", path.display()));
        let text = read_plain(path).map_err(|error| wrong(format!("it cannot be read ({error})")))?;
        let judge = parse_text(path, &text).map_err(|error| BuildError::Option(format!("--head {error}")))?;
        if judge.is_some() {
            return Ok(Self { path: path.to_owned(), content: Content::default(), judge });
        }
        let content: Content =
            serde_saphyr::from_str(&text).map_err(|error| wrong(error.without_snippet().to_string()))?;
        let file = Self { path: path.to_owned(), content, judge: None };
        if file.content.matrix.is_some() && file.content.layers.is_some() {
            return Err(file.error(
                "`matrix` is for a head of one layer and `layers` for one of several; give one of them",
            ));
        }
        if file.content.bias.is_some() && file.content.matrix.is_none() {
            return Err(file.error("`bias` goes with `matrix`; give a layer of `layers` its own"));
        }
        let count = file.content.layers.as_ref().map_or(1, Vec::len);
        if count == 0 || count > MAX_LAYERS {
            return Err(file.error(&format!("`layers` has {count} layers; give 1 to {MAX_LAYERS}")));
        }
        Ok(file)
    }

    /// The judge that it describes, if it does.
    pub(super) fn judge(&self) -> Option<&JudgeFile> {
        self.judge.as_ref()
    }

    pub(super) fn error(&self, reason: &str) -> BuildError {
        BuildError::Option(format!("--head {}: {reason}", self.path.display()))
    }

    /// Whether it says what the head's tensors are.
    pub(super) fn has_layers(&self) -> bool {
        self.content.matrix.is_some() || self.content.layers.is_some()
    }

    /// Whether it names the scores.
    pub(super) fn names_scores(&self) -> bool {
        self.content.attributes.is_some()
    }

    /// The head whose tensors it names.
    ///
    /// # Errors
    /// The checkpoint does not have them.
    pub(super) fn head(&self, context: &Context<'_>) -> Result<CheckpointHead, BuildError> {
        let mut layers = Vec::new();
        if let Some(matrix) = &self.content.matrix {
            let (matrix, bias) = (matrix.clone(), self.content.bias.clone());
            layers.push(Layer { matrix, bias, activation: HeadActivation::None, norm: None });
        }
        for FileLayer { matrix, bias, activation } in self.content.layers.iter().flatten() {
            layers.push(Layer {
                matrix: matrix.clone(),
                bias: bias.clone(),
                activation: *activation,
                norm: None,
            });
        }
        for layer in &layers {
            for name in std::iter::once(&layer.matrix).chain(&layer.bias) {
                if !context.checkpoint.has(name) {
                    let beside = super::network::beside_decoder(context.checkpoint);
                    let reason = format!(
                        "the checkpoint has no tensor {name}; beside the decoder it has {}",
                        if beside.is_empty() { "none".to_owned() } else { beside.join(", ") }
                    );
                    return Err(self.error(&reason));
                }
            }
        }
        let outputs = layers[layers.len() - 1].outputs(context.checkpoint)?;
        // `rows` may choose a few of many.
        let named = if self.content.rows.is_some() { vec![] } else { context.labels(outputs)? };
        Ok(CheckpointHead::new(layers, outputs, named))
    }

    /// Changes a head as the file says.
    ///
    /// # Errors
    /// It does not fit the head.
    pub(super) fn change(
        &self,
        context: &Context<'_>,
        head: CheckpointHead,
    ) -> Result<CheckpointHead, BuildError> {
        let content = &self.content;
        if head.mixture.is_some() || head.steps.is_some() && content.rows.is_some() {
            let class = &context.config.model.architecture;
            return Err(self.error(&format!("{class} defines its scores itself; leave --head out")));
        }
        let rows = content.rows.clone().unwrap_or_else(|| head.rows.clone());
        if let Some(row) = rows.iter().chain(&content.minus).find(|row| **row >= head.outputs) {
            let matrix = head.last().map_or("", |layer| layer.matrix.as_str());
            return Err(self.error(&format!("row {row} does not exist: {matrix} has {} rows", head.outputs)));
        }
        let steps = self.steps(context, &head, rows.len())?;
        let attributes = self.attributes(&head, rows.len(), steps.is_some())?;
        let pad = self.pad(context, &head, steps.is_some())?;
        let score = content.score.clone().or(head.score.clone());
        crate::reward::check_options(&score, &attributes, steps.is_none())
            .map_err(|error| self.error(&format!("`score.{}`: {error}", error.field())))?;
        let suffix = content.suffix.clone().unwrap_or_else(|| head.suffix.clone());
        let vocabulary = context.config.model.vocab_size;
        if let Some(id) = suffix.iter().find(|id| **id as usize >= vocabulary) {
            return Err(self.error(&format!("`suffix`: {id} is not a token id below {vocabulary}")));
        }
        let template = match content.step_prompt {
            Some(StepPrompt::Text) => Some(PLAIN_PROMPT),
            Some(StepPrompt::ChatTemplate) => None,
            None => head.template,
        };
        let starts_response = content.step_prompt == Some(StepPrompt::ChatTemplate);
        Ok(CheckpointHead {
            attributes,
            rows,
            steps,
            template,
            pad,
            suffix,
            subtract: content.minus.or(head.subtract),
            generation_prompt: content.generation_prompt || head.generation_prompt || starts_response,
            score,
            ..head
        })
    }

    /// The padding token, if the last token that is not padding is read.
    fn pad(
        &self,
        context: &Context<'_>,
        head: &CheckpointHead,
        steps: bool,
    ) -> Result<Option<u32>, BuildError> {
        match self.content.read {
            Some(_) if steps => {
                Err(self.error("`read` is for heads that are read once, and this one scores steps"))
            }
            None => Ok(head.pad),
            Some(Read::LastToken) => Ok(None),
            Some(Read::LastNonPad) => padding::token(context)
                .map(Some)
                .ok_or_else(|| self.error("`read: last_non_pad` needs pad_token_id in config.json")),
        }
    }

    /// Names of the scores.
    fn attributes(&self, head: &CheckpointHead, rows: usize, steps: bool) -> Result<Vec<String>, BuildError> {
        let expected = if steps { 1 } else { rows };
        let attributes = match &self.content.attributes {
            Some(names) => names.iter().map(|name| name.to_lowercase()).collect(),
            None if steps => vec!["step".to_owned()],
            None if rows == head.attributes.len() => head.attributes.clone(),
            None => labels::made_up(rows),
        };
        if rows == 0 {
            return Err(self.error(
                "`rows` is missing or empty: list the rows of the last matrix that are scores; or, for a judge, make \
                 `attributes` a map from the names of scores to questions",
            ));
        }
        if attributes.len() != expected {
            return Err(self.error(&format!(
                "`rows` has {} and `attributes` {}; give each row one name, and all steps one",
                counted(rows, "number"),
                counted(attributes.len(), "name")
            )));
        }
        check_attribute_names(&attributes).map_err(|error| self.error(&format!("attributes: {error}")))?;
        Ok(attributes)
    }

    /// Where steps end, and how they are scored.
    fn steps(
        &self,
        context: &Context<'_>,
        head: &CheckpointHead,
        rows: usize,
    ) -> Result<Option<Steps>, BuildError> {
        let (token, value) = (&self.content.step_token, self.content.step_value);
        let Some(token) = token else {
            let own = head.steps.clone().map(|own| Steps { value: value.unwrap_or(own.value), ..own });
            if own.is_none() && value.is_some() {
                return Err(self.error("`step_value` goes with `step_token`, which says where a step ends"));
            }
            if head.separate_steps().is_none() && self.content.step_prompt.is_some() {
                return Err(self.error("`step_prompt` goes with `step_token`, which says where a step ends"));
            }
            return Ok(own);
        };
        let default = if rows == 2 { StepValue::Softmax } else { StepValue::Sigmoid };
        let value = value.or(head.steps.as_ref().map(|own| own.value)).unwrap_or(default);
        if rows != value.outputs() {
            return Err(self.error(&format!(
                "`rows` has {}; the score of a step is made of {} (`step_value`)",
                counted(rows, "number"),
                counted(value.outputs(), "row")
            )));
        }
        if token.is_empty() {
            return Err(self.error("`step_token` is empty"));
        }
        let token = if head.separate_steps().is_some() || self.content.step_prompt.is_some() {
            StepToken::encoded(token, context.encoder)
                .map_err(|error| self.error(&format!("`step_token`: {error}")))?
        } else {
            StepToken::Text(token.clone())
        };
        Ok(Some(Steps { token, value }))
    }
}
