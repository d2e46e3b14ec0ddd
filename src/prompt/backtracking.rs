//! Patterns of a tokenizer that backtrack without bound: `(a+a+)+b` tries every way to divide a run of `a`, so a short text
//! would keep a thread busy for years.
//!
//! Real patterns need a few steps for each character. So each pattern is tried on runs of the characters that it may be
//! sensitive to, before it is used, and must need only a number of steps in proportion to their length.

use onig::{MatchParam, Regex, Region, SearchOptions};
use serde_json::Value;

/// Characters of a run.
const RUN: usize = 1024;
/// Steps back that a match may need for each of them.
const STEPS: u32 = 16;
/// Characters of the pattern itself that are tried.
const MAX_CHARS: usize = 64;
/// Characters and words of the kinds that patterns tell apart.
const SAMPLES: [&str; 14] =
    ["a", "A", "1", " ", "\n", "\t", "!", "'", "_", "\u{e9}", "\u{4f60}", "aA", "a1", "a "];

/// The first pattern of a part of `tokenizer.json` that backtracks too much.
pub(super) fn endless_pattern(part: &Value) -> Option<String> {
    match part {
        Value::Object(fields) => {
            let pattern = fields.get("Regex").and_then(Value::as_str);
            if let Some(pattern) = pattern.filter(|pattern| backtracks(pattern)) {
                return Some(pattern.to_owned());
            }
            fields.values().find_map(endless_pattern)
        }
        Value::Array(parts) => parts.iter().find_map(endless_pattern),
        _ => None,
    }
}

fn backtracks(pattern: &str) -> bool {
    // The tokenizers crate reports a pattern that is malformed.
    let Ok(regex) = Regex::new(pattern) else { return false };
    let mut own: Vec<char> = pattern.chars().collect();
    own.sort_unstable();
    own.dedup();
    // A match that needs some character is not tried where that does not follow.
    let needed: String = own.iter().copied().chain(SAMPLES.concat().chars()).collect();
    let tails = ["\u{1}", "\u{1}\n"].map(|end| format!("{end}{needed}"));
    let own = own.into_iter().take(MAX_CHARS).map(String::from);
    own.chain(SAMPLES.map(str::to_owned)).any(|sample| {
        let run = sample.repeat(RUN);
        tails.iter().any(|tail| !gets_through(&regex, &format!("{run}{tail}")))
    })
}

/// Whether all matches in a text are found within the steps that are allowed.
fn gets_through(regex: &Regex, text: &str) -> bool {
    let mut from = 0;
    while from < text.len() {
        let mut limit = MatchParam::default();
        limit.set_retry_limit_in_match(STEPS * RUN as u32);
        let mut region = Region::new();
        let none = SearchOptions::SEARCH_OPTION_NONE;
        match regex.search_with_param(text, from, text.len(), none, Some(&mut region), limit) {
            Err(_) => return false,
            Ok(None) => return true,
            Ok(Some(_)) => {
                let next = text[from..].chars().next().map_or(1, char::len_utf8);
                let end = region.pos(0).map_or(from, |(_, end)| end);
                from = end.max(from + next);
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn patterns_that_divide_a_run_in_every_way_are_found_wherever_they_are() {
        for pattern in ["(a+a+)+b", "(x+)*y", "(\\s*)*$q", "(.*)*=", r"(\p{L}+){9,}\d", "a*a*a*b", "(é|é)*z"]
        {
            let split = json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"});
            let part = json!({"type": "Sequence", "pretokenizers": [{"type": "Digits"}, split]});
            assert_eq!(endless_pattern(&part).as_deref(), Some(pattern));
        }
        assert_eq!(endless_pattern(&json!({"pattern": {"String": "(a+a+)+b"}})), None);
        assert_eq!(endless_pattern(&Value::Null), None);
    }

    #[test]
    fn patterns_of_real_tokenizers_pass() {
        for pattern in [
            // Llama 3, Qwen2, GPT-2, GPT-4o, DeepSeek.
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
            r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
            r"[!#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
            "[\u{4e00}-\u{9fa5}\u{3040}-\u{309f}\u{30a0}-\u{30ff}]+",
            r"\p{N}{1,3}(?=(?:\p{N}{3})*(?:\P{N}|$))",
            r"\s+",
        ] {
            assert!(!backtracks(pattern), "{pattern}");
        }
    }
}
