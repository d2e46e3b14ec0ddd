//! The layers of a head above its first, computed the same way for every engine.
//!
//! An engine computes the products of the first layers' matrices. What follows is here, in f32 with sums of a
//! fixed order, so a score depends neither on the engine's batch nor on its kernels. Engines call it on their
//! own thread: a gating network takes a millisecond.

use super::linear::Linear;
use super::mlp::{Between, Mlp};
use crate::manifest;

/// The networks of a head, each from the product of its first layer on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeadLayers {
    networks: Vec<Mlp>,
}

/// A tensor of the head that is not there, or has another size than the manifest says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("has no tensor `{name}` of {elements} numbers")]
pub struct MissingTensor {
    /// Its name in the weights' file.
    pub name: String,
    /// Numbers that it should have.
    pub elements: usize,
}

impl HeadLayers {
    /// The layers that the manifest describes, read through `tensor`, which gives a tensor's numbers by name.
    ///
    /// # Errors
    /// A tensor is missing or of the wrong size.
    pub fn new(
        head: &manifest::ManifestHead,
        tensor: impl Fn(&str) -> Option<Vec<f32>>,
    ) -> Result<Self, MissingTensor> {
        let read = |name: String, elements: usize| {
            let numbers = tensor(&name).filter(|numbers| numbers.len() == elements);
            numbers.ok_or(MissingTensor { name, elements })
        };
        let bias_of = |layer: &manifest::HeadLayer| {
            if layer.bias { read(layer.bias_name(), layer.outputs) } else { Ok(Vec::new()) }
        };
        let mut networks = Vec::new();
        for network in head.networks() {
            let Some((first, above)) = network.split_first() else { continue };
            let mut mlp = Mlp { products: first.outputs, bias: bias_of(first)?, layers: Vec::new() };
            let mut below = first;
            for layer in above {
                let inputs = below.outputs;
                let matrix = read(layer.name.clone(), layer.outputs.saturating_mul(inputs))?;
                let norm = match below.norm_eps {
                    Some(eps) => Some((read(below.norm_name(), inputs)?, eps)),
                    None => None,
                };
                let between = Between { activation: below.activation, norm };
                mlp.layers.push((between, Linear { matrix, inputs, bias: bias_of(layer)? }));
                below = layer;
            }
            networks.push(mlp);
        }
        Ok(Self { networks })
    }

    /// Leaves an engine's numbers as they are: the logits of a model that generates.
    pub fn none() -> Self {
        Self::default()
    }

    /// Finishes an engine's `products`, `[rows, products]`, to the head's outputs, `[rows, outputs]`.
    pub fn apply(&self, products: Vec<f32>) -> Vec<f32> {
        if self.networks.iter().all(|network| network.bias.is_empty() && network.layers.is_empty()) {
            return products;
        }
        let width: usize = self.networks.iter().map(|network| network.products).sum();
        let rows = products.len() / width.max(1);
        let mut parts = Vec::new();
        let mut first = 0;
        for network in &self.networks {
            let columns = first..first + network.products;
            let own = products.chunks_exact(width).flat_map(|row| &row[columns.clone()]).copied().collect();
            parts.push(network.apply(own));
            first = columns.end;
        }
        side_by_side(&parts, rows)
    }
}

/// Joins `parts`, each of `[rows, some columns]`, row by row.
fn side_by_side(parts: &[Vec<f32>], rows: usize) -> Vec<f32> {
    let mut joined = Vec::with_capacity(parts.iter().map(Vec::len).sum());
    for row in 0..rows {
        for part in parts {
            let columns = part.len() / rows;
            joined.extend_from_slice(&part[row * columns..(row + 1) * columns]);
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Gating, HeadActivation, ManifestHead};

    fn gated() -> ManifestHead {
        let gating = Gating {
            pattern: vec![1],
            hidden: vec![3],
            bias: false,
            activation: HeadActivation::Relu,
            plain: false,
            classes: 1,
            temperature: 1.0,
            scale: 1.0,
            transform: vec![vec![0.0; 2]; 2],
        };
        ManifestHead { gating: Some(gating), ..ManifestHead::default() }
    }

    #[test]
    fn networks_take_their_own_products_and_their_outputs_are_joined() {
        let tensor = |name: &str| match name {
            "gating.0_bias" => Some(vec![0.0, 0.0, -1.0]),
            "gating.1" => Some(vec![1.0, 0.0, 0.0, 0.0, 10.0, 100.0]),
            _ => None,
        };
        let layers = HeadLayers::new(&gated(), tensor).unwrap();
        let products = [[7.0, 8.0, 1.0, 2.0, 3.0], [-7.0, -8.0, -1.0, 2.0, 0.5]].concat();
        assert_eq!(layers.apply(products), [7.0, 8.0, 1.0, 220.0, -7.0, -8.0, 0.0, 20.0]);
        assert!(layers.apply(Vec::new()).is_empty());
    }

    #[test]
    fn a_single_layer_without_bias_does_not_change_the_products() {
        let head = ManifestHead { attributes: vec!["a".into()], ..ManifestHead::default() };
        let layers = HeadLayers::new(&head, |_| None).unwrap();
        assert_eq!(layers.apply(vec![1.5, -2.5]), [1.5, -2.5]);
        assert_eq!(HeadLayers::none().apply(vec![1.0; 7]), [1.0; 7]);
    }

    #[test]
    fn a_tensor_that_is_missing_or_misshapen_is_named() {
        let error = HeadLayers::new(&gated(), |_| Some(vec![0.0; 3])).unwrap_err();
        assert_eq!(error.to_string(), "has no tensor `gating.1` of 6 numbers");
        let error = HeadLayers::new(&gated(), |_| None).unwrap_err();
        assert_eq!(error, MissingTensor { name: "gating.0_bias".into(), elements: 3 });
    }
}
