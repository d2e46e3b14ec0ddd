//! A token with its log-probabilities.

/// A generated token, or a token of the prompt whose log-probability was requested.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampled {
    /// Token id.
    pub token: u32,
    /// Its log-probability by the model's unchanged logits, if [`super::Sampling::logprobs`] asks for it.
    pub logprob: Option<f32>,
    /// The most likely tokens and their log-probabilities, most likely first; or those that
    /// [`super::Sampling::label_tokens`] asks for.
    pub top: Vec<(u32, f32)>,
}

impl Sampled {
    /// A token with its log-probability by raw `logits`, `[vocabulary]`, and those of the `count` most
    /// likely tokens.
    pub fn from_logits(token: u32, logits: &[f32], count: usize) -> Self {
        Self::with_logprobs(token, logits, most_likely(logits, count))
    }

    /// A token with its log-probability by raw `logits`, `[vocabulary]`, and those of `others`.
    pub(super) fn with_logprobs(token: u32, logits: &[f32], others: Vec<u32>) -> Self {
        let highest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - highest).exp()).sum();
        let normalizer = highest + sum.ln();
        let logprob = |token: u32| {
            let logit = logits.get(token as usize).copied().unwrap_or(f32::NEG_INFINITY);
            (f64::from(logit) - normalizer) as f32
        };
        let top = others.into_iter().map(|token| (token, logprob(token))).collect();
        Self { token, logprob: Some(logprob(token)), top }
    }
}

/// The `count` tokens with the highest logits, highest first; among equals, in the order of their ids.
fn most_likely(logits: &[f32], count: usize) -> Vec<u32> {
    let mut best: Vec<(u32, f32)> = Vec::with_capacity(count + 1);
    for (token, &logit) in (0..).zip(logits) {
        if best.len() < count || best.last().is_some_and(|last| logit > last.1) {
            let place = best.partition_point(|known| known.1 >= logit);
            best.insert(place, (token, logit));
            best.truncate(count);
        }
    }
    best.into_iter().map(|(token, _)| token).collect()
}
