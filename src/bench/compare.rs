//! Two loads on a real engine, by turns, so that what disturbs the machine disturbs both.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::engine::{EngineError, EngineFactory};
use crate::scheduler::{Handle, Job, Options, Priority, Rejection, Work, start};

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Comparison {
    /// 16 responses of 128 tokens to one prompt of 512, with and without prefix sharing
    BestOfN,
    /// Lengths from 30 to 700 tokens, and equal lengths
    Ragged,
}

/// One side of a comparison.
struct Side {
    label: &'static str,
    handle: Handle,
    texts: fn(&mut SmallRng, u32) -> Vec<Arc<[u32]>>,
}

/// What one side did in one round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Round {
    /// Tokens of its texts.
    pub tokens: usize,
    /// Time from the first submission to the last answer.
    pub elapsed: Duration,
}

impl Round {
    fn tokens_per_second(&self) -> f64 {
        self.tokens as f64 / self.elapsed.as_secs_f64()
    }
}

/// Rounds of both sides.
#[derive(Clone, Debug)]
pub struct Compared {
    /// What the sides are, first and second.
    pub labels: [&'static str; 2],
    /// Of each round, both sides.
    pub rounds: Vec<[Round; 2]>,
}

/// Why a comparison ended early.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// The engine did not start.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A text was not scored.
    #[error("a text was not scored: {0}")]
    Refused(#[from] Rejection),
    /// The waiting thread could not start.
    #[error("cannot wait for answers: {0}")]
    Runtime(#[from] std::io::Error),
}

impl Comparison {
    /// Runs `rounds` rounds on two engines that `factory` opens; token ids are below `vocab_size`.
    ///
    /// # Errors
    /// An engine does not start, or a text is not scored.
    pub fn run(
        self,
        mut factory: impl FnMut() -> Result<EngineFactory, EngineError>,
        vocab_size: u32,
        rounds: usize,
    ) -> Result<Compared, CompareError> {
        let mut side = |label, prefix_sharing, texts| -> Result<Side, CompareError> {
            let options = Options { prefix_sharing, max_queue_tokens: usize::MAX, ..Options::default() };
            Ok(Side { label, handle: start(factory()?, options, Arc::new(()))?, texts })
        };
        let sides = match self {
            Self::BestOfN => {
                [side("sharing", true, best_of_sixteen)?, side("no sharing", false, best_of_sixteen)?]
            }
            Self::Ragged => [side("ragged", true, ragged)?, side("uniform", true, uniform)?],
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut random = SmallRng::seed_from_u64(0);
        // Touches weights and cache once; not counted.
        for side in &sides {
            runtime.block_on(side.round(&mut random, vocab_size))?;
        }
        let mut done = Vec::with_capacity(rounds);
        for _ in 0..rounds {
            let first = runtime.block_on(sides[0].round(&mut random, vocab_size))?;
            let second = runtime.block_on(sides[1].round(&mut random, vocab_size))?;
            done.push([first, second]);
        }
        Ok(Compared { labels: [sides[0].label, sides[1].label], rounds: done })
    }
}

impl Side {
    async fn round(&self, random: &mut SmallRng, vocab_size: u32) -> Result<Round, CompareError> {
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

impl Compared {
    /// The first side's tokens per second over the second's: the median of the rounds.
    pub fn ratio(&self) -> f64 {
        median(self.rounds.iter().map(|[a, b]| a.tokens_per_second() / b.tokens_per_second()))
    }

    fn tokens_per_second(&self, side: usize) -> f64 {
        median(self.rounds.iter().map(|round| round[side].tokens_per_second()))
    }
}

impl fmt::Display for Compared {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = self.labels;
        for (side, label) in self.labels.iter().enumerate() {
            writeln!(out, "{label:<12} {:.0} tokens/s", self.tokens_per_second(side))?;
        }
        let ratios = || self.rounds.iter().map(|[a, b]| a.tokens_per_second() / b.tokens_per_second());
        let (least, most) = (ratios().fold(f64::INFINITY, f64::min), ratios().fold(0.0, f64::max));
        let rounds = self.rounds.len();
        write!(
            out,
            "{first} over {second}: {:.3} ({least:.3} to {most:.3} in {rounds} rounds by turns)",
            self.ratio()
        )
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn best_of_sixteen(random: &mut SmallRng, vocab_size: u32) -> Vec<Arc<[u32]>> {
    let prompt = text(random, vocab_size, 512);
    (0..16).map(|_| prompt.iter().chain(&text(random, vocab_size, 128)).copied().collect()).collect()
}

/// 62 texts of 30, 41, ... 700 tokens, shuffled.
fn ragged(random: &mut SmallRng, vocab_size: u32) -> Vec<Arc<[u32]>> {
    let mut lengths: Vec<usize> = (30..=700).step_by(11).collect();
    for index in (1..lengths.len()).rev() {
        lengths.swap(index, random.random_range(0..=index));
    }
    lengths.into_iter().map(|length| text(random, vocab_size, length).into()).collect()
}

/// As many texts and as many tokens as [`ragged`].
fn uniform(random: &mut SmallRng, vocab_size: u32) -> Vec<Arc<[u32]>> {
    let lengths: Vec<usize> = (30..=700).step_by(11).collect();
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
    fn both_sides_are_given_equally_many_tokens() {
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
            let compared = comparison.run(factory, 1000, 2).unwrap();
            assert_eq!(compared.rounds.len(), 2);
            for [first, second] in &compared.rounds {
                let gap = first.tokens.abs_diff(second.tokens);
                assert!(gap < 62, "{comparison:?}: {first:?} {second:?}");
            }
        }
    }

    #[test]
    fn the_ratio_is_of_the_same_round() {
        let round = |ms| Round { tokens: 1000, elapsed: Duration::from_millis(ms) };
        let rounds = vec![[round(10), round(20)], [round(100), round(200)], [round(10), round(50)]];
        let compared = Compared { labels: ["a", "b"], rounds };
        assert!((compared.ratio() - 2.0).abs() < 1e-9);
    }
}
