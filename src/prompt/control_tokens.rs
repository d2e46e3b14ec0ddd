//! Decides which added tokens structure a conversation, and which are words that any text may spell.
//!
//! Role markers, ends of turns, BOS, EOS and the tokens of images structure it: if a message could spell them, it
//! could end its turn. Think and tool tags are words: models write them, and were trained on them as tokens.

use std::collections::{BTreeSet, HashSet};

use tokenizers::AddedToken;

use super::tokenizer_error::TokenizerError;
use super::tokenizer_file::parse;
use crate::manifest::ControlTokens;

/// Which tokens the text of messages may not spell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ControlPolicy {
    /// Those that structure conversations.
    #[default]
    Structure,
    /// These, and think and tool tags that are special or that the chat template spells.
    All,
}

/// Parts of the names of tags around thoughts, tool calls and their results. A name may have further parts, as in
/// `<|tool▁calls▁begin|>`.
const TAG_PARTS: [&str; 28] = [
    "think",
    "thinking",
    "thought",
    "thoughts",
    "nothink",
    "reason",
    "reasoning",
    "reflection",
    "scratchpad",
    "answer",
    "solution",
    "tool",
    "tools",
    "toolcall",
    "toolcalls",
    "toolresponse",
    "function",
    "functions",
    "python",
    "action",
    "arg",
    "args",
    "argument",
    "arguments",
    "parameter",
    "parameters",
    "invoke",
    "call",
];

/// Names that are parts of tags, but on their own mark a role or the end of a turn.
const MARKERS: [&str; 6] = ["tool", "function", "python", "call", "action", "answer"];

/// Whether a token is a think or tool tag by its spelling: `<think>`, `</tool_call>`, `[TOOL_CALLS]`,
/// `<|python_tag|>`.
fn is_tag(token: &str) -> bool {
    let name = token.trim_matches(|c: char| !c.is_alphanumeric());
    if name.len() == token.len() {
        return false;
    }
    let parts: Vec<String> = name
        .split(|c: char| !c.is_alphanumeric())
        .filter(|part| !part.is_empty())
        .map(str::to_lowercase)
        .collect();
    let is_marker = parts.len() == 1 && MARKERS.contains(&parts[0].as_str());
    let is_answer = token.starts_with("<answer>") || token.starts_with("</answer>");
    is_answer || (!is_marker && parts.iter().any(|part| TAG_PARTS.contains(&part.as_str())))
}

/// Whether a token is ordinary text, such as `!` or `the` used as a padding token.
fn is_plain_text(token: &str) -> bool {
    token.chars().count() == 1 || token.chars().all(|c| c.is_alphanumeric() || c.is_whitespace() || c == '▁')
}

/// Sorts the added tokens of a tokenizer. `named` are the texts of those that its configuration names, as
/// `eos_token` and the like.
pub(super) fn classify<'a>(
    added: impl Iterator<Item = &'a AddedToken>,
    template: &str,
    named: &HashSet<&str>,
    policy: ControlPolicy,
) -> ControlTokens {
    let (mut structure, mut words) = (BTreeSet::new(), BTreeSet::new());
    for token in added {
        let content = token.content.as_str();
        let is_marker = token.special || named.contains(content) || template.contains(content);
        let is_word = policy == ControlPolicy::Structure && is_tag(content);
        if is_word || !is_marker || is_plain_text(content) {
            if token.special || is_tag(content) {
                words.insert(content.to_owned());
            }
        } else if !token.special {
            structure.insert(content.to_owned());
        }
    }
    ControlTokens { structure: structure.into_iter().collect(), words: words.into_iter().collect() }
}

/// Sorts the added tokens of the `tokenizer.json` whose text is `tokenizer`; and counts those that structure
/// conversations.
///
/// # Errors
/// The text is not a valid tokenizer.
pub(crate) fn control_tokens<'a>(
    tokenizer: &str,
    template: &str,
    named: impl Iterator<Item = &'a str>,
    policy: ControlPolicy,
) -> Result<(ControlTokens, Vec<String>), TokenizerError> {
    let mut added: Vec<_> = parse(tokenizer)?.get_added_tokens_decoder().into_iter().collect();
    added.sort_by_key(|(id, _)| *id);
    let tokens = || added.iter().map(|(_, token)| token);
    let control = classify(tokens(), template, &named.collect(), policy);
    let structure = tokens().filter(|token| control.is_structure(&token.content, token.special));
    let structure = structure.map(|token| token.content.clone()).collect();
    Ok((control, structure))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn think_and_tool_tags_are_words_and_markers_of_turns_are_not() {
        for tag in [
            "<think>",
            "</think>",
            "<tool_call>",
            "</tool_call>",
            "<tool_response>",
            "<tools>",
            "[TOOL_CALLS]",
            "<|python_tag|>",
            "<｜tool▁calls▁begin｜>",
            "<｜tool▁outputs▁end｜>",
            "<|begin_of_thought|>",
            "[THINK]",
            "[/THINK]",
            "<seed:think>",
            "<|START_THINKING|>",
            "<arg_key>",
            "/nothink",
            "<answer>",
            "</answer>",
            "<|tool_call_argument_begin|>",
            "<start_function_call>",
            "<|end_of_solution|>",
            "<|tool_response>",
        ] {
            assert!(is_tag(tag), "{tag}");
        }
        for marker in [
            "<|im_start|>",
            "<|im_end|>",
            "<|eot_id|>",
            "<s>",
            "</s>",
            "<unk>",
            "[INST]",
            "<|user|>",
            "<｜User｜>",
            "<|tool|>",
            "<|call|>",
            "<|channel|>",
            "<|message|>",
            "<|observation|>",
            "<start_of_turn>",
            "<image>",
            "<|vision_start|>",
            "<extra_0>",
            "<|eom_id|>",
            "<|endoftext|>",
            "thinking",
            "tool",
            "<pad>",
        ] {
            assert!(!is_tag(marker), "{marker}");
        }
    }

    #[test]
    fn what_the_tokenizer_or_the_template_makes_a_marker_is_guarded() {
        let token = |content: &str, special: bool| AddedToken::from(content, special);
        let added = [
            token("<|im_end|>", true),
            token("<|User|>", false),
            token("<end>", false),
            token("<fim>", false),
            token("<think>", false),
            token("<|python_tag|>", true),
            token("!", true),
            token("\n", false),
        ];
        let template = "<|User|>{{ m.content }}\n<think><|im_end|>";
        let named = ["<end>", "!"].into();
        let lists = |policy| {
            let control = classify(added.iter(), template, &named, policy);
            (control.structure.join(" "), control.words.join(" "))
        };
        assert_eq!(
            lists(ControlPolicy::Structure),
            ("<end> <|User|>".into(), "! <think> <|python_tag|>".into())
        );
        assert_eq!(lists(ControlPolicy::All), ("<end> <think> <|User|>".into(), "!".into()));
    }
}
