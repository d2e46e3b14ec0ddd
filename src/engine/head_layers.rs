//! The layers of a head above its first, for engines whose library computes that one alone: what
//! TensorRT-LLM calls `lm_head` is a product with a matrix. Here everything is f32.

use std::path::Path;

use super::EngineError;
use super::weights::Weights;
use crate::manifest::{HEAD_FILE, Head, HeadLayer};

/// The head's networks, each without the product of its first layer.
#[derive(Debug, Default)]
pub(super) struct UpperLayers {
    networks: Vec<Network>,
}

/// What follows the product of a first layer.
#[derive(Debug)]
struct Network {
    /// Outputs of that product.
    inputs: usize,
    /// Its bias, if it has one.
    bias: Vec<f32>,
    layers: Vec<Layer>,
}

/// ReLU, and a layer.
#[derive(Debug)]
struct Layer {
    /// `[outputs, inputs]`.
    matrix: Vec<f32>,
    inputs: usize,
    /// If it has one.
    bias: Vec<f32>,
}

impl UpperLayers {
    /// Those of the head of the engine in `directory`; `bias` is that of a head of one layer.
    ///
    /// # Errors
    /// A tensor is missing or of another size than the manifest says; the sentence names it.
    pub(super) fn open(directory: &Path, head: &Head, bias: &[f32]) -> Result<Self, EngineError> {
        let due = if head.bias && !head.is_deep() { head.outputs() } else { 0 };
        if bias.len() != due {
            let found = bias.len();
            return Err(EngineError::Load(format!(
                "{} has {found} biases of its head where {due} are due; build the engine again",
                directory.display()
            )));
        }
        let path = directory.join(HEAD_FILE);
        let file = if head.is_deep() { Some(Weights::map(&path)?) } else { None };
        let floats = |name: &str, count: usize| match &file {
            None => Ok(bias.to_vec()),
            Some(weights) => tensor(weights, name, count).ok_or_else(|| {
                let path = path.display();
                EngineError::Load(format!("{path} has no {name} of {count} numbers; build the engine again"))
            }),
        };
        let bias_of = |layer: &HeadLayer| match layer.bias {
            true => floats(&format!("{}_bias", layer.name), layer.outputs),
            false => Ok(Vec::new()),
        };
        let mut networks = Vec::new();
        for network in head.networks() {
            let Some((first, above)) = network.split_first() else { continue };
            let mut inputs = first.outputs;
            let mut layers = Vec::new();
            for layer in above {
                let matrix = floats(&layer.name, layer.outputs.saturating_mul(inputs))?;
                layers.push(Layer { matrix, inputs, bias: bias_of(layer)? });
                inputs = layer.outputs;
            }
            networks.push(Network { inputs: first.outputs, bias: bias_of(first)?, layers });
        }
        Ok(Self { networks })
    }

    /// The head's outputs, of what the first layers' products gave: `[Head::first_outputs]`.
    pub(super) fn outputs(&self, products: &[f32]) -> Vec<f32> {
        let mut outputs = Vec::new();
        let mut rest = products;
        for network in &self.networks {
            let (own, behind) = rest.split_at(network.inputs.min(rest.len()));
            rest = behind;
            outputs.extend(network.outputs(own));
        }
        outputs
    }
}

impl Network {
    fn outputs(&self, products: &[f32]) -> Vec<f32> {
        let first = added(products.to_vec(), &self.bias);
        self.layers.iter().fold(first, |values, layer| layer.outputs(values))
    }
}

impl Layer {
    fn outputs(&self, mut values: Vec<f32>) -> Vec<f32> {
        for value in &mut values {
            // Not `max`, which would make a number of a NaN.
            if *value < 0.0 {
                *value = 0.0;
            }
        }
        let rows = self.matrix.chunks(self.inputs.max(1));
        added(rows.map(|row| dot(row, &values)).collect(), &self.bias)
    }
}

fn added(mut values: Vec<f32>, bias: &[f32]) -> Vec<f32> {
    for (value, bias) in values.iter_mut().zip(bias) {
        *value += bias;
    }
    values
}

/// In sums side by side, which processors add at once, and always in the same order.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    let mut sums = [0.0f32; 16];
    for (a, b) in a.iter().zip(b) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

fn tensor(weights: &Weights, name: &str, count: usize) -> Option<Vec<f32>> {
    let (_, place) = weights.tensors().iter().find(|(found, _)| found == name)?;
    let (numbers, _) = weights.bytes().get(place.clone())?.as_chunks::<4>();
    (numbers.len() == count).then(|| numbers.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::TensorView;

    use super::*;

    #[test]
    fn a_second_layer_takes_what_relu_leaves_of_the_first_and_its_bias() {
        let layer =
            Layer { matrix: vec![1.0, 10.0, 100.0, -1.0, 0.5, 2.0], inputs: 3, bias: vec![0.25, 0.0] };
        let network = Network { inputs: 3, bias: vec![1.0, -5.0, 0.0], layers: vec![layer] };
        let beside = Network { inputs: 1, bias: vec![], layers: vec![] };
        let head = UpperLayers { networks: vec![network, beside] };
        // 1 + 1, 4 - 5, 3 + 0: of these, 2, 0 and 3 are left. What stands beside them is kept.
        assert_eq!(head.outputs(&[1.0, 4.0, 3.0, -7.0]), [302.25, 4.0, -7.0]);
    }

    #[test]
    fn what_is_no_number_stays_none() {
        let layer = Layer { matrix: vec![1.0; 20], inputs: 20, bias: vec![] };
        let network = Network { inputs: 20, bias: vec![], layers: vec![layer] };
        let mut products = [1.0; 20];
        products[3] = f32::NAN;
        assert!(UpperLayers { networks: vec![network] }.outputs(&products)[0].is_nan());
    }

    #[test]
    fn layers_are_read_by_name_and_one_that_is_missing_or_misshapen_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(HEAD_FILE);
        let head = Head { attributes: vec!["reward".into()], hidden: Some(2), ..Head::default() };
        let write = |bias: &[f32]| {
            let numbers: [(&str, &[f32]); 2] = [("head_hidden_bias", bias), ("head", &[3.0, 4.0])];
            let tensors = numbers.map(|(name, numbers)| {
                let (shape, data) = (vec![numbers.len()], bytemuck::cast_slice(numbers));
                (name, TensorView::new(safetensors::Dtype::F32, shape, data).unwrap())
            });
            std::fs::write(&file, safetensors::serialize(tensors, None).unwrap()).unwrap();
        };
        let open = || UpperLayers::open(directory.path(), &head, &[]).map_err(|error| error.to_string());
        assert!(open().unwrap_err().contains(HEAD_FILE));
        write(&[1.0]);
        let error = open().unwrap_err();
        assert!(error.contains(HEAD_FILE) && error.contains("head_hidden_bias of 2 numbers"), "{error}");
        write(&[1.0, -9.0]);
        assert_eq!(open().unwrap().outputs(&[1.0, 2.0]), [6.0]);
    }

    #[test]
    fn sums_side_by_side_are_the_sum() {
        for length in [0, 1, 15, 16, 17, 100] {
            let numbers: Vec<f32> = (0..length).map(|number| number as f32).collect();
            let sum: f32 = numbers.iter().map(|number| number * number).sum();
            assert_eq!(dot(&numbers, &numbers), sum);
        }
    }
}
