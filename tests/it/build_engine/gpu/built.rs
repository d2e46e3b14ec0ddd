//! What `build-engine` writes, and what it says of `trtllm-build`.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use assay::manifest::{Manifest, Objective};
use serde_json::json;

use super::{Site, gpus, said};
use crate::build_engine::support::assert_names;

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
fn a_missing_trtllm_build_is_refused_with_where_to_find_it() {
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
fn a_build_whose_output_nobody_reads_goes_on() {
    let site = Site::new("llama3-tiny");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = site.command(&site.checkpoint.path(), &site.output(), "", &[]);
    let status = command.stdout(writer.try_clone().unwrap()).stderr(writer).status().unwrap();
    assert!(status.success(), "{status}");
    Manifest::read(&site.output()).unwrap().verify(&site.output()).unwrap();
}

#[test]
fn the_man_page_and_completions_list_the_options() {
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
