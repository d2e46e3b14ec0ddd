//! `config.json` of a checkpoint, as `build-engine` reads it.
#![no_main]

use assay_fuzz::Checkpoint;
use libfuzzer_sys::fuzz_target;

thread_local! {
    static CHECKPOINT: Checkpoint = Checkpoint::new();
}

fuzz_target!(|data: &[u8]| {
    CHECKPOINT.with(|checkpoint| {
        checkpoint.replace("config.json", data);
        let _ = checkpoint.check();
    });
});
