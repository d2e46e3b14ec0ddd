//! Builds the C++ engines and their bridge: CMake for the engines, cxx for what lies between.

use std::process::{Command, exit};

fn main() {
    println!("cargo:rerun-if-changed=cpp");
    println!("cargo:rerun-if-changed=src/engine/bridge.rs");
    println!("cargo:rerun-if-env-changed=ASSAY_SANITIZE");
    require_cmake();
    let installed = cmake::Config::new("cpp").profile("Release").define("ASSAY_TESTS", "OFF").build();
    cxx_build::bridge("src/engine/bridge.rs")
        .file("cpp/bridge.cc")
        .include("cpp")
        .std("c++20")
        .flag("-Wall")
        .flag("-Wextra")
        .opt_level(2)
        .compile("assay_bridge");
    println!("cargo:rustc-link-search=native={}/lib", installed.display());
    println!("cargo:rustc-link-lib=static=assay_cpu");
    println!("cargo:rustc-link-lib=dylib=dnnl");
    println!("cargo:rustc-link-lib=dylib=gomp");
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
