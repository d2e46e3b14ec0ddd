//! What a user relies on when there are several engines side by side.

use std::path::{Path, PathBuf};

use assay::engine::backends;
use assay::hardware::profiles::{AUTO, ProfileError, Profiles};
use assay::hardware::{Cpu, Gpu, Gpus, Machine, Ranks};
use assay::manifest::{
    Dtype, GpuTarget, MANIFEST_FILE, Manifest, Objective, Quantization, TENSORRT_LLM, Target,
};
use tempfile::TempDir;

use crate::support::tiny;

const H100: &str = "NVIDIA H100 80GB HBM3";
const PCIE: &str = "NVIDIA H100 PCIe";

fn machine(device: &str, count: usize) -> Machine {
    let gpu = |number| Gpu {
        name: device.to_owned(),
        uuid: format!("GPU-{number}"),
        device_id: 0,
        compute_capability: "9.0".to_owned(),
        memory_bytes: 80 << 30,
        divided: false,
    };
    let absent = (count == 0).then(|| "this machine has no NVIDIA driver".to_owned());
    Machine {
        cpu: Cpu { instruction_set: "avx2".to_owned(), onednn: "2.6.3".to_owned(), bf16: false, int8: false },
        gpus: Gpus { gpus: (0..count).map(gpu).collect(), driver: None, absent },
        trtllm: true,
        needs_gpus: true,
        ranks: None,
    }
}

fn h100(quantization: Quantization, tensor_parallel: usize, objective: Objective) -> Target {
    Target::TensorrtLlm(GpuTarget {
        device: H100.to_owned(),
        compute_capability: "9.0".to_owned(),
        tensor_parallel,
        pipeline_parallel: 1,
        quantization,
        objective,
        tensorrt_llm: TENSORRT_LLM.to_owned(),
        ..GpuTarget::default()
    })
}

/// The manifest of an engine for a target; for AVX2 it is in f32.
fn manifest(target: Target, change: impl FnOnce(&mut Manifest)) -> Manifest {
    let mut manifest = tiny::manifest();
    manifest.target = target;
    if let Target::TensorrtLlm(_) = &manifest.target {
        manifest.dtype = Dtype::Bf16;
    }
    change(&mut manifest);
    manifest.profile.name = backends::profile_name(&manifest);
    manifest.profile.id = manifest.profile_id().unwrap();
    manifest
}

fn cpu() -> Manifest {
    manifest(Target::Cpu { instruction_set: "avx2".to_owned() }, |_| {})
}

/// A folder with these engines, called `0`, `1`, ...
fn folder(manifests: &[Manifest]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (number, manifest) in manifests.iter().enumerate() {
        write(&root.path().join(number.to_string()), manifest);
    }
    root
}

fn write(directory: &Path, manifest: &Manifest) {
    std::fs::create_dir_all(directory).unwrap();
    std::fs::write(directory.join(MANIFEST_FILE), serde_saphyr::to_string(manifest).unwrap()).unwrap();
}

fn find(root: &Path, machine: &Machine) -> Result<Profiles, ProfileError> {
    Profiles::find(root, &backends::fit(machine))
}

fn choose(root: &Path, wanted: &str, machine: &Machine) -> Result<(PathBuf, Manifest), ProfileError> {
    assay::hardware::profiles::choose(root, wanted, &backends::fit(machine))
}

/// Name of the profile that is served.
fn chosen(manifests: &[Manifest], wanted: &str, machine: &Machine) -> Result<String, String> {
    let root = folder(manifests);
    let chosen = choose(root.path(), wanted, machine).map_err(|error| error.to_string())?;
    Ok(chosen.1.profile.name)
}

#[test]
fn profiles_are_preferred_by_engine_then_precision_then_objective_then_parallelism() {
    use Objective::{Latency, Throughput};
    let order = [
        h100(Quantization::Checkpoint("NVFP4".to_owned()), 1, Throughput),
        h100(Quantization::Fp8, 8, Latency),
        h100(Quantization::Fp8, 4, Latency),
        h100(Quantization::Fp8, 8, Throughput),
        h100(Quantization::None, 8, Latency),
    ];
    let mut manifests: Vec<Manifest> = order.map(|target| manifest(target, |_| {})).into();
    manifests.push(cpu());
    let names: Vec<String> = manifests.iter().map(|manifest| manifest.profile.name.clone()).collect();
    assert_eq!(names[1], "tensorrt_llm-h100-fp8-tp8-latency");
    assert_eq!(names[5], "onednn-avx2-f32");
    manifests.reverse();
    while let Some(best) = names.get(names.len() - manifests.len()) {
        assert_eq!(&chosen(&manifests, AUTO, &machine(H100, 8)).unwrap(), best);
        manifests.pop();
    }
}

#[test]
fn what_does_not_run_here_is_skipped() {
    let eight = manifest(h100(Quantization::Fp8, 8, Objective::Latency), |_| {});
    let two = manifest(h100(Quantization::None, 2, Objective::Throughput), |_| {});
    let all = [eight, two, cpu()];
    let serve = |machine: &Machine| chosen(&all, AUTO, machine).unwrap();
    assert_eq!(serve(&machine(H100, 2)), "tensorrt_llm-h100-bf16-tp2-throughput");
    assert_eq!(serve(&machine(H100, 1)), "onednn-avx2-f32");
    assert_eq!(serve(&machine(PCIE, 8)), "onednn-avx2-f32");
    assert_eq!(serve(&machine("", 0)), "onednn-avx2-f32");
    let without = Machine { trtllm: false, ..machine(H100, 8) };
    assert_eq!(serve(&without), "onednn-avx2-f32");
}

#[test]
fn a_profile_is_pinned_by_name_by_id_or_by_the_start_of_its_id() {
    let all = [manifest(h100(Quantization::Fp8, 1, Objective::Latency), |_| {}), cpu()];
    let id = &all[1].profile.id;
    for wanted in ["onednn-avx2-f32", id, &id[..12]] {
        assert_eq!(chosen(&all, wanted, &machine(H100, 1)).unwrap(), "onednn-avx2-f32");
    }
    for unknown in ["onednn-avx2", &id[..4], "latency"] {
        let sentence = chosen(&all, unknown, &machine(H100, 1)).unwrap_err();
        assert!(sentence.contains(unknown) && sentence.contains("onednn-avx2-f32"), "{sentence}");
    }
}

#[test]
fn each_refusal_says_what_does_not_fit_and_what_to_run() {
    let gpu = || manifest(h100(Quantization::None, 2, Objective::Throughput), |_| {});
    let older = |manifest: &mut Manifest| {
        if let Target::TensorrtLlm(gpus) = &mut manifest.target {
            gpus.tensorrt_llm = "1.1.0".to_owned();
        }
    };
    let avx512 = Target::Cpu { instruction_set: "avx512_core_bf16".to_owned() };
    let eight = |gpus_per_node| {
        manifest(h100(Quantization::None, 8, Objective::Throughput), move |manifest| {
            if let Target::TensorrtLlm(gpus) = &mut manifest.target {
                gpus.gpus_per_node = gpus_per_node;
            }
        })
    };
    let four_here = Some(Ranks { rank: 0, world: 8, local: 4, kill_after: None });
    let mpirun = |world| Some(Ranks { rank: 0, world, local: world, kill_after: None });
    let cases = [
        (gpu(), machine(H100, 1), vec!["needs 2 x NVIDIA H100 80GB HBM3", "1 x", "--tp 1", "mpirun"]),
        (gpu(), machine("", 0), vec!["needs 2 x", "no NVIDIA driver"]),
        (gpu(), machine(PCIE, 2), vec!["built for NVIDIA H100 80GB HBM3", PCIE, "--target h100-pcie"]),
        (
            eight(None),
            Machine { ranks: four_here, ..machine(H100, 4) },
            vec!["nodes of 8 GPUs", "this one has 4", "4 of the 8 ranks", "--gpus-per-node 4"],
        ),
        // Ranks 4 to 7 would take the GPUs of ranks 0 to 3.
        (eight(Some(4)), machine(H100, 8), vec!["nodes of 4 GPUs", "8 of the 8 ranks", "--gpus-per-node 8"]),
        (
            gpu(),
            Machine { trtllm: false, ..machine(H100, 2) },
            vec!["built without GPU support", "GPU image"],
        ),
        (
            manifest(h100(Quantization::None, 1, Objective::Throughput), older),
            machine(H100, 1),
            vec!["TensorRT-LLM 1.1.0", TENSORRT_LLM, "build-engine"],
        ),
        (gpu(), Machine { ranks: mpirun(4), ..machine(H100, 4) }, vec!["2 ranks", "mpirun -n 2"]),
        (cpu(), Machine { ranks: mpirun(2), ..machine("", 0) }, vec!["one process", "without mpirun"]),
        (
            manifest(avx512, |_| {}),
            machine("", 0),
            vec!["avx512_core_bf16", "avx2", "build-engine --target cpu"],
        ),
        (
            manifest(cpu().target, |manifest| manifest.built_with.onednn = "3.1.1".to_owned()),
            machine("", 0),
            vec!["oneDNN 3.1.1", "2.6.3", "build-engine"],
        ),
    ];
    for (manifest, machine, words) in cases {
        let sentence = chosen(&[manifest], AUTO, &machine).unwrap_err();
        for word in words {
            assert!(sentence.contains(word), "{word}: {sentence}");
        }
        assert!(!sentence.contains('\n'), "{sentence}");
    }
}

#[test]
fn a_gpu_that_is_divided_is_not_one_that_an_engine_was_built_for() {
    let mut machine = machine(H100, 1);
    machine.gpus.gpus[0].divided = true;
    let gpu = manifest(h100(Quantization::None, 1, Objective::Latency), |_| {});
    let sentence = chosen(&[gpu], AUTO, &machine).unwrap_err();
    assert!(sentence.contains("divided by MIG; engines cannot be built for that"), "{sentence}");
}

#[test]
fn ranks_on_several_machines_need_only_their_own_gpus() {
    let eight = manifest(h100(Quantization::None, 8, Objective::Throughput), |manifest| {
        if let Target::TensorrtLlm(gpus) = &mut manifest.target {
            gpus.gpus_per_node = Some(4);
        }
    });
    let ranks = |local| Some(Ranks { rank: 0, world: 8, local, kill_after: None });
    let started = |local| Machine { ranks: ranks(local), ..machine(H100, 4) };
    assert!(chosen(std::slice::from_ref(&eight), AUTO, &started(4)).is_ok());
    assert!(chosen(&[eight], AUTO, &started(5)).is_err());
}

#[test]
fn a_broken_manifest_is_listed_with_its_reason_and_stops_no_other() {
    let root = folder(&[cpu()]);
    let broken = root.path().join("broken");
    std::fs::create_dir(&broken).unwrap();
    std::fs::write(broken.join(MANIFEST_FILE), "format: 1\nwishes: many\n").unwrap();
    let mut changed = cpu();
    changed.limits.max_seq_len *= 2;
    write(&root.path().join("changed"), &changed);
    let profiles = find(root.path(), &machine("", 0)).unwrap();
    assert_eq!(profiles.choose(AUTO).unwrap().1, &cpu());
    let text = profiles.to_string();
    assert!(text.contains(&format!("  - {}\n      cannot be used: ", broken.display())), "{text}");
    assert!(text.contains("was changed after the build"), "{text}");
}

#[test]
fn the_listing_has_nims_form() {
    let all = [manifest(h100(Quantization::Fp8, 8, Objective::Latency), |_| {}), cpu()];
    let root = folder(&all);
    let profiles = find(root.path(), &machine("", 0)).unwrap();
    let expected = format!(
        "MODEL PROFILES\n\
         - Compatible with system and runnable:\n  - {} (onednn-avx2-f32)\n\
         - Incompatible with system:\n  - {} (tensorrt_llm-h100-fp8-tp8-latency)\n      \
         needs 8 x NVIDIA H100 80GB HBM3, and this machine has no NVIDIA driver\n",
        all[1].profile.id, all[0].profile.id
    );
    assert_eq!(profiles.to_string(), expected);
    let json = serde_json::to_value(profiles.listed()).unwrap();
    assert_eq!((&json[0]["runnable"], &json[1]["ranks"]), (&true.into(), &8.into()));
    assert!(json[1]["reason"].as_str().unwrap().starts_with("needs 8 x"));
}

#[test]
fn an_engine_directory_is_used_as_it_is_and_a_folder_is_searched_three_levels_deep() {
    let root = folder(&[cpu()]);
    let search = |path: &Path| choose(path, AUTO, &machine("", 0)).map(|(directory, _)| directory);
    let directory = root.path().join("0");
    assert_eq!(search(&directory).unwrap(), directory);
    let deep = tempfile::tempdir().unwrap();
    write(&deep.path().join("a/b/c"), &cpu());
    write(&deep.path().join(".a.build-engine-1"), &cpu());
    assert_eq!(search(deep.path()).unwrap(), deep.path().join("a/b/c"));
    let none = tempfile::tempdir().unwrap();
    write(&none.path().join("a/b/c/d"), &cpu());
    let sentence = search(none.path()).unwrap_err().to_string();
    assert!(sentence.contains(&none.path().display().to_string()), "{sentence}");
}

#[test]
fn no_choice_is_made_between_different_models() {
    let other = manifest(cpu().target, |manifest| manifest.model.name = "other".to_owned());
    let all = [cpu(), other];
    for wanted in [AUTO, "onednn-avx2-f32"] {
        let sentence = chosen(&all, wanted, &machine("", 0)).unwrap_err();
        assert!(sentence.contains("other, tiny") && sentence.contains("--profile"), "{sentence}");
    }
    assert!(chosen(&all, &all[1].profile.id, &machine("", 0)).is_ok());
}

#[test]
fn if_none_of_several_runs_each_has_its_reason() {
    let two = [1, 2].map(|ranks| manifest(h100(Quantization::None, ranks, Objective::Latency), |_| {}));
    let sentence = chosen(&two, AUTO, &machine("", 0)).unwrap_err();
    assert!(sentence.contains("none of the 2 engines") && sentence.contains("needs 1 x"), "{sentence}");
    assert!(sentence.lines().count() == 3, "{sentence}");
}

#[test]
fn precisions_of_quantized_checkpoints_follow_from_their_algorithm() {
    for (algorithm, expected) in [("NVFP4", 4), ("W4A16_AWQ", 4), ("FP8", 8), ("W8A8_SQ_PER_CHANNEL", 8)] {
        let quantization = Quantization::Checkpoint(algorithm.to_owned());
        let built = manifest(h100(quantization, 1, Objective::Latency), |_| {});
        assert_eq!(backends::for_manifest(&built).weight_bits(), expected, "{algorithm}");
    }
}
