//! Which head a checkpoint has: where its matrix lies, which rows of it are scores, and their names.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::BuildError;
use super::checkpoint::Checkpoint;
use super::config::{Config, size};
use super::convert;
use crate::manifest::score_options::ScoreOptions;
use crate::manifest::{self, Family, Pooling, fault_of_names};
use crate::prompt::Encoder;

/// Outputs of NeMo's reward models, of which NIM serves the last five.
const NEMO_OUTPUTS: [&str; 9] = [
    "quality",
    "toxicity",
    "humor",
    "creativity",
    "helpfulness",
    "correctness",
    "coherence",
    "complexity",
    "verbosity",
];
const NEMO_SERVED: std::ops::Range<usize> = 4..9;

/// Rows of `lm_head` for `Yes` and `No`, whose difference is the score of the Principle reward models.
const LLAMA3_YES_NO: [usize; 2] = [9642, 2822];

/// ArmoRM's objectives, as its model card names them.
const ARMO_OBJECTIVES: [&str; 19] = [
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
/// What stands between the last prompt and its answer, where ArmoRM's code looks for the prompt's end.
const ARMO_PATTERN: [&str; 5] =
    ["<|eot_id|>", "<|start_header_id|>", "assistant", "<|end_header_id|>", "\n\n"];
/// Tensors of ArmoRM's that mix its scores.
pub(super) const ARMO_TRANSFORM: &str = "reward_transform_matrix";
pub(super) const ARMO_SCALE: &str = "gating.logit_scale";

/// What the process reward models of Qwen2.5-Math end a step with.
const STEP_TOKEN: &str = "<extra_0>";

/// A checkpoint's head.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Head {
    /// Names of the scores.
    pub(super) attributes: Vec<String>,
    /// The tensor of its last matrix, and the rows that it has.
    pub(super) matrix: String,
    pub(super) outputs: usize,
    /// Rows that are scores, in the order of the attributes.
    pub(super) rows: Vec<usize>,
    /// A row that is subtracted from each of them.
    pub(super) minus: Option<usize>,
    /// The tensor of its bias.
    pub(super) bias: Option<String>,
    /// A layer before it, as wide as the model, with a bias and ReLU behind it: weight and bias.
    pub(super) hidden: Option<[String; 2]>,
    /// Whether the beginning of an answer follows the conversation.
    pub(super) generation_prompt: bool,
    /// The token at which it is read, wherever that stands; else it is read at the last one.
    pub(super) step_token: Option<&'static str>,
    /// A second head, whose outputs mix the scores.
    pub(super) gating: Option<Gating>,
    /// What is done to the scores.
    pub(super) score: ScoreOptions,
}

/// ArmoRM's network beside its regression, `gating.layers.N`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Gating {
    /// Scores that it mixes.
    pub(super) objectives: usize,
    /// Outputs of its layers before the last.
    pub(super) hidden: Vec<usize>,
    /// Whether the last has a bias.
    pub(super) bias: bool,
    temperature: f32,
}

/// What `--head` says of a checkpoint that leaves it open.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadFile {
    /// Names of the scores; `reward` for one row.
    attributes: Option<Vec<String>>,
    /// Rows of the head's matrix, or of `lm_head`: token ids.
    /// Those that the checkpoint says, unless given.
    rows: Option<Vec<usize>>,
    /// A row that is subtracted from each.
    minus: Option<usize>,
    /// Whether the beginning of an answer follows the conversation.
    #[serde(default)]
    generation_prompt: bool,
    /// What is done to the scores.
    #[serde(default)]
    score: ScoreOptions,
}

impl Head {
    fn rows(matrix: &str, outputs: usize, attributes: Vec<String>) -> Self {
        Self {
            matrix: matrix.to_owned(),
            outputs,
            rows: (0..attributes.len()).collect(),
            attributes,
            minus: None,
            bias: None,
            hidden: None,
            generation_prompt: false,
            step_token: None,
            gating: None,
            score: ScoreOptions::default(),
        }
    }

    /// What was recognised, for whoever builds it.
    pub(super) fn describe(&self, config: &Config) -> String {
        let rows = match self.minus {
            Some(minus) => format!("rows {:?} less row {minus}", self.rows),
            None if self.rows.len() == self.outputs => "all rows".to_owned(),
            None => format!("rows {:?} of {}", self.rows, self.outputs),
        };
        let layers = if self.hidden.is_some() { "two layers with ReLU, " } else { "" };
        let bias = if self.bias.is_some() { " with bias" } else { "" };
        let place = match (self.step_token, &self.gating) {
            (Some(token), _) => format!("at every {token}"),
            (None, Some(_)) => "at the last token, mixed by a network read where the prompt ends".to_owned(),
            (None, None) => "at the last token".to_owned(),
        };
        format!(
            "recognised {} ({:?}): {layers}{rows} of {}{bias}, read {place}",
            config.model.architecture, config.model.family, self.matrix
        )
    }

    /// What the manifest says of it, of a checkpoint whose tensors were found to be there.
    ///
    /// # Errors
    /// The tokenizer lacks a token that it is read at, or a number is not finite.
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
        let gating = self.gating.map(|gating| gating.manifest(config, checkpoint, encoder)).transpose()?;
        let all = self.rows.iter().copied().eq(0..self.outputs);
        Ok(manifest::Head {
            attributes: self.attributes,
            pooling,
            bias: self.bias.is_some(),
            hidden: self.hidden.map(|_| config.model.hidden_size),
            rows: if all { vec![] } else { self.rows },
            gating,
            score: self.score,
            softcap: None,
        })
    }
}

impl Gating {
    fn of(config: &Config, checkpoint: &Checkpoint) -> Result<Self, BuildError> {
        let object = &config.object;
        let layers: usize = object.optional("gating_n_hidden")?.unwrap_or(3);
        if layers > 64 {
            return Err(object.error("gating_n_hidden", &format!("{layers} layers are more than 64")));
        }
        let temperature: f32 = object.optional("gating_temperature")?.unwrap_or(10.0);
        if !(temperature.is_finite() && temperature > 0.0) {
            return Err(object.error("gating_temperature", &format!("{temperature} is not positive")));
        }
        Ok(Self {
            objectives: size(object, "num_objectives", Some(ARMO_OBJECTIVES.len()))?,
            hidden: vec![size(object, "gating_hidden_dim", Some(1024))?; layers],
            bias: checkpoint.tensor(&format!("gating.layers.{layers}.bias")).is_some(),
            temperature,
        })
    }

    /// Names of the scores, the mixed one last.
    fn attributes(&self, config: &Config) -> Result<Vec<String>, BuildError> {
        let mut names: Vec<String> = match self.objectives {
            count if count == config.attributes.len() => config.attributes.clone(),
            19 => ARMO_OBJECTIVES.map(str::to_owned).to_vec(),
            count => (0..count).map(|index| format!("objective_{index}")).collect(),
        };
        names.push("score".to_owned());
        match fault_of_names(&names) {
            Some(reason) => Err(config.object.error("id2label", &reason)),
            None => Ok(names),
        }
    }

    fn manifest(
        self,
        config: &Config,
        checkpoint: &Checkpoint,
        encoder: &Encoder,
    ) -> Result<manifest::Gating, BuildError> {
        for token in ARMO_PATTERN.iter().filter(|part| part.starts_with('<')) {
            token_id(config, encoder, token)?;
        }
        let pattern = encoder
            .encode_text(&ARMO_PATTERN.concat())
            .map_err(|error| config.object.error("architectures", &error.to_string()))?;
        let values = |name: &str| match checkpoint.tensor(name) {
            Some(tensor) => convert::values(&tensor),
            None => Ok(vec![]),
        };
        Ok(manifest::Gating {
            pattern,
            hidden: self.hidden,
            bias: self.bias,
            temperature: self.temperature,
            scale: values(ARMO_SCALE)?.first().copied().unwrap_or(1.0),
            transform: values(ARMO_TRANSFORM)?.chunks(self.objectives).map(<[f32]>::to_vec).collect(),
        })
    }
}

/// The id of a control token that the head needs.
fn token_id(config: &Config, encoder: &Encoder, token: &str) -> Result<u32, BuildError> {
    encoder.token_id(token).ok_or_else(|| {
        let reason = format!(
            "{} is read at the token {token}, which tokenizer.json does not have; the tokenizer is of \
             another checkpoint",
            config.model.architecture
        );
        config.object.error("architectures", &reason)
    })
}

/// Finds the head of a checkpoint, or takes it from the file that `--head` names.
///
/// # Errors
/// The checkpoint leaves open which logits are scores, or has a head that is not supported; or the file is
/// not what it should be.
pub(super) fn recognise(
    config: &Config,
    checkpoint: &Checkpoint,
    file: Option<&PathBuf>,
) -> Result<Head, BuildError> {
    let found = found(config, checkpoint);
    match file {
        Some(path) if found.as_ref().is_ok_and(|head| head.step_token.is_some() || head.gating.is_some()) => {
            let architecture = &config.model.architecture;
            let reason = format!("{architecture} says itself what its scores are; leave --head out");
            Err(BuildError::Option(format!("--head {}: {reason}", path.display())))
        }
        Some(path) => from_file(path, found.or_else(|_| lm_head(config, checkpoint))?),
        None => found,
    }
}

fn found(config: &Config, checkpoint: &Checkpoint) -> Result<Head, BuildError> {
    let has = |name: &str| checkpoint.tensor(name).is_some();
    let one = || vec!["reward".to_owned()];
    let with_bias = |mut head: Head, bias: &str| {
        head.bias = has(bias).then(|| bias.to_owned());
        head
    };
    match config.rest.as_str() {
        "ForSequenceClassification" => {
            let labels = config.attributes.len();
            let mut head = Head::rows("score.weight", labels, config.attributes.clone());
            if config.attributes == NEMO_OUTPUTS {
                head.rows = NEMO_SERVED.collect();
                head.attributes = NEMO_OUTPUTS[NEMO_SERVED].iter().map(|&name| name.to_owned()).collect();
            }
            Ok(with_bias(head, "score.bias"))
        }
        "ForRewardModel" if config.model.family == Family::InternLm2 => {
            Ok(Head::rows("v_head.weight", 1, one()))
        }
        "ForRewardModel" | "ForProcessRewardModel" => {
            let process = config.rest == "ForProcessRewardModel";
            let outputs = if process { 2 } else { 1 };
            let mut head = with_bias(Head::rows("score.2.weight", outputs, one()), "score.2.bias");
            head.hidden = Some(["score.0.weight".to_owned(), "score.0.bias".to_owned()]);
            if process {
                head.rows = vec![0, 1];
                head.attributes = vec!["step".to_owned()];
                head.step_token = Some(STEP_TOKEN);
            }
            Ok(head)
        }
        "ForRewardModelWithGating" => {
            let gating = Gating::of(config, checkpoint)?;
            let mut head = Head::rows("regression_layer.weight", gating.objectives, vec![]);
            head.rows = (0..gating.objectives).collect();
            head.attributes = gating.attributes(config)?;
            head.gating = Some(gating);
            Ok(head)
        }
        "ForCausalLM" if has("v_head.summary.weight") => {
            Ok(with_bias(Head::rows("v_head.summary.weight", 1, one()), "v_head.summary.bias"))
        }
        "ForCausalLM" => known_repository(config, lm_head(config, checkpoint)?),
        _ if has("value_head.weight") => {
            Ok(with_bias(Head::rows("value_head.weight", 1, one()), "value_head.bias"))
        }
        _ => Ok(with_bias(Head::rows("score.weight", 1, one()), "score.bias")),
    }
}

/// The language model's head, of which no row is chosen yet.
fn lm_head(config: &Config, checkpoint: &Checkpoint) -> Result<Head, BuildError> {
    if config.final_softcap.is_some() {
        return Err(config.object.error(
            "final_logit_softcapping",
            "logits of lm_head that are capped are not supported as scores",
        ));
    }
    let tied = checkpoint.tensor("lm_head.weight").is_none() && config.tied;
    let matrix = if tied { "model.embed_tokens.weight" } else { "lm_head.weight" };
    Ok(Head::rows(matrix, config.model.vocab_size, vec![]))
}

/// Whether a model's name says which of its logits are the score.
pub(super) fn known_by_name(config: &Config) -> bool {
    let name = config.model.name.to_lowercase();
    name.contains("nemotron") && name.contains("reward")
}

/// Models whose name says which logits are the score.
fn known_repository(config: &Config, head: Head) -> Result<Head, BuildError> {
    let name = config.model.name.to_lowercase();
    let attributes = vec!["reward".to_owned()];
    if !known_by_name(config) {
        return Err(config.object.error(
            "architectures",
            "a language model was found, and nothing says which of its logits are scores; say it with \
             --head FILE, where FILE holds for example `rows: [0]`, or `rows: [9642]` and `minus: 2822`",
        ));
    }
    if name.contains("principle") {
        let [yes, no] = LLAMA3_YES_NO;
        if head.outputs <= yes {
            let reason = format!("{} leaves out the token {yes}, whose logit is the score", head.outputs);
            return Err(config.object.error("vocab_size", &reason));
        }
        return Ok(Head { rows: vec![yes], minus: Some(no), attributes, generation_prompt: true, ..head });
    }
    Ok(Head { rows: vec![0], attributes, ..head })
}

fn from_file(path: &Path, head: Head) -> Result<Head, BuildError> {
    let wrong = |reason: String| BuildError::Option(format!("--head {}: {reason}", path.display()));
    let text =
        std::fs::read_to_string(path).map_err(|error| wrong(format!("it cannot be read ({error})")))?;
    let file: HeadFile =
        serde_saphyr::from_str(&text).map_err(|error| wrong(error.without_snippet().to_string()))?;
    let rows = file.rows.unwrap_or_else(|| head.rows.clone());
    let attributes = match (file.attributes, rows.len()) {
        (Some(names), _) => names.iter().map(|name| name.to_lowercase()).collect(),
        (None, count) if count == head.attributes.len() => head.attributes.clone(),
        (None, 1) => vec!["reward".to_owned()],
        (None, count) => (0..count).map(|index| format!("label_{index}")).collect::<Vec<_>>(),
    };
    if rows.is_empty() || attributes.len() != rows.len() {
        let (rows, names) = (rows.len(), attributes.len());
        return Err(wrong(format!("rows has {rows} entries and attributes {names}; give as many of each")));
    }
    if let Some(reason) = fault_of_names(&attributes) {
        return Err(wrong(format!("attributes: {reason}")));
    }
    if let Some(row) = rows.iter().chain(&file.minus).find(|row| **row >= head.outputs) {
        return Err(wrong(format!("row {row} is not below {}, the rows of {}", head.outputs, head.matrix)));
    }
    let generation_prompt = file.generation_prompt;
    crate::reward::check_options(&file.score, &attributes, true)
        .map_err(|reason| wrong(format!("score: {reason}")))?;
    let score = file.score;
    Ok(Head { attributes, rows, minus: file.minus, generation_prompt, score, ..head })
}
