//! Replays a trace through the real scheduler on simulated time.
//!
//! Time jumps from event to event. The scheduler's own time, HTTP and tokenization are not counted;
//! `docs/performance.md` says what they cost.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::ledger::Ledger;
use super::timing::{ComputeCost, TimingModel, TokenRun};
use super::trace::TraceRequest;
use crate::engine::{Iteration, Limits, PrefixSharing, StepError, StepReport};
use crate::scheduler::core::{Core, StepCore};
use crate::scheduler::{Answer, Job, Priority, Rejection, SchedulerOptions, Work};

/// The machine and the scheduler to simulate.
pub(super) struct SimulationSetup {
    pub(super) timing: TimingModel,
    /// Limits of the engine.
    pub(super) limits: Limits,
    /// What the engine's sequences may share.
    pub(super) sharing: PrefixSharing,
    /// Options of the scheduler.
    pub(super) options: SchedulerOptions,
}

/// What happened to one request.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum RequestOutcome {
    Answered {
        /// Time from its arrival until its first iteration.
        queue_time: Duration,
        /// Time from its arrival until its answer.
        latency: Duration,
        /// Prompt tokens that were not computed for it.
        cached_tokens: usize,
    },
    /// It was refused, at once or later.
    Refused(Rejection),
}

/// The result of a simulation.
#[derive(Clone, Debug, Default)]
pub(super) struct SimulationOutcome {
    /// For each request of the trace, in its order.
    pub(super) requests: Vec<RequestOutcome>,
    /// For each request, the time from the trace's start until it was answered or refused.
    pub(super) ends: Vec<Duration>,
    /// Each request that found the queue full: its index, and how long it was asked to wait.
    pub(super) asked_to_wait: Vec<(usize, Duration)>,
    /// Time from the trace's start until the last answer.
    pub(super) end: Duration,
    pub(super) iterations: u64,
    /// Sum of the iterations' times.
    pub(super) busy: Duration,
    /// Number of tokens computed.
    pub(super) tokens: u64,
    /// Those of them that had to be computed: not computed before, nor elsewhere in the same iteration.
    pub(super) needed: u64,
    /// Sum over the iterations of the tokens that a perfect scheduler would have put in: those that had
    /// arrived and were not computed when it started, with every shared prefix counted once, up to
    /// `max_num_tokens`.
    pub(super) fillable: u64,
}

/// Why a simulation stopped early. Either is a bug in the scheduler.
#[derive(Debug, thiserror::Error)]
pub enum SimulationError {
    /// The scheduler refused an iteration's report.
    #[error("the scheduler refused an iteration's report: {0}")]
    Report(#[from] StepError),
    /// The scheduler did not answer some requests.
    #[error("the scheduler left {0} requests unanswered")]
    Unanswered(usize),
}

/// Replays `requests`, which are sorted by arrival. Calls `progress` with the number of answered requests.
///
/// # Errors
/// See [`SimulationError`].
pub(super) fn simulate(
    setup: &SimulationSetup,
    requests: &[TraceRequest],
    progress: &mut dyn FnMut(usize),
) -> Result<SimulationOutcome, SimulationError> {
    let core = StepCore::new(setup.limits, setup.sharing, setup.options.clone(), Arc::new(()));
    let mut simulation = Simulation {
        setup,
        requests,
        core,
        ledger: Ledger::default(),
        now: Duration::ZERO,
        arrived: 0,
        running: None,
        request_outcomes: vec![None; requests.len()],
        answered: 0,
        outcome: SimulationOutcome {
            ends: vec![Duration::ZERO; requests.len()],
            ..SimulationOutcome::default()
        },
    };
    while let Some(time) = simulation.next_event() {
        simulation.now = simulation.now.max(time);
        simulation.step()?;
        progress(simulation.answered);
    }
    simulation.finish()
}

struct Simulation<'a> {
    setup: &'a SimulationSetup,
    requests: &'a [TraceRequest],
    core: StepCore,
    ledger: Ledger,
    now: Duration,
    /// Number of requests that have arrived.
    arrived: usize,
    /// The iteration that is running, and when it ends.
    running: Option<(Duration, Iteration)>,
    request_outcomes: Vec<Option<RequestOutcome>>,
    answered: usize,
    outcome: SimulationOutcome,
}

impl Simulation<'_> {
    fn next_event(&self) -> Option<Duration> {
        if self.answered == self.requests.len() && self.running.is_none() {
            return None;
        }
        let arrival = self.requests.get(self.arrived).map(TraceRequest::arrival);
        let end = self.running.as_ref().map(|(end, _)| *end);
        [arrival, end, self.core.next_wakeup()].into_iter().flatten().min()
    }

    /// Does what the scheduler's thread does when it wakes up, in the same order.
    fn step(&mut self) -> Result<(), SimulationError> {
        self.complete()?;
        self.arrive();
        self.core.expire(self.now);
        self.start_iteration();
        self.take_answers();
        Ok(())
    }

    fn complete(&mut self) -> Result<(), SimulationError> {
        let Some((_, iteration)) = self.running.take_if(|(end, _)| *end <= self.now) else { return Ok(()) };
        self.ledger.end_iteration(&iteration);
        let requested = iteration.chunks.iter().filter(|chunk| !chunk.logits.is_empty());
        let logits = requested.map(|chunk| (chunk.sequence, vec![0.0; chunk.logits.len()])).collect();
        let elapsed = self.setup.timing.iteration_time(&iteration);
        Ok(self.core.complete(self.now, StepReport { logits, elapsed, ..StepReport::default() })?)
    }

    fn arrive(&mut self) {
        while let Some(request) = self.requests.get(self.arrived)
            && request.arrival() <= self.now
        {
            let tokens = self.ledger.arrive(request);
            let work = match request.output_tokens {
                0 => Work::score(tokens.len()),
                max_tokens => Work::greedy(max_tokens, Vec::new()),
            };
            let deadline = request.timeout.map(|timeout| self.now + Duration::from_secs_f64(timeout));
            let id = self.arrived as u64;
            let priority = Priority(request.priority);
            self.core.arrive(self.now, id, Job { tokens, work, priority }, deadline);
            self.arrived += 1;
        }
    }

    fn start_iteration(&mut self) {
        if self.running.is_none()
            && let Some(iteration) = self.core.plan(self.now)
        {
            let elapsed = self.setup.timing.iteration_time(&iteration);
            let outcome = &mut self.outcome;
            outcome.iterations += 1;
            outcome.busy += elapsed;
            outcome.tokens += iteration.token_ids.len() as u64;
            outcome.fillable += self.ledger.waiting().min(self.setup.limits.max_num_tokens) as u64;
            outcome.needed += self.ledger.start_iteration(&iteration) as u64;
            self.running = Some((self.now + elapsed, iteration));
        }
        if self.running.is_some() {
            self.core.prepare(self.now);
        }
    }

    fn take_answers(&mut self) {
        for (id, answer) in self.core.take_answers() {
            let index = id as usize;
            self.ledger.answered(index);
            self.outcome.end = self.now;
            self.outcome.ends[index] = self.now;
            if let Err(Rejection::QueueFull { retry_after, .. }) = &answer {
                self.outcome.asked_to_wait.push((index, *retry_after));
            }
            let outcome = self.request_outcome(&self.requests[index], answer);
            if self.request_outcomes[index].replace(outcome).is_none() {
                self.answered += 1;
            }
        }
    }

    fn request_outcome(&self, request: &TraceRequest, answer: Answer) -> RequestOutcome {
        match answer {
            Ok(completed) => RequestOutcome::Answered {
                queue_time: completed.queue_time,
                latency: self.now.saturating_sub(request.arrival()),
                cached_tokens: completed.cached_tokens,
            },
            Err(rejection) => RequestOutcome::Refused(rejection),
        }
    }

    fn finish(mut self) -> Result<SimulationOutcome, SimulationError> {
        self.outcome.requests = self.request_outcomes.into_iter().flatten().collect();
        match self.requests.len() - self.outcome.requests.len() {
            0 => Ok(self.outcome),
            unanswered => Err(SimulationError::Unanswered(unanswered)),
        }
    }
}

/// The minimum engine time for these requests, whenever they arrive: every iteration is full, and every
/// shared prefix is computed once.
pub(super) fn ideal_time<'a>(
    setup: &SimulationSetup,
    requests: impl IntoIterator<Item = &'a TraceRequest>,
) -> Duration {
    let mut computed_prefixes: HashMap<&str, usize> = HashMap::new();
    let mut cost = ComputeCost::default();
    let (mut generated, mut longest) = (0usize, 0usize);
    for request in requests {
        let mut known = 0;
        if let Some(name) = &request.prefix {
            let computed = computed_prefixes.entry(name).or_default();
            known = (*computed).min(request.prefix_tokens);
            *computed = (*computed).max(request.prefix_tokens);
        }
        if known < request.prompt_tokens {
            cost.add(&TokenRun { position: known, tokens: request.prompt_tokens - known, logits: 1 });
        }
        for position in request.prompt_tokens..request.prompt_tokens + request.output_tokens.saturating_sub(1)
        {
            cost.add(&TokenRun { position, tokens: 1, logits: 1 });
        }
        generated += request.output_tokens;
        longest = longest.max(request.output_tokens);
    }
    let by_tokens = cost.tokens / setup.limits.max_num_tokens as f64;
    let by_sequences = generated as f64 / setup.limits.max_batch_size as f64;
    let iterations = by_tokens.max(by_sequences).max(longest as f64).ceil().max(1.0);
    setup.timing.time(&cost, iterations)
}
