//! The CPU engine, driven iteration by iteration.

use std::path::Path;

use assay::engine::cpu::CpuFactory;
use assay::engine::{BlockId, Chunk, EngineOptions, Iteration, StartEngine, StepEngine, StepError};
use assay::manifest::Manifest;

pub struct Driver {
    engine: Box<dyn StepEngine>,
}

impl Driver {
    pub fn start(directory: &Path, manifest: &Manifest, options: EngineOptions) -> Self {
        let mut factory = CpuFactory::open(directory, manifest, &options).expect("the engine opens");
        Self { engine: factory.start().expect("the engine starts") }
    }

    pub fn tokens_per_block(&self) -> usize {
        self.engine.limits().tokens_per_block
    }

    pub fn kv_blocks(&self) -> usize {
        self.engine.limits().kv_blocks
    }

    /// Runs one iteration and gives its logits, in the order of the chunks that asked.
    pub fn try_run(&mut self, iteration: Iteration) -> Result<Vec<Vec<f32>>, StepError> {
        self.engine.submit(iteration)?;
        let report = self.engine.reports().recv().expect("the engine's thread lives")?;
        Ok(report.logits.into_iter().map(|(_, logits)| logits).collect())
    }

    pub fn run(&mut self, iteration: Iteration) -> Vec<Vec<f32>> {
        self.try_run(iteration).expect("the iteration runs")
    }

    /// The logits after `ids`, run alone and in one piece.
    pub fn score(&mut self, ids: &[u32]) -> Vec<f32> {
        self.read(ids, &[ids.len() - 1])
    }

    /// The logits at some positions of `ids`, run alone and in one piece.
    pub fn read(&mut self, ids: &[u32], positions: &[usize]) -> Vec<f32> {
        let mut batch = Batch::default();
        let blocks: Vec<_> = (0..ids.len().div_ceil(self.tokens_per_block()) as BlockId).collect();
        batch.push(ids, 0, &blocks, positions);
        self.run(batch.iteration).remove(0)
    }
}

/// An iteration in the making.
#[derive(Default)]
pub struct Batch {
    pub iteration: Iteration,
}

impl Batch {
    #[allow(dead_code, reason = "the tests over TensorRT-LLM's stand-in use it")]
    pub fn tokens(&self) -> usize {
        self.iteration.token_ids.len()
    }

    /// Adds the last tokens of a text.
    pub fn push(&mut self, ids: &[u32], position: usize, blocks: &[BlockId], logits: &[usize]) {
        self.push_part(position + ids.len(), ids, position, blocks, logits);
    }

    /// Adds tokens of a text of `text_tokens` tokens.
    pub fn push_part(
        &mut self,
        text_tokens: usize,
        ids: &[u32],
        position: usize,
        blocks: &[BlockId],
        logits: &[usize],
    ) {
        let Iteration { token_ids, block_table, chunks } = &mut self.iteration;
        let (token, block) = (token_ids.len(), block_table.len());
        token_ids.extend_from_slice(ids);
        block_table.extend_from_slice(blocks);
        chunks.push(Chunk {
            sequence: chunks.len() as u64,
            tokens: token..token_ids.len(),
            position,
            text_tokens,
            blocks: block..block_table.len(),
            logits: logits.to_vec(),
        });
    }
}
