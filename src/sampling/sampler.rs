//! Chooses the next token from logits.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{Sampled, Sampling};

/// Chooses the tokens of one sequence. The choice depends only on the logits, the prompt, the tokens
/// chosen before and [`Sampling`].
#[derive(Debug)]
pub struct Sampler {
    sampling: Arc<Sampling>,
    /// Tokens of the prompt; empty unless there is a repetition penalty.
    prompt: HashSet<u32>,
    /// How often each token was chosen.
    counts: HashMap<u32, u32>,
    generated: usize,
}

/// Why no token can be chosen. It is the engine's fault, never the request's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SamplingError {
    /// A logit is NaN or infinite, or there are no logits.
    #[error("the engine returned a non-finite logit, so no token can be chosen")]
    NotFinite,
}

/// A token that may be chosen, and its probability up to a factor that all candidates share.
type Candidate = (u32, f32);

impl Sampler {
    /// A sampler for a sequence that starts with `prompt`.
    pub fn new(sampling: Arc<Sampling>, prompt: &[u32]) -> Self {
        let penalized = if sampling.repetition_penalty == 1.0 { &[] } else { prompt };
        let prompt = penalized.iter().copied().collect();
        Self { sampling, prompt, counts: HashMap::new(), generated: 0 }
    }

    /// Chooses the next token by raw `logits`, `[vocabulary]`, which it changes.
    ///
    /// # Errors
    /// A logit is not finite.
    pub fn sample(&mut self, logits: &mut [f32]) -> Result<Sampled, SamplingError> {
        check(logits)?;
        let raw = self.sampling.logprobs.map(|_| logits.to_vec());
        self.adjust(logits);
        let token = if self.sampling.temperature == 0.0 { argmax(logits) } else { self.draw(logits) };
        *self.counts.entry(token).or_default() += 1;
        self.generated += 1;
        Ok(match raw {
            Some(raw) if self.sampling.label_tokens.is_empty() => {
                Sampled::from_logits(token, &raw, self.sampling.logprobs.unwrap_or(0))
            }
            Some(raw) => Sampled::with_logprobs(token, &raw, self.sampling.label_tokens.clone()),
            None => Sampled { token, ..Sampled::default() },
        })
    }

    /// The log-probability of `token` of the prompt, by the raw `logits`, `[vocabulary]`, of the position
    /// before it.
    ///
    /// # Errors
    /// A logit is not finite.
    pub fn prompt_logprob(&self, token: u32, logits: &[f32]) -> Result<Sampled, SamplingError> {
        check(logits)?;
        Ok(Sampled::from_logits(token, logits, self.sampling.logprobs.unwrap_or(0)))
    }

    /// Excludes tokens, and applies bias and penalties.
    fn adjust(&self, logits: &mut [f32]) {
        let sampling = &*self.sampling;
        if !sampling.allowed_tokens.is_empty() {
            keep_only(logits, &sampling.allowed_tokens);
        }
        for &(token, bias) in &sampling.logit_bias {
            change(logits, token, |logit| logit + bias);
        }
        if sampling.repetition_penalty != 1.0 {
            let factor = sampling.repetition_penalty;
            let repeated = self.counts.keys().filter(|token| !self.prompt.contains(token));
            for &token in self.prompt.iter().chain(repeated) {
                change(logits, token, |logit| if logit > 0.0 { logit / factor } else { logit * factor });
            }
        }
        for (&token, &count) in &self.counts {
            let penalty = sampling.frequency_penalty * count as f32 + sampling.presence_penalty;
            change(logits, token, |logit| logit - penalty);
        }
        if self.generated < sampling.min_tokens {
            for &token in &sampling.end_tokens {
                change(logits, token, |_| f32::NEG_INFINITY);
            }
        }
    }

    /// Draws a token by its probability at the temperature, from those that `min_p`, `top_k` and `top_p`
    /// leave.
    fn draw(&self, logits: &[f32]) -> u32 {
        let Sampling { temperature, min_p, top_k, top_p, .. } = *self.sampling;
        let best = argmax(logits);
        let highest = logits[best as usize];
        let weight = |logit: f32| ((logit - highest) / temperature).exp();
        let mut candidates: Vec<Candidate> = (0..).zip(logits.iter().map(|&logit| weight(logit))).collect();
        if min_p > 0.0 {
            // The most likely token has the weight 1.
            candidates.retain(|&(_, weight)| weight >= min_p);
        }
        if top_k > 0 && top_k < candidates.len() {
            candidates.select_nth_unstable_by(top_k - 1, by_weight);
            candidates.truncate(top_k);
        }
        if top_p < 1.0 {
            keep_nucleus(&mut candidates, top_p);
        }
        candidates.sort_unstable_by_key(|&(token, _)| token);
        let total = sum(&candidates);
        let mut left = uniform(self.sampling.seed, self.generated as u64) * total;
        for &(token, weight) in &candidates {
            left -= f64::from(weight);
            if left < 0.0 {
                return token;
            }
        }
        best
    }
}

fn check(logits: &[f32]) -> Result<(), SamplingError> {
    let finite = !logits.is_empty() && logits.iter().all(|logit| logit.is_finite());
    if finite { Ok(()) } else { Err(SamplingError::NotFinite) }
}

/// Keeps the most likely of `candidates` that together have the share `top_p`; at least one.
fn keep_nucleus(candidates: &mut Vec<Candidate>, top_p: f32) {
    let total = sum(candidates);
    // All candidates below this together weigh less than the share that may be left out, so none of them
    // is in the nucleus, and few are left to sort.
    let least = total * f64::from(1.0 - top_p) / candidates.len() as f64;
    candidates.retain(|&(_, weight)| f64::from(weight) >= least);
    candidates.sort_unstable_by(by_weight);
    let mut share = 0.0;
    let reached = candidates.iter().position(|&(_, weight)| {
        share += f64::from(weight);
        share >= total * f64::from(top_p)
    });
    candidates.truncate(reached.map_or(usize::MAX, |last| last + 1));
}

/// Orders by descending weight, then by id.
fn by_weight(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

fn sum(candidates: &[Candidate]) -> f64 {
    candidates.iter().map(|&(_, weight)| f64::from(weight)).sum()
}

fn change(logits: &mut [f32], token: u32, to: impl Fn(f32) -> f32) {
    if let Some(logit) = logits.get_mut(token as usize) {
        *logit = to(*logit);
    }
}

/// Excludes all other tokens.
fn keep_only(logits: &mut [f32], tokens: &[u32]) {
    let kept: Vec<_> =
        tokens.iter().filter_map(|&token| Some((token, *logits.get(token as usize)?))).collect();
    logits.fill(f32::NEG_INFINITY);
    for (token, kept) in kept {
        change(logits, token, |_| kept);
    }
}

/// The token with the highest logit; the first of several.
fn argmax(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (token, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = token;
        }
    }
    best as u32
}

/// The `index`th random number of a seed, in 0..1, by SplitMix64 (Steele, Lea and Flood, 2014).
fn uniform(seed: u64, index: u64) -> f64 {
    let mut z = seed.wrapping_add((index + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Probabilities .5, .25, .125, .0625, .0625.
    fn logits() -> Vec<f32> {
        [0.5f32, 0.25, 0.125, 0.0625, 0.0625].map(f32::ln).to_vec()
    }

    fn sampling() -> Sampling {
        Sampling { temperature: 1.0, ..Sampling::greedy(1, vec![]) }
    }

    /// Share of each token in 20,000 draws.
    fn shares(sampling: &Sampling) -> Vec<f64> {
        let mut counts = vec![0.0; 5];
        for seed in 0..20_000u64 {
            let sampling = Sampling { seed: seed.wrapping_mul(0x1234_5678_9ABC_DEF1), ..sampling.clone() };
            let token = Sampler::new(Arc::new(sampling), &[]).sample(&mut logits()).unwrap().token;
            counts[token as usize] += 1.0 / 20_000.0;
        }
        counts
    }

    fn assert_shares(sampling: &Sampling, expected: [f64; 5]) {
        for (found, expected) in shares(sampling).into_iter().zip(expected) {
            // More than four standard deviations; and the seeds are fixed.
            assert!((found - expected).abs() < 0.015, "{sampling:?}: {found} for {expected}");
            assert!(expected > 0.0 || found == 0.0, "{sampling:?}: an excluded token was drawn");
        }
    }

    #[test]
    fn tokens_are_drawn_in_proportion_to_their_probability() {
        assert_shares(&sampling(), [0.5, 0.25, 0.125, 0.0625, 0.0625]);
    }

    #[test]
    fn temperature_sharpens_and_flattens() {
        let squares: f64 = [0.25, 0.0625, 1.0 / 64.0, 1.0 / 256.0, 1.0 / 256.0].iter().sum();
        assert_shares(
            &Sampling { temperature: 0.5, ..sampling() },
            [0.25, 0.0625, 1.0 / 64.0, 1.0 / 256.0, 1.0 / 256.0].map(|square| square / squares),
        );
        let flat = Sampling { temperature: 1e6, ..sampling() };
        assert_shares(&flat, [0.2; 5]);
        assert_shares(&Sampling { temperature: 1e-30, ..sampling() }, [1.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn limits_keep_only_the_most_likely_tokens() {
        assert_shares(&Sampling { top_k: 2, ..sampling() }, [2.0 / 3.0, 1.0 / 3.0, 0.0, 0.0, 0.0]);
        assert_shares(&Sampling { top_p: 0.7, ..sampling() }, [2.0 / 3.0, 1.0 / 3.0, 0.0, 0.0, 0.0]);
        assert_shares(&Sampling { top_p: 0.1, ..sampling() }, [1.0, 0.0, 0.0, 0.0, 0.0]);
        assert_shares(&Sampling { min_p: 0.2, ..sampling() }, [4.0 / 7.0, 2.0 / 7.0, 1.0 / 7.0, 0.0, 0.0]);
        // top_p applies to what top_k leaves.
        let both = Sampling { top_k: 2, top_p: 0.6, ..sampling() };
        assert_shares(&both, [1.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn one_seed_gives_the_same_tokens_every_time() {
        let run = |seed| {
            let mut sampler = Sampler::new(Arc::new(Sampling { seed, ..sampling() }), &[]);
            (0..64).map(|_| sampler.sample(&mut logits()).unwrap().token).collect::<Vec<_>>()
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }

    #[test]
    fn penalties_and_bias_follow_the_published_formulas() {
        let sampling = Sampling {
            logit_bias: vec![(4, 1.5), (900, 1.0)],
            repetition_penalty: 2.0,
            frequency_penalty: 0.25,
            presence_penalty: 0.5,
            ..Sampling::greedy(9, vec![])
        };
        let mut sampler = Sampler::new(Arc::new(sampling), &[0, 0]);
        sampler.counts = HashMap::from([(1, 2), (2, 1)]);
        let mut logits = vec![3.0, -1.0, 2.0, 0.5, 1.0];
        sampler.adjust(&mut logits);
        let once = 0.25 + 0.5;
        assert_eq!(logits, [3.0 / 2.0, -2.0 - (once + 0.25), 2.0 / 2.0 - once, 0.5, 1.0 + 1.5]);
    }

    #[test]
    fn no_end_token_is_chosen_before_min_tokens() {
        let sampling = Sampling { min_tokens: 2, ..Sampling::greedy(9, vec![0]) };
        let mut sampler = Sampler::new(Arc::new(sampling), &[]);
        let tokens: Vec<_> = (0..3).map(|_| sampler.sample(&mut logits()).unwrap().token).collect();
        assert_eq!(tokens, [1, 1, 0]);
    }

    #[test]
    fn log_probabilities_are_the_models_own_and_sum_to_one() {
        let sampling =
            Sampling { logprobs: Some(5), logit_bias: vec![(3, 100.0)], ..Sampling::greedy(1, vec![]) };
        let sampled = Sampler::new(Arc::new(sampling), &[]).sample(&mut logits()).unwrap();
        assert_eq!(sampled.token, 3);
        assert!((sampled.logprob.unwrap() - 0.0625f32.ln()).abs() < 1e-6);
        assert_eq!(sampled.top.iter().map(|top| top.0).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        let sum: f32 = sampled.top.iter().map(|top| top.1.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-6, "{sum}");
        assert!(sampled.top.is_sorted_by(|a, b| a.1 >= b.1));
    }

    #[test]
    fn no_token_is_chosen_but_those_that_are_allowed() {
        let allowed = Sampling { allowed_tokens: vec![3, 1, 900], ..sampling() };
        assert_shares(&allowed, [0.0, 0.8, 0.0, 0.2, 0.0]);
        let greedy =
            Sampling { allowed_tokens: vec![2, 4], logprobs: Some(1), ..Sampling::greedy(1, vec![]) };
        let sampled = Sampler::new(Arc::new(greedy), &[]).sample(&mut logits()).unwrap();
        assert_eq!(sampled.token, 2);
        // The model's own, which knows of no such limit.
        assert!((sampled.logprob.unwrap() - 0.125f32.ln()).abs() < 1e-6);
    }

    #[test]
    fn a_non_finite_logit_is_an_error() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut sampler = Sampler::new(Arc::new(sampling()), &[]);
            assert_eq!(sampler.sample(&mut [0.0, bad]), Err(SamplingError::NotFinite));
        }
    }

    #[test]
    fn log_probabilities_of_chosen_tokens_take_the_place_of_the_likeliest() {
        let sampling = Sampling { logprobs: Some(2), label_tokens: vec![3, 0], ..sampling() };
        let sampled = Sampler::new(Arc::new(sampling), &[]).sample(&mut logits()).unwrap();
        let tokens: Vec<u32> = sampled.top.iter().map(|(token, _)| *token).collect();
        assert_eq!(tokens, [3, 0]);
        assert!(
            (sampled.top[0].1 - 0.0625f32.ln()).abs() < 1e-6 && (sampled.top[1].1 - 0.5f32.ln()).abs() < 1e-6
        );
    }
}
