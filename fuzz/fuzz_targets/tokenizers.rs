//! `tokenizer.json` of a checkpoint: first as `build-engine` checks it, then as the server uses it.
//!
//! The `tokenizers` crate panics on some malformed files, which the library catches: such a panic is not a failure.
#![no_main]

use std::panic::{PanicHookInfo, set_hook, take_hook};
use std::sync::Once;

use assay::manifest::PromptSpec;
use assay::prompt::{EncodeOptions, Encoder, Message};
use assay_fuzz::Checkpoint;
use libfuzzer_sys::fuzz_target;

thread_local! {
    static CHECKPOINT: Checkpoint = Checkpoint::new();
}

static HOOK: Once = Once::new();

/// Whether a panic comes from the parsers or the post-processors of the `tokenizers` crate.
fn is_caught(panic: &PanicHookInfo<'_>) -> bool {
    let file = panic.location().map(|location| location.file()).unwrap_or_default();
    let caught = ["decoders/mod.rs", "normalizers/mod.rs", "processors/template.rs"];
    file.contains("/tokenizers-") && caught.iter().any(|name| file.ends_with(name))
}

fuzz_target!(|data: &[u8]| {
    HOOK.call_once(|| {
        let abort = take_hook();
        set_hook(Box::new(move |panic| {
            if !is_caught(panic) {
                abort(panic);
            }
        }));
    });
    CHECKPOINT.with(|checkpoint| {
        checkpoint.replace("tokenizer.json", data);
        if checkpoint.check().is_err() {
            return;
        }
        let Ok(encoder) = Encoder::open(checkpoint.directory(), &PromptSpec::default()) else { return };
        let vocabulary = encoder.vocabulary();
        for text in ["", "hello </s> world", "  two\n\nlines\t", "naïve 東京 🗼", "<s>\u{0}\u{feff}"] {
            let message = Message::new("user", text);
            for ids in [
                encoder.encode(&[message], EncodeOptions::default()),
                encoder.encode_completion(text, true),
                encoder.encode_templated(text),
            ] {
                vocabulary.decode(&ids.unwrap_or_default());
            }
        }
    });
});
