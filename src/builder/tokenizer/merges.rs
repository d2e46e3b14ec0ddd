//! The merges of a BPE vocabulary that is given without them, as SentencePiece's are.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

/// Every pair of tokens that together spell a third, the one with the lowest id first: SentencePiece's order,
/// whose ids are by score. Tokens in `skipped` are not merged.
pub(super) fn from_vocabulary(vocab: &Map<String, Value>, skipped: &HashSet<String>) -> Vec<[String; 2]> {
    let ids: HashMap<&str, u64> =
        vocab.iter().filter_map(|(token, id)| Some((token.as_str(), id.as_u64()?))).collect();
    let mut merges = Vec::new();
    for (token, &id) in vocab.iter().filter_map(|(token, _)| ids.get_key_value(token.as_str())) {
        if skipped.contains(*token) {
            continue;
        }
        let mut pairs = Vec::new();
        for (at, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            if skipped.contains(left) || skipped.contains(right) {
                continue;
            }
            if let (Some(left_id), Some(right_id)) = (ids.get(left), ids.get(right)) {
                pairs.push((*left_id, *right_id, left, right));
            }
        }
        pairs.sort_by_key(|&(left_id, right_id, ..)| (left_id, right_id));
        for (_, _, left, right) in pairs {
            merges.push((id, left.chars().count(), right.chars().count(), left, right));
        }
    }
    merges.sort_by_key(|&(id, left, right, ..)| (id, left, right));
    merges.into_iter().map(|(.., left, right)| [left.to_owned(), right.to_owned()]).collect()
}
