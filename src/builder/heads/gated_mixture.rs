//! ArmoRM's head: scores by objective, and a network that mixes them into one more.

use super::network::Layer;
use super::{CheckpointHead, Context, HeadKind, labels, quantiles, token_id};
use crate::builder::checkpoint::Checkpoint;
use crate::builder::config::Config;
use crate::builder::families::Architecture;
use crate::builder::json::Object;
use crate::builder::{BuildError, convert};
use crate::manifest::{self, check_attribute_names};
use crate::prompt::Encoder;

const ARCHITECTURE: &str = "LlamaForRewardModelWithGating";

pub(super) const KIND: HeadKind = HeadKind { architectures: &[ARCHITECTURE], fits, read };

/// ArmoRM's own class, or QRM's, whose tensors are folded into ArmoRM's.
fn fits(architecture: &Architecture) -> bool {
    architecture.name == ARCHITECTURE || quantiles::fits(architecture)
}

/// ArmoRM's objectives, as its model card names them.
const OBJECTIVES: [&str; 19] = [
    "helpsteer-helpfulness",
    "helpsteer-correctness",
    "helpsteer-coherence",
    "helpsteer-complexity",
    "helpsteer-verbosity",
    "ultrafeedback-overall_score",
    "ultrafeedback-instruction_following",
    "ultrafeedback-truthfulness",
    "ultrafeedback-honesty",
    "ultrafeedback-helpfulness",
    "beavertails-is_safe",
    "prometheus-score",
    "argilla-overall_quality",
    "argilla-judge_lm",
    "code-complexity",
    "code-style",
    "code-explanation",
    "code-instruction-following",
    "code-readability",
];
/// What separates the last prompt from its response. ArmoRM's code looks for it to find the prompt's end.
const PATTERN: [&str; 5] = ["<|eot_id|>", "<|start_header_id|>", "assistant", "<|end_header_id|>", "\n\n"];
/// Scores times this matrix are what the network's outputs weigh.
const TRANSFORM: &str = "reward_transform_matrix";
/// Factor on the network's outputs.
const SCALE: &str = "gating.logit_scale";

/// The network that mixes the scores.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::builder) struct GatedMixture {
    /// Scores that it mixes.
    pub(in crate::builder) objectives: usize,
    /// Its layers. All but the last have a bias.
    pub(in crate::builder) layers: Vec<Layer>,
    /// Outputs of its layers before the last.
    pub(in crate::builder) hidden: Vec<usize>,
    pub(in crate::builder) shares: Shares,
}

/// What its outputs are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::builder) enum Shares {
    /// Their softmax gives the shares in the objectives times a matrix, and they are read where the prompt ends.
    OfPrompt { temperature: f32 },
    /// They weigh the objectives, at the last token, as they are or after a softmax. Each objective is the mean of its
    /// classes.
    OfAnswer { softmax: Option<f32>, classes: usize },
}

fn read(context: &Context<'_>) -> Result<Option<CheckpointHead>, BuildError> {
    let (config, checkpoint) = (context.config, context.checkpoint);
    let mixture = GatedMixture::read(config, checkpoint)?;
    let layer = Layer { bias: None, ..Layer::new("regression_layer", checkpoint) };
    let mut head = CheckpointHead::new(vec![layer], mixture.objectives, vec![]);
    head.rows = (0..mixture.objectives).collect();
    head.attributes = mixture.attributes(&config.object, &OBJECTIVES)?;
    head.mixture = Some(mixture);
    Ok(Some(head))
}

impl GatedMixture {
    /// Tensors that go into the manifest instead of the weights, with their shapes.
    pub(in crate::builder) fn manifest_tensors(&self) -> Vec<(&'static str, Vec<usize>)> {
        match self.shares {
            Shares::OfPrompt { .. } => {
                vec![(TRANSFORM, vec![self.objectives, self.objectives]), (SCALE, vec![1])]
            }
            Shares::OfAnswer { .. } => vec![],
        }
    }

    fn read(config: &Config, checkpoint: &Checkpoint) -> Result<Self, BuildError> {
        let object = &config.object;
        let layers: usize = object.optional("gating_n_hidden")?.unwrap_or(3);
        if layers > 64 {
            return Err(object.error("gating_n_hidden", &format!("{layers} layers are more than 64")));
        }
        let temperature = object.optional("gating_temperature")?.unwrap_or(10.0);
        let temperature: f32 = object.positive("gating_temperature", temperature)?;
        let layer = |number: usize| {
            let layer = Layer::new(&format!("gating.layers.{number}"), checkpoint);
            if number < layers { layer.with_bias() } else { layer }
        };
        Ok(Self {
            objectives: object.size("num_objectives", Some(OBJECTIVES.len()))?,
            layers: (0..=layers).map(layer).collect(),
            hidden: vec![object.size("gating_hidden_dim", Some(1024))?; layers],
            shares: Shares::OfPrompt { temperature },
        })
    }

    /// Names of the scores, the mixed one last: the labels of the checkpoint, or else the names `known`, if there are as
    /// many as objectives.
    pub(super) fn attributes(&self, object: &Object, known: &[&str]) -> Result<Vec<String>, BuildError> {
        let labels = labels::listed(object)?.unwrap_or_default();
        let mut names: Vec<String> = match self.objectives {
            count if count == labels.len() => labels,
            count if count == known.len() => known.iter().map(|name| (*name).to_owned()).collect(),
            count => (0..count).map(|index| format!("objective_{index}")).collect(),
        };
        names.push("score".to_owned());
        check_attribute_names(&names).map_err(|error| object.error("id2label", &error.to_string()))?;
        Ok(names)
    }

    /// The network as the manifest describes it.
    ///
    /// # Errors
    /// The tokenizer lacks a token of the pattern, or a number is not finite.
    pub(super) fn manifest(
        self,
        config: &Config,
        checkpoint: &Checkpoint,
        encoder: &Encoder,
    ) -> Result<manifest::Gating, BuildError> {
        let bias = self.layers.last().is_some_and(|layer| layer.bias.is_some());
        let activation = self.layers.first().map(|layer| layer.activation).unwrap_or_default();
        let gating = manifest::Gating {
            pattern: vec![],
            hidden: self.hidden,
            bias,
            activation,
            plain: false,
            classes: 1,
            temperature: 1.0,
            scale: 1.0,
            transform: identity(self.objectives),
        };
        match self.shares {
            Shares::OfAnswer { softmax, classes } => Ok(manifest::Gating {
                plain: softmax.is_none(),
                temperature: softmax.unwrap_or(gating.temperature),
                classes,
                ..gating
            }),
            Shares::OfPrompt { temperature } => {
                let rows = values(checkpoint, TRANSFORM)?;
                Ok(manifest::Gating {
                    pattern: pattern(config, encoder)?,
                    temperature,
                    scale: values(checkpoint, SCALE)?.first().copied().unwrap_or(1.0),
                    transform: rows.chunks(self.objectives).map(<[f32]>::to_vec).collect(),
                    ..gating
                })
            }
        }
    }
}

/// The ids of what separates the last prompt from its response.
fn pattern(config: &Config, encoder: &Encoder) -> Result<Vec<u32>, BuildError> {
    for token in PATTERN.iter().filter(|part| part.starts_with('<')) {
        token_id(config, encoder, token)?;
    }
    encoder
        .encode_text(&PATTERN.concat())
        .map_err(|error| config.object.error("architectures", &error.to_string()))
}

fn identity(size: usize) -> Vec<Vec<f32>> {
    (0..size).map(|row| (0..size).map(|column| if row == column { 1.0 } else { 0.0 }).collect()).collect()
}

fn values(checkpoint: &Checkpoint, name: &str) -> Result<Vec<f32>, BuildError> {
    checkpoint.tensor(name).map_or(Ok(vec![]), |tensor| convert::values(&tensor))
}
