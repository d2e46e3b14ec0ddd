//! The head's tensors.
//!
//! The matrices of its first layers are stacked and become `head` in the weights. Biases and the layers above go
//! into the head's own file, under the names of [`crate::manifest::HeadLayer`]. A language model has `lm_head` instead,
//! and a judge for the CPU has some rows of it.

use super::{Planner, TensorLayout, TensorPlan};
use crate::builder::BuildError;
use crate::builder::checkpoint::Tensor;
use crate::builder::heads::{CheckpointHead, GatedMixture};
use crate::engine::cpu;
use crate::manifest::{Dtype, Model};

impl<'a> Planner<'a> {
    /// A head that scores.
    pub(super) fn head(&mut self, head: &CheckpointHead, hidden: usize) -> Result<(), BuildError> {
        if head.judge.is_some() && self.packed {
            return self.answers_rows(head, hidden);
        }
        let (mut inputs, mut first) = (hidden, None);
        for (number, layer) in head.layers.iter().enumerate() {
            let is_last = number + 1 == head.layers.len();
            let (name, bias_name) = (format!("head.{number}"), format!("head.{number}_bias"));
            let outputs = if is_last { head.outputs } else { layer.outputs(self.checkpoint)? };
            let mut plan = if is_last {
                self.chosen_rows(&name, &layer.matrix, head, &[inputs])?
            } else {
                let matrix = self.take(&layer.matrix, &[outputs, inputs])?;
                TensorPlan::new(&name, vec![matrix], f32_matrix(outputs, inputs))
            };
            if let Some(bias) = &layer.bias {
                if is_last {
                    let bias = self.chosen_rows(&bias_name, bias, head, &[])?;
                    self.head_plans.push(bias);
                } else {
                    self.head_layer(&bias_name, bias, &[outputs])?;
                }
            }
            if let Some(norm) = &layer.norm {
                self.head_layer(&format!("{name}_norm"), norm, &[outputs])?;
            }
            if number == 0 {
                plan.name = "head".to_owned();
                first = Some(plan);
            } else {
                self.head_plans.push(plan);
            }
            inputs = outputs;
        }
        let Some(mut first) = first else { return Ok(()) };
        if let Some(mixture) = &head.mixture {
            first.sources.push(self.mixture(mixture, hidden)?);
            let rows = first.sources.iter().map(Tensor::row_count).sum();
            first.layout = f32_matrix(rows, hidden);
        }
        self.plans.push(first);
        Ok(())
    }

    /// The language model's head, never in int8.
    ///
    /// If it is the embedding, that is stored twice: rows of a packed matrix cannot be looked up, and TensorRT-LLM
    /// has two tensors.
    pub(super) fn lm_head(
        &mut self,
        matrix: &str,
        model: &Model,
        logit_scale: f32,
    ) -> Result<(), BuildError> {
        let whole = self.take(matrix, &[model.vocab_size, model.hidden_size])?;
        self.logits(vec![whole], logit_scale)
    }

    /// The rows of the language model's head that are the answers of a judge. They are computed as those of the whole
    /// vocabulary are, so that an answer has the same logit from either engine.
    fn answers_rows(&mut self, head: &CheckpointHead, hidden: usize) -> Result<(), BuildError> {
        let Some(layer) = head.layers.last() else { return Ok(()) };
        let whole = self.take(&layer.matrix, &[head.outputs, hidden])?;
        self.logits(head.rows.iter().map(|&row| whole.rows(row..row + 1)).collect(), head.scale)
    }

    /// The matrix of logits with these rows, to which others are added that fill the last block of one for the CPU.
    fn logits(&mut self, mut sources: Vec<Tensor<'a>>, scale: f32) -> Result<(), BuildError> {
        let Some(first) = sources.first().map(|source| source.rows(0..1)) else { return Ok(()) };
        let tokens = sources.iter().map(Tensor::row_count).sum();
        let rows = if self.packed { cpu::logit_rows(tokens) } else { tokens };
        sources.extend((tokens..rows).map(|_| first));
        let layout = self.matrix_layout(cpu::state_dtype(self.dtype), rows, first.elements())?;
        self.plans.push(TensorPlan { scale, ..TensorPlan::new("lm_head", sources, layout) });
        Ok(())
    }

    /// Plans the upper layers of the network that mixes the scores, and returns the matrix of its first.
    fn mixture(&mut self, mixture: &GatedMixture, hidden: usize) -> Result<Tensor<'a>, BuildError> {
        let mut widths = mixture.hidden.clone();
        widths.push(mixture.objectives);
        let first = self.take(&mixture.layers[0].matrix, &[widths[0], hidden])?;
        for (number, (layer, &out)) in mixture.layers.iter().zip(&widths).enumerate() {
            let name = format!("gating.{number}");
            if number > 0 {
                self.head_layer(&name, &layer.matrix, &[out, widths[number - 1]])?;
            }
            if let Some(bias) = &layer.bias {
                self.head_layer(&format!("{name}_bias"), bias, &[out])?;
            }
        }
        for (name, shape) in mixture.manifest_tensors() {
            self.take(name, &shape)?;
        }
        Ok(first)
    }

    /// A tensor of the head's own file.
    fn head_layer(&mut self, name: &str, source: &str, shape: &[usize]) -> Result<(), BuildError> {
        let sources = vec![self.take(source, shape)?];
        let layout = TensorLayout::RowMajor { dtype: Dtype::F32, shape: shape.to_vec() };
        self.head_plans.push(TensorPlan::new(name, sources, layout));
        Ok(())
    }

    /// The rows that are scores, of a tensor of the shape `[head.outputs, ...rest]`.
    fn chosen_rows(
        &mut self,
        name: &str,
        source: &str,
        head: &CheckpointHead,
        rest: &[usize],
    ) -> Result<TensorPlan<'a>, BuildError> {
        let whole = self.take(source, &[&[head.outputs], rest].concat())?;
        let rows = head.rows.iter().map(|&row| whole.rows(row..row + 1)).collect();
        let shape = [&[head.rows.len()], rest].concat();
        let mut plan = TensorPlan::new(name, rows, TensorLayout::RowMajor { dtype: Dtype::F32, shape });
        plan.subtract = head.subtract.map(|row| whole.rows(row..row + 1));
        plan.scale = head.scale;
        Ok(plan)
    }
}

fn f32_matrix(out: usize, inp: usize) -> TensorLayout {
    TensorLayout::RowMajor { dtype: Dtype::F32, shape: vec![out, inp] }
}
