//! Where a head goes: the matrices of its first layers become rows of `lm_head`, whose products the library
//! gives; what follows them is left to the server.

use super::families;
use super::mapping::Mapping;
use crate::builder::BuildError;
use crate::builder::plan::Ending;
use crate::builder::source::Source;
use crate::manifest::{Head, Model};

/// What small heads have a multiple of, in rows: TensorRT-LLM's products want it.
const ROWS: usize = 64;

/// What stands in `lm_head`.
pub(super) struct LmHead {
    /// Its matrix, by its name in the plan.
    pub(super) matrix: &'static str,
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
        let matrix = match source.ending {
            Ending::Scores(_) => {
                check_rows(head, model)?;
                "head"
            }
            Ending::Vocabulary(_) => "lm_head",
        };
        let rows = match small {
            true => small_rows(head.products(), mapping),
            false => model.vocab_size.next_multiple_of(mapping.tensor_parallel),
        };
        Ok(Self { matrix, rows, small })
    }
}

/// Rows of a small head: the runtime sizes logits by all ranks, the model by those of a stage.
fn small_rows(outputs: usize, mapping: Mapping) -> usize {
    let padded = outputs.next_multiple_of(ROWS);
    (padded..).step_by(ROWS).find(|rows| rows.is_multiple_of(mapping.ranks())).unwrap_or(padded)
}

/// # Errors
/// The head's first layers have more rows than the vocabulary.
fn check_rows(head: &Head, model: &Model) -> Result<(), BuildError> {
    let (rows, most) = (head.products(), model.vocab_size);
    if rows > most {
        return Err(BuildError::Option(format!(
            "{} ({}): the first layer of its head has {rows} rows, and TensorRT-LLM's lm_head has room for {most}, as \
             many as the vocabulary has; build it for --target cpu",
            model.name, model.architecture
        )));
    }
    Ok(())
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
