//! Describes what a build will do.

use std::fmt;
use std::path::Path;

use indicatif::HumanBytes;

use super::check::{Family, SMALL_HEAD};
use super::command::{BuildCommand, shell_line};
use super::fit::{Memory, RUNTIME_BYTES, memory_of};
use super::machine::device;
use super::{Context, DRAFT_FILE};
use crate::builder::error::TRTLLM_BUILD;
use crate::manifest::{GpuTarget, Manifest, Objective, Target};

/// A build's plan.
pub(super) struct Report<'r> {
    pub(super) context: &'r Context<'r>,
    pub(super) family: Family,
    pub(super) draft: &'r Manifest,
    /// Memory of each rank.
    pub(super) ranks: &'r [Memory],
    /// Size of each rank's file.
    pub(super) files: &'r [u64],
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Manifest { profile, task, limits, .. } = self.draft;
        let target = self.context.target;
        let Target::TensorrtLlm(gpus) = &self.draft.target else {
            unreachable!("a plan for GPUs has a draft for a CPU")
        };
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
            if gpus.lm_head_rows.is_some() { SMALL_HEAD } else { self.family.trtllm.architecture },
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
                "--tp {fewer} would fit, too: {} such engines on the same GPUs give more throughput, because they communicate less",
                gpus.tensor_parallel / fewer
            )?;
        }
        self.command(out, gpus)
    }
}

impl Report<'_> {
    /// The memory of each rank. Consecutive ranks that are alike share a line.
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
            let left = memory_of(self.context.target).saturating_sub(memory.total());
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
            "one sequence: keys and values of a sequence of the longest length; the rest of the memory is for more \
             sequences. In all: includes {} for CUDA, TensorRT and NCCL (assumed)",
            HumanBytes(RUNTIME_BYTES)
        )
    }
}

impl Report<'_> {
    /// The command, for a shell.
    fn command(&self, out: &mut fmt::Formatter<'_>, gpus: &GpuTarget) -> fmt::Result {
        let options = self.context.options;
        let command = BuildCommand::new(self.family.trtllm, gpus, self.draft.limits);
        let [model, output] = [options.common.model.as_path(), options.common.output.as_path()];
        let (checkpoint, engine) = match (options.gpu.checkpoint_only, model.join(DRAFT_FILE).is_file()) {
            (true, _) => (output, Path::new("ENGINE")),
            (false, true) => (model, output),
            (false, false) => (Path::new("CHECKPOINT"), output),
        };
        writeln!(out, "\n{}", shell_line(TRTLLM_BUILD, &command.arguments(checkpoint, engine)))?;
        if checkpoint == Path::new("CHECKPOINT") {
            writeln!(
                out,
                "CHECKPOINT is a folder within the output, which is written first and removed at the end"
            )?;
        }
        match self.obstacle() {
            Some(obstacle) if !options.gpu.checkpoint_only => writeln!(out, "{obstacle}"),
            _ => Ok(()),
        }
    }

    /// Why this machine cannot build the engine.
    fn obstacle(&self) -> Option<String> {
        let Context { machine, target, .. } = self.context;
        if machine.gpus.is_empty() {
            Some(format!("{TRTLLM_BUILD} needs a GPU, and {}", machine.describe()))
        } else {
            device(machine, target).err().map(|error| error.to_string())
        }
    }

    /// The fewest ranks per stage with which it would fit, if they are fewer than now.
    fn fewer_ranks(&self, gpus: &GpuTarget) -> Option<usize> {
        let total = self.ranks.iter().map(Memory::total).max()?;
        let fits = |ranks: &usize| {
            let scaled = total * gpus.tensor_parallel as u64 / *ranks as u64;
            gpus.tensor_parallel.is_multiple_of(*ranks) && scaled <= memory_of(self.context.target)
        };
        (1..gpus.tensor_parallel).find(fits)
    }
}
