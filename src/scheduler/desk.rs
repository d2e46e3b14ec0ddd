//! The core together with those who wait for its answers.
//!
//! Like the mailbox it is written against `super`, so that a test can compile it beside a model
//! checker's mailbox.

use std::collections::HashMap;
use std::time::Duration;

use super::core::{Arrival, Core, JobId};
use super::mailbox::{Mailbox, Wake};
use super::{Answer, Job, Sampled};

/// A job on its way to the scheduler's thread, and where its answer goes.
pub(super) struct Envelope<R> {
    pub(super) arrival: Arrival,
    /// When it came, on the core's clock.
    pub(super) arrived: Duration,
    pub(super) reply: R,
}

impl<R> Envelope<R> {
    /// Addresses a job to a core whose clock began at `origin`.
    pub(super) fn new(id: JobId, job: Job, origin: std::time::Instant, reply: R) -> Self {
        let Job { tokens, work, priority, deadline } = job;
        let deadline = deadline.map(|deadline| deadline.saturating_duration_since(origin));
        Self { arrival: Arrival { id, tokens, work, priority, deadline }, arrived: origin.elapsed(), reply }
    }
}

/// Where an answer goes.
pub(super) trait Reply {
    /// Never blocks. Whoever waited may have left.
    fn send(self, answer: Answer);

    /// A token, before the answer that it is part of. Never blocks.
    fn token(&mut self, token: Sampled);
}

/// A core, and where its answers go.
pub(super) struct Desk<R> {
    pub(super) core: Core,
    replies: HashMap<JobId, R>,
    /// Nothing more arrives.
    draining: bool,
}

impl<R: Reply> Desk<R> {
    pub(super) fn new(core: Core) -> Self {
        Self { core, replies: HashMap::new(), draining: false }
    }

    /// Takes in what has come.
    pub(super) fn read<W: Wake>(&mut self, mailbox: &Mailbox<Envelope<R>, W>) {
        let batch = mailbox.take();
        self.draining = batch.draining;
        for (id, Envelope { arrival, arrived, reply }) in batch.arrivals {
            self.replies.insert(id, reply);
            self.core.arrive(arrived, arrival);
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

    /// Hands out the tokens and the answers there are.
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

    /// Whether nothing is left to do and nothing can come any more.
    pub(super) fn is_done(&self) -> bool {
        self.draining && self.core.is_idle()
    }
}
