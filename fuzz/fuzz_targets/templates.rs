//! Chat templates: the template's source, then, each after a zero byte, turns of a conversation.
//!
//! A template comes with a checkpoint that someone else wrote, so it may be refused, but must not crash the
//! server or render without end.
#![no_main]

use std::cell::LazyCell;
use std::collections::BTreeMap;

use assay::manifest::PromptSpec;
use assay::prompt::{EncodeOptions, Encoder, Message};
use assay_fuzz::memory_directory;
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

thread_local! {
    static DIRECTORY: LazyCell<TempDir> = LazyCell::new(|| {
        let directory = memory_directory();
        std::fs::write(directory.path().join("tokenizer.json"), include_bytes!("../seeds/tokenizers/word_level.json"))
            .expect("the tokenizer can be written");
        directory
    });
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut parts = text.split('\0');
    let template = parts.next().unwrap_or_default();
    let turns: Vec<&str> = parts.collect();
    let turns = if turns.is_empty() { vec!["What is 2 + 3?", "It is 5."] } else { turns };
    DIRECTORY.with(|directory| {
        std::fs::write(directory.path().join("chat_template.jinja"), template)
            .expect("the template can be written");
        let special = [("bos_token", "<s>"), ("eos_token", "</s>")];
        let special_tokens = special.map(|(name, token)| (name.to_owned(), token.to_owned()));
        let spec = PromptSpec { special_tokens: BTreeMap::from(special_tokens), ..PromptSpec::default() };
        let Ok(encoder) = Encoder::open(directory.path(), &spec) else { return };
        let roles = ["system", "user", "assistant"].into_iter().cycle().skip(1);
        let messages: Vec<Message> =
            (turns.iter().zip(roles)).map(|(content, role)| Message::new(role, *content)).collect();
        for add_generation_prompt in [false, true] {
            let options = EncodeOptions { add_generation_prompt, ..EncodeOptions::default() };
            if let Ok(ids) = encoder.encode(&messages, options) {
                assert!(!ids.is_empty());
                encoder.render(&messages, options).expect("what was encoded can be rendered");
            }
        }
    });
});
