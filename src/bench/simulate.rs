//! Replays a trace through the real scheduler on simulated time.
//!
//! Time jumps from event to event. The scheduler's own time, HTTP and tokenization count nothing
//! here; `docs/performance.md` has what they cost.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::ledger::Ledger;
use super::trace::Request;
use crate::bench::timing::{Piece, Timing, Work as Cost};
use crate::engine::{EngineError, Iteration, Limits, PrefixSharing, StepReport};
use crate::scheduler::core::{Core, StepCore};
use crate::scheduler::{Answer, Job, Options, Priority, Rejection, Work};

/// What is simulated.
pub struct Setup {
    /// How long an iteration takes.
    pub timing: Timing,
    /// What the engine holds.
    pub limits: Limits,
    /// What its sequences may share.
    pub sharing: PrefixSharing,
    /// The scheduler's options.
    pub options: Options,
}

/// What became of one request.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    /// It was answered with an output.
    Answered {
        /// From its arrival until its first iteration.
        queue_time: Duration,
        /// From its arrival until its answer.
        latency: Duration,
        /// Prompt tokens not computed for it.
        cached_tokens: usize,
    },
    /// It was refused, at once or later.
    Refused(Rejection),
}

/// What happened.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Of each request of the trace, in order.
    pub fates: Vec<Fate>,
    /// From the trace's start until the last answer.
    pub end: Duration,
    /// Iterations run.
    pub iterations: u64,
    /// Time that they took.
    pub busy: Duration,
    /// Tokens computed.
    pub tokens: u64,
    /// Those that had to be: not computed before, nor beside it in the same iteration.
    pub needed: u64,
    /// Sum over the iterations of what a perfect filler would have put in: what had arrived and was
    /// not computed when it began, every shared prefix counted once, up to `max_num_tokens`.
    pub fillable: u64,
}

/// Why a simulation ended early. Either is a mistake in the scheduler.
#[derive(Debug, thiserror::Error)]
pub enum SimulationError {
    /// It refused an iteration's outputs.
    #[error("the scheduler refused an iteration's outputs: {0}")]
    Outputs(#[from] EngineError),
    /// It left requests without an answer.
    #[error("the scheduler left {0} requests unanswered")]
    Unanswered(usize),
}

/// Replays `requests`, which are ordered by arrival. `progress` is told how many are answered.
///
/// # Errors
/// The scheduler made a mistake.
pub fn simulate(
    setup: &Setup,
    requests: &[Request],
    progress: &mut dyn FnMut(usize),
) -> Result<Outcome, SimulationError> {
    let core = StepCore::new(setup.limits, setup.sharing, setup.options.clone(), Arc::new(()));
    let mut simulation = Simulation {
        setup,
        requests,
        core,
        ledger: Ledger::default(),
        now: Duration::ZERO,
        arrived: 0,
        running: None,
        fates: vec![None; requests.len()],
        answered: 0,
        outcome: Outcome::default(),
    };
    while let Some(time) = simulation.next_event() {
        simulation.now = simulation.now.max(time);
        simulation.step()?;
        progress(simulation.answered);
    }
    simulation.finish()
}

struct Simulation<'a> {
    setup: &'a Setup,
    requests: &'a [Request],
    core: StepCore,
    ledger: Ledger,
    now: Duration,
    /// Requests that have arrived: the first so many.
    arrived: usize,
    /// The iteration that runs and when it ends.
    running: Option<(Duration, Iteration)>,
    fates: Vec<Option<Fate>>,
    answered: usize,
    outcome: Outcome,
}

impl Simulation<'_> {
    fn next_event(&self) -> Option<Duration> {
        if self.answered == self.requests.len() && self.running.is_none() {
            return None;
        }
        let arrival = self.requests.get(self.arrived).map(Request::arrival);
        let end = self.running.as_ref().map(|(end, _)| *end);
        [arrival, end, self.core.next_wakeup()].into_iter().flatten().min()
    }

    /// Does what the scheduler's thread does when it wakes, in its order.
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
        self.ledger.end(&iteration);
        let wanted = iteration.chunks.iter().filter(|chunk| !chunk.logits.is_empty());
        let logits = wanted.map(|chunk| (chunk.sequence, vec![0.0; chunk.logits.len()])).collect();
        let elapsed = self.setup.timing.iteration(&iteration);
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
            let elapsed = self.setup.timing.iteration(&iteration);
            let outcome = &mut self.outcome;
            outcome.iterations += 1;
            outcome.busy += elapsed;
            outcome.tokens += iteration.token_ids.len() as u64;
            outcome.fillable += self.ledger.waiting().min(self.setup.limits.max_num_tokens) as u64;
            outcome.needed += self.ledger.begin(&iteration) as u64;
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
            let fate = self.fate(&self.requests[index], answer);
            if let Some(slot) = self.fates.get_mut(index)
                && slot.replace(fate).is_none()
            {
                self.answered += 1;
            }
        }
    }

    fn fate(&self, request: &Request, answer: Answer) -> Fate {
        match answer {
            Ok(completed) => Fate::Answered {
                queue_time: completed.queue_time,
                latency: self.now.saturating_sub(request.arrival()),
                cached_tokens: completed.cached_tokens,
            },
            Err(rejection) => Fate::Refused(rejection),
        }
    }

    fn finish(mut self) -> Result<Outcome, SimulationError> {
        self.outcome.fates = self.fates.into_iter().flatten().collect();
        match self.requests.len() - self.outcome.fates.len() {
            0 => Ok(self.outcome),
            unanswered => Err(SimulationError::Unanswered(unanswered)),
        }
    }
}

/// The least engine time for these requests: every iteration full, every shared prefix computed
/// once, whenever they arrive.
pub fn ideal<'a>(setup: &Setup, requests: impl IntoIterator<Item = &'a Request>) -> Duration {
    let mut prefixes = HashMap::new();
    let mut cost = Cost::default();
    let (mut generated, mut longest) = (0usize, 0usize);
    for request in requests {
        let known = request.prefix.as_deref().map_or(0, |name| {
            let computed: &mut usize = prefixes.entry(name).or_default();
            let known = (*computed).min(request.prefix_tokens);
            *computed = (*computed).max(request.prefix_tokens);
            known
        });
        if known < request.prompt_tokens {
            cost.add(&Piece { position: known, tokens: request.prompt_tokens - known, logits: 1 });
        }
        for position in request.prompt_tokens..request.prompt_tokens + request.output_tokens.saturating_sub(1)
        {
            cost.add(&Piece { position, tokens: 1, logits: 1 });
        }
        generated += request.output_tokens;
        longest = longest.max(request.output_tokens);
    }
    let by_tokens = cost.tokens / setup.limits.max_num_tokens as f64;
    let by_sequences = generated as f64 / setup.limits.max_batch_size as f64;
    let iterations = by_tokens.max(by_sequences).max(longest as f64).ceil().max(1.0);
    setup.timing.time(&cost, iterations)
}
