//! Where a head goes: the matrices of its first layers become rows of `lm_head`, whose products the library
//! gives; what follows them is left to the server.

use super::families;
use super::mapping::Mapping;
use crate::builder::plan::{Ending, Planned};
use crate::builder::source::Source;
use crate::builder::{BuildError, convert};
use crate::manifest::{Head, Model};

/// What small heads have a multiple of, in rows: TensorRT-LLM's products want it.
const ROWS: usize = 64;

/// What stands in `lm_head`.
pub(super) struct LmHead {
    /// Its matrices, top to bottom, by their names in the plan.
    pub(super) matrices: Vec<String>,
    /// Its rows, those that are zero included; the ranks of a stage divide them.
    pub(super) rows: usize,
    /// Whether it has these instead of as many as the vocabulary.
    pub(super) small: bool,
}

impl LmHead {
    /// That of a checkpoint whose head the manifest tells so.
    ///
    /// # Errors
    /// The head has more rows than the vocabulary, or is to be small where TensorRT-LLM has no such form.
    pub(super) fn of(
        source: &Source,
        head: &Head,
        mapping: Mapping,
        small: bool,
    ) -> Result<Self, BuildError> {
        let model = &source.config.model;
        if small {
            families::check_small_head(model, source.task)?;
        }
        let matrices = match source.ending {
            Ending::Scores(_) => first_layers(head, model)?,
            Ending::Vocabulary(_) => vec!["lm_head".to_owned()],
        };
        let rows = match small {
            true => small_rows(head.first_outputs(), mapping),
            false => model.vocab_size.next_multiple_of(mapping.tensor_parallel),
        };
        Ok(Self { matrices, rows, small })
    }
}

/// Rows of a small head: the runtime sizes logits by all ranks, the model by those of a stage.
fn small_rows(outputs: usize, mapping: Mapping) -> usize {
    let padded = outputs.next_multiple_of(ROWS);
    (padded..).step_by(ROWS).find(|rows| rows.is_multiple_of(mapping.ranks())).unwrap_or(padded)
}

fn first_layers(head: &Head, model: &Model) -> Result<Vec<String>, BuildError> {
    let (rows, most) = (head.first_outputs(), model.vocab_size);
    if rows > most {
        return Err(BuildError::Option(format!(
            "{} ({}): the first layer of its head has {rows} rows, and TensorRT-LLM's lm_head has room for {most}, as \
             many as the vocabulary has; build it for --target cpu",
            model.name, model.architecture
        )));
    }
    Ok(head.networks().iter().filter_map(|layers| layers.first()).map(|layer| layer.name.clone()).collect())
}

/// The tensors that a server needs of a head of several layers, beside the matrices of the first.
pub(super) fn rest<'a>(planned: &[Planned<'a>], head: &Head) -> Vec<Planned<'a>> {
    if !head.is_deep() {
        return Vec::new();
    }
    let mut names = Vec::new();
    for network in head.networks() {
        for (index, layer) in network.iter().enumerate() {
            names.extend((index > 0).then(|| layer.name.clone()));
            names.extend(layer.bias.then(|| format!("{}_bias", layer.name)));
        }
    }
    planned.iter().filter(|planned| names.contains(&planned.name)).cloned().collect()
}

/// The bias of a head of one layer, row by row.
///
/// # Errors
/// It cannot be read.
pub(super) fn bias(planned: &[Planned<'_>], head: &Head) -> Result<Vec<f32>, BuildError> {
    let found = planned.iter().find(|planned| planned.name == "head_bias");
    let Some(bias) = found.filter(|_| !head.is_deep()) else { return Ok(vec![]) };
    let minus = match &bias.minus {
        Some(minus) => convert::values(minus)?.first().copied().unwrap_or(0.0),
        None => 0.0,
    };
    let mut values = Vec::new();
    for source in &bias.sources {
        values.extend(convert::values(source)?.iter().map(|value| value - minus));
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_head_is_divided_by_64_and_by_all_ranks() {
        for (outputs, tensor_parallel, pipeline_parallel, rows) in
            [(1, 1, 1, 64), (64, 8, 1, 64), (65, 1, 1, 128), (5, 6, 1, 192), (1043, 4, 3, 1152)]
        {
            assert_eq!(small_rows(outputs, Mapping { tensor_parallel, pipeline_parallel }), rows);
        }
    }
}
