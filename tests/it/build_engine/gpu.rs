//! Engines for NVIDIA GPUs, with a script in the place of `trtllm-build`.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use assay::builder::Silent;
use assay::builder::trtllm::{Outcome, TrtllmBuildOptions, build};
use assay::hardware::{Gpu, Gpus};
use assay::manifest::{GpuTarget, Manifest, Objective, Quantization, Target, Task};
use safetensors::SafeTensors;
use serde_json::json;

use super::support::{Checkpoint, assert_names};

/// A checkpoint beside a `bin` with the script.
struct Site {
    checkpoint: Checkpoint,
    bin: PathBuf,
}

impl Site {
    fn new(name: &str) -> Self {
        let checkpoint = Checkpoint::wide(name);
        let bin = checkpoint.beside("bin");
        std::fs::create_dir(&bin).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/build_engine/trtllm-build.sh");
        std::os::unix::fs::symlink(script, bin.join("trtllm-build")).unwrap();
        Self { checkpoint, bin }
    }

    fn output(&self) -> PathBuf {
        self.checkpoint.beside("engine")
    }

    fn log(&self) -> PathBuf {
        self.bin.join("log")
    }

    fn command(&self, model: &Path, output: &Path, mode: &str, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_build-engine"));
        let path = format!("{}:{}", self.bin.display(), std::env::var("PATH").unwrap());
        command.env("PATH", path).env("FAKE_LOG", self.log()).env("FAKE_MODE", mode);
        command.arg("--model").arg(model).arg("--output").arg(output).args(["--target", "h100"]).args(more);
        command
    }

    fn build(&self, mode: &str, more: &[&str]) -> Output {
        self.command(&self.checkpoint.path(), &self.output(), mode, more).output().unwrap()
    }

    /// Builds it, which must fail and leave nothing; gives what it said.
    fn refusal(&self, mode: &str, more: &[&str]) -> String {
        let output = self.build(mode, more);
        assert!(!output.status.success());
        assert_eq!(self.checkpoint.neighbours(), ["bin"], "left behind");
        String::from_utf8(output.stderr).unwrap()
    }
}

fn said(output: &Output) -> String {
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(output.status.success(), "{said}");
    said
}

fn gpus(manifest: &Manifest) -> &GpuTarget {
    match &manifest.target {
        Target::TensorrtLlm(gpus) => gpus,
        Target::Cpu { .. } => panic!("built for a CPU"),
    }
}

#[test]
fn an_engine_is_built_and_passes_its_own_check() {
    let site = Site::new("nemo-tiny");
    let said =
        said(&site.build("", &["--tp", "2", "--pp", "2", "--objective", "latency", "--max-seq-len", "512"]));
    assert_names(&said, &["building on standard output", "and on standard error", "4 x NVIDIA H100 SXM"]);
    let manifest = Manifest::read(&site.output()).unwrap();
    manifest.verify(&site.output()).unwrap();
    assert_eq!(manifest.profile.name, "tensorrt_llm-h100-bf16-tp2-pp2-latency");
    assert_eq!(manifest.limits.max_seq_len, 512);
    let gpus = gpus(&manifest);
    assert_eq!((gpus.ranks(), gpus.tensorrt_llm.as_str(), gpus.objective), (4, "1.2.1", Objective::Latency));
    assert_eq!((gpus.device.as_str(), gpus.compute_capability.as_str()), ("NVIDIA H100 80GB HBM3", "9.0"));
    assert!(manifest.head.bias && manifest.files.contains_key("head.safetensors"));
    assert_eq!(manifest.files.len(), 4 + 4);
    assert!(!site.output().join("work").exists() && !site.output().join("model.cache").exists());
    let arguments = std::fs::read_to_string(site.log()).unwrap();
    // One token is generated after the longest prompt.
    let flags = ["--max_input_len 512", "--max_seq_len 513", "--multiple_profiles enable", "--workers 4"];
    assert_names(&arguments, &flags);
    assert_eq!(site.checkpoint.neighbours().len(), 2);
}

#[test]
fn a_checkpoint_written_elsewhere_gives_the_same_engine() {
    let site = Site::new("llama3-tiny");
    let options = ["--tp", "4", "--quantization", "none", "--max-batch-size", "8"];
    said(&site.build("", &options));
    let (kept, again) = (site.checkpoint.beside("checkpoint"), site.checkpoint.beside("again"));
    let written = [&options[..], &["--checkpoint-only"]].concat();
    said(&site.command(&site.checkpoint.path(), &kept, "", &written).output().unwrap());
    said(&site.command(&kept, &again, "", &[]).output().unwrap());
    let (first, second) = (Manifest::read(&site.output()).unwrap(), Manifest::read(&again).unwrap());
    assert_eq!(first, second);
    second.verify(&again).unwrap();

    let refuse = |more: &[&str]| {
        let output = site.command(&kept, &site.checkpoint.beside("third"), "", more).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert_names(&refuse(&["--tp", "2"]), &["checkpoint.yaml", "--tp 4"]);
    assert_names(&refuse(&["--quantization", "fp8"]), &["checkpoint.yaml", "--quantization none"]);
    assert_names(&refuse(&["--max-seq-len", "100000"]), &["checkpoint.yaml", "1024"]);
    assert_names(&refuse(&["--max-batch-size", "0"]), &["--max-batch-size", "at least 1"]);
}

#[test]
fn a_failure_of_trtllm_build_is_reported_with_its_last_lines() {
    let site = Site::new("llama3-tiny");
    let said = site.refusal("fail", &[]);
    assert_names(&said, &["trtllm-build failed", "exit status: 3", "no kernel image is available"]);
    let said = site.refusal("forget", &["--tp", "2"]);
    assert_names(&said, &["rank1.engine", "did not write it"]);
}

#[test]
fn limits_that_trtllm_build_lowers_are_those_of_the_engine() {
    let site = Site::new("llama3-tiny");
    let said = said(&site.build("lower", &[]));
    assert_names(&said, &["lowered max_num_tokens to 512"]);
    assert_eq!(Manifest::read(&site.output()).unwrap().limits.max_num_tokens, 512);
}

#[test]
fn an_interrupted_build_ends_trtllm_build_and_its_workers() {
    let site = Site::new("llama3-tiny");
    let mut command = site.command(&site.checkpoint.path(), &site.output(), "hang", &[]);
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    let worker = wait_for(&mut child, &site.bin.join("log.child"));
    assert!(Path::new(&format!("/proc/{worker}")).exists());
    Command::new("sh").args(["-c", &format!("kill -s TERM {}", child.id())]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(site.checkpoint.neighbours(), ["bin"], "left behind");
    let state = std::fs::read_to_string(format!("/proc/{worker}/stat")).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "its worker is still there: {state}");
}

/// Waits until a file contains a process id.
fn wait_for(child: &mut Child, file: &Path) -> String {
    let begun = Instant::now();
    loop {
        if let Ok(text) = std::fs::read_to_string(file)
            && text.ends_with('\n')
        {
            return text.trim().to_owned();
        }
        assert!(child.try_wait().unwrap().is_none() && begun.elapsed() < Duration::from_secs(300));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn without_trtllm_build_it_is_said_where_that_is() {
    let site = Site::new("llama3-tiny");
    std::fs::remove_file(site.bin.join("trtllm-build")).unwrap();
    assert_names(&site.refusal("", &[]), &["no trtllm-build on PATH", "docker/", "--checkpoint-only"]);
}

#[test]
fn another_tensorrt_llm_is_refused_before_anything_is_written() {
    let site = Site::new("llama3-tiny");
    // A script of pip's names the Python that knows the package.
    let (program, python) = (site.bin.join("trtllm-build"), site.bin.join("python3.12"));
    std::fs::remove_file(&program).unwrap();
    std::fs::write(&program, format!("#!{}\n", python.display())).unwrap();
    std::fs::write(&python, "#!/bin/sh\necho 1.1.0\n").unwrap();
    std::fs::set_permissions(&python, PermissionsExt::from_mode(0o755)).unwrap();
    let said = site.refusal("", &[]);
    assert_names(&said, &["trtllm-build here belongs to TensorRT-LLM 1.1.0", "drives 1.2.1", "docker/"]);
    assert!(!said.contains("rank 0"), "{said}");
}

#[test]
fn a_build_that_nobody_listens_to_goes_on() {
    let site = Site::new("llama3-tiny");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = site.command(&site.checkpoint.path(), &site.output(), "", &[]);
    let status = command.stdout(writer.try_clone().unwrap()).stderr(writer).status().unwrap();
    assert!(status.success(), "{status}");
    Manifest::read(&site.output()).unwrap().verify(&site.output()).unwrap();
}

#[test]
fn its_man_page_and_completions_tell_of_its_options() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_build-engine")).args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_names(&run(&["completions", "bash"]), &["build-engine", "--max-seq-len"]);
    run(&["man", folder.path().to_str().unwrap()]);
    let page = std::fs::read_to_string(folder.path().join("build-engine.1")).unwrap();
    assert_names(&page, &[".TH build-engine 1", "max\\-seq\\-len"]);
}

#[test]
fn a_dry_run_prints_sizes_and_the_command_and_writes_nothing() {
    let site = Site::new("llama3-tiny");
    let plan = |model: &Path, more: &[&str]| {
        let output = site.command(model, &site.checkpoint.beside("it's"), "", more).output().unwrap();
        said(&output);
        String::from_utf8(output.stdout).unwrap()
    };
    let path = site.checkpoint.path();
    let two = plan(&path, &["--tp", "2", "--dry-run"]);
    let file = "363.88 KiB";
    // 1024 tokens of 3 layers with one key and one value of 64 numbers; 8192 times 840 numbers; 11 rows in f32 for
    // each of 64 sequences.
    let expected = [file, file, "40.00 KiB", "768.00 KiB", "13.12 MiB", "1.72 MiB", "1.41 GiB", "73.09 GiB"];
    assert_eq!(cells(&two, "0-1")[1..], expected);
    assert_names(&two, &["2 x NVIDIA H100 SXM, 74.51 GiB each", "--tp 1", "needs a GPU, and"]);
    let command = ["trtllm-build \\", "--checkpoint_dir CHECKPOINT \\", "it'\\''s' \\", "--workers 2\n"];
    assert_names(&two, &command);
    assert_eq!(site.checkpoint.neighbours(), ["bin"]);
    assert!(!site.log().exists());

    // For a checkpoint that exists already, the command is complete.
    let kept = site.checkpoint.beside("checkpoint");
    let latency = ["--objective", "latency", "--checkpoint-only"];
    said(&site.command(&path, &kept, "", &latency).output().unwrap());
    let rest = plan(&kept, &["--dry-run"]);
    assert_names(
        &rest,
        &["tp1-latency", &format!("--checkpoint_dir {} ", kept.display()), "--max_batch_size 32 "],
    );
    assert!(!rest.contains("CHECKPOINT"), "{rest}");
}

/// The cells of a plan's line for these ranks.
fn cells(plan: &str, ranks: &str) -> Vec<String> {
    let line = plan.lines().find(|line| line.trim_start().starts_with(&format!("{ranks}  "))).expect(plan);
    line.split("  ").map(|cell| cell.trim().to_owned()).filter(|cell| !cell.is_empty()).collect()
}

#[test]
fn a_language_model_is_built_for_what_it_can_do_and_the_plan_tells() {
    let site = Site::new("lm-head-tiny");
    let plan = |more: &[&str]| {
        let output = site.build("", &[more, &["--dry-run"]].concat());
        said(&output);
        String::from_utf8(output.stdout).unwrap()
    };
    // 640 rows of 32 numbers in bf16.
    let chat = plan(&[]);
    assert_names(&chat, &["a language model for chat", "for chat"]);
    assert_eq!(cells(&chat, "0")[3], "40.00 KiB");
    let two = plan(&["--tp", "2", "--task", "completion"]);
    assert_names(&two, &["for completion"]);
    assert_eq!(cells(&two, "0-1")[3], "20.00 KiB");
    let stages = plan(&["--pp", "2"]);
    assert_eq!((&cells(&stages, "0")[3][..], &cells(&stages, "1")[3][..]), ("0 B", "40.00 KiB"));

    let kept = site.checkpoint.beside("checkpoint");
    said(&site.command(&site.checkpoint.path(), &kept, "", &["--checkpoint-only"]).output().unwrap());
    said(&site.command(&kept, &site.output(), "", &[]).output().unwrap());
    let manifest = Manifest::read(&site.output()).unwrap();
    assert_eq!(manifest.task, Task::Chat);
    assert!(!manifest.prompt.end_tokens.is_empty() && manifest.head.attributes.is_empty());
    let other = ["--task", "completion"];
    let output = site.command(&kept, &site.checkpoint.beside("other"), "", &other).output().unwrap();
    assert!(!output.status.success());
    assert_names(&String::from_utf8(output.stderr).unwrap(), &["checkpoint.yaml", "--task chat"]);
}

#[test]
fn tasks_that_a_checkpoint_cannot_do_are_refused_as_for_a_cpu() {
    let chat = |options: &mut TrtllmBuildOptions| options.common.checkpoint.task = Some(Task::Chat);
    assert_names(&refused("llama3-tiny", "h100", chat), &["--task chat", "LlamaForSequenceClassification"]);
}

/// The error for a checkpoint with changed options; no file may be left behind.
fn refused(name: &str, target: &str, change: impl FnOnce(&mut TrtllmBuildOptions)) -> String {
    let checkpoint = Checkpoint::wide(name);
    refused_copy(&checkpoint, target, &Gpus::default(), change)
}

/// The error for a family that TensorRT-LLM does not have, whatever the width of its heads.
fn refused_narrow(name: &str) -> String {
    let checkpoint = Checkpoint::copy(name);
    refused_copy(&checkpoint, "h100", &Gpus::default(), |options| {
        let head = checkpoint.file("head.yaml");
        options.common.checkpoint.head = head.exists().then_some(head);
    })
}

fn refused_copy(
    checkpoint: &Checkpoint,
    target: &str,
    machine: &Gpus,
    change: impl FnOnce(&mut TrtllmBuildOptions),
) -> String {
    let mut options = TrtllmBuildOptions::new(checkpoint.path(), target, checkpoint.beside("engine"));
    options.gpu.checkpoint_only = true;
    change(&mut options);
    let sentence = build(&options, machine, &Silent).expect_err("it was built").to_string();
    assert_eq!(checkpoint.neighbours(), [""; 0], "left behind after: {sentence}");
    sentence
}

#[test]
fn targets_that_cannot_be_built_for() {
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
fn ranks_that_cannot_divide_the_model() {
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
fn a_head_of_more_rows_than_the_vocabulary() {
    let checkpoint = Checkpoint::wide("llama3-tiny");
    let labels: serde_json::Map<_, _> =
        (0..641).map(|row| (row.to_string(), json!(format!("label_{row}")))).collect();
    checkpoint.set("id2label", labels.into());
    checkpoint.retensor(|tensors| {
        let (_, shape, bytes) = tensors.get_mut("score.weight").unwrap();
        let row = bytes.len() / shape[0];
        *bytes = bytes[..row].repeat(641);
        shape[0] = 641;
    });
    let sentence = refused_copy(&checkpoint, "h100", &Gpus::default(), |_| {});
    assert_names(&sentence, &["LlamaForSequenceClassification", "641 rows", "640", "--target cpu"]);
}

#[test]
fn heads_with_biases_or_further_layers_bring_what_the_server_computes() {
    for (name, tensors) in [
        ("nemo-tiny", &["head.0_bias"][..]),
        ("math-rm-tiny", &["head.0_bias", "head.1", "head.1_bias"]),
        ("math-prm-tiny", &["head.0_bias", "head.1", "head.1_bias"]),
        ("armo-tiny", &["gating.0_bias", "gating.1", "gating.1_bias", "gating.3"]),
    ] {
        let site = Site::new(name);
        let (kept, again) = (site.checkpoint.beside("checkpoint"), site.checkpoint.beside("again"));
        said(&site.build("", &["--tp", "2"]));
        let written = ["--tp", "2", "--checkpoint-only"];
        said(&site.command(&site.checkpoint.path(), &kept, "", &written).output().unwrap());
        said(&site.command(&kept, &again, "", &[]).output().unwrap());
        let manifest = Manifest::read(&site.output()).unwrap();
        assert_eq!(Manifest::read(&again).unwrap(), manifest);
        manifest.verify(&site.output()).unwrap();
        assert_eq!(manifest.files.len(), 2 + 4);
        let bytes = std::fs::read(site.output().join("head.safetensors")).unwrap();
        let head = SafeTensors::deserialize(&bytes).unwrap();
        assert!(tensors.iter().all(|name| head.tensor(name).is_ok()), "{:?}", head.names());

        std::fs::remove_file(site.output().join("head.safetensors")).unwrap();
        assert_names(
            &manifest.verify(&site.output()).unwrap_err().to_string(),
            &["head.safetensors", "missing"],
        );
    }
}

#[test]
fn a_small_head_has_its_own_rows_and_the_engine_says_how_wide_its_logits_are() {
    let site = Site::new("llama3-tiny");
    let options = ["--tp", "2", "--small-head"];
    let (kept, again) = (site.checkpoint.beside("checkpoint"), site.checkpoint.beside("again"));
    let said_of_it = said(&site.build("", &options));
    assert_names(&said_of_it, &["Qwen2ForSequenceClassification"]);
    assert!(!std::fs::read_to_string(site.log()).unwrap().contains("reduce_fusion"));
    let written = [&options[..], &["--checkpoint-only"]].concat();
    said(&site.command(&site.checkpoint.path(), &kept, "", &written).output().unwrap());
    said(&site.command(&kept, &again, "", &[]).output().unwrap());
    let manifest = Manifest::read(&site.output()).unwrap();
    manifest.verify(&site.output()).unwrap();
    assert_eq!(Manifest::read(&again).unwrap(), manifest);
    assert_eq!(gpus(&manifest).lm_head_rows, Some(64));
    let config = |path: PathBuf| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(path.join("config.json")).unwrap()).unwrap()
    };
    let (checkpoint, engine) = (config(kept), config(site.output()));
    assert_eq!((&checkpoint["vocab_size"], &checkpoint["num_labels"]), (&json!(640), &json!(64)));
    assert_eq!(engine["pretrained_config"]["vocab_size"], 64);
    assert_eq!(engine["pretrained_config"]["architecture"], "Qwen2ForSequenceClassification");
    assert_eq!(
        (&engine["version"], &engine["build_config"]["max_batch_size"]),
        (&json!("1.2.1"), &json!(64))
    );
}

#[test]
fn small_heads_where_the_library_has_none() {
    let small = |options: &mut TrtllmBuildOptions| options.gpu.small_head = true;
    assert_names(&refused("gemma2-tiny", "h100", small), &["--small-head", "Llama's and Qwen's", "Gemma 2"]);
    let quantized = |options: &mut TrtllmBuildOptions| {
        small(options);
        options.gpu.quantized = Some("exported".into());
    };
    assert_names(&refused("llama3-tiny", "h100", quantized), &["--small-head", "--quantized"]);
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
fn layers_of_llamas_classes_have_the_name_for_which_reductions_are_fused() {
    for name in ["mistral-tiny", "internlm2-tiny"] {
        let site = Site::new(name);
        said(&site.build("", &["--tp", "2"]));
        assert_names(&std::fs::read_to_string(site.log()).unwrap(), &["--reduce_fusion enable"]);
        let config = std::fs::read_to_string(site.output().join("config.json")).unwrap();
        assert_names(&config, &["\"LlamaForCausalLM\""]);
    }
}

#[test]
fn a_model_with_windows_is_built_as_long_as_its_positions() {
    let site = Site::new("mistral-tiny");
    said(&site.build("", &["--max-seq-len", "400"]));
    assert_eq!(Manifest::read(&site.output()).unwrap().limits.max_seq_len, 400);
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
fn the_engine_says_how_many_gpus_its_nodes_have() {
    let site = Site::new("llama3-tiny");
    let (kept, again) = (site.checkpoint.beside("checkpoint"), site.checkpoint.beside("again"));
    let per_node = |engine: &Path| {
        let config = std::fs::read(engine.join("config.json")).unwrap();
        let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
        config["pretrained_config"]["mapping"]["gpus_per_node"].clone()
    };
    said(&site.build("", &["--tp", "4", "--gpus-per-node", "2"]));
    let manifest = Manifest::read(&site.output()).unwrap();
    manifest.verify(&site.output()).unwrap();
    assert_eq!((gpus(&manifest).gpus_per_node(), per_node(&site.output())), (2, json!(2)));

    // Which nodes there are may be known only when the engine is built.
    let written = ["--tp", "4", "--checkpoint-only"];
    said(&site.command(&site.checkpoint.path(), &kept, "", &written).output().unwrap());
    said(&site.command(&kept, &again, "", &["--gpus-per-node", "2"]).output().unwrap());
    assert_eq!(Manifest::read(&again).unwrap(), manifest);
    assert_eq!(per_node(&again), 2);
    let eight = site.checkpoint.beside("eight");
    said(&site.command(&kept, &eight, "", &[]).output().unwrap());
    assert_eq!(gpus(&Manifest::read(&eight).unwrap()).gpus_per_node(), 8);
}

#[test]
fn models_that_tensorrt_llm_would_compute_otherwise() {
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
fn a_machine_with_other_gpus() {
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

#[test]
fn an_output_that_is_not_empty_is_refused_by_a_dry_run_too() {
    let site = Site::new("llama3-tiny");
    std::fs::create_dir(site.output()).unwrap();
    std::fs::write(site.output().join("file"), "").unwrap();
    let output = site.build("", &["--dry-run"]);
    assert!(!output.status.success());
    assert_names(&String::from_utf8(output.stderr).unwrap(), &["--output", "not empty"]);
}

#[test]
fn layers_that_modelopt_quantized_are_taken_and_the_head_is_the_reward_models() {
    let checkpoint = Checkpoint::wide("llama3-tiny");
    let write = |output: &str, change: &dyn Fn(&mut TrtllmBuildOptions)| {
        let mut options = TrtllmBuildOptions::new(checkpoint.path(), "h100", checkpoint.beside(output));
        options.gpu.tensor_parallel = 2;
        options.gpu.checkpoint_only = true;
        change(&mut options);
        build(&options, &Gpus::default(), &Silent)
    };
    assert!(matches!(write("ours", &|_| {}), Ok(Outcome::Checkpoint(2))));
    // As modelopt would leave it: another lm_head, its scales, and an algorithm that needs calibration.
    let exported = checkpoint.beside("exported");
    std::fs::create_dir(&exported).unwrap();
    let config = std::fs::read(checkpoint.beside("ours").join("config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    config["quantization"] = json!({ "quant_algo": "FP8", "exclude_modules": ["router"] });
    let files: Vec<Vec<u8>> = (0..2)
        .map(|rank| std::fs::read(checkpoint.beside("ours").join(format!("rank{rank}.safetensors"))).unwrap())
        .collect();
    for (rank, bytes) in files.iter().enumerate() {
        let tensors = SafeTensors::deserialize(bytes).unwrap();
        let scale = 1f32.to_le_bytes();
        let scale = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![1], &scale).unwrap();
        let mut changed: Vec<_> = tensors.iter().filter(|(name, _)| *name != "lm_head.weight").collect();
        let embedding = tensors.tensor("transformer.vocab_embedding.weight").unwrap();
        changed.push(("lm_head.weight", embedding));
        changed.push(("lm_head.weights_scaling_factor", scale));
        let bytes = safetensors::serialize(changed, None).unwrap();
        std::fs::write(exported.join(format!("rank{rank}.safetensors")), bytes).unwrap();
    }
    std::fs::write(exported.join("config.json"), config.to_string()).unwrap();

    let taken =
        |options: &mut TrtllmBuildOptions| options.gpu.quantized = Some(checkpoint.beside("exported"));
    assert!(matches!(write("taken", &taken), Ok(Outcome::Checkpoint(2))));
    for (rank, expected) in files.iter().enumerate() {
        let bytes =
            std::fs::read(checkpoint.beside("taken").join(format!("rank{rank}.safetensors"))).unwrap();
        let (found, expected) =
            (SafeTensors::deserialize(&bytes).unwrap(), SafeTensors::deserialize(expected).unwrap());
        assert_eq!(found.len(), expected.len(), "lm_head's scales are gone");
        for (name, tensor) in expected.iter() {
            assert_eq!(found.tensor(name).unwrap().data(), tensor.data(), "{name}");
        }
    }
    let config = std::fs::read_to_string(checkpoint.beside("taken").join("config.json")).unwrap();
    assert_names(&config, &["\"FP8\"", "\"router\"", "\"lm_head\""]);

    let a100 = |options: &mut TrtllmBuildOptions| {
        taken(options);
        options.target = "a100".to_owned();
    };
    assert_names(&write("refused", &a100).unwrap_err().to_string(), &["A100", "fp8"]);
    let b200 = |options: &mut TrtllmBuildOptions| {
        taken(options);
        options.target = "b200".to_owned();
    };
    assert!(matches!(write("blackwell", &b200), Ok(Outcome::Checkpoint(2))));
    let config_file = checkpoint.beside("exported").join("config.json");
    let awq = std::fs::read_to_string(&config_file).unwrap().replace("\"FP8\"", "\"W4A16_AWQ\"");
    std::fs::write(config_file, awq).unwrap();
    assert_names(&write("refused", &b200).unwrap_err().to_string(), &["W4A16_AWQ", "B200", "NVFP4"]);
    let one_rank = |options: &mut TrtllmBuildOptions| {
        taken(options);
        options.gpu.tensor_parallel = 1;
    };
    assert_names(&write("refused", &one_rank).unwrap_err().to_string(), &["mapping.tp_size", "--tp 2"]);
    // Other names of an architecture belong to other families.
    config_of(&exported, |config| config["architecture"] = json!("MistralForCausalLM"));
    assert_names(&write("refused", &taken).unwrap_err().to_string(), &["architecture", "LlamaForCausalLM"]);
    config_of(&exported, |config| config["architecture"] = json!("LlamaForCausalLM"));
    config_of(&exported, |config| config["hidden_size"] = json!(128));
    assert_names(&write("refused", &taken).unwrap_err().to_string(), &["hidden_size", "128", "64"]);
}

#[test]
fn the_bias_of_a_head_is_that_of_its_rows_minus_that_of_the_subtracted_row() {
    let checkpoint = Checkpoint::wide("nemo-tiny");
    let head = checkpoint.beside("head.yaml");
    std::fs::write(&head, "{rows: [4, 6], minus: 1, attributes: [a, b]}").unwrap();
    let mut options = TrtllmBuildOptions::new(checkpoint.path(), "h100", checkpoint.beside("written"));
    options.gpu.checkpoint_only = true;
    options.common.checkpoint.head = Some(head);
    build(&options, &Gpus::default(), &Silent).unwrap();
    let (_, _, bytes) = &checkpoint.tensors("model.safetensors")["score.bias"];
    // In bf16, the upper half of an f32.
    let number = |&[low, high]: &[u8; 2]| f32::from_le_bytes([0, 0, low, high]);
    let bias: Vec<f32> = bytes.as_chunks::<2>().0.iter().map(number).collect();
    let head = std::fs::read(checkpoint.beside("written").join("head.safetensors")).unwrap();
    let head = SafeTensors::deserialize(&head).unwrap();
    let written = head.tensor("head.0_bias").unwrap();
    let written: Vec<f32> =
        written.data().as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    assert_eq!(written, [bias[4] - bias[1], bias[6] - bias[1]]);
}

fn config_of(directory: &Path, change: impl FnOnce(&mut serde_json::Value)) {
    let path = directory.join("config.json");
    let mut config = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut config);
    std::fs::write(path, config.to_string()).unwrap();
}

#[test]
fn a_checkpoint_in_modelopts_own_form_is_refused_with_the_form_that_works() {
    let checkpoint = Checkpoint::wide("llama3-tiny");
    std::fs::write(checkpoint.file("hf_quant_config.json"), "{}").unwrap();
    let sentence = refused_copy(&checkpoint, "h100", &Gpus::default(), |_| {});
    assert_names(&sentence, &["modelopt", "--quantized", "quantize.py"]);
}
