//! What will be done, for whoever asks before it is done.

use std::fmt;
use std::path::Path;

use indicatif::HumanBytes;

use super::command::{PROGRAM, Recipe};
use super::families::architecture;
use super::fit::Memory;
use super::{Mapping, Order};
use crate::engine::manifest::{Manifest, Objective, Target as EngineTarget};

/// A build's plan.
pub(super) struct Report<'r> {
    pub(super) order: &'r Order<'r>,
    pub(super) draft: &'r Manifest,
    /// Memory of each rank.
    pub(super) ranks: &'r [Memory],
    /// Bytes of each rank's file.
    pub(super) files: &'r [u64],
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Manifest { profile, model, task, limits, .. } = self.draft;
        let Order { options, target, machine, .. } = self.order;
        let EngineTarget::TensorrtLlm(gpus) = &self.draft.target else { return Ok(()) };
        writeln!(out, "{}: {} GPUs of {}, for {task}", profile.name, gpus.ranks(), target.title)?;
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
            mapping: Mapping {
                tensor_parallel: gpus.tensor_parallel,
                pipeline_parallel: gpus.pipeline_parallel,
            },
            quantization: &gpus.quantization,
            objective: gpus.objective,
        };
        let output = options.output.as_path();
        let (checkpoint, engine) = match options.checkpoint_only {
            true => (output, Path::new("ENGINE")),
            false => (Path::new("CHECKPOINT"), output),
        };
        write!(out, "{PROGRAM} {}", recipe.arguments(checkpoint, engine).join(" "))?;
        if !options.checkpoint_only && machine.gpus.is_empty() {
            write!(out, "\n{PROGRAM} needs a GPU, and {}", machine.describe())?;
        }
        Ok(())
    }
}

impl Report<'_> {
    /// Fewest ranks of a stage with which it would fit too, where they are fewer.
    fn fewer_ranks(&self) -> Option<usize> {
        let EngineTarget::TensorrtLlm(gpus) = &self.draft.target else { return None };
        let most = (self.order.target.memory_gb * 1e9) as u64;
        let total = self.ranks.iter().map(Memory::total).max()?;
        let fits = |ranks: &usize| {
            let scaled = total * gpus.tensor_parallel as u64 / *ranks as u64;
            gpus.tensor_parallel.is_multiple_of(*ranks) && scaled <= most
        };
        (1..gpus.tensor_parallel).find(fits)
    }
}
