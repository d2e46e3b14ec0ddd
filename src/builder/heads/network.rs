//! Heads as a checkpoint's tensors describe them: one linear layer, or several in a row.

use crate::builder::BuildError;
use crate::builder::checkpoint::Checkpoint;
use crate::manifest::HeadActivation;

/// One layer of a head.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::builder) struct Layer {
    /// The tensor of its matrix, `[outputs, inputs]`.
    pub(in crate::builder) matrix: String,
    /// The tensor of its bias.
    pub(in crate::builder) bias: Option<String>,
    /// What follows it, if it is not the last.
    pub(in crate::builder) activation: HeadActivation,
    /// The tensor of the layer norm after that, if there is one.
    pub(in crate::builder) norm: Option<String>,
}

impl Layer {
    /// The layer with these tensors; the bias only if the checkpoint has it.
    pub(super) fn new(module: &str, checkpoint: &Checkpoint) -> Self {
        let bias = format!("{module}.bias");
        Self {
            matrix: format!("{module}.weight"),
            bias: checkpoint.has(&bias).then_some(bias),
            activation: HeadActivation::Relu,
            norm: None,
        }
    }

    /// The same with a bias, whether the checkpoint has it or not: then it will be reported as missing.
    pub(super) fn with_bias(mut self) -> Self {
        self.bias = self.matrix.strip_suffix("weight").map(|module| format!("{module}bias"));
        self
    }

    /// Rows of its matrix.
    ///
    /// # Errors
    /// The checkpoint does not have it.
    pub(in crate::builder) fn outputs(&self, checkpoint: &Checkpoint) -> Result<usize, BuildError> {
        match checkpoint.tensor(&self.matrix) {
            Some(tensor) => Ok(tensor.shape.first().copied().unwrap_or(0)),
            None => Err(BuildError::tensor(checkpoint.listing(), &self.matrix, "is missing")),
        }
    }
}

/// Names that training code gives to heads, with the module around them.
const NAMES: [&str; 15] = [
    "score",
    "value_head",
    "v_head.summary",
    "v_head",
    "value_head.summary",
    "reward_head",
    "regression_head",
    "rm_head",
    "score_head",
    "classifier",
    "classification_head",
    "reward_model_head",
    "reward_layer",
    "reward",
    "head",
];

/// The layers of the module `name`: itself, or its numbered parts if it is a sequence. `None` if it has no matrix.
pub(super) fn layers(name: &str, checkpoint: &Checkpoint) -> Option<Vec<Layer>> {
    // A bias alone shows that the matrix is missing.
    if ["weight", "bias"].iter().any(|kind| checkpoint.has(&format!("{name}.{kind}"))) {
        return Some(vec![Layer::new(name, checkpoint)]);
    }
    let mut numbers: Vec<usize> = Vec::new();
    for tensor in checkpoint.tensors() {
        let part = tensor.name.strip_prefix(name).and_then(|rest| rest.strip_prefix('.'));
        let number: Option<usize> =
            part.and_then(|part| part.strip_suffix(".weight")).and_then(|part| part.parse().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    let layers: Vec<Layer> =
        numbers.iter().map(|number| Layer::new(&format!("{name}.{number}"), checkpoint)).collect();
    (!layers.is_empty()).then_some(layers)
}

/// The heads of a checkpoint that have one of the known names, each with its name.
pub(super) fn known(checkpoint: &Checkpoint) -> Vec<(&'static str, Vec<Layer>)> {
    NAMES.into_iter().filter_map(|name| Some((name, layers(name, checkpoint)?))).collect()
}

/// The only head with a known name.
pub(super) fn only(checkpoint: &Checkpoint) -> Option<(&'static str, Vec<Layer>)> {
    let mut found = known(checkpoint);
    if found.len() == 1 { found.pop() } else { None }
}

/// Names of the tensors that neither the decoder nor the language model's head has.
pub(super) fn beside_decoder(checkpoint: &Checkpoint) -> Vec<String> {
    let names = checkpoint.tensors().map(|tensor| (tensor.name, tensor.shape.to_vec()));
    let beside = names.filter(|(name, _)| {
        !name.starts_with("model.") && !name.starts_with("lm_head.") && !name.starts_with("output.")
    });
    beside.map(|(name, shape)| format!("{name} {shape:?}")).collect()
}
