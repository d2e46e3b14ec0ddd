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
    /// Further layers, each with the activation before it.
    pub(super) layers: Vec<(HeadActivation, Linear)>,
}

impl Mlp {
    /// Finishes `products`, `[rows, self.products]`, to `[rows, outputs]`.
    pub(super) fn apply(&self, products: Vec<f32>) -> Vec<f32> {
        let mut values = products;
        add_bias(&mut values, &self.bias);
        for (activation, layer) in &self.layers {
            activate(*activation, &mut values);
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
            Mlp { products: 3, bias: vec![1.0, -5.0, 0.0], layers: vec![(HeadActivation::Relu, layer)] };
        // 1 + 1, 4 - 5, 3 + 0: ReLU leaves 2, 0 and 3.
        assert_eq!(network.apply(vec![1.0, 4.0, 3.0]), [302.25, 4.0]);
    }

    #[test]
    fn nan_stays_nan() {
        let layer = Linear { matrix: vec![1.0; 20], inputs: 20, bias: vec![] };
        let network = Mlp { products: 20, bias: vec![], layers: vec![(HeadActivation::Relu, layer)] };
        let mut products = vec![1.0; 20];
        products[3] = f32::NAN;
        assert!(network.apply(products)[0].is_nan());
    }
}
