//! Which of several servers a prompt goes to: rendezvous hashing, so that a server that is added or removed moves no
//! prompts but its own.

use std::cmp::Reverse;

use reqwest::header::{HeaderName, HeaderValue};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::wire::messages;
use crate::manifest::digest::hexadecimal;
use crate::prompt::Message;

/// Header of a request with the digest of its prompt, by which a balancer keeps the responses to a prompt together. The
/// Python package sends the same.
pub(super) const PROMPT_HEADER: HeaderName = HeaderName::from_static("x-assay-prompt");

/// A digest of a prompt, the same in every process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PromptDigest(String);

impl PromptDigest {
    /// The digest of the turns before the first conversation's response; of the whole conversation if it has no others.
    pub(super) fn from_conversations(conversations: &[Vec<Message>]) -> Self {
        let turns = conversations.first().map(Vec::as_slice).unwrap_or_default();
        let prompt = match turns.split_last() {
            Some((last, before)) if last.role == "assistant" && !before.is_empty() => before,
            _ => turns,
        };
        Self::from_json(&messages(prompt))
    }

    fn from_json(prompt: &Value) -> Self {
        Self(hexadecimal(&Sha256::digest(prompt.to_string())[..8]))
    }

    /// The value of [`PROMPT_HEADER`].
    pub(super) fn header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// The indices of servers in the order in which they are asked for this prompt.
    pub(super) fn order<'a>(&self, urls: impl Iterator<Item = &'a str>) -> Vec<usize> {
        let weights: Vec<_> = urls.map(|url| Sha256::digest(format!("{}\n{url}", self.0))).collect();
        let mut order: Vec<usize> = (0..weights.len()).collect();
        order.sort_by_key(|&index| Reverse(weights[index]));
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(prompt: &str) -> PromptDigest {
        PromptDigest::from_conversations(&[vec![
            Message::new("user", prompt),
            Message::new("assistant", "any answer"),
        ]])
    }

    #[test]
    fn responses_to_one_prompt_have_one_digest_which_other_clients_compute_too() {
        let other = vec![Message::new("user", "What is 1+1?"), Message::new("assistant", "2")];
        assert_eq!(digest("What is 1+1?"), PromptDigest::from_conversations(&[other]));
        assert_ne!(digest("What is 1+1?"), digest("What is 1+2?"));
        // python/tests/test_client.py has the same prompts and digests.
        assert_eq!(digest("What is \"1+1\"?\n\u{7}é😀").0, "4d854f863422b44c");
        let fields =
            [("name", "Ann".into()), ("refusal", Value::Null)].map(|(name, value)| (name.to_owned(), value));
        let named = Message::with_fields("user".into(), Some("q".into()), fields.into_iter().collect());
        let named = PromptDigest::from_conversations(&[vec![named, Message::new("assistant", "a")]]);
        assert_eq!(named.0, "2d547909373cd904");
        let [alone, nothing] = [vec![vec![Message::new("assistant", "a")]], vec![]];
        assert_ne!(PromptDigest::from_conversations(&alone), PromptDigest::from_conversations(&nothing));
    }

    #[test]
    fn prompts_spread_over_servers_and_stay_where_they_are_when_one_goes() {
        let urls = ["http://a:1", "http://b:1", "http://c:1", "http://d:1"];
        let mut counts = [0; 4];
        for number in 0..4000 {
            let digest = digest(&number.to_string());
            let order = digest.order(urls.into_iter());
            counts[order[0]] += 1;
            // Without the last server, the others keep their order.
            let fewer: Vec<usize> = order.into_iter().filter(|&index| index < 3).collect();
            assert_eq!(digest.order(urls[..3].iter().copied()), fewer);
        }
        assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
    }
}
