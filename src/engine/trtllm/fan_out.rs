//! Turns sequences into requests to a library that returns the logits after a request's last token only.
//!
//! What a decoder computes at a position depends on the tokens up to there alone, so a score that is read
//! at a position equals the one at the end of the prefix that ends there. A sequence that is read at
//! several positions therefore becomes that many requests, and is concluded when all of them have ended.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::engine::{Job, SequenceError, SequenceId, Work};

/// Identifies a request to the library. Never used twice.
pub(super) type RequestId = u64;

/// A request for the first `tokens` tokens of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) id: RequestId,
    pub(super) tokens: usize,
}

/// What the end of a request means for its sequence.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Progress {
    /// The sequence waits for other requests.
    Pending,
    /// The sequence fails, so these other requests are no longer needed. They still end.
    Doomed(Vec<RequestId>),
    Done(Done),
}

/// The result of a sequence whose requests have all ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Done {
    pub(super) sequence: SequenceId,
    /// The requests' logits, in the order of the positions read, or the error of the first that failed.
    pub(super) logits: Result<Vec<f32>, SequenceError>,
    /// Tokens of its longest request that were found in the cache; the other requests find what that one stored.
    pub(super) cached: usize,
}

/// The unfinished sequences, and their requests.
#[derive(Debug, Default)]
pub(super) struct FanOut {
    next: RequestId,
    /// For each request that has not ended, its sequence and the index of the position that it reads.
    requests: HashMap<RequestId, (SequenceId, usize)>,
    sequences: HashMap<SequenceId, Sequence>,
}

#[derive(Debug)]
struct Sequence {
    /// In the order of the positions that they read.
    requests: Vec<RequestId>,
    logits: Vec<Vec<f32>>,
    pending: usize,
    failure: Option<SequenceError>,
    cached: usize,
}

impl FanOut {
    /// Splits a sequence into requests, the longest first: the library holds the others back until its keys and
    /// values are cached, and then has little to compute for them, in one iteration.
    pub(super) fn split(&mut self, id: SequenceId, job: &Job) -> Vec<Request> {
        let lengths: Vec<usize> = match &job.work {
            Work::Score { read } => read.iter().map(|position| position + 1).collect(),
            Work::Generate(_) => vec![job.tokens.len()],
        };
        let requests: Vec<Request> =
            (self.next..).zip(lengths).map(|(id, tokens)| Request { id, tokens }).collect();
        self.next += requests.len() as RequestId;
        for (index, request) in requests.iter().enumerate() {
            self.requests.insert(request.id, (id, index));
        }
        let sequence = Sequence {
            requests: requests.iter().map(|request| request.id).collect(),
            logits: vec![Vec::new(); requests.len()],
            pending: requests.len(),
            failure: None,
            cached: 0,
        };
        self.sequences.insert(id, sequence);
        requests.into_iter().rev().collect()
    }

    /// The sequence of a request that has not ended.
    pub(super) fn sequence_of(&self, request: RequestId) -> Option<SequenceId> {
        self.requests.get(&request).map(|(sequence, _)| *sequence)
    }

    /// The requests of a sequence that have not ended.
    pub(super) fn pending(&self, sequence: SequenceId) -> Vec<RequestId> {
        let requests = self.sequences.get(&sequence).map_or(&[][..], |sequence| &sequence.requests[..]);
        requests.iter().copied().filter(|request| self.requests.contains_key(request)).collect()
    }

    /// Drops a request that the library refused, and its sequence. Returns the sequence only once.
    pub(super) fn forget(&mut self, request: RequestId) -> Option<SequenceId> {
        let (id, _) = self.requests.remove(&request)?;
        self.sequences.remove(&id).map(|_| id)
    }

    /// Records the result of a request. Does nothing if it has ended before.
    pub(super) fn end(
        &mut self,
        request: RequestId,
        logits: Result<Vec<f32>, SequenceError>,
        cached: usize,
    ) -> Progress {
        let Some((id, index)) = self.requests.remove(&request) else { return Progress::Pending };
        let Entry::Occupied(mut entry) = self.sequences.entry(id) else {
            unreachable!("request {request} has outlived its sequence {id}");
        };
        let sequence = entry.get_mut();
        sequence.pending -= 1;
        if index + 1 == sequence.requests.len() {
            sequence.cached = cached;
        }
        let first_failure = logits.is_err() && sequence.failure.is_none();
        match logits {
            Ok(logits) => sequence.logits[index] = logits,
            Err(reason) => {
                sequence.failure.get_or_insert(reason);
            }
        }
        if sequence.pending > 0 {
            return if first_failure { Progress::Doomed(self.pending(id)) } else { Progress::Pending };
        }
        let sequence = entry.remove();
        let logits = match sequence.failure {
            Some(reason) => Err(reason),
            None => Ok(sequence.logits.concat()),
        };
        Progress::Done(Done { sequence: id, logits, cached: sequence.cached })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::engine::{LibraryError, Priority};

    fn failure(reason: &str) -> SequenceError {
        SequenceError::Library(LibraryError(reason.into()))
    }

    fn job(read: &[usize]) -> Job {
        let tokens = vec![0; read.last().unwrap() + 3].into();
        Job { tokens, work: Work::Score { read: read.into() }, priority: Priority(0) }
    }

    #[test]
    fn a_text_read_at_two_positions_is_two_requests_joined_in_the_order_of_the_text() {
        let mut fan_out = FanOut::default();
        let requests = fan_out.split(7, &job(&[2, 5]));
        assert_eq!(requests.iter().map(|request| request.tokens).collect::<Vec<_>>(), [6, 3]);
        assert!(requests.iter().all(|request| fan_out.sequence_of(request.id) == Some(7)));
        assert_eq!(fan_out.end(requests[0].id, Ok(vec![5.0]), 4), Progress::Pending);
        let done = Done { sequence: 7, logits: Ok(vec![2.0, 5.0]), cached: 4 };
        assert_eq!(fan_out.end(requests[1].id, Ok(vec![2.0]), 2), Progress::Done(done));
        assert_eq!(fan_out.end(requests[1].id, Ok(vec![2.0]), 2), Progress::Pending);
    }

    #[test]
    fn a_request_that_fails_fails_its_sequence_once_the_others_have_ended_too() {
        let mut fan_out = FanOut::default();
        let requests = fan_out.split(7, &job(&[1, 3, 5]));
        let [long, middle, short] = [0, 1, 2].map(|place| requests[place].id);
        let doomed = Progress::Doomed(vec![short, long]);
        assert_eq!(fan_out.end(middle, Err(failure("no memory")), 0), doomed);
        assert_eq!(fan_out.end(short, Err(failure("cancelled")), 0), Progress::Pending);
        let done = Done { sequence: 7, logits: Err(failure("no memory")), cached: 2 };
        assert_eq!(fan_out.end(long, Ok(vec![1.0]), 2), Progress::Done(done));
    }

    #[test]
    fn a_sequence_that_was_not_taken_is_returned_once() {
        let mut fan_out = FanOut::default();
        let requests = fan_out.split(7, &job(&[1, 3]));
        let given: Vec<_> = requests.iter().filter_map(|request| fan_out.forget(request.id)).collect();
        assert_eq!(given, [7]);
        assert!(fan_out.requests.is_empty() && fan_out.sequences.is_empty());
    }

    proptest! {
        #[test]
        fn every_sequence_is_done_once_with_its_own_logits_in_whatever_order_its_requests_end(
            reads in prop::collection::vec(prop::collection::btree_set(0usize..50, 1..8), 1..20),
            order in any::<prop::sample::Index>(),
            failing in prop::collection::vec(any::<bool>(), 160),
            salt in any::<u64>(),
        ) {
            let mut fan_out = FanOut::default();
            // A request's logits are its sequence and its length.
            let mut requests = Vec::new();
            for (id, read) in (0..).zip(&reads) {
                let read: Vec<usize> = read.iter().copied().collect();
                requests.extend(fan_out.split(id, &job(&read)).into_iter().map(|request| (id, request)));
            }
            let names: HashSet<RequestId> = requests.iter().map(|(_, request)| request.id).collect();
            prop_assert_eq!(names.len(), requests.len());
            requests.sort_by_key(|(_, request)| (request.id ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let first = order.index(requests.len());
            requests.rotate_left(first);

            let mut ended = HashSet::new();
            let mut failed: HashMap<SequenceId, SequenceError> = HashMap::new();
            for (turn, (id, request)) in requests.iter().enumerate() {
                let fails = failing[turn] && turn % 5 == 0;
                let logits = if fails {
                    Err(failure(&format!("request {}", request.id)))
                } else {
                    Ok(vec![*id as f32, request.tokens as f32])
                };
                if let Err(reason) = &logits {
                    failed.entry(*id).or_insert_with(|| reason.clone());
                }
                let left = fan_out.pending(*id).len() - 1;
                match fan_out.end(request.id, logits, 0) {
                    Progress::Done(last) => {
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
                    Progress::Doomed(others) => {
                        prop_assert!(fails && left > 0);
                        prop_assert_eq!(others, fan_out.pending(*id));
                    }
                    Progress::Pending => prop_assert!(left > 0),
                }
                prop_assert_eq!(fan_out.end(request.id, Err(failure("again")), 0), Progress::Pending);
            }
            prop_assert_eq!(ended.len(), reads.len());
            prop_assert!(fan_out.requests.is_empty() && fan_out.sequences.is_empty());
        }
    }
}
