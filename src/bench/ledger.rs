//! Keeps account of the tokens that a perfect scheduler could put into an iteration: those that have
//! arrived and are not computed yet, with every shared prefix counted once.
//!
//! Token ids carry the account. A request's own tokens have the request's number as their id, tokens of a
//! prefix have the prefix's number with the highest bit set, and generated tokens are 0. So whatever the
//! scheduler plans can be recorded from the iteration alone.

use std::collections::HashMap;
use std::sync::Arc;

use super::trace::TraceRequest;
use crate::engine::{Chunk, Iteration, SequenceId};

/// Marks token ids of a shared prefix.
const PREFIX: u32 = 1 << 31;

/// The account of one simulation.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    requests: Vec<RequestEntry>,
    prefixes: Vec<PrefixEntry>,
    prefix_numbers: HashMap<String, u32>,
    /// Sequences that generate: their request, and the number of tokens that they have yet to generate.
    generating: HashMap<SequenceId, (usize, usize)>,
    waiting: usize,
}

#[derive(Debug)]
struct RequestEntry {
    /// Its own prompt tokens that are not computed yet.
    remaining: usize,
    output_tokens: usize,
    prefix: Option<u32>,
}

#[derive(Debug, Default)]
struct PrefixEntry {
    /// Length of the longest prefix of this name.
    tokens: usize,
    /// How many of them are computed. They stay so, as if the cache were unlimited.
    computed: usize,
    /// Number of unanswered requests that start with it.
    wanted_by: usize,
}

impl PrefixEntry {
    fn waiting(&self) -> usize {
        if self.wanted_by == 0 { 0 } else { self.tokens - self.computed }
    }
}

impl Ledger {
    /// Records the arrival of a request, and returns its token ids. Requests are numbered by arrival.
    pub(super) fn arrive(&mut self, request: &TraceRequest) -> Arc<[u32]> {
        let number = self.requests.len() as u32 + 1;
        let own = request.prompt_tokens - request.prefix_tokens;
        let prefix = request.prefix.as_ref().map(|name| self.prefix_number(name));
        self.requests.push(RequestEntry { remaining: own, output_tokens: request.output_tokens, prefix });
        self.waiting += own;
        self.update_prefix(prefix, |prefix| {
            prefix.tokens = prefix.tokens.max(request.prefix_tokens);
            prefix.wanted_by += 1;
        });
        let shared = std::iter::repeat_n(PREFIX | prefix.unwrap_or_default(), request.prefix_tokens);
        shared.chain(std::iter::repeat_n(number, own)).collect()
    }

    /// Number of tokens that could be computed now.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Records the start of an iteration, and returns how many of its tokens had to be computed.
    pub(super) fn start_iteration(&mut self, iteration: &Iteration) -> usize {
        let before = self.waiting;
        for chunk in &iteration.chunks {
            self.record(chunk, &iteration.token_ids[chunk.tokens.clone()]);
        }
        before - self.waiting
    }

    /// Records the end of an iteration: sequences that generate have one more token to compute.
    pub(super) fn end_iteration(&mut self, iteration: &Iteration) {
        for chunk in iteration.chunks.iter().filter(|chunk| !chunk.logits.is_empty()) {
            if let Some((_, to_generate)) = self.generating.get_mut(&chunk.sequence) {
                *to_generate -= 1;
                self.waiting += 1;
                if *to_generate == 0 {
                    self.generating.remove(&chunk.sequence);
                }
            }
        }
    }

    /// Records that a request is answered. Its tokens that are not computed yet no longer need to be.
    pub(super) fn answered(&mut self, request: usize) {
        let entry = &mut self.requests[request];
        self.waiting -= std::mem::take(&mut entry.remaining);
        let prefix = entry.prefix;
        self.update_prefix(prefix, |prefix| prefix.wanted_by -= 1);
        self.generating.retain(|_, (generating, _)| *generating != request);
    }

    fn prefix_number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.prefix_numbers.get(name) {
            return *number;
        }
        let number = self.prefixes.len() as u32;
        self.prefixes.push(PrefixEntry::default());
        self.prefix_numbers.insert(name.to_owned(), number);
        number
    }

    /// Changes a prefix, and corrects the number of waiting tokens.
    fn update_prefix(&mut self, prefix: Option<u32>, update: impl FnOnce(&mut PrefixEntry)) {
        if let Some(prefix) = prefix.and_then(|number| self.prefixes.get_mut(number as usize)) {
            self.waiting -= prefix.waiting();
            update(prefix);
            self.waiting += prefix.waiting();
        }
    }

    fn record(&mut self, chunk: &Chunk, tokens: &[u32]) {
        let shared = tokens.iter().take_while(|&&token| token & PREFIX != 0).count();
        if let Some(&token) = tokens[..shared].first() {
            let end = chunk.position + shared;
            self.update_prefix(Some(token & !PREFIX), |prefix| {
                prefix.computed = prefix.computed.max(end).min(prefix.tokens)
            });
        }
        match tokens[shared..].first() {
            None => {}
            // A generated token, which is read to generate the next one.
            Some(0) => self.waiting = self.waiting.saturating_sub(1),
            Some(&number) => self.record_own(number as usize - 1, chunk, tokens.len() - shared),
        }
    }

    fn record_own(&mut self, request: usize, chunk: &Chunk, tokens: usize) {
        let entry = &mut self.requests[request];
        // Less than `tokens` if the scheduler computes some of them a second time.
        let needed = tokens.min(entry.remaining);
        entry.remaining -= needed;
        self.waiting -= needed;
        if !chunk.logits.is_empty() && entry.output_tokens > 1 {
            self.generating.insert(chunk.sequence, (request, entry.output_tokens - 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grouped(prompt_tokens: usize, prefix_tokens: usize) -> TraceRequest {
        TraceRequest {
            prefix: Some("p".to_owned()),
            prefix_tokens,
            ..TraceRequest::score(0.0, prompt_tokens)
        }
    }

    /// An iteration that computes `tokens[range]` of one sequence.
    fn iteration(sequence: SequenceId, tokens: &[u32], range: std::ops::Range<usize>) -> Iteration {
        let chunk = Chunk {
            sequence,
            tokens: 0..range.len(),
            position: range.start,
            text_tokens: tokens.len(),
            blocks: 0..0,
            logits: if range.end == tokens.len() { vec![range.len() - 1] } else { vec![] },
        };
        Iteration { token_ids: tokens[range].to_vec(), block_table: Vec::new(), chunks: vec![chunk] }
    }

    #[test]
    fn a_shared_prefix_waits_once() {
        let mut ledger = Ledger::default();
        let first = ledger.arrive(&grouped(10, 8));
        let second = ledger.arrive(&grouped(11, 8));
        assert_eq!(first[..8], second[..8]);
        assert_ne!(first[8], second[8]);
        assert_eq!(ledger.waiting(), 8 + 2 + 3);
        assert_eq!(ledger.start_iteration(&iteration(0, &first, 0..10)), 10);
        assert_eq!(ledger.start_iteration(&iteration(1, &second, 8..11)), 3);
        assert_eq!(ledger.waiting(), 0);
    }

    #[test]
    fn tokens_computed_a_second_time_do_not_count() {
        let mut ledger = Ledger::default();
        let first = ledger.arrive(&grouped(10, 8));
        let second = ledger.arrive(&grouped(11, 8));
        ledger.start_iteration(&iteration(0, &first, 0..10));
        assert_eq!(ledger.start_iteration(&iteration(1, &second, 0..11)), 3);
    }

    #[test]
    fn tokens_of_an_answered_request_no_longer_wait() {
        let mut ledger = Ledger::default();
        ledger.arrive(&grouped(10, 8));
        ledger.arrive(&TraceRequest::score(0.0, 5));
        ledger.answered(0);
        assert_eq!(ledger.waiting(), 5);
    }

    #[test]
    fn a_generating_sequence_has_one_token_waiting_at_a_time() {
        let mut ledger = Ledger::default();
        let tokens = ledger.arrive(&TraceRequest { output_tokens: 3, ..TraceRequest::score(0.0, 4) });
        let prompt = iteration(0, &tokens, 0..4);
        assert_eq!(ledger.start_iteration(&prompt), 4);
        assert_eq!(ledger.waiting(), 0);
        ledger.end_iteration(&prompt);
        for _ in 0..2 {
            assert_eq!(ledger.waiting(), 1);
            let next = iteration(0, &[0], 0..1);
            assert_eq!(ledger.start_iteration(&next), 1);
            ledger.end_iteration(&next);
        }
        assert_eq!(ledger.waiting(), 0);
    }
}
