//! `tokenizer.json` of a checkpoint: first as `build-engine` checks it, then as the server uses it.
#![no_main]

use assay::manifest::PromptSpec;
use assay::prompt::{EncodeOptions, Encoder, Message};
use assay_fuzz::Checkpoint;
use libfuzzer_sys::fuzz_target;

thread_local! {
    static CHECKPOINT: Checkpoint = Checkpoint::new();
}

fuzz_target!(|data: &[u8]| {
    CHECKPOINT.with(|checkpoint| {
        checkpoint.replace("tokenizer.json", data);
        if checkpoint.check().is_err() {
            return;
        }
        let Ok(encoder) = Encoder::open(checkpoint.directory(), &PromptSpec::default()) else { return };
        let vocabulary = encoder.vocabulary();
        for text in ["", "hello </s> world", "  two\n\nlines\t", "naïve 東京 🗼", "<s>\u{0}\u{feff}"] {
            let message = Message { role: "user".to_owned(), content: text.to_owned() };
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
