//! The core and the reply channel of each of its jobs.
//!
//! Like the mailbox it is written against `super`, so that a test can compile it together with a model
//! checker's mailbox.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::core::{Core, JobId};
use super::mailbox::{Mailbox, Wake};
use super::{Job, JobResult, Sampled};

/// A job on its way to the scheduler's thread, with the channel for its answer. Times are on the core's clock.
pub(super) struct Envelope<R> {
    job: Job,
    deadline: Option<Duration>,
    arrived: Duration,
    reply: R,
}

impl<R> Envelope<R> {
    /// Addresses a job to a core whose clock started at `origin`.
    pub(super) fn new(job: Job, deadline: Option<Instant>, origin: Instant, reply: R) -> Self {
        let deadline = deadline.map(|deadline| deadline.saturating_duration_since(origin));
        Self { job, deadline, arrived: origin.elapsed(), reply }
    }
}

/// Where an answer goes. Sending never blocks, and the client may have left.
pub(super) trait Reply {
    fn send(self, answer: JobResult);

    /// A token, before the answer that it is part of.
    fn token(&mut self, token: Sampled);
}

/// Passes jobs to the core, and its tokens and answers to those who wait for them.
pub(super) struct Dispatcher<C, R> {
    pub(super) core: C,
    replies: HashMap<JobId, R>,
    /// Nothing more arrives.
    draining: bool,
}

impl<C: Core, R: Reply> Dispatcher<C, R> {
    pub(super) fn new(core: C) -> Self {
        Self { core, replies: HashMap::new(), draining: false }
    }

    /// Takes in what has arrived in the mailbox.
    pub(super) fn read<W: Wake>(&mut self, mailbox: &Mailbox<Envelope<R>, W>) {
        let batch = mailbox.take();
        self.draining = batch.draining;
        for (id, Envelope { job, deadline, arrived, reply }) in batch.arrivals {
            self.replies.insert(id, reply);
            self.core.arrive(arrived, id, job, deadline);
        }
        for id in batch.cancelled {
            if self.replies.remove(&id).is_some() {
                self.core.cancel(id);
            }
        }
        for id in batch.finished {
            if self.replies.remove(&id).is_some() {
                self.core.finish(id);
            }
        }
    }

    /// Sends the pending tokens and answers.
    pub(super) fn send_answers(&mut self) {
        for (id, token) in self.core.take_tokens() {
            if let Some(reply) = self.replies.get_mut(&id) {
                reply.token(token);
            }
        }
        for (id, answer) in self.core.take_answers() {
            if let Some(reply) = self.replies.remove(&id) {
                reply.send(answer);
            }
        }
    }

    /// Whether nothing is left to do and nothing can arrive any more.
    pub(super) fn is_done(&self) -> bool {
        self.draining && self.core.is_idle()
    }
}
