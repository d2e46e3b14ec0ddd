//! Requests in the form that the bridge takes.

use super::fan_out::Request;
use crate::engine::bridge::ffi;
use crate::engine::{Job, Work};
use crate::sampling::Sampling;

/// Requests to hand over together.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) sequences: Vec<ffi::TrtllmSequence>,
    /// For each sequence, its tokens followed by those that end it.
    pub(super) token_ids: Vec<u32>,
}

impl Batch {
    /// Adds the requests that a sequence was split into.
    pub(super) fn push(&mut self, requests: &[Request], job: &Job) {
        let token_begin = self.token_ids.len();
        self.token_ids.extend_from_slice(&job.tokens);
        let (max_tokens, sampling, logits, stop, bias) = match &job.work {
            Work::Score { .. } => (0, GREEDY, false, &[][..], &[][..]),
            Work::Generate(sampling) => (
                sampling.max_tokens.max(1),
                sampling_of(sampling),
                sampling.logprobs.is_some(),
                &sampling.end_tokens[..],
                &sampling.logit_bias[..],
            ),
        };
        self.token_ids.extend_from_slice(stop);
        for request in requests {
            let token_end = token_begin + request.tokens;
            self.sequences.push(ffi::TrtllmSequence {
                id: request.id,
                token_begin,
                token_end,
                stop_end: token_end + stop.len(),
                max_tokens,
                sampling: sampling.clone(),
                bias: bias.iter().map(|&(token, bias)| ffi::TrtllmBias { token, bias }).collect(),
                logits,
                priority: job.priority.urgency(),
            });
        }
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
