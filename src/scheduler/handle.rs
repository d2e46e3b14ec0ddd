//! [`Handle`] and [`Ticket`]: the scheduler's thread-safe API.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use tokio::sync::{mpsc, oneshot, watch};

use super::dispatcher::{Envelope, Reply};
use super::mailbox::{Mailbox, Refused, Wake};
use super::{Admission, EngineFailure, Job, JobResult, Priority, QueueLimit, Rejection, validate};
use crate::engine::Limits;
use crate::sampling::{Sampled, SamplingCapabilities};

/// Sends tokens and the answer to a [`Ticket`].
pub(super) struct ReplySender {
    answer: oneshot::Sender<JobResult>,
    /// Has room for every token of the job, so that the scheduler never waits for a slow reader.
    tokens: Option<mpsc::Sender<Sampled>>,
}

impl Reply for ReplySender {
    fn send(self, answer: JobResult) {
        let _ = self.answer.send(answer);
    }

    fn token(&mut self, token: Sampled) {
        if let Some(tokens) = &self.tokens {
            // A client that left has cancelled the job too.
            let _ = tokens.try_send(token);
        }
    }
}

/// Wakes the thread through a channel that holds one signal.
pub(super) struct Signal(pub(super) Sender<()>);

impl Wake for Signal {
    fn wake(&self) {
        // If the channel is full, the thread will wake up anyway.
        let _ = self.0.try_send(());
    }
}

/// What handles, tickets and the thread share.
pub(super) struct Shared {
    pub(super) mailbox: Mailbox<Envelope<ReplySender>, Signal>,
    /// When the core's clock started.
    pub(super) origin: Instant,
    pub(super) ready: AtomicBool,
    /// Work in flight is not waited for any more.
    pub(super) abandoned: AtomicBool,
    /// Milliseconds until the queue should have room.
    pub(super) retry_after: AtomicU64,
    /// What keeps jobs out, as of a moment ago.
    pub(super) admission: Mutex<Admission>,
    pub(super) limits: Limits,
    pub(super) capabilities: SamplingCapabilities,
    pub(super) max_queue_requests: usize,
    pub(super) drained: watch::Sender<bool>,
    pub(super) failed: watch::Sender<bool>,
}

impl Shared {
    fn queue_full(&self, limit: QueueLimit) -> Rejection {
        let retry_after = Duration::from_millis(self.retry_after.load(Ordering::Relaxed));
        Rejection::QueueFull { limit, retry_after }
    }
}

/// Drains the scheduler when the last handle is dropped, so that its thread ends.
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.mailbox.drain();
    }
}

/// Submits work to the scheduler. Cheap to clone; when the last is dropped, the scheduler finishes
/// what it has accepted and ends.
#[derive(Clone)]
pub struct Handle(Arc<Owner>);

impl Handle {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(Arc::new(Owner(shared)))
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.0.0
    }

    /// Hands a job over without blocking. The ticket resolves to the answer; dropping it before cancels the
    /// job, waiting or in flight. A job that cannot meet its `deadline` is rejected.
    ///
    /// # Errors
    /// [`Rejection::Empty`], [`Rejection::TooLong`], [`Rejection::QueueFull`] and
    /// [`Rejection::ShuttingDown`] if they are known at once; else the ticket resolves to them.
    pub fn submit(&self, job: Job, deadline: Option<Instant>) -> Result<Ticket, Rejection> {
        let shared = self.shared();
        validate(&job, &shared.limits)?;
        let (sender, answer) = oneshot::channel();
        let (tokens, received) = match job.work.max_streamed_tokens(job.tokens.len()) {
            0 => (None, None),
            most => {
                let (tokens, received) = mpsc::channel(most);
                (Some(tokens), Some(received))
            }
        };
        let reply = ReplySender { answer: sender, tokens };
        // The clock is read under the mailbox's lock, so that ids and times grow together.
        let id = shared
            .mailbox
            .send(|| Envelope::new(job, deadline, shared.origin, reply))
            .map_err(|refused| self.rejection(refused))?;
        Ok(Ticket { id, answer, tokens: received, shared: shared.clone(), answered: false })
    }

    /// Whether the queue has room for a job of this class, and time for it before its deadline, while nothing is known of
    /// its text: making tokens of a text costs many times what a refusal does. A job of a higher class than what waits
    /// has room. What the queue was a moment ago decides, so a job may be rejected all the same.
    ///
    /// # Errors
    /// [`Rejection::QueueFull`], [`Rejection::DeadlineExceeded`] or [`Rejection::DeadlineUnmeetable`].
    pub fn check_room(&self, priority: Priority, deadline: Option<Instant>) -> Result<(), Rejection> {
        let shared = self.shared();
        let admission = shared.admission.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(limit) = admission.limit_met(priority) {
            return Err(shared.queue_full(limit));
        }
        let Some(deadline) = deadline else { return Ok(()) };
        let deadline = deadline.saturating_duration_since(shared.origin);
        admission.check_deadline(shared.origin.elapsed(), priority, deadline)
    }

    fn rejection(&self, refused: Refused) -> Rejection {
        let shared = self.shared();
        match refused {
            Refused::Draining => Rejection::ShuttingDown,
            Refused::Full => shared.queue_full(QueueLimit::Requests(shared.max_queue_requests)),
        }
    }

    /// Whether the engine runs and new work is taken.
    pub fn ready(&self) -> bool {
        self.shared().ready.load(Ordering::Acquire) && !self.shared().mailbox.draining()
    }

    /// What the engine can hold and compute at once.
    pub fn limits(&self) -> Limits {
        self.shared().limits
    }

    /// What can be asked of the engine when it generates.
    pub fn capabilities(&self) -> SamplingCapabilities {
        self.shared().capabilities
    }

    /// Rejects new work from now on; what was accepted is finished.
    pub fn drain(&self) {
        self.shared().mailbox.drain();
    }

    /// Answers what is left with [`Rejection::ShuttingDown`], without waiting for the engine.
    pub fn abandon(&self) {
        self.shared().abandoned.store(true, Ordering::Release);
        self.drain();
    }

    /// Resolves once [`Handle::drain`] was called, everything accepted is answered and the engine has ended.
    pub async fn drained(&self) {
        wait_until_set(&self.shared().drained).await;
    }

    /// Resolves when the engine is lost for good and the process should end: after its first
    /// failure with [`super::OnFailure::Exit`], else when it could not be started again.
    pub async fn failed(&self) {
        wait_until_set(&self.shared().failed).await;
    }
}

async fn wait_until_set(flag: &watch::Sender<bool>) {
    // An error means that the sender is gone, and we hold it.
    let _ = flag.subscribe().wait_for(|set| *set).await;
}

/// An accepted job: resolves to its answer, cancels it when dropped.
#[must_use = "dropping a ticket cancels its job"]
pub struct Ticket {
    id: u64,
    answer: oneshot::Receiver<JobResult>,
    tokens: Option<mpsc::Receiver<Sampled>>,
    shared: Arc<Shared>,
    answered: bool,
}

impl Ticket {
    /// The next token of a job that generates, as soon as it is chosen. If the prompt's log-probabilities are
    /// requested, its tokens except the first come before. `None` after the last, and for a job that is scored: the
    /// answer is there or on its way.
    pub async fn next_token(&mut self) -> Option<Sampled> {
        self.tokens.as_mut()?.recv().await
    }

    /// Ends a job that generates: it needs no more tokens.
    pub fn finish(mut self) {
        self.answered = true;
        self.shared.mailbox.finish(self.id);
    }
}

impl Future for Ticket {
    type Output = JobResult;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<JobResult> {
        let answer = ready!(Pin::new(&mut self.answer).poll(context));
        self.answered = true;
        Poll::Ready(answer.unwrap_or_else(|_| Err(EngineFailure::SchedulerEnded.into())))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.answered {
            self.shared.mailbox.cancel(self.id);
        }
    }
}
