//! The arguments of `trtllm-build`.

use std::path::Path;

use super::mapping::Mapping;
use crate::builder::families::spec::TrtllmSpec;
use crate::manifest::{BuildLimits, GpuTarget, Objective, Quantization};

/// What the arguments depend on.
pub(super) struct BuildCommand {
    pub(super) limits: BuildLimits,
    pub(super) mapping: Mapping,
    pub(super) quantization: Quantization,
    pub(super) objective: Objective,
    /// Whether the layers are built from Llama's classes, norms included, and under its name: for others,
    /// `trtllm-build` only warns that it overrides `--reduce_fusion`.
    pub(super) llama_classes: bool,
}

impl BuildCommand {
    pub(super) fn new(trtllm: &TrtllmSpec, gpus: &GpuTarget, limits: BuildLimits) -> Self {
        Self {
            limits,
            mapping: Mapping::from_gpus(gpus),
            quantization: gpus.quantization.clone(),
            objective: gpus.objective,
            // The form with a small head is Qwen's.
            llama_classes: trtllm.llama_classes && gpus.lm_head_rows.is_none(),
        }
    }

    /// The arguments; docs/engines-gpu.md explains each.
    pub(super) fn arguments(&self, checkpoint: &Path, output: &Path) -> Vec<String> {
        let BuildLimits { max_seq_len, max_batch_size, max_num_tokens } = self.limits;
        let mut arguments = Vec::new();
        let mut flag = |name: &str, value: String| arguments.extend([format!("--{name}"), value]);
        flag("checkpoint_dir", checkpoint.display().to_string());
        flag("output_dir", output.display().to_string());
        flag("max_batch_size", max_batch_size.to_string());
        flag("max_num_tokens", max_num_tokens.to_string());
        flag("max_input_len", max_seq_len.to_string());
        // To get logits, one token is generated; every engine does so when it loads.
        flag("max_seq_len", (max_seq_len + 1).to_string());
        flag("max_beam_width", "1".to_owned());
        for (name, value) in [
            ("kv_cache_type", "paged"),
            ("remove_input_padding", "enable"),
            ("use_paged_context_fmha", "enable"),
            ("tokens_per_block", "32"),
            ("logits_dtype", "float32"),
        ] {
            flag(name, value.to_owned());
        }
        match self.objective {
            Objective::Throughput => {
                flag("gemm_plugin", "auto".to_owned());
                flag("opt_num_tokens", max_num_tokens.to_string());
            }
            Objective::Latency => {
                flag("gemm_plugin", "disable".to_owned());
                flag("multiple_profiles", "enable".to_owned());
            }
        }
        let fuses_reductions =
            self.mapping.tensor_parallel > 1 && self.llama_classes && self.quantization != Quantization::Fp8;
        if fuses_reductions {
            flag("reduce_fusion", "enable".to_owned());
        }
        flag("workers", self.mapping.ranks().to_string());
        arguments
    }
}

/// A command for a shell, with an option and its value on each line.
pub(super) fn shell_line(program: &str, arguments: &[String]) -> String {
    let mut line = program.to_owned();
    for option in arguments.chunks(2) {
        let words: Vec<String> = option.iter().map(|word| quoted(word)).collect();
        line += " \\\n    ";
        line += &words.join(" ");
    }
    line
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(command: &BuildCommand) -> String {
        command.arguments(Path::new("in"), Path::new("out")).join(" ")
    }

    fn command(objective: Objective) -> BuildCommand {
        BuildCommand {
            limits: BuildLimits { max_seq_len: 4096, max_batch_size: 64, max_num_tokens: 8192 },
            mapping: Mapping { tensor_parallel: 1, pipeline_parallel: 1 },
            quantization: Quantization::None,
            objective,
            llama_classes: false,
        }
    }

    /// Checks every flag, because each changes what an engine can do or how fast it is.
    #[test]
    fn flags_are_those_of_the_objective() {
        let common = "--checkpoint_dir in --output_dir out --max_batch_size 64 --max_num_tokens 8192 \
                      --max_input_len 4096 --max_seq_len 4097 --max_beam_width 1 --kv_cache_type paged \
                      --remove_input_padding enable --use_paged_context_fmha enable --tokens_per_block 32 \
                      --logits_dtype float32";
        assert_eq!(
            arguments(&command(Objective::Throughput)),
            format!("{common} --gemm_plugin auto --opt_num_tokens 8192 --workers 1")
        );
        // trtllm-build refuses an optimum if there are several profiles.
        assert_eq!(
            arguments(&command(Objective::Latency)),
            format!("{common} --gemm_plugin disable --multiple_profiles enable --workers 1")
        );
    }

    #[test]
    fn reductions_are_fused_for_llamas_classes_on_several_gpus_unless_norms_quantize() {
        let fuses = |llama_classes, quantization, tensor_parallel| {
            let mapping = Mapping { tensor_parallel, pipeline_parallel: 1 };
            let command =
                BuildCommand { llama_classes, quantization, mapping, ..command(Objective::Throughput) };
            arguments(&command).contains("--reduce_fusion enable")
        };
        assert!(fuses(true, Quantization::None, 2));
        assert!(fuses(true, Quantization::Int8WeightOnly, 2));
        assert!(!fuses(true, Quantization::None, 1));
        assert!(!fuses(true, Quantization::Fp8, 2));
        assert!(!fuses(false, Quantization::None, 2));
    }

    #[test]
    fn words_that_a_shell_would_read_differently_are_quoted() {
        let words = ["--output_dir", "it's here", "--workers", "2"].map(str::to_owned);
        assert_eq!(
            shell_line("build", &words),
            "build \\\n    --output_dir 'it'\\''s here' \\\n    --workers 2"
        );
    }
}
