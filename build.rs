//! Builds the C++ engines with CMake and the bridge to them with cxx.

use std::path::{Path, PathBuf};
use std::process::{Command, exit};

/// The Rust files that declare bridges to C++.
const BRIDGES: [&str; 2] = ["src/engine/bridge.rs", "src/hardware/processor.rs"];

fn main() {
    println!("cargo:rerun-if-changed=cpp");
    for bridge in BRIDGES {
        println!("cargo:rerun-if-changed={bridge}");
    }
    println!("cargo:rerun-if-env-changed=TRTLLM_ROOT");
    println!("cargo:rerun-if-env-changed=ASSAY_WARNINGS_ARE_ERRORS");
    require_cmake();
    let trtllm = std::env::var_os("CARGO_FEATURE_TRTLLM").map(|_| trtllm_root());
    let mut engines = cmake::Config::new("cpp");
    engines.profile("Release").out_dir(shared_directory());
    // The directory keeps what an earlier build chose.
    engines.define("ASSAY_TESTS", "OFF").define("ASSAY_TRTLLM", "OFF");
    let mut bridge = cxx_build::bridges(BRIDGES);
    if let Some(root) = &trtllm {
        engines.define("ASSAY_TRTLLM", "ON").define("TRTLLM_ROOT", root);
        bridge.file("cpp/trtllm/bridge.cc");
    }
    let installed = engines.build();
    // CI sets this. Elsewhere a compiler that warns about more must not stop a build.
    if std::env::var_os("ASSAY_WARNINGS_ARE_ERRORS").is_some() {
        bridge.flag("-Werror");
    }
    bridge
        .files(["cpp/cpu/bridge.cc", "cpp/cpu/processor.cc"])
        .include("cpp")
        .std("c++20")
        .flags(["-Wall", "-Wextra", "-Wpedantic"])
        .opt_level(2)
        .compile("assay_bridge");
    println!("cargo:rustc-link-search=native={}/lib", installed.display());
    if let Some(root) = &trtllm {
        link_trtllm(root);
    }
    println!("cargo:rustc-link-lib=static=assay_cpu");
    println!("cargo:rustc-link-lib=dylib=dnnl");
    println!("cargo:rustc-link-lib=dylib=gomp");
}

/// A directory for the C++ in cargo's own, beside what is compiled for one profile. Builds with other features, checks and
/// `make test-cpp` share it, and cargo lets only one of them run at once.
fn shared_directory() -> PathBuf {
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    // OUT_DIR is `PROFILE/build/assay-HASH/out`.
    out.ancestors().nth(3).unwrap_or(&out).join("cpp")
}

/// Where TensorRT-LLM's `include` and `lib` are: `TRTLLM_ROOT`, else where NVIDIA's image has them.
fn trtllm_root() -> PathBuf {
    let root = PathBuf::from(std::env::var_os("TRTLLM_ROOT").unwrap_or_else(|| "/app/tensorrt_llm".into()));
    for needed in ["include/tensorrt_llm/executor/executor.h", "lib/libtensorrt_llm.so"] {
        if !root.join(needed).exists() {
            println!(
                "cargo::error=the feature `trtllm` needs TensorRT-LLM 1.2.1, and {} has no {needed}; build in the \
                 image nvcr.io/nvidia/tensorrt-llm/release:1.2.1, or set TRTLLM_ROOT to the folder that holds the \
                 library's include/ and lib/",
                root.display()
            );
            exit(1);
        }
    }
    root
}

fn link_trtllm(root: &Path) {
    let libraries = root.join("lib");
    println!("cargo:rustc-link-search=native={}", libraries.display());
    println!("cargo:rustc-link-lib=static=assay_trtllm");
    println!("cargo:rustc-link-lib=dylib=tensorrt_llm");
    println!("cargo:rustc-link-lib=dylib=nvinfer_plugin_tensorrt_llm");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", libraries.display());
    // What the library itself needs (TensorRT, MPI, NCCL, the driver's libcuda) is found when it is loaded.
    println!("cargo:rustc-link-arg=-Wl,--allow-shlib-undefined");
}

fn require_cmake() {
    let cmake = std::env::var_os("CMAKE").unwrap_or_else(|| "cmake".into());
    if Command::new(cmake).arg("--version").output().is_err() {
        println!(
            "cargo::error=CMake was not found; install what the engines need with: apt-get install libdnnl-dev cmake"
        );
        exit(1);
    }
}
