//! What will be done, for whoever asks before it is done.

use std::fmt;

use indicatif::HumanBytes;

use super::command::{PROGRAM, Recipe};
use super::families::architecture;
use super::fit::Memory;
use super::{Machine, Options};
use crate::engine::manifest::{Manifest, Objective, Target as EngineTarget};
use crate::engine::target::Target;
use std::path::Path;

/// A build's plan.
pub(super) struct Report<'r> {
    pub(super) draft: &'r Manifest,
    pub(super) target: &'r Target,
    pub(super) options: &'r Options,
    /// Memory of each rank.
    pub(super) ranks: &'r [Memory],
    /// Bytes of each rank's file.
    pub(super) files: &'r [u64],
    pub(super) machine: &'r Machine,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Manifest { profile, model, limits, .. } = self.draft;
        let EngineTarget::TensorrtLlm(gpus) = &self.draft.target else { return Ok(()) };
        writeln!(out, "{}: {} GPUs of {}", profile.name, gpus.ranks(), self.target.title)?;
        writeln!(
            out,
            "architecture {}, layers in {}, the rest in bf16; sequences of {} tokens, {} of them and {} tokens an iteration",
            architecture(model.family),
            gpus.quantization,
            limits.max_seq_len,
            limits.max_batch_size,
            limits.max_num_tokens
        )?;
        for (rank, (memory, file)) in self.ranks.iter().zip(self.files).enumerate() {
            writeln!(
                out,
                "rank {rank}: rank{rank}.safetensors {}; on the GPU {memory} = {}",
                HumanBytes(*file),
                HumanBytes(memory.total())
            )?;
        }
        if gpus.objective == Objective::Throughput
            && let Some(fewer) = self.fewer_ranks()
        {
            writeln!(
                out,
                "it would also fit --tp {fewer}: {} engines of that on the same GPUs answer more in all, for they exchange less",
                gpus.tensor_parallel / fewer
            )?;
        }
        let recipe = Recipe {
            family: model.family,
            limits: *limits,
            mapping: super::Mapping {
                tensor_parallel: gpus.tensor_parallel,
                pipeline_parallel: gpus.pipeline_parallel,
            },
            quantization: &gpus.quantization,
            objective: gpus.objective,
        };
        let checkpoint = if self.options.checkpoint_only {
            self.options.output.as_path()
        } else {
            Path::new("CHECKPOINT")
        };
        let engine =
            if self.options.checkpoint_only { Path::new("ENGINE") } else { self.options.output.as_path() };
        write!(out, "{PROGRAM} {}", recipe.arguments(checkpoint, engine).join(" "))?;
        if !self.options.checkpoint_only && self.machine.gpus.is_empty() {
            write!(out, "\n{PROGRAM} needs a GPU, and {}", self.machine.describe())?;
        }
        Ok(())
    }
}

impl Report<'_> {
    /// Fewest ranks of a stage with which it would fit too, where they are fewer.
    fn fewer_ranks(&self) -> Option<usize> {
        let EngineTarget::TensorrtLlm(gpus) = &self.draft.target else { return None };
        let total = self.ranks.iter().map(Memory::total).max()?;
        let fits = |ranks: &usize| {
            let scaled = total * gpus.tensor_parallel as u64 / *ranks as u64;
            gpus.tensor_parallel.is_multiple_of(*ranks) && scaled <= (self.target.memory_gb * 1e9) as u64
        };
        (1..gpus.tensor_parallel).find(fits)
    }
}
