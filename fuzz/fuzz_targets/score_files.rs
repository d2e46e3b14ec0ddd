//! Files of `assay score`: Parquet if the input starts as one does, else each of the text formats.
#![no_main]

use assay::score::forms::{FormArgs, RowLayout};
use assay::score::rows;
use assay_fuzz::memory_directory;
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

/// Rows read of a file: a small Parquet file can claim many.
const MAX_ROWS: usize = 1000;

thread_local! {
    static DIRECTORY: TempDir = memory_directory();
}

fuzz_target!(|data: &[u8]| {
    let formats: &[&str] = if data.starts_with(b"PAR1") {
        &["parquet"]
    } else {
        &["jsonl", "csv", "tsv", "jsonl.gz", "jsonl.zst"]
    };
    DIRECTORY.with(|directory| {
        for format in formats {
            let path = directory.path().join("rows").with_extension(format);
            std::fs::write(&path, data).expect("the file can be written");
            rows::count(&path);
            let Ok(rows) = rows::open(&path) else { continue };
            for row in rows.take(MAX_ROWS).flatten() {
                let Ok(layout) = RowLayout::detect(&row, &FormArgs::default()) else { continue };
                layout.count_conversations(&row);
            }
        }
    });
});
