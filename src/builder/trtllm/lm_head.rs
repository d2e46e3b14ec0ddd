//! Where a head goes: the matrices of its first layers become rows of `lm_head`, whose products TensorRT-LLM returns.
//! The server computes the layers after them.

use super::check::{Family, check_small_head};
use super::mapping::Mapping;
use crate::builder::BuildError;
use crate::builder::plan::OutputHead;
use crate::builder::source::Source;
use crate::manifest::{ManifestHead, Model};

/// Small heads have a multiple of this many rows, as TensorRT-LLM's products need it.
const ROWS: usize = 64;

/// The content of `lm_head`.
pub(super) struct LmHead {
    /// The name of its matrix in the plan.
    pub(super) matrix: &'static str,
    /// Its rows, including those that are zero. The ranks of a stage divide them.
    pub(super) rows: usize,
    /// Whether it has fewer rows than the vocabulary.
    pub(super) small: bool,
    /// The vocabulary's size in `config.json`, which the embedding has as many rows as.
    pub(super) vocab_size: usize,
}

impl LmHead {
    /// The `lm_head` for a checkpoint with this head.
    ///
    /// # Errors
    /// The head has more rows than the vocabulary, or must be small and TensorRT-LLM has no such form.
    pub(super) fn new(
        source: &Source,
        family: Family,
        head: &ManifestHead,
        mapping: Mapping,
        small: bool,
    ) -> Result<Self, BuildError> {
        let model = &source.config.model;
        if small {
            check_small_head(family, model, source.task)?;
        }
        let matrix = match source.output_head {
            OutputHead::Scores(_) => {
                check_rows(head, model)?;
                "head"
            }
            OutputHead::Vocabulary(_) => "lm_head",
        };
        let rows =
            if small { small_rows(head.products(), mapping) } else { mapping.padded_vocab(model.vocab_size) };
        let vocab_size = if small { model.vocab_size } else { mapping.vocab_size(model.vocab_size) };
        Ok(Self { matrix, rows, small, vocab_size })
    }
}

/// Rows of a small head: the runtime sizes logits by all ranks, the model by those of a stage.
fn small_rows(outputs: usize, mapping: Mapping) -> usize {
    let padded = outputs.next_multiple_of(ROWS);
    (padded..).step_by(ROWS).find(|rows| rows.is_multiple_of(mapping.ranks())).unwrap_or(padded)
}

/// # Errors
/// The head's first layers have more rows than the vocabulary.
fn check_rows(head: &ManifestHead, model: &Model) -> Result<(), BuildError> {
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
