//! The head's part of the manifest: what turns hidden states into scores.

use serde::{Deserialize, Serialize};

use super::score_options::ScoreOptions;

/// What turns the hidden states where the score is read into scores: `head` in the weights,
/// `[outputs, hidden]`, f32. A model that generates has `lm_head` instead, packed, and no attributes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Names of the scores, lower case, in the model's order.
    pub attributes: Vec<String>,
    /// Where the score is read.
    pub pooling: Pooling,
    /// Whether there is a `head_bias`, `[outputs]`.
    #[serde(default)]
    pub bias: bool,
    /// Width of a layer before it, `head_hidden` and `head_hidden_bias`, with ReLU behind it.
    #[serde(default)]
    pub hidden: Option<usize>,
    /// Rows of the checkpoint's matrix that its rows are; `0..` unless given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<usize>,
    /// What mixes the scores into one more, the last of the attributes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gating: Option<Gating>,
    /// What is done to the scores, unless the server is told otherwise.
    #[serde(default, skip_serializing_if = "ScoreOptions::is_off")]
    pub score: ScoreOptions,
    /// Of a model that generates, whose logits are the vocabulary's: they become
    /// `cap * tanh(logit / cap)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub softcap: Option<f32>,
}

impl Head {
    /// Logits that the engine gives for each position read: one for each attribute; of a head that
    /// scores steps, its two classes; with gating, objectives and then their gates.
    pub fn outputs(&self) -> usize {
        match (&self.pooling, &self.gating) {
            (Pooling::EachStep { .. }, _) => 2,
            (Pooling::LastToken, Some(gating)) => 2 * gating.transform.len(),
            (Pooling::LastToken, None) => self.attributes.len(),
        }
    }

    /// Rows of `head` in the weights.
    pub fn head_rows(&self) -> usize {
        self.outputs() - self.gating.as_ref().map_or(0, |gating| gating.transform.len())
    }

    /// Its layers, and those of the network beside it: the first of each take the hidden state, with ReLU
    /// before each that follows.
    pub fn networks(&self) -> Vec<Vec<HeadLayer>> {
        let layer = |name: &str, outputs, bias| HeadLayer { name: name.to_owned(), outputs, bias };
        let hidden = self.hidden.map(|width| layer("head_hidden", width, true));
        let own: Vec<HeadLayer> =
            hidden.into_iter().chain([layer("head", self.head_rows(), self.bias)]).collect();
        [own].into_iter().chain(self.gating.iter().map(Gating::layers)).collect()
    }

    /// Outputs of the first layers together.
    pub fn first_outputs(&self) -> usize {
        self.networks().iter().filter_map(|layers| layers.first()).map(|layer| layer.outputs).sum()
    }

    /// Whether it is more than one layer.
    pub fn is_deep(&self) -> bool {
        self.hidden.is_some() || self.gating.is_some()
    }
}

/// A layer of a head in the weights: `[outputs, inputs]` under its name, and its bias under that and `_bias`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadLayer {
    /// Its name.
    pub name: String,
    /// Its rows.
    pub outputs: usize,
    /// Whether it has a bias.
    pub bias: bool,
}

/// What is wrong with names of scores.
pub fn fault_of_names(names: &[String]) -> Option<String> {
    for (index, name) in names.iter().enumerate() {
        let unusable = |c: char| c.is_whitespace() || c.is_control() || c == ',' || c == ':';
        if name.is_empty() || name.contains(unusable) {
            let reason = format!(
                "label {name:?} cannot stand in a score text (name:score,name:score); \
                 rename it so that it has no comma, colon or white space"
            );
            return Some(reason);
        }
        if names[..index].contains(name) {
            let reason = format!("two labels are called {name} in lower case; rename one");
            return Some(reason);
        }
    }
    None
}

/// Where the score is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// At the last token.
    #[default]
    LastToken,
    /// At every step token: the probability of the second of two classes.
    EachStep {
        /// Its text, [`super::PromptSpec::step_token`].
        token: String,
        /// Its id.
        id: u32,
    },
}

/// ArmoRM's second head, a network read where the prompt ends: what it gives, through a softmax, are
/// the objectives' shares in the mixed score. Its layers are `gating.0`, `gating.0_bias`, ... in the
/// weights, with ReLU behind all but the last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gating {
    /// Token ids between the last prompt and its answer; the network is read at the first of them.
    pub pattern: Vec<u32>,
    /// Widths of the layers before the last.
    pub hidden: Vec<usize>,
    /// Whether the last has a bias.
    pub bias: bool,
    /// What the softmax's inputs are divided by.
    pub temperature: f32,
    /// Factor on its outputs.
    pub scale: f32,
    /// `[objectives, objectives]`: scores times it are what the shares weigh.
    pub transform: Vec<Vec<f32>>,
}

impl Gating {
    /// Its layers.
    pub fn layers(&self) -> Vec<HeadLayer> {
        let widths = self.hidden.iter().copied().chain([self.transform.len()]);
        let layer = |(index, outputs)| HeadLayer {
            name: format!("gating.{index}"),
            outputs,
            bias: index < self.hidden.len() || self.bias,
        };
        widths.enumerate().map(layer).collect()
    }
}
