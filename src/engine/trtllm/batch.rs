//! Sequences as the bridge takes them.

use crate::engine::bridge::ffi;
use crate::engine::sampling::Sampling;
use crate::engine::{SequenceId, Task};

/// Sequences to hand over together.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) sequences: Vec<ffi::TrtllmSequence>,
    /// Of each, its tokens and those that end it.
    pub(super) token_ids: Vec<u32>,
}

impl Batch {
    pub(super) fn push(&mut self, id: SequenceId, tokens: &[u32], task: &Task, priority: f32) {
        let token_begin = self.token_ids.len();
        self.token_ids.extend_from_slice(tokens);
        let token_end = self.token_ids.len();
        let max_tokens = match task {
            Task::Score(_) => 0,
            Task::Generate(sampling) => {
                self.token_ids.extend_from_slice(&sampling.end_tokens);
                sampling.max_tokens.max(1)
            }
        };
        let (sampling, log_probs) = match task {
            Task::Score(_) => (GREEDY, false),
            Task::Generate(sampling) => (sampling_of(sampling), sampling.logprobs.is_some()),
        };
        self.sequences.push(ffi::TrtllmSequence {
            id,
            token_begin,
            token_end,
            stop_end: self.token_ids.len(),
            max_tokens,
            sampling,
            log_probs,
            priority,
        });
    }
}

fn sampling_of(sampling: &Sampling) -> ffi::TrtllmSampling {
    ffi::TrtllmSampling {
        temperature: sampling.temperature,
        top_k: sampling.top_k,
        top_p: sampling.top_p,
        min_p: sampling.min_p,
        repetition_penalty: sampling.repetition_penalty,
        presence_penalty: sampling.presence_penalty,
        frequency_penalty: sampling.frequency_penalty,
        seed: sampling.seed,
        min_tokens: sampling.min_tokens,
    }
}

const GREEDY: ffi::TrtllmSampling = ffi::TrtllmSampling {
    temperature: 0.0,
    top_k: 0,
    top_p: 1.0,
    min_p: 0.0,
    repetition_penalty: 1.0,
    presence_penalty: 0.0,
    frequency_penalty: 0.0,
    seed: 0,
    min_tokens: 0,
};
