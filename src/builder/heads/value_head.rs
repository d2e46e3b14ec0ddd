//! Value heads: one row, under the names that training code and published models give it.

use super::network::{self, Layer};
use super::{CheckpointHead, Context, HeadKind, ONE_SCORE};
use crate::builder::BuildError;
use crate::builder::families::Architecture;
use crate::builder::json::Object;
use crate::manifest::HeadActivation;

pub(super) const KIND: HeadKind = HeadKind {
    architectures: &[
        "...ForCausalLM",
        INTERNLM2,
        "RewardModel and other classes of trainers with a known model_type",
    ],
    fits: |architecture| {
        architecture.name == INTERNLM2 || architecture.class == "ForCausalLM" || is_trainers(architecture)
    },
    read,
};

const INTERNLM2: &str = "InternLM2ForRewardModel";
/// Athene's, which is read at a token that follows the conversation.
const ATHENE: &str = "AtheneForSequenceClassification";
const ATHENE_TOKEN: u32 = 128_003;

/// Classes of training code and of published models, by the end of their names: OpenRLHF, UltraRM and Eurus;
/// safe-rlhf (Beaver); AceCoder; TRL.
const CLASSES: [&str; 6] =
    ["RewardModel", "CriticModel", "ForSequenceRegression", "ForScore", "ForCausalRM", "WithValueHead"];

/// Whether it is a class that leaves open what its head is called.
fn is_trainers(architecture: &Architecture) -> bool {
    let name = architecture.name.as_str();
    let class = architecture.class.as_str();
    let known = class == "Model" || name == ATHENE || CLASSES.iter().any(|end| name.ends_with(end));
    architecture.family.in_transformers && known
}

fn read(context: &Context<'_>) -> Result<Option<CheckpointHead>, BuildError> {
    let (config, checkpoint) = (context.config, context.checkpoint);
    let architecture = &config.architecture;
    if architecture.name == INTERNLM2 {
        let suffix = vec![reward_token(&config.object, config.model.vocab_size)?];
        return Ok(Some(CheckpointHead {
            suffix,
            ..CheckpointHead::one_row(Layer::new("v_head", checkpoint))
        }));
    }
    if architecture.class == "ForCausalLM" {
        return read_causal(context);
    }
    let layers = trainers_layers(context)?;
    let rows = layers.last().map_or(Ok(1), |layer| {
        if checkpoint.has(&layer.matrix) { layer.outputs(checkpoint) } else { Ok(1) }
    })?;
    let attributes = if rows == 1 { vec![score_name(&config.object)?] } else { context.labels(rows)? };
    let mut head = CheckpointHead::new(layers, rows, attributes);
    if architecture.name == ATHENE {
        head.suffix = vec![ATHENE_TOKEN];
    }
    if config.object.optional("do_normalize")? == Some(true) {
        let reason = "Beaver's normalisation of scores in the model is not supported; set it to false, and normalise the \
                      scores with the `score` section of --head";
        return Err(config.object.error("do_normalize", reason));
    }
    Ok(Some(head))
}

/// TRL's value head next to a language model's own head, or the head of a classifier with the configuration of a
/// language model, as NeMo-RL exports it. Without either, this is a language model.
fn read_causal(context: &Context<'_>) -> Result<Option<CheckpointHead>, BuildError> {
    let Some((name, layers)) = network::only(context.checkpoint) else { return Ok(None) };
    if layers.len() > 1 && name != "v_head.summary" {
        return Err(context.unknown_activation(name, &layers));
    }
    let rows = layers[layers.len() - 1].outputs(context.checkpoint)?;
    if rows != 1 {
        return Err(context.another_class(name, rows));
    }
    let mut head = CheckpointHead::new(layers, 1, vec![ONE_SCORE.to_owned()]);
    if !name.starts_with("v_head") {
        let family = context.config.architecture.family.architecture;
        head.notes.push(format!(
            "the checkpoint has {name}.weight, so it is a reward model although config.json calls it {}; \"architectures\": \
             [\"{family}ForSequenceClassification\"] would say so",
            context.config.architecture.name
        ));
    }
    Ok(Some(head))
}

/// The head of a trainer's class: the one that `value_head_prefix` names (OpenRLHF), or the only one with a known
/// name.
fn trainers_layers(context: &Context<'_>) -> Result<Vec<Layer>, BuildError> {
    let checkpoint = context.checkpoint;
    if let Some(name) = context.config.object.optional::<String>("value_head_prefix")?
        && let Some(layers) = network::layers(&name, checkpoint)
    {
        return Ok(with_relu(layers));
    }
    let mut known = network::known(checkpoint);
    match (known.pop(), known.is_empty()) {
        (Some((_, layers)), true) => Ok(with_relu(layers)),
        (None, _) if network::beside_decoder(checkpoint).is_empty() => {
            // The missing matrix will be reported.
            Ok(vec![Layer::new("score", checkpoint)])
        }
        _ => Err(context.which_head()),
    }
}

/// The layers of GRM and of others that are several have ReLU between them.
fn with_relu(mut layers: Vec<Layer>) -> Vec<Layer> {
    for layer in &mut layers {
        layer.activation = HeadActivation::Relu;
    }
    layers
}

/// Beaver's cost models say that their score is a cost: more is worse.
fn score_name(config: &Object) -> Result<String, BuildError> {
    let kind = config.optional::<String>("score_type")?;
    Ok(if kind.as_deref() == Some("cost") { "cost" } else { ONE_SCORE }.to_owned())
}

/// The token at which InternLM2's score is read. It follows the conversation.
fn reward_token(config: &Object, vocab_size: usize) -> Result<u32, BuildError> {
    let token: u32 = config.required("reward_token_id")?;
    if (token as usize) < vocab_size {
        Ok(token)
    } else {
        Err(config.error("reward_token_id", &format!("{token} is not below vocab_size, {vocab_size}")))
    }
}
