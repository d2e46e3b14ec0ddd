//! Models, targets and ranks that are refused before anything is written.

use assay::builder::trtllm::TrtllmBuildOptions;
use assay::hardware::{Gpu, Gpus};
use assay::manifest::{Quantization, Task};
use serde_json::json;

use super::{refused, refused_copy};
use crate::build_engine::support::{Checkpoint, assert_names};

#[test]
fn tasks_that_a_checkpoint_cannot_do_are_refused_as_for_a_cpu() {
    let chat = |options: &mut TrtllmBuildOptions| options.common.checkpoint.task = Some(Task::Chat);
    assert_names(&refused("llama3-tiny", "h100", chat), &["--task chat", "LlamaForSequenceClassification"]);
}

/// The error for a family that TensorRT-LLM does not have, whatever the width of its heads.
fn refused_narrow(name: &str) -> String {
    let checkpoint = Checkpoint::copy(name);
    refused_copy(&checkpoint, "h100", &Gpus::default(), |options| {
        let head = checkpoint.file("head.yaml");
        options.common.checkpoint.head = head.exists().then_some(head);
    })
}

#[test]
fn targets_that_cannot_be_built_for_are_refused() {
    assert_names(&refused("llama3-tiny", "h9000", |_| {}), &["h9000", "h100-sxm", "l40s"]);
    let fp8 = |options: &mut TrtllmBuildOptions| options.gpu.quantization = Quantization::Fp8;
    assert_names(&refused("llama3-tiny", "a100", fp8), &["A100", "fp8", "bf16"]);
    // trtllm-build itself would refuse these, after all has been written.
    for quantization in [Quantization::Fp8, Quantization::Int8WeightOnly, Quantization::Int4WeightOnly] {
        let quantize = |options: &mut TrtllmBuildOptions| options.gpu.quantization = quantization;
        assert_names(
            &refused("llama3-tiny", "b200", quantize),
            &["B200", "modelopt", "NVFP4", "--quantized"],
        );
    }
    let tokens = |options: &mut TrtllmBuildOptions| options.common.max_num_tokens = Some(1 << 30);
    assert_names(
        &refused("llama3-tiny", "l4", tokens),
        &["does not fit", "L4", "weights", "activations", "--tp"],
    );
}

#[test]
fn ranks_that_cannot_divide_the_model_are_refused() {
    let ranks = |tp, pp| {
        move |options: &mut TrtllmBuildOptions| {
            options.gpu.tensor_parallel = tp;
            options.gpu.pipeline_parallel = pp;
        }
    };
    assert_names(&refused("llama3-tiny", "h100", ranks(3, 1)), &["--tp 3", "4 attention heads", "1, 2, 4"]);
    assert_names(&refused("llama3-tiny", "h100", ranks(1, 4)), &["--pp 4", "3 layers"]);
    let wide_experts = Checkpoint::wide("mixtral-tiny");
    wide_experts.set("intermediate_size", json!(73));
    let sentence = refused_copy(&wide_experts, "h100", &Gpus::default(), ranks(2, 1));
    assert_names(&sentence, &["--tp 2", "the width of an expert, 73"]);
    let alike = Checkpoint::wide("qwen3-tiny");
    alike.set("num_key_value_heads", json!(4));
    let sentence = refused_copy(&alike, "h100", &Gpus::default(), ranks(2, 1));
    assert_names(&sentence, &["--tp 2", "mixes up queries and keys", "--tp 4"]);
    assert_names(&refused("neox-wide", "h100", ranks(1, 2)), &["--pp", "GPT-NeoX", "--tp"]);
    assert_names(&refused("llama3-tiny", "h100", ranks(0, 1)), &["--tp", "at least 1"]);
    assert_names(&refused("phi3-tiny", "h100", ranks(1, 2)), &["--pp", "Phi-3", "--tp"]);
    let shaped = |sizes: &[(&str, usize)]| {
        let checkpoint = Checkpoint::wide("llama3-tiny");
        for (field, size) in sizes {
            checkpoint.set(field, json!(size));
        }
        refused_copy(&checkpoint, "h100", &Gpus::default(), ranks(4, 1))
    };
    let heads = [("num_attention_heads", 24), ("num_key_value_heads", 6), ("head_dim", 32)];
    assert_names(&shaped(&heads), &["--tp 4", "6 key-value heads"]);
    assert_names(&shaped(&[("intermediate_size", 90)]), &["--tp 4", "intermediate_size, 90"]);
}

#[test]
fn heads_that_the_library_has_no_attention_for_are_refused_before_anything_is_written() {
    for (name, width) in [("lm-head-tiny", "8"), ("llama3-tiny", "16"), ("qwen3-tiny", "24")] {
        let checkpoint = Checkpoint::copy(name);
        let sentence = refused_copy(&checkpoint, "h100", &Gpus::default(), |_| {});
        assert_names(
            &sentence,
            &[&format!("heads are {width} numbers wide"), "head_dim", "32, 48, 64", "--target cpu"],
        );
        let dry = |options: &mut TrtllmBuildOptions| options.gpu.dry_run = true;
        assert_eq!(refused_copy(&checkpoint, "h100", &Gpus::default(), dry), sentence);
    }
}

#[test]
fn nodes_that_the_ranks_do_not_fill_are_refused() {
    let nodes = |tensor_parallel: usize, count: usize| {
        move |options: &mut TrtllmBuildOptions| {
            options.gpu.tensor_parallel = tensor_parallel;
            options.gpu.gpus_per_node = Some(count);
        }
    };
    assert_names(&refused("llama3-tiny", "h100", nodes(4, 3)), &["--gpus-per-node 3", "4 ranks", "1, 2, 4"]);
    assert_names(&refused("llama3-tiny", "h100", nodes(1, 0)), &["--gpus-per-node 0"]);
}

#[test]
fn models_that_tensorrt_llm_would_compute_differently_are_refused() {
    assert_names(&refused("qwen2-yarn", "h100", |_| {}), &["YaRN", "--target cpu"]);
    assert_names(&refused("gemma3-tiny", "h100", |_| {}), &["Gemma 3", "rotary scaling"]);
    for (name, title) in [
        ("olmo2-tiny", "OLMo 2"),
        ("olmo3-tiny", "OLMo 3"),
        ("glm4-tiny", "GLM-4"),
        ("cohere2-tiny", "Command R7B"),
        ("ministral3-tiny", "Ministral 3"),
        ("olmoe-tiny", "OLMoE"),
    ] {
        assert_names(&refused_narrow(name), &[title, "1.2.1", "no class", "--target cpu"]);
    }
    for name in ["deberta-tiny", "bert-tiny", "roberta-tiny", "modernbert-tiny"] {
        assert_names(&refused_narrow(name), &["encoders", "no scores", "--target cpu"]);
    }
    for name in ["qwen3-moe-tiny", "qwen2-moe-tiny"] {
        assert_names(&refused(name, "h100", |_| {}), &["layers without experts", "--target cpu"]);
    }
    let neox = |field: &str, value: serde_json::Value| {
        let checkpoint = Checkpoint::copy("neox-wide");
        checkpoint.set(field, value);
        refused_copy(&checkpoint, "h100", &Gpus::default(), |_| {})
    };
    assert_names(&neox("use_parallel_residual", json!(false)), &["GPT-NeoX", "after the attention"]);
    assert_names(&neox("layer_norm_eps", json!(1e-6)), &["GPT-NeoX", "epsilon"]);
    assert_names(&neox("rope_scaling", json!({"type": "linear", "factor": 2.0})), &["GPT-NeoX", "scaling"]);
    let checkpoint = Checkpoint::wide("phi3-longrope");
    checkpoint.edit("config.json", |config| config["rope_scaling"]["attention_factor"] = json!(1.5));
    let sentence = refused_copy(&checkpoint, "h100", &Gpus::default(), |_| {});
    assert_names(&sentence, &["Phi-3", "attention_factor"]);
    let longer = |options: &mut TrtllmBuildOptions| options.common.max_seq_len = Some(151);
    for name in ["phi3-longrope", "llama-dynamic"] {
        assert_names(&refused(name, "h100", longer), &["--max-seq-len 151", "150"]);
    }
    let fp8 = |options: &mut TrtllmBuildOptions| options.gpu.quantization = Quantization::Fp8;
    for name in ["gemma2-tiny", "nemotron-tiny", "qwen3-tiny"] {
        assert_names(&refused(name, "h100", fp8), &["--quantization fp8", "modelopt"]);
    }
    for quantization in [Quantization::Fp8, Quantization::Int8WeightOnly] {
        let quantize = |options: &mut TrtllmBuildOptions| options.gpu.quantization = quantization;
        assert_names(&refused("mixtral-tiny", "h100", quantize), &["experts", "bf16 only", "modelopt"]);
    }
    let int8 = |options: &mut TrtllmBuildOptions| options.gpu.quantization = Quantization::Int8WeightOnly;
    assert_names(&refused("llama3-tiny", "h100", int8), &["int8-weight-only", "multiples of 64", "176"]);
}

#[test]
fn a_machine_with_other_gpus_is_refused_unless_only_the_checkpoint_is_written() {
    let checkpoint = Checkpoint::wide("llama3-tiny");
    let gpu = Gpu {
        name: "Tesla T4".to_owned(),
        uuid: "GPU-0".to_owned(),
        device_id: 0x1eb8,
        compute_capability: "7.5".to_owned(),
        memory_bytes: 16 << 30,
        divided: false,
    };
    let machine = Gpus { gpus: vec![gpu], ..Gpus::default() };
    let sentence = refused_copy(&checkpoint, "h100", &machine, |options| options.gpu.checkpoint_only = false);
    assert_names(&sentence, &["Tesla T4", "h100-sxm", "--checkpoint-only"]);
}
