//! What will be done, for whoever asks before it is done.

use std::fmt;
use std::path::Path;

use indicatif::HumanBytes;

use super::command::{PROGRAM, Recipe, shell_line};
use super::families::{SMALL_HEAD, architecture};
use super::fit::{Memory, RUNTIME_BYTES, memory_of};
use super::machine::device;
use super::{DRAFT_FILE, Mapping, Order};
use crate::manifest::{Gpus, Manifest, Objective, Target as EngineTarget};

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
        let target = self.order.target;
        let EngineTarget::TensorrtLlm(gpus) = &self.draft.target else { return Ok(()) };
        writeln!(out, "profile  {}, for {task}", profile.name)?;
        writeln!(
            out,
            "GPUs     {} x {}, {} each",
            gpus.ranks(),
            target.title,
            HumanBytes(memory_of(target))
        )?;
        writeln!(
            out,
            "layers   {} in {}; embedding and head in bf16",
            if gpus.lm_head_rows.is_some() { SMALL_HEAD } else { architecture(model.family) },
            gpus.quantization
        )?;
        writeln!(
            out,
            "limits   sequences of {} tokens; {} sequences and {} tokens in an iteration",
            limits.max_seq_len, limits.max_batch_size, limits.max_num_tokens
        )?;
        self.table(out)?;
        if gpus.objective == Objective::Throughput
            && let Some(fewer) = self.fewer_ranks(gpus)
        {
            writeln!(
                out,
                "it would also fit --tp {fewer}: {} engines of that on the same GPUs answer more in all, for they exchange less",
                gpus.tensor_parallel / fewer
            )?;
        }
        self.command(out, gpus)
    }
}

impl Report<'_> {
    /// The memory of each rank; a line for those that follow one another and are alike.
    fn table(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headings = [
            "rank",
            "file",
            "weights",
            "of lm_head",
            "one sequence",
            "activations",
            "logits",
            "in all",
            "left",
        ];
        let mut lines = vec![headings.map(str::to_owned)];
        let ranks: Vec<_> = self.ranks.iter().zip(self.files).enumerate().collect();
        for alike in ranks.chunk_by(|(_, one), (_, other)| one == other) {
            let (first, (memory, file)) = alike[0];
            let name = match alike.len() {
                1 => first.to_string(),
                count => format!("{first}-{}", first + count - 1),
            };
            let Memory { weights, lm_head, kv_cache, activations, logits } = *memory;
            let left = memory_of(self.order.target).saturating_sub(memory.total());
            let sizes = [*file, weights, lm_head, kv_cache, activations, logits, memory.total(), left];
            let mut line = sizes.map(|bytes| HumanBytes(bytes).to_string()).into_iter();
            lines.push(std::array::from_fn(|place| match place {
                0 => name.clone(),
                _ => line.next().unwrap_or_default(),
            }));
        }
        let width = |place: usize| lines.iter().map(|line| line[place].len()).max().unwrap_or_default();
        let widths: [usize; 9] = std::array::from_fn(width);
        for line in &lines {
            let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:>width$}"));
            writeln!(out, "{}", cells.collect::<Vec<_>>().join("  "))?;
        }
        writeln!(
            out,
            "one sequence: keys and values of the longest; what is left is for those of more. In all: also {}, assumed, for \
             CUDA, TensorRT and NCCL",
            HumanBytes(RUNTIME_BYTES)
        )
    }
}

impl Report<'_> {
    /// The command, as a shell takes it.
    fn command(&self, out: &mut fmt::Formatter<'_>, gpus: &Gpus) -> fmt::Result {
        let options = self.order.options;
        let Gpus { tensor_parallel, pipeline_parallel, .. } = *gpus;
        let recipe = Recipe {
            family: self.draft.model.family,
            limits: self.draft.limits,
            mapping: Mapping { tensor_parallel, pipeline_parallel },
            quantization: &gpus.quantization,
            objective: gpus.objective,
            small_head: gpus.lm_head_rows.is_some(),
        };
        let [model, output] = [options.model.as_path(), options.output.as_path()];
        let (checkpoint, engine) = match (options.checkpoint_only, model.join(DRAFT_FILE).is_file()) {
            (true, _) => (output, Path::new("ENGINE")),
            (false, true) => (model, output),
            (false, false) => (Path::new("CHECKPOINT"), output),
        };
        writeln!(out, "\n{}", shell_line(PROGRAM, &recipe.arguments(checkpoint, engine)))?;
        if checkpoint == Path::new("CHECKPOINT") {
            writeln!(out, "CHECKPOINT is a folder within the output, written first and removed in the end")?;
        }
        match self.obstacle() {
            Some(obstacle) if !options.checkpoint_only => writeln!(out, "{obstacle}"),
            _ => Ok(()),
        }
    }

    /// Why this machine's GPUs cannot build it.
    fn obstacle(&self) -> Option<String> {
        let Order { machine, target, .. } = self.order;
        match machine.gpus.is_empty() {
            true => Some(format!("{PROGRAM} needs a GPU, and {}", machine.describe())),
            false => device(machine, target).err().map(|error| error.to_string()),
        }
    }

    /// Fewest ranks of a stage with which it would fit too, where they are fewer.
    fn fewer_ranks(&self, gpus: &Gpus) -> Option<usize> {
        let total = self.ranks.iter().map(Memory::total).max()?;
        let fits = |ranks: &usize| {
            let scaled = total * gpus.tensor_parallel as u64 / *ranks as u64;
            gpus.tensor_parallel.is_multiple_of(*ranks) && scaled <= memory_of(self.order.target)
        };
        (1..gpus.tensor_parallel).find(fits)
    }
}
