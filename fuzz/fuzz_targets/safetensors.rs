//! `model.safetensors` of a checkpoint: a header, in JSON, before data of zeros. What is not an object is the
//! whole file.
#![no_main]

use assay_fuzz::Checkpoint;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// Maximum bytes of data that a header gets; the zeros are not stored, but a build may read some of them.
const MAX_DATA: u64 = 1 << 30;

thread_local! {
    static CHECKPOINT: Checkpoint = Checkpoint::new();
}

fuzz_target!(|data: &[u8]| {
    CHECKPOINT.with(|checkpoint| {
        if data.starts_with(b"{") {
            checkpoint.replace_header(data, data_bytes(data));
        } else {
            checkpoint.replace("model.safetensors", data);
        }
        let _ = checkpoint.check();
    });
});

/// How far the tensors of a header reach.
fn data_bytes(header: &[u8]) -> u64 {
    let Ok(Value::Object(tensors)) = serde_json::from_slice(header) else { return 0 };
    let ends = tensors.values().filter_map(|tensor| tensor["data_offsets"][1].as_u64());
    ends.max().unwrap_or_default().min(MAX_DATA)
}
