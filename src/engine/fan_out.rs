//! Sequences as requests to a library that gives the logits after a request's last token only.
//!
//! What a decoder computes at a position depends on the tokens up to there alone, so a score that is read
//! at a position is the one read at the end of the prefix that ends there. A sequence that is read in
//! several places is as many requests, its parts, and has its one last word when all of them have ended.

use std::collections::HashMap;

use super::{SequenceId, Task, WholeSequence};

/// Names a request to the library. Never used twice.
pub(super) type RequestId = u64;

/// A request: the beginning of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// Its name.
    pub(super) id: RequestId,
    /// How many of the sequence's tokens it has.
    pub(super) tokens: usize,
}

/// What the end of a request means for its sequence.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Progress {
    /// It waits for other parts.
    Going,
    /// It fails, so these other parts are of no more use. They end all the same.
    Hopeless(Vec<RequestId>),
    /// It has its last word.
    Ended(Ended),
}

/// A sequence's last word.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ended {
    /// The sequence.
    pub(super) sequence: SequenceId,
    /// Its parts' logits, in the order of the positions read, or why the first of them that failed did.
    pub(super) logits: Result<Vec<f32>, String>,
    /// Tokens of its longest part that were found in the cache: others find what that one left.
    pub(super) cached: usize,
}

/// The sequences that have not had their last word.
#[derive(Debug, Default)]
pub(super) struct Parts {
    next: RequestId,
    /// Of each request that has not ended, its sequence and which of its positions it reads.
    requests: HashMap<RequestId, (SequenceId, usize)>,
    sequences: HashMap<SequenceId, Sequence>,
}

#[derive(Debug)]
struct Sequence {
    /// By the position that they read.
    requests: Vec<RequestId>,
    logits: Vec<Vec<f32>>,
    unended: usize,
    failure: Option<String>,
    cached: usize,
}

impl Parts {
    /// Makes requests of a sequence, the longest first: the library holds the others back until its keys and
    /// values are cached, and then has little to compute for them, in one iteration.
    pub(super) fn divide(&mut self, sequence: &WholeSequence) -> Vec<Request> {
        let lengths: Vec<usize> = match &sequence.task {
            Task::Score(read) => read.iter().map(|position| position + 1).collect(),
            Task::Generate(_) => vec![sequence.tokens.len()],
        };
        let requests: Vec<Request> =
            (self.next..).zip(lengths).map(|(id, tokens)| Request { id, tokens }).collect();
        self.next += requests.len() as RequestId;
        for (place, request) in requests.iter().enumerate() {
            self.requests.insert(request.id, (sequence.id, place));
        }
        let joined = Sequence {
            requests: requests.iter().map(|request| request.id).collect(),
            logits: vec![Vec::new(); requests.len()],
            unended: requests.len(),
            failure: None,
            cached: 0,
        };
        self.sequences.insert(sequence.id, joined);
        requests.into_iter().rev().collect()
    }

    /// The sequence of a request that has not ended.
    pub(super) fn sequence_of(&self, request: RequestId) -> Option<SequenceId> {
        self.requests.get(&request).map(|(sequence, _)| *sequence)
    }

    /// The requests of a sequence that have not ended.
    pub(super) fn unended(&self, sequence: SequenceId) -> Vec<RequestId> {
        let requests = self.sequences.get(&sequence).map_or(&[][..], |sequence| &sequence.requests[..]);
        requests.iter().copied().filter(|request| self.requests.contains_key(request)).collect()
    }

    /// Forgets a request that the library did not take, and its sequence, which is given once.
    pub(super) fn forget(&mut self, request: RequestId) -> Option<SequenceId> {
        let (id, _) = self.requests.remove(&request)?;
        self.sequences.remove(&id).map(|_| id)
    }

    /// Takes in what a request ended with; nothing of one that has ended before.
    pub(super) fn end(
        &mut self,
        request: RequestId,
        logits: Result<Vec<f32>, String>,
        cached: usize,
    ) -> Progress {
        let Some((id, place)) = self.requests.remove(&request) else { return Progress::Going };
        let Some(sequence) = self.sequences.get_mut(&id) else { return Progress::Going };
        sequence.unended -= 1;
        if place + 1 == sequence.requests.len() {
            sequence.cached = cached;
        }
        let failed = logits.is_err() && sequence.failure.is_none();
        match logits {
            Ok(logits) => sequence.logits[place] = logits,
            Err(reason) => {
                sequence.failure.get_or_insert(reason);
            }
        }
        if sequence.unended > 0 {
            return if failed { Progress::Hopeless(self.unended(id)) } else { Progress::Going };
        }
        let Some(sequence) = self.sequences.remove(&id) else { return Progress::Going };
        let logits = match sequence.failure {
            Some(reason) => Err(reason),
            None => Ok(sequence.logits.concat()),
        };
        Progress::Ended(Ended { sequence: id, logits, cached: sequence.cached })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn sequence(id: SequenceId, read: &[usize]) -> WholeSequence {
        let tokens = vec![0; read.last().unwrap() + 3].into();
        WholeSequence { id, tokens, task: Task::Score(read.into()), priority: 0.5 }
    }

    #[test]
    fn a_text_read_twice_is_two_requests_the_longer_first_joined_in_the_order_of_the_text() {
        let mut parts = Parts::default();
        let requests = parts.divide(&sequence(7, &[2, 5]));
        assert_eq!(requests.iter().map(|request| request.tokens).collect::<Vec<_>>(), [6, 3]);
        assert!(requests.iter().all(|request| parts.sequence_of(request.id) == Some(7)));
        assert_eq!(parts.end(requests[0].id, Ok(vec![5.0]), 4), Progress::Going);
        let ended = Ended { sequence: 7, logits: Ok(vec![2.0, 5.0]), cached: 4 };
        assert_eq!(parts.end(requests[1].id, Ok(vec![2.0]), 2), Progress::Ended(ended));
        assert_eq!(parts.end(requests[1].id, Ok(vec![2.0]), 2), Progress::Going);
    }

    #[test]
    fn a_part_that_fails_fails_the_sequence_when_the_others_have_ended_too() {
        let mut parts = Parts::default();
        let requests = parts.divide(&sequence(7, &[1, 3, 5]));
        let [long, middle, short] = [0, 1, 2].map(|place| requests[place].id);
        let hopeless = Progress::Hopeless(vec![short, long]);
        assert_eq!(parts.end(middle, Err("no memory".into()), 0), hopeless);
        assert_eq!(parts.end(short, Err("cancelled".into()), 0), Progress::Going);
        let ended = Ended { sequence: 7, logits: Err("no memory".into()), cached: 2 };
        assert_eq!(parts.end(long, Ok(vec![1.0]), 2), Progress::Ended(ended));
    }

    #[test]
    fn a_sequence_that_was_not_taken_is_given_once() {
        let mut parts = Parts::default();
        let requests = parts.divide(&sequence(7, &[1, 3]));
        let given: Vec<_> = requests.iter().filter_map(|request| parts.forget(request.id)).collect();
        assert_eq!(given, [7]);
        assert!(parts.requests.is_empty() && parts.sequences.is_empty());
    }

    proptest! {
        #[test]
        fn every_sequence_ends_once_with_its_own_logits_in_whatever_order_its_parts_do(
            reads in prop::collection::vec(prop::collection::btree_set(0usize..50, 1..8), 1..20),
            order in any::<prop::sample::Index>(),
            failing in prop::collection::vec(any::<bool>(), 160),
            salt in any::<u64>(),
        ) {
            let mut parts = Parts::default();
            // A request's logits are its sequence and its length.
            let mut requests = Vec::new();
            for (id, read) in (0..).zip(&reads) {
                let read: Vec<usize> = read.iter().copied().collect();
                requests.extend(parts.divide(&sequence(id, &read)).into_iter().map(|request| (id, request)));
            }
            let names: HashSet<RequestId> = requests.iter().map(|(_, request)| request.id).collect();
            prop_assert_eq!(names.len(), requests.len());
            requests.sort_by_key(|(_, request)| (request.id ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let first = order.index(requests.len());
            requests.rotate_left(first);

            let mut ended = HashSet::new();
            let mut failed: HashMap<SequenceId, String> = HashMap::new();
            for (turn, (id, request)) in requests.iter().enumerate() {
                let fails = failing[turn] && turn % 5 == 0;
                let logits = match fails {
                    true => Err(format!("part {}", request.id)),
                    false => Ok(vec![*id as f32, request.tokens as f32]),
                };
                if let Err(reason) = &logits {
                    failed.entry(*id).or_insert_with(|| reason.clone());
                }
                let left = parts.unended(*id).len() - 1;
                match parts.end(request.id, logits, 0) {
                    Progress::Ended(last) => {
                        prop_assert_eq!((left, last.sequence), (0, *id));
                        prop_assert!(ended.insert(last.sequence));
                        let expected = match failed.get(id) {
                            Some(reason) => Err(reason.clone()),
                            None => Ok(reads[*id as usize]
                                .iter()
                                .flat_map(|position| [*id as f32, (position + 1) as f32])
                                .collect()),
                        };
                        prop_assert_eq!(last.logits, expected);
                    }
                    Progress::Hopeless(others) => {
                        prop_assert!(fails && left > 0);
                        prop_assert_eq!(others, parts.unended(*id));
                    }
                    Progress::Going => prop_assert!(left > 0),
                }
                prop_assert_eq!(parts.end(request.id, Err("again".into()), 0), Progress::Going);
            }
            prop_assert_eq!(ended.len(), reads.len());
            prop_assert!(parts.requests.is_empty() && parts.sequences.is_empty());
        }
    }
}
