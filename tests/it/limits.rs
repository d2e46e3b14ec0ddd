//! A limit above the one that an engine was built with is refused by everything that knows limits.

use assay::api::App;
use assay::config::Settings;
use assay::engine::EngineOptions;
use assay::engine::cpu::CpuFactory;
use assay::manifest::{BuildLimits, Dtype, LimitOverrides};

use crate::support;

/// Each limit, one above what `built` has, and what the error then says.
fn too_high(built: BuildLimits) -> [(LimitOverrides, String); 3] {
    let BuildLimits { max_seq_len, max_batch_size, max_num_tokens } = built;
    let none = LimitOverrides::default();
    let message =
        |name: &str, built: usize| format!("{name} is {}, but the engine was built for {built}", built + 1);
    [
        (LimitOverrides { max_seq_len: Some(max_seq_len + 1), ..none }, message("max_seq_len", max_seq_len)),
        (
            LimitOverrides { max_batch_size: Some(max_batch_size + 1), ..none },
            message("max_batch_size", max_batch_size),
        ),
        (
            LimitOverrides { max_num_tokens: Some(max_num_tokens + 1), ..none },
            message("max_num_tokens", max_num_tokens),
        ),
    ]
}

#[test]
fn the_cpu_engine_refuses_a_number_of_threads_that_no_machine_has() {
    let directory = tempfile::tempdir().unwrap();
    let model = support::model(64, 96, 2, (4, 2, 16));
    let manifest = support::random_engine(directory.path(), model, Dtype::F32, 7);
    for threads in [0, 1025, usize::MAX] {
        let options = EngineOptions { threads: Some(threads), ..EngineOptions::default() };
        let error = CpuFactory::open(directory.path(), &manifest, &options).err().unwrap().to_string();
        assert_eq!(error, format!("threads is {threads}; it must be from 1 to 1024"));
    }
}

#[test]
fn the_cpu_engine_and_the_server_refuse_limits_above_what_was_built() {
    let directory = tempfile::tempdir().unwrap();
    let model = support::model(64, 96, 2, (4, 2, 16));
    let manifest = support::random_engine(directory.path(), model, Dtype::F32, 7);
    for (limits, message) in too_high(manifest.limits) {
        let options = EngineOptions { limits, ..EngineOptions::default() };
        let engine = CpuFactory::open(directory.path(), &manifest, &options).err().unwrap().to_string();
        assert!(engine.contains(&message), "{engine}");

        let mut settings = Settings::defaults(directory.path().to_owned());
        settings.engine.max_seq_len = limits.max_seq_len;
        settings.engine.max_batch_size = limits.max_batch_size;
        settings.engine.max_num_tokens = limits.max_num_tokens;
        let server = App::new(settings, &manifest).err().unwrap().to_string();
        assert!(server.contains(&message), "{server}");
    }
}
