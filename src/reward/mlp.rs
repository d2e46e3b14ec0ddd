//! A network of a head above the product of its first layer: a bias, and further layers after an activation.

use super::linear::{Linear, activate, add_bias};
use crate::manifest::HeadActivation;

/// What follows the product of the first layer. With no bias and no layers, nothing does.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Mlp {
    /// Outputs of the product.
    pub(super) products: usize,
    /// Bias of the first layer, `[products]`, or empty.
    pub(super) bias: Vec<f32>,
    /// Further layers, each with what precedes it.
    pub(super) layers: Vec<(Between, Linear)>,
}

/// What is between two layers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Between {
    pub(super) activation: HeadActivation,
    /// Weights, `[inputs]`, and epsilon of the layer norm after the activation.
    pub(super) norm: Option<(Vec<f32>, f32)>,
}

impl Between {
    fn apply(&self, values: &mut [f32]) {
        activate(self.activation, values);
        if let Some((weights, eps)) = &self.norm {
            for row in values.chunks_exact_mut(weights.len().max(1)) {
                norm(row, weights, *eps);
            }
        }
    }
}

/// A layer norm without bias, in f64 with sums of a fixed order.
fn norm(row: &mut [f32], weights: &[f32], eps: f32) {
    let count = row.len() as f64;
    let mean = row.iter().map(|&value| f64::from(value)).sum::<f64>() / count;
    let variance = row.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>() / count;
    let factor = 1.0 / (variance + f64::from(eps)).sqrt();
    for (value, &weight) in row.iter_mut().zip(weights) {
        *value = ((f64::from(*value) - mean) * factor * f64::from(weight)) as f32;
    }
}

impl Mlp {
    /// Finishes `products`, `[rows, self.products]`, to `[rows, outputs]`.
    pub(super) fn apply(&self, products: Vec<f32>) -> Vec<f32> {
        let mut values = products;
        add_bias(&mut values, &self.bias);
        for (between, layer) in &self.layers {
            between.apply(&mut values);
            values = layer.apply(&values);
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_layer_takes_what_relu_leaves_of_the_first_and_its_bias() {
        let layer =
            Linear { matrix: vec![1.0, 10.0, 100.0, -1.0, 0.5, 2.0], inputs: 3, bias: vec![0.25, 0.0] };
        let network =
            Mlp { products: 3, bias: vec![1.0, -5.0, 0.0], layers: vec![(Between::default(), layer)] };
        // 1 + 1, 4 - 5, 3 + 0: ReLU leaves 2, 0 and 3.
        assert_eq!(network.apply(vec![1.0, 4.0, 3.0]), [302.25, 4.0]);
    }

    #[test]
    fn a_norm_follows_the_activation() {
        let layer = Linear { matrix: vec![1.0, 10.0], inputs: 2, bias: vec![] };
        let between = Between { activation: HeadActivation::None, norm: Some((vec![1.0, 2.0], 0.0)) };
        let network = Mlp { products: 2, bias: vec![], layers: vec![(between, layer)] };
        // Mean 5 and deviation 2: -1 and 1, times 1 and 2.
        assert_eq!(network.apply(vec![3.0, 7.0]), [19.0]);
    }

    #[test]
    fn nan_stays_nan() {
        let layer = Linear { matrix: vec![1.0; 20], inputs: 20, bias: vec![] };
        let network = Mlp { products: 20, bias: vec![], layers: vec![(Between::default(), layer)] };
        let mut products = vec![1.0; 20];
        products[3] = f32::NAN;
        assert!(network.apply(products)[0].is_nan());
    }
}
