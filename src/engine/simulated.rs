//! An engine that computes nothing: for tests of what stands before it, and for planning.
//!
//! Its KV cache holds, for every position, a hash of the tokens up to there. Every chunk continues
//! from what the cache says of the position before it, so logits depend on the tokens of the whole
//! sequence, through the very blocks the scheduler chose: a block shared wrongly, written twice or
//! read too early gives other logits or an error.

use crossbeam_channel::Sender;

use super::{Chunk, Engine, EngineError, EngineFactory, Iteration, Limits, Outputs, PrefixSharing, Report};

/// What a simulated engine does with an iteration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Reports its logits.
    Report,
    /// Reports that the step failed, in these words.
    Fail(String),
    /// Never reports.
    Stall,
}

/// Says what to do with the iteration of a number, counted from 0 over all starts of a factory.
pub type Script = Box<dyn FnMut(u64) -> Behaviour + Send>;

/// Starts simulated engines that answer at once.
pub struct SimulatedFactory {
    limits: Limits,
    sharing: PrefixSharing,
    rows: usize,
    script: std::sync::Arc<std::sync::Mutex<(u64, Script)>>,
}

impl SimulatedFactory {
    /// An engine whose head has `rows` rows (attributes, or the vocabulary when it generates).
    pub fn new(limits: Limits, sharing: PrefixSharing, rows: usize) -> Self {
        Self::scripted(limits, sharing, rows, Box::new(|_| Behaviour::Report))
    }

    /// One that fails or stalls where `script` says so.
    pub fn scripted(limits: Limits, sharing: PrefixSharing, rows: usize, script: Script) -> Self {
        Self { limits, sharing, rows, script: std::sync::Arc::new(std::sync::Mutex::new((0, script))) }
    }
}

impl EngineFactory for SimulatedFactory {
    fn start(&mut self, reports: Sender<Report>) -> Result<Box<dyn Engine>, EngineError> {
        Ok(Box::new(Instant {
            limits: self.limits,
            sharing: self.sharing,
            cache: HashCache::new(self.limits, self.rows),
            script: self.script.clone(),
            reports,
        }))
    }
}

struct Instant {
    limits: Limits,
    sharing: PrefixSharing,
    cache: HashCache,
    script: std::sync::Arc<std::sync::Mutex<(u64, Script)>>,
    reports: Sender<Report>,
}

impl Instant {
    fn behaviour(&self) -> Behaviour {
        let mut script = self.script.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let number = script.0;
        script.0 += 1;
        (script.1)(number)
    }
}

impl Engine for Instant {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn sharing(&self) -> PrefixSharing {
        self.sharing
    }

    fn submit(&mut self, iteration: Iteration) -> Result<(), EngineError> {
        let started = std::time::Instant::now();
        let report = match self.behaviour() {
            Behaviour::Report => self.cache.run(&iteration).map(|logits| Outputs {
                logits,
                elapsed: started.elapsed(),
                ..Outputs::default()
            }),
            Behaviour::Fail(text) => Err(EngineError::Step(text)),
            Behaviour::Stall => return Ok(()),
        };
        self.reports.send(report).map_err(|_| EngineError::Step("its reports are no longer read".into()))
    }
}

/// A KV cache of hashes: what the simulated engine computes, and a check of the scheduler's plans.
#[derive(Clone, Debug)]
pub struct HashCache {
    limits: Limits,
    rows: usize,
    /// Of every slot of every block, the hash of the tokens up to it; `None` until written.
    states: Vec<Option<u64>>,
}

impl HashCache {
    /// An empty cache for a head of `rows` rows.
    pub fn new(limits: Limits, rows: usize) -> Self {
        Self { limits, rows, states: vec![None; limits.kv_blocks * limits.tokens_per_block] }
    }

    /// Runs all chunks in order and gives the logits asked for.
    ///
    /// # Errors
    /// [`EngineError::Step`] if the iteration exceeds the limits or reads what was never written.
    pub fn run(&mut self, iteration: &Iteration) -> Result<Vec<(super::SequenceId, Vec<f32>)>, EngineError> {
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

    fn check(&self, iteration: &Iteration) -> Result<(), EngineError> {
        let limits = &self.limits;
        if iteration.chunks.len() > limits.max_batch_size || iteration.token_ids.len() > limits.max_num_tokens
        {
            return Err(EngineError::Step(format!(
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
    fn run_chunk(&mut self, iteration: &Iteration, chunk: &Chunk) -> Result<Vec<u64>, EngineError> {
        let table = &iteration.block_table[chunk.blocks.clone()];
        let tokens = &iteration.token_ids[chunk.tokens.clone()];
        let end = chunk.position + tokens.len();
        let readable =
            chunk.logits.is_sorted_by(|a, b| a < b) && chunk.logits.iter().all(|&at| at < tokens.len());
        let fits = end <= self.limits.max_seq_len && table.len() >= self.limits.blocks_for(end);
        if tokens.is_empty() || !fits || !readable {
            return Err(EngineError::Step(format!("a malformed chunk: {chunk:?}")));
        }
        let mut state = match chunk.position.checked_sub(1) {
            None => SEED,
            Some(before) => self.states[self.slot(table, before)].ok_or_else(|| {
                EngineError::Step(format!("sequence {} reads position {before} unwritten", chunk.sequence))
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

    fn slot(&self, table: &[super::BlockId], position: usize) -> usize {
        let per_block = self.limits.tokens_per_block;
        table[position / per_block] as usize * per_block + position % per_block
    }
}

/// The logits that a simulated engine with a head of `rows` rows gives after `tokens`.
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
