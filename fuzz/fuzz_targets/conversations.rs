//! Conversations for real tokenizers and templates: turns separated by a zero byte, from the user and the
//! assistant in turn.
//!
//! Whatever a turn spells, it must not become a control token: each turn has exactly the control tokens that
//! the template writes for it.
#![no_main]

use std::sync::LazyLock;

use assay::manifest::PromptSpec;
use assay::prompt::{EncodeOptions, Encoder, Message};
use assay_fuzz::{fixture, memory_directory};
use libfuzzer_sys::fuzz_target;

/// An encoder, and the control tokens it writes for a conversation and for each turn.
struct Model {
    encoder: Encoder,
    for_all: usize,
    for_each: usize,
}

static MODELS: LazyLock<Vec<Model>> = LazyLock::new(|| {
    vec![
        model("qwen3-tiny", include_str!("../seeds/templates/chatml.jinja"), 0, 2),
        model("llama3-tiny", include_str!("../seeds/templates/llama3.jinja"), 0, 3),
        model("llama2-tiny", include_str!("../seeds/templates/llama2.jinja"), 1, 1),
    ]
});

fn model(checkpoint: &str, template: &str, for_all: usize, for_each: usize) -> Model {
    let directory = memory_directory();
    std::fs::copy(fixture(checkpoint, "tokenizer.json"), directory.path().join("tokenizer.json"))
        .expect("the fixture can be copied");
    std::fs::write(directory.path().join("chat_template.jinja"), template)
        .expect("the template can be written");
    let encoder = Encoder::open(directory.path(), &PromptSpec::default()).expect("the fixture is an encoder");
    Model { encoder, for_all, for_each }
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let roles = ["user", "assistant"].into_iter().cycle();
    let messages: Vec<Message> =
        text.split('\0').zip(roles).map(|(content, role)| Message::new(role, content)).collect();
    for Model { encoder, for_all, for_each } in MODELS.iter() {
        let ids =
            encoder.encode(&messages, EncodeOptions::default()).expect("every conversation has a prompt");
        let vocabulary = encoder.vocabulary();
        let control = ids.iter().filter(|&&id| vocabulary.is_special(id)).count();
        assert_eq!(control, for_all + for_each * messages.len(), "{:?}", vocabulary.decode(&ids));
    }
});
