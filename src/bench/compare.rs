//! Two loads on a real engine, interleaved, so that whatever disturbs the machine disturbs both.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::percentiles::median;
use crate::engine::{EngineError, EngineFactory};
use crate::scheduler::{Handle, Job, Priority, Rejection, SchedulerOptions, Work, start};

/// The loads to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Comparison {
    /// 16 responses of 128 tokens to one prompt of 512, with and without prefix sharing
    BestOfN,
    /// Lengths from 30 to 700 tokens, and equal lengths
    Ragged,
}

/// One of the two loads, with an engine of its own.
struct Side {
    label: &'static str,
    handle: Handle,
    /// Makes the texts of a round, for a vocabulary of the given size.
    texts: fn(&mut SmallRng, u32) -> Vec<Arc<[u32]>>,
}

/// A measurement of one load.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Round {
    /// Number of tokens of all texts.
    tokens: usize,
    /// Time from the first submission to the last answer.
    elapsed: Duration,
}

impl Round {
    fn tokens_per_second(&self) -> f64 {
        self.tokens as f64 / self.elapsed.as_secs_f64()
    }
}

/// The measurements of both loads.
#[derive(Clone, Debug)]
pub(super) struct ComparisonResult {
    labels: [&'static str; 2],
    rounds: Vec<[Round; 2]>,
}

/// Why a comparison stopped early.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// An engine did not start.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A text was not scored.
    #[error("a text was not scored: {0}")]
    Refused(#[from] Rejection),
    /// The thread that waits for answers did not start.
    #[error("cannot wait for results: {0}")]
    Runtime(#[from] std::io::Error),
}

impl Comparison {
    /// Runs `rounds` rounds on two engines that `factory` opens. Token ids are below `vocab_size`.
    ///
    /// # Errors
    /// An engine does not start, or a text is not scored.
    pub(super) fn run(
        self,
        mut factory: impl FnMut() -> Result<EngineFactory, EngineError>,
        vocab_size: u32,
        rounds: usize,
    ) -> Result<ComparisonResult, CompareError> {
        let mut side = |label, prefix_sharing, texts| -> Result<Side, CompareError> {
            let options = SchedulerOptions {
                prefix_sharing,
                max_queue_tokens: usize::MAX,
                ..SchedulerOptions::default()
            };
            Ok(Side { label, handle: start(factory()?, options, Arc::new(()))?, texts })
        };
        let sides = match self {
            Self::BestOfN => [side("sharing", true, best_of_n)?, side("no sharing", false, best_of_n)?],
            Self::Ragged => [side("ragged", true, ragged)?, side("uniform", true, uniform)?],
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut random = SmallRng::seed_from_u64(0);
        // A round to warm up weights and cache, which does not count.
        for side in &sides {
            runtime.block_on(side.run_round(&mut random, vocab_size))?;
        }
        let mut measured = Vec::with_capacity(rounds);
        for _ in 0..rounds {
            let first = runtime.block_on(sides[0].run_round(&mut random, vocab_size))?;
            let second = runtime.block_on(sides[1].run_round(&mut random, vocab_size))?;
            measured.push([first, second]);
        }
        Ok(ComparisonResult { labels: [sides[0].label, sides[1].label], rounds: measured })
    }
}

impl Side {
    async fn run_round(&self, random: &mut SmallRng, vocab_size: u32) -> Result<Round, CompareError> {
        let texts = (self.texts)(random, vocab_size);
        let tokens = texts.iter().map(|text| text.len()).sum();
        let started = Instant::now();
        let mut tickets = Vec::with_capacity(texts.len());
        for tokens in texts {
            let work = Work::score(tokens.len());
            let job = Job { tokens, work, priority: Priority::default() };
            tickets.push(self.handle.submit(job, None)?);
        }
        for ticket in tickets {
            ticket.await?;
        }
        Ok(Round { tokens, elapsed: started.elapsed() })
    }
}

impl ComparisonResult {
    /// For each round, the first load's tokens per second divided by the second's.
    fn ratios(&self) -> impl Iterator<Item = f64> {
        self.rounds.iter().map(|[first, second]| first.tokens_per_second() / second.tokens_per_second())
    }

    /// Median over the rounds of one load.
    fn tokens_per_second(&self, side: usize) -> f64 {
        median(self.rounds.iter().map(|round| round[side].tokens_per_second()))
    }
}

impl fmt::Display for ComparisonResult {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (side, label) in self.labels.iter().enumerate() {
            writeln!(out, "{label:<12} {:.0} tokens/s", self.tokens_per_second(side))?;
        }
        let ([first, second], rounds) = (self.labels, self.rounds.len());
        let (min, max) = (self.ratios().fold(f64::INFINITY, f64::min), self.ratios().fold(0.0, f64::max));
        let ratio = median(self.ratios());
        write!(out, "{first} / {second}: {ratio:.3} ({min:.3} to {max:.3} in {rounds} interleaved rounds)")
    }
}

fn best_of_n(random: &mut SmallRng, vocab_size: u32) -> Vec<Arc<[u32]>> {
    let prompt = text(random, vocab_size, 512);
    (0..16).map(|_| prompt.iter().chain(&text(random, vocab_size, 128)).copied().collect()).collect()
}

/// 30, 41, ... 700 tokens: 61 texts.
fn ragged_lengths() -> Vec<usize> {
    (30..=700).step_by(11).collect()
}

/// Texts of [`ragged_lengths`], shuffled.
fn ragged(random: &mut SmallRng, vocab_size: u32) -> Vec<Arc<[u32]>> {
    let mut lengths = ragged_lengths();
    for index in (1..lengths.len()).rev() {
        lengths.swap(index, random.random_range(0..=index));
    }
    lengths.into_iter().map(|length| text(random, vocab_size, length).into()).collect()
}

/// As many texts as [`ragged`], all of the mean length.
fn uniform(random: &mut SmallRng, vocab_size: u32) -> Vec<Arc<[u32]>> {
    let lengths = ragged_lengths();
    let mean = lengths.iter().sum::<usize>() / lengths.len();
    lengths.iter().map(|_| text(random, vocab_size, mean).into()).collect()
}

fn text(random: &mut SmallRng, vocab_size: u32, tokens: usize) -> Vec<u32> {
    (0..tokens).map(|_| random.random_range(0..vocab_size)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::simulated::SimulatedFactory;
    use crate::engine::{Limits, PrefixSharing};

    #[test]
    fn both_loads_have_the_same_number_of_tokens() {
        let limits = Limits {
            max_seq_len: 1024,
            max_batch_size: 64,
            max_num_tokens: 4096,
            kv_blocks: 2048,
            tokens_per_block: 16,
        };
        let factory = || -> Result<EngineFactory, EngineError> {
            Ok(SimulatedFactory::new(limits, PrefixSharing::WithinIteration, 1).into())
        };
        for comparison in [Comparison::BestOfN, Comparison::Ragged] {
            let result = comparison.run(factory, 1000, 2).unwrap();
            assert_eq!(result.rounds.len(), 2);
            for [first, second] in &result.rounds {
                let difference = first.tokens.abs_diff(second.tokens);
                assert!(difference < 62, "{comparison:?}: {first:?} {second:?}");
            }
        }
    }

    #[test]
    fn ratios_compare_the_same_round() {
        let round = |ms| Round { tokens: 1000, elapsed: Duration::from_millis(ms) };
        let rounds = vec![[round(10), round(20)], [round(100), round(200)], [round(10), round(50)]];
        let result = ComparisonResult { labels: ["a", "b"], rounds };
        assert!((median(result.ratios()) - 2.0).abs() < 1e-9);
    }
}
