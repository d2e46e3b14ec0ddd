//! What a perfect filler could put into an iteration: tokens that have arrived and are not computed,
//! every shared prefix counted once.
//!
//! Token ids carry the account: a request's own tokens are its number, those of a prefix are the
//! prefix's number with the highest bit set, generated ones are 0. So whatever the scheduler plans
//! can be booked from the iteration alone.

use std::collections::HashMap;
use std::sync::Arc;

use super::trace::Request;
use crate::engine::{Chunk, Iteration, SequenceId};

/// Marks the tokens of a shared prefix.
const PREFIX: u32 = 1 << 31;

/// The account of one simulation.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    requests: Vec<Entry>,
    prefixes: Vec<Prefix>,
    prefix_numbers: HashMap<String, u32>,
    /// Sequences that generate: their request, and the tokens still to come.
    generating: HashMap<SequenceId, (usize, usize)>,
    waiting: usize,
}

#[derive(Debug)]
struct Entry {
    /// Its own prompt tokens that are not computed.
    remaining: usize,
    output_tokens: usize,
    prefix: Option<u32>,
}

#[derive(Debug, Default)]
struct Prefix {
    /// Longest that any request asked for.
    tokens: usize,
    /// How far it is computed; once and for all, as if the cache had no end.
    done: usize,
    /// Unanswered requests that begin with it.
    wanted_by: usize,
}

impl Prefix {
    fn waiting(&self) -> usize {
        if self.wanted_by == 0 { 0 } else { self.tokens - self.done }
    }
}

impl Ledger {
    /// A request arrives; gives its tokens. Requests are numbered in the order of arrival.
    pub(super) fn arrive(&mut self, request: &Request) -> Arc<[u32]> {
        let number = self.requests.len() as u32 + 1;
        let own = request.prompt_tokens - request.prefix_tokens;
        let prefix = request.prefix.as_ref().map(|name| self.prefix_number(name));
        self.requests.push(Entry { remaining: own, output_tokens: request.output_tokens, prefix });
        self.waiting += own;
        self.change(prefix, |prefix| {
            prefix.tokens = prefix.tokens.max(request.prefix_tokens);
            prefix.wanted_by += 1;
        });
        let shared = std::iter::repeat_n(PREFIX | prefix.unwrap_or_default(), request.prefix_tokens);
        shared.chain(std::iter::repeat_n(number, own)).collect()
    }

    /// Tokens that could be computed now.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// An iteration begins; gives how many of its tokens had to be computed.
    pub(super) fn begin(&mut self, iteration: &Iteration) -> usize {
        let before = self.waiting;
        for chunk in &iteration.chunks {
            self.book(chunk, &iteration.token_ids[chunk.tokens.clone()]);
        }
        before - self.waiting
    }

    /// An iteration has ended: sequences that generate have one more token to compute.
    pub(super) fn end(&mut self, iteration: &Iteration) {
        for chunk in iteration.chunks.iter().filter(|chunk| !chunk.logits.is_empty()) {
            if let Some((_, to_come)) = self.generating.get_mut(&chunk.sequence) {
                *to_come -= 1;
                self.waiting += 1;
                if *to_come == 0 {
                    self.generating.remove(&chunk.sequence);
                }
            }
        }
    }

    /// A request is answered. What it still wanted computed is wanted no more.
    pub(super) fn answered(&mut self, request: usize) {
        let entry = &mut self.requests[request];
        self.waiting -= std::mem::take(&mut entry.remaining);
        let prefix = entry.prefix;
        self.change(prefix, |prefix| prefix.wanted_by -= 1);
        self.generating.retain(|_, (generating, _)| *generating != request);
    }

    fn prefix_number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.prefix_numbers.get(name) {
            return *number;
        }
        let number = self.prefixes.len() as u32;
        self.prefixes.push(Prefix::default());
        self.prefix_numbers.insert(name.to_owned(), number);
        number
    }

    fn change(&mut self, prefix: Option<u32>, change: impl FnOnce(&mut Prefix)) {
        if let Some(prefix) = prefix.and_then(|number| self.prefixes.get_mut(number as usize)) {
            self.waiting -= prefix.waiting();
            change(prefix);
            self.waiting += prefix.waiting();
        }
    }

    fn book(&mut self, chunk: &Chunk, tokens: &[u32]) {
        let shared = tokens.iter().take_while(|&&token| token & PREFIX != 0).count();
        if let Some(&token) = tokens[..shared].first() {
            let end = chunk.position + shared;
            self.change(Some(token & !PREFIX), |prefix| {
                prefix.done = prefix.done.max(end).min(prefix.tokens)
            });
        }
        match tokens[shared..].first() {
            None => {}
            // A generated token, read back to generate the next.
            Some(0) => self.waiting = self.waiting.saturating_sub(1),
            Some(&number) => self.book_own(number as usize - 1, chunk, tokens.len() - shared),
        }
    }

    fn book_own(&mut self, request: usize, chunk: &Chunk, tokens: usize) {
        let entry = &mut self.requests[request];
        // Less than `tokens` where the scheduler computes something again.
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

    fn grouped(prompt_tokens: usize, prefix_tokens: usize) -> Request {
        Request { prefix: Some("p".to_owned()), prefix_tokens, ..Request::score(0.0, prompt_tokens) }
    }

    /// An iteration that computes `tokens[range]` of one sequence.
    fn iteration(sequence: SequenceId, tokens: &[u32], range: std::ops::Range<usize>) -> Iteration {
        let chunk = Chunk {
            sequence,
            tokens: 0..range.len(),
            position: range.start,
            blocks: 0..0,
            logits: if range.end == tokens.len() { vec![range.len() - 1] } else { vec![] },
        };
        Iteration { token_ids: tokens[range].to_vec(), block_table: Vec::new(), chunks: vec![chunk] }
    }

    #[test]
    fn a_prefix_waits_once_however_many_begin_with_it() {
        let mut ledger = Ledger::default();
        let first = ledger.arrive(&grouped(10, 8));
        let second = ledger.arrive(&grouped(11, 8));
        assert_eq!(first[..8], second[..8]);
        assert_ne!(first[8], second[8]);
        assert_eq!(ledger.waiting(), 8 + 2 + 3);
        assert_eq!(ledger.begin(&iteration(0, &first, 0..10)), 10);
        assert_eq!(ledger.begin(&iteration(1, &second, 8..11)), 3);
        assert_eq!(ledger.waiting(), 0);
    }

    #[test]
    fn tokens_computed_again_count_for_nothing() {
        let mut ledger = Ledger::default();
        let first = ledger.arrive(&grouped(10, 8));
        let second = ledger.arrive(&grouped(11, 8));
        ledger.begin(&iteration(0, &first, 0..10));
        assert_eq!(ledger.begin(&iteration(1, &second, 0..11)), 3);
    }

    #[test]
    fn what_an_answered_request_wanted_waits_no_more() {
        let mut ledger = Ledger::default();
        ledger.arrive(&grouped(10, 8));
        ledger.arrive(&Request::score(0.0, 5));
        ledger.answered(0);
        assert_eq!(ledger.waiting(), 5);
    }

    #[test]
    fn a_generating_sequence_has_one_token_waiting_at_a_time() {
        let mut ledger = Ledger::default();
        let tokens = ledger.arrive(&Request { output_tokens: 3, ..Request::score(0.0, 4) });
        let prompt = iteration(0, &tokens, 0..4);
        assert_eq!(ledger.begin(&prompt), 4);
        assert_eq!(ledger.waiting(), 0);
        ledger.end(&prompt);
        for _ in 0..2 {
            assert_eq!(ledger.waiting(), 1);
            let next = iteration(0, &[0], 0..1);
            assert_eq!(ledger.begin(&next), 1);
            ledger.end(&next);
        }
        assert_eq!(ledger.waiting(), 0);
    }
}
