//! The head's part of the manifest: how hidden states become scores.

use serde::{Deserialize, Serialize};

use super::judge::Judge;
use super::score_options::ScoreOptions;

/// How hidden states become scores.
///
/// The engine computes the products of the first layers' matrices and the hidden state; the layers above are
/// computed in Rust ([`crate::reward::HeadLayers`]). A model that generates has the vocabulary's `lm_head`
/// instead and no attributes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestHead {
    /// Names of the scores, lower case, in the model's order.
    pub attributes: Vec<String>,
    /// Where the score is read.
    pub pooling: Pooling,
    /// Whether the last layer has a bias.
    #[serde(default)]
    pub bias: bool,
    /// Layers before the last, from the first on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hidden: Vec<HiddenLayer>,
    /// Which rows of the checkpoint's matrix the last layer consists of; `0..` unless given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<usize>,
    /// The network that mixes the scores into one more, the last of the attributes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gating: Option<Gating>,
    /// What the model is asked about a conversation, if it is a language model that judges. The outputs are then the
    /// logits of the tokens in `rows`, or of the whole vocabulary if the engine generates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge: Option<Judge>,
    /// What to do with the scores, unless the server's options say otherwise.
    #[serde(default, skip_serializing_if = "ScoreOptions::is_off")]
    pub score: ScoreOptions,
    /// Cap on the logits of a model that generates: they become `cap * tanh(logit / cap)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub softcap: Option<f32>,
}

impl ManifestHead {
    /// Logits after the last layers, for each position read: one per attribute; one or two for a head that scores
    /// steps; objectives and then their gates with gating; one per token of a judge's answers.
    pub fn outputs(&self) -> usize {
        if self.judge.is_some() {
            return self.rows.len();
        }
        match (&self.pooling, &self.gating) {
            (Pooling::EachStep { value, .. } | Pooling::EachEncodedStep { value, .. }, _) => value.outputs(),
            (Pooling::EachTurn { .. }, _) => StepValue::Softmax.outputs(),
            (Pooling::LastToken, Some(gating)) => gating.outputs(),
            (Pooling::LastToken | Pooling::LastNonPad { .. } | Pooling::FirstToken | Pooling::Mean, _) => {
                self.attributes.len()
            }
        }
    }

    /// The networks that share the hidden state as their input, each from its first layer to its last.
    /// [`Self::outputs`] are their outputs side by side.
    pub fn networks(&self) -> Vec<Vec<HeadLayer>> {
        let gates = self.gating.as_ref().map_or(0, |gating| gating.transform.len());
        let last =
            |width, bias| HiddenLayer { width, bias, activation: HeadActivation::None, norm_eps: None };
        let mut scores = self.hidden.clone();
        scores.push(last(self.outputs() - gates, self.bias));
        let mut networks = vec![layers("head", scores)];
        if let Some(gating) = &self.gating {
            let hidden = |&width: &usize| HiddenLayer {
                width,
                bias: true,
                activation: gating.activation,
                norm_eps: None,
            };
            let mut widths: Vec<_> = gating.hidden.iter().map(hidden).collect();
            widths.push(last(gates, gating.bias));
            networks.push(layers("gating", widths));
        }
        networks
    }

    /// Rows of the first layers' matrices together: the numbers that an engine computes for each position.
    pub fn products(&self) -> usize {
        self.networks().iter().filter_map(|layers| layers.first()).map(|layer| layer.outputs).sum()
    }

    /// Whether anything follows the engine's products: a bias or a further layer, kept in
    /// [`super::HEAD_FILE`].
    pub fn has_head_layers(&self) -> bool {
        self.networks().iter().any(|layers| layers.len() > 1 || layers.iter().any(|layer| layer.bias))
    }
}

/// A layer of a head.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadLayer {
    /// Name of its matrix, `[outputs, inputs]`: the network and the layer's index, such as `gating.1`.
    pub name: String,
    /// Rows of the matrix.
    pub outputs: usize,
    /// Whether it has a bias, `[outputs]`.
    pub bias: bool,
    /// What follows it.
    pub activation: HeadActivation,
    /// The epsilon of the layer norm after that, if there is one.
    pub norm_eps: Option<f32>,
}

impl HeadLayer {
    /// Name of its bias.
    pub fn bias_name(&self) -> String {
        format!("{}_bias", self.name)
    }

    /// Name of the weights of its norm, `[outputs]`.
    pub fn norm_name(&self) -> String {
        format!("{}_norm", self.name)
    }
}

/// The layers of a network under their names.
fn layers(network: &str, layers: Vec<HiddenLayer>) -> Vec<HeadLayer> {
    let mut named = Vec::new();
    for (index, HiddenLayer { width, bias, activation, norm_eps }) in layers.into_iter().enumerate() {
        named.push(HeadLayer {
            name: format!("{network}.{index}"),
            outputs: width,
            bias,
            activation,
            norm_eps,
        });
    }
    named
}

/// A layer of a head before its last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HiddenLayer {
    /// Its outputs.
    pub width: usize,
    /// Whether it has a bias.
    pub bias: bool,
    /// What follows it.
    pub activation: HeadActivation,
    /// The epsilon of the layer norm that follows the activation, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub norm_eps: Option<f32>,
}

/// What follows a layer of a head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadActivation {
    /// Nothing.
    None,
    /// `max(x, 0)`.
    #[default]
    Relu,
    /// `x sigmoid(x)`.
    Silu,
    /// GELU, with the tanh approximation.
    GeluTanh,
    /// SELU (arXiv 1706.02515).
    Selu,
    /// The hyperbolic tangent.
    Tanh,
    /// GELU without an approximation.
    Gelu,
    /// `x` if it is positive, else `0.01 x`.
    LeakyRelu,
}

/// How the outputs at a step token become the step's score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepValue {
    /// The probability of the second of two classes.
    #[default]
    Softmax,
    /// The sigmoid of one output.
    Sigmoid,
    /// One output as it is.
    Raw,
}

impl StepValue {
    /// Outputs that it is made of.
    pub fn outputs(self) -> usize {
        match self {
            Self::Softmax => 2,
            Self::Sigmoid | Self::Raw => 1,
        }
    }
}

/// Where the score is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// At the last token.
    #[default]
    LastToken,
    /// At the last token that is not padding, even if padding tokens precede it; at the first token if all are padding.
    LastNonPad {
        /// Id of the padding token.
        pad: u32,
    },
    /// At the first token, in an encoder.
    FirstToken,
    /// Over the mean of all tokens, in an encoder.
    Mean,
    /// At every step token.
    EachStep {
        /// Text of the step token, also [`super::PromptSpec::step_token`] if it is a control token.
        token: String,
        /// Id of the step token.
        id: u32,
        /// How the outputs there become a score.
        #[serde(default)]
        value: StepValue,
    },
    /// At the end of every step, where the encoder says that it is: it encodes each step by itself
    /// ([`super::PromptSpec::steps`]).
    EachEncodedStep {
        /// Text between two steps.
        separator: String,
        /// How the outputs there become a score.
        value: StepValue,
    },
    /// In every assistant's turn, at the last token before its text.
    EachTurn {
        /// Token ids that precede the text of an assistant's turn.
        pattern: Vec<u32>,
    },
}

/// A second head, a network whose outputs give each objective's share in the mixed score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gating {
    /// Token ids between the last prompt and its answer; the network is read at the first of them. Empty if it is read at
    /// the last token, like the scores.
    pub pattern: Vec<u32>,
    /// Widths of the layers before the last, each with a bias.
    pub hidden: Vec<usize>,
    /// Whether the last layer has a bias.
    pub bias: bool,
    /// What follows these layers.
    #[serde(default)]
    pub activation: HeadActivation,
    /// Whether the outputs are the shares as they are, and not their softmax.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub plain: bool,
    /// Into how many classes the values of each objective from 0 to 1 are divided, if the outputs are those of classes;
    /// else 1.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub classes: usize,
    /// Divisor of the softmax's inputs.
    pub temperature: f32,
    /// Factor on the softmax's outputs.
    pub scale: f32,
    /// `[objectives, objectives]`: the shares weigh the scores times this matrix.
    pub transform: Vec<Vec<f32>>,
}

impl Gating {
    /// Outputs of both networks at each position that is read.
    pub(crate) fn outputs(&self) -> usize {
        self.transform.len() * (self.classes + 1)
    }
}

fn one() -> usize {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_one(number: &usize) -> bool {
    *number == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_products_are_the_first_layers_of_both_networks() {
        let gating = Gating {
            pattern: vec![1],
            hidden: vec![1024, 512],
            bias: false,
            activation: HeadActivation::Relu,
            plain: false,
            classes: 1,
            temperature: 1.0,
            scale: 1.0,
            transform: vec![vec![0.0; 3]; 3],
        };
        let head = ManifestHead { gating: Some(gating), ..ManifestHead::default() };
        let names: Vec<Vec<String>> = head
            .networks()
            .iter()
            .map(|layers| layers.iter().map(|layer| layer.name.clone()).collect())
            .collect();
        assert_eq!(names, [vec!["head.0"], vec!["gating.0", "gating.1", "gating.2"]]);
        assert_eq!((head.products(), head.outputs(), head.has_head_layers()), (3 + 1024, 6, true));
    }

    #[test]
    fn a_single_layer_without_bias_needs_no_head_layers() {
        let plain = ManifestHead { attributes: vec!["a".into(), "b".into()], ..ManifestHead::default() };
        assert_eq!((plain.products(), plain.outputs(), plain.has_head_layers()), (2, 2, false));
        assert!(ManifestHead { bias: true, ..plain }.has_head_layers());
        assert!(!ManifestHead::default().has_head_layers());
    }
}
