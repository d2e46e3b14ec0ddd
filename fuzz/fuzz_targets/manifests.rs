//! `engine.yaml` of an engine directory.
//!
//! A manifest that is read can be written again and read as the same.
#![no_main]

use assay::manifest::Manifest;
use assay_fuzz::memory_directory;
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

thread_local! {
    static DIRECTORY: TempDir = memory_directory();
}

fuzz_target!(|data: &[u8]| {
    DIRECTORY.with(|directory| {
        let directory = directory.path();
        std::fs::write(directory.join("engine.yaml"), data).expect("the manifest can be written");
        let Ok(manifest) = Manifest::read(directory) else { return };
        assert!(manifest.verify(directory).is_err(), "an empty directory is a whole engine");
        manifest.profile_id().expect("what was read from YAML can be written as YAML");
    });
});
