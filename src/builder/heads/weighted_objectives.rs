//! Heads whose objectives and weights are both read at the last token: URM (uncertainty-aware) and LDL (label
//! distributions).

use super::gated_mixture::{GatedMixture, Shares};
use super::network::Layer;
use super::{CheckpointHead, Context, HeadKind};
use crate::builder::BuildError;
use crate::builder::checkpoint::Checkpoint;
use crate::builder::families::Architecture;
use crate::manifest::HeadActivation;

const URM: &str = "LlamaForSequenceClassificationWithNormal_Weights";
/// LDL's own class. Its code saves the decoder under the decoder's class, and the networks in files of their own.
const LDL: &str = "LDLRewardModel27B";

pub(super) const KIND: HeadKind = HeadKind { architectures: &[URM, LDL], fits, read };

/// What the matrix of URM's objectives is called, and LDL's first layer.
const URM_OBJECTIVES: &str = "score";
const LDL_OBJECTIVES: &str = "regression_layer.network";
/// Objectives of HelpSteer2, on which URM was trained.
const HELPSTEER: [&str; 5] = ["helpfulness", "correctness", "coherence", "complexity", "verbosity"];
/// Classes of each of LDL's objectives.
const LDL_CLASSES: usize = 10;

fn fits(architecture: &Architecture) -> bool {
    let may_be_ldl = ["Model", "ForSequenceClassification"].contains(&architecture.class.as_str());
    architecture.family.in_transformers
        && (architecture.name == URM || architecture.name == LDL || may_be_ldl)
}

fn read(context: &Context<'_>) -> Result<Option<CheckpointHead>, BuildError> {
    let name = context.config.architecture.name.as_str();
    if name == URM {
        return urm(context).map(Some);
    }
    let has_networks = context.checkpoint.has(&format!("{LDL_OBJECTIVES}.0.weight"));
    if name == LDL || has_networks { ldl(context).map(Some) } else { Ok(None) }
}

/// `score` has a mean and a deviation for each objective, and only the means count. The weights are the outputs of a
/// network of three layers with SELU.
fn urm(context: &Context<'_>) -> Result<CheckpointHead, BuildError> {
    let checkpoint = context.checkpoint;
    let objectives = Layer { bias: None, ..Layer::new(URM_OBJECTIVES, checkpoint) };
    let outputs = if checkpoint.has(&objectives.matrix) { objectives.outputs(checkpoint)? } else { 10 };
    let weights = network("weights.fc", &[0, 2, 4], HeadActivation::Selu, checkpoint);
    let mixture = mixture(outputs / 2, weights, Shares::OfAnswer { softmax: None, classes: 1 }, checkpoint)?;
    let mut head = CheckpointHead::new(vec![objectives], outputs, vec![]);
    head.rows = (0..outputs / 2).map(|objective| 2 * objective).collect();
    mixed(context, head, mixture)
}

/// One network returns a distribution over ten classes for each objective; the mean, from 0 to 1, is the objective's
/// score. Another network returns the weights.
fn ldl(context: &Context<'_>) -> Result<CheckpointHead, BuildError> {
    let (checkpoint, object) = (context.checkpoint, &context.config.object);
    let layers = network(LDL_OBJECTIVES, &[0, 2, 4], HeadActivation::LeakyRelu, checkpoint);
    let outputs = object.size("num_objectives", Some(220))?;
    if outputs == 0 || outputs % LDL_CLASSES != 0 {
        let reason = format!("{outputs} is not a multiple of {LDL_CLASSES}, the classes of each objective");
        return Err(object.error("num_objectives", &reason));
    }
    let temperature: f32 = object.positive("temperature", object.optional("temperature")?.unwrap_or(1.0))?;
    let softmax = (object.optional("softmax")? == Some(true)).then_some(temperature);
    let weights = network("gating_layer.network", &[0, 3, 6], HeadActivation::LeakyRelu, checkpoint);
    let shares = Shares::OfAnswer { softmax, classes: LDL_CLASSES };
    let mixture = mixture(outputs / LDL_CLASSES, weights, shares, checkpoint)?;
    let mut head = CheckpointHead::new(layers, outputs, vec![]);
    head.rows = (0..outputs).collect();
    mixed(context, head, mixture)
}

/// The linear modules of a sequence, each with a bias.
fn network(name: &str, modules: &[usize], activation: HeadActivation, checkpoint: &Checkpoint) -> Vec<Layer> {
    let mut layers = Vec::new();
    for module in modules {
        let layer = Layer::new(&format!("{name}.{module}"), checkpoint).with_bias();
        layers.push(Layer { activation, ..layer });
    }
    layers
}

fn mixture(
    objectives: usize,
    layers: Vec<Layer>,
    shares: Shares,
    checkpoint: &Checkpoint,
) -> Result<GatedMixture, BuildError> {
    let hidden: Result<Vec<usize>, _> =
        layers[..layers.len() - 1].iter().map(|layer| layer.outputs(checkpoint)).collect();
    Ok(GatedMixture { objectives, layers, hidden: hidden?, shares })
}

/// The head with its mixture, and the names of the scores.
fn mixed(
    context: &Context<'_>,
    head: CheckpointHead,
    mixture: GatedMixture,
) -> Result<CheckpointHead, BuildError> {
    let attributes = mixture.attributes(&context.config.object, &HELPSTEER)?;
    Ok(CheckpointHead { attributes, mixture: Some(mixture), ..head })
}
