//! An engine that computes nothing, for tests of everything around it and for capacity planning.
//!
//! Its KV cache holds, for every position, a hash of the tokens up to there. Every chunk continues
//! from the hash of the position before it, so logits depend on the tokens of the whole
//! sequence, through the very blocks the scheduler chose: a block shared wrongly, written twice or
//! read too early gives other logits or an error.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::{
    BlockId, Chunk, EngineError, EngineFactory, EngineOptions, Iteration, Limits, PrefixSharing, SequenceId,
    StartEngine, StepEngine, StepError, StepReport,
};
use crate::manifest::{BuildLimits, LimitError, Manifest};

/// Tokens that a KV block holds, unless the limits say otherwise.
const TOKENS_PER_BLOCK: usize = 16;

/// What a simulated engine does with an iteration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Reports its logits.
    Report,
    /// Reports that the step failed, for this reason.
    Fail(String),
    /// Never reports.
    Stall,
}

/// What to do with the nth iteration, counted from 0 over all starts of a factory.
pub type Script = Box<dyn FnMut(u64) -> Behaviour + Send>;

/// How a simulated engine behaves in every iteration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Simulation {
    /// Reports every iteration at once
    Instant,
    /// Never reports
    Stall,
    /// Fails every iteration
    Fail,
}

impl Simulation {
    /// The script of an engine that behaves so.
    pub fn script(self) -> Script {
        Box::new(move |_| match self {
            Self::Instant => Behaviour::Report,
            Self::Stall => Behaviour::Stall,
            Self::Fail => Behaviour::Fail("the simulated engine is set to fail (--simulate fail)".into()),
        })
    }
}

/// Starts simulated engines that answer at once.
pub struct SimulatedFactory {
    limits: Limits,
    sharing: PrefixSharing,
    rows: usize,
    script: Arc<Mutex<(u64, Script)>>,
}

impl SimulatedFactory {
    /// Engines whose head has `rows` rows (attributes, or the vocabulary when they generate).
    pub fn new(limits: Limits, sharing: PrefixSharing, rows: usize) -> Self {
        Self::scripted(limits, sharing, rows, Box::new(|_| Behaviour::Report))
    }

    /// Engines with the limits that these options give to the manifest's engine.
    ///
    /// # Errors
    /// An option asks for a limit that the engine cannot have.
    pub fn for_manifest(
        manifest: &Manifest,
        options: &EngineOptions,
        script: Script,
    ) -> Result<Self, LimitError> {
        let BuildLimits { max_seq_len, max_batch_size, max_num_tokens } =
            manifest.limits.lowered(&options.limits)?;
        let tokens = options.kv_cache_tokens.unwrap_or(4 * max_seq_len.max(max_num_tokens));
        let kv_blocks = tokens.div_ceil(TOKENS_PER_BLOCK);
        let limits = Limits {
            max_seq_len,
            max_batch_size,
            max_num_tokens,
            kv_blocks,
            tokens_per_block: TOKENS_PER_BLOCK,
        };
        Ok(Self::scripted(limits, PrefixSharing::WithinIteration, manifest.logits(), script))
    }

    /// Engines that fail or stall when `script` says so.
    pub fn scripted(limits: Limits, sharing: PrefixSharing, rows: usize, script: Script) -> Self {
        Self { limits, sharing, rows, script: Arc::new(Mutex::new((0, script))) }
    }
}

impl From<SimulatedFactory> for EngineFactory {
    fn from(factory: SimulatedFactory) -> Self {
        Self::step(factory)
    }
}

impl StartEngine<dyn StepEngine> for SimulatedFactory {
    fn start(&mut self) -> Result<Box<dyn StepEngine>, EngineError> {
        let (reporter, reports) = unbounded();
        Ok(Box::new(SimulatedEngine {
            limits: self.limits,
            sharing: self.sharing,
            cache: HashCache::new(self.limits, self.rows),
            script: self.script.clone(),
            reporter,
            reports,
        }))
    }
}

struct SimulatedEngine {
    limits: Limits,
    sharing: PrefixSharing,
    cache: HashCache,
    script: Arc<Mutex<(u64, Script)>>,
    reporter: Sender<Result<StepReport, StepError>>,
    reports: Receiver<Result<StepReport, StepError>>,
}

impl SimulatedEngine {
    fn next_behaviour(&self) -> Behaviour {
        let mut script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
        let number = script.0;
        script.0 += 1;
        (script.1)(number)
    }
}

impl StepEngine for SimulatedEngine {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn sharing(&self) -> PrefixSharing {
        self.sharing
    }

    fn submit(&mut self, iteration: Iteration) -> Result<(), StepError> {
        let started = Instant::now();
        let report = match self.next_behaviour() {
            Behaviour::Report => self.cache.run(&iteration).map(|logits| StepReport {
                logits,
                elapsed: started.elapsed(),
                ..StepReport::default()
            }),
            Behaviour::Fail(text) => Err(StepError::Simulated(text)),
            Behaviour::Stall => return Ok(()),
        };
        self.reporter.send(report).map_err(|_| StepError::Ended)
    }

    fn reports(&self) -> &Receiver<Result<StepReport, StepError>> {
        &self.reports
    }
}

/// A KV cache of hashes: what the simulated engine computes, and a check of the scheduler's plans.
#[derive(Clone, Debug)]
pub struct HashCache {
    limits: Limits,
    rows: usize,
    /// For every slot of every block, the hash of the tokens up to it; `None` until written.
    states: Vec<Option<u64>>,
}

impl HashCache {
    /// An empty cache for a head of `rows` rows.
    pub fn new(limits: Limits, rows: usize) -> Self {
        Self { limits, rows, states: vec![None; limits.kv_blocks * limits.tokens_per_block] }
    }

    /// Runs all chunks in order and returns the logits that they request.
    ///
    /// # Errors
    /// [`StepError::Simulated`] if the iteration exceeds the limits or reads what was never written.
    pub fn run(&mut self, iteration: &Iteration) -> Result<Vec<(SequenceId, Vec<f32>)>, StepError> {
        self.check(iteration)?;
        let mut logits = Vec::new();
        for chunk in &iteration.chunks {
            let states = self.run_chunk(iteration, chunk)?;
            if !chunk.logits.is_empty() {
                let rows = chunk.logits.iter().flat_map(|&at| logits_of(states[at], self.rows));
                logits.push((chunk.sequence, rows.collect()));
            }
        }
        Ok(logits)
    }

    fn check(&self, iteration: &Iteration) -> Result<(), StepError> {
        let limits = &self.limits;
        if iteration.chunks.len() > limits.max_batch_size || iteration.token_ids.len() > limits.max_num_tokens
        {
            return Err(StepError::Simulated(format!(
                "an iteration of {} sequences and {} tokens exceeds {} and {}",
                iteration.chunks.len(),
                iteration.token_ids.len(),
                limits.max_batch_size,
                limits.max_num_tokens
            )));
        }
        Ok(())
    }

    /// The state after each token of a chunk.
    fn run_chunk(&mut self, iteration: &Iteration, chunk: &Chunk) -> Result<Vec<u64>, StepError> {
        let table = &iteration.block_table[chunk.blocks.clone()];
        let tokens = &iteration.token_ids[chunk.tokens.clone()];
        let end = chunk.position + tokens.len();
        let readable =
            chunk.logits.is_sorted_by(|a, b| a < b) && chunk.logits.iter().all(|&at| at < tokens.len());
        let fits = end <= self.limits.max_seq_len && table.len() >= self.limits.blocks_for(end);
        if tokens.is_empty() || !fits || !readable {
            return Err(StepError::Simulated(format!("a malformed chunk: {chunk:?}")));
        }
        let mut state = match chunk.position.checked_sub(1) {
            None => SEED,
            Some(before) => self.states[self.slot(table, before)].ok_or_else(|| {
                StepError::Simulated(format!("sequence {} reads position {before} unwritten", chunk.sequence))
            })?,
        };
        let mut states = Vec::with_capacity(tokens.len());
        for (position, &token) in (chunk.position..).zip(tokens) {
            state = mix(state ^ (u64::from(token) + 1));
            let slot = self.slot(table, position);
            self.states[slot] = Some(state);
            states.push(state);
        }
        Ok(states)
    }

    fn slot(&self, table: &[BlockId], position: usize) -> usize {
        let per_block = self.limits.tokens_per_block;
        table[position / per_block] as usize * per_block + position % per_block
    }
}

/// The logits that a simulated engine with a head of `rows` rows returns after `tokens`.
pub fn expected_logits(tokens: &[u32], rows: usize) -> Vec<f32> {
    let state = tokens.iter().fold(SEED, |state, &token| mix(state ^ (u64::from(token) + 1)));
    logits_of(state, rows)
}

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// Finite, in -4.0..4.0, multiples of 1/8192.
fn logits_of(state: u64, rows: usize) -> Vec<f32> {
    (0..rows as u64).map(|row| (mix(state.wrapping_add(row)) >> 48) as f32 / 8192.0 - 4.0).collect()
}

/// The finaliser of SplitMix64: a bijection of 64 bits.
fn mix(mut value: u64) -> u64 {
    value = value.wrapping_add(SEED);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
