//! One simulated server: the real scheduler, and an engine that takes as long as the timing model says.

use std::sync::Arc;
use std::time::Duration;

use super::ledger::Ledger;
use super::setup::SimulationSetup;
use super::trace::TraceRequest;
use crate::engine::{Iteration, StepError, StepReport};
use crate::scheduler::core::{Core, StepCore};
use crate::scheduler::{Job, JobResult, Priority, Work};

/// What an engine did in a simulation.
#[derive(Clone, Debug, Default)]
pub(super) struct EngineTotals {
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

struct RunningIteration {
    iteration: Iteration,
    elapsed: Duration,
    end: Duration,
}

pub(super) struct Replica<'a> {
    setup: &'a SimulationSetup,
    core: StepCore,
    ledger: Ledger,
    /// Indices in the trace of the requests that it got, in this order.
    requests: Vec<usize>,
    answered: usize,
    running: Option<RunningIteration>,
    totals: EngineTotals,
}

impl<'a> Replica<'a> {
    pub(super) fn new(setup: &'a SimulationSetup) -> Self {
        Self {
            setup,
            core: StepCore::new(setup.limits, setup.sharing, setup.options.clone(), Arc::new(())),
            ledger: Ledger::default(),
            requests: Vec::new(),
            answered: 0,
            running: None,
            totals: EngineTotals::default(),
        }
    }

    /// What its engine has done so far.
    pub(super) fn totals(&self) -> &EngineTotals {
        &self.totals
    }

    /// When something happens if no request arrives; `None` if nothing does.
    pub(super) fn next_event(&self) -> Option<Duration> {
        if self.answered == self.requests.len() && self.running.is_none() {
            return None;
        }
        let end = self.running.as_ref().map(|running| running.end);
        [end, self.core.next_wakeup()].into_iter().flatten().min()
    }

    /// Does what the scheduler's thread does when it wakes up, in the same order. `arriving` are indices in
    /// the trace, and so are those of the answers.
    pub(super) fn step(
        &mut self,
        now: Duration,
        trace: &[TraceRequest],
        arriving: &[usize],
    ) -> Result<Vec<(usize, JobResult)>, StepError> {
        self.complete(now)?;
        for &index in arriving {
            self.arrive(now, index, &trace[index]);
        }
        self.core.expire(now);
        self.start_iteration(now);
        Ok(self.take_answers())
    }

    fn complete(&mut self, now: Duration) -> Result<(), StepError> {
        let Some(running) = self.running.take_if(|running| running.end <= now) else { return Ok(()) };
        let RunningIteration { iteration, elapsed, .. } = running;
        self.ledger.end_iteration(&iteration);
        let requested = iteration.chunks.iter().filter(|chunk| !chunk.logits.is_empty());
        let logits = requested.map(|chunk| (chunk.sequence, vec![0.0; chunk.logits.len()])).collect();
        self.core.complete(now, StepReport { logits, elapsed, ..StepReport::default() })
    }

    fn arrive(&mut self, now: Duration, index: usize, request: &TraceRequest) {
        let tokens = self.ledger.arrive(request);
        let work = match request.output_tokens {
            0 => Work::score(tokens.len()),
            max_tokens => Work::greedy(max_tokens, Vec::new()),
        };
        let deadline = request.timeout.map(|timeout| now + Duration::from_secs_f64(timeout));
        let id = self.requests.len() as u64;
        let priority = Priority(request.priority);
        self.requests.push(index);
        self.core.arrive(now, id, Job { tokens, work, priority }, deadline);
    }

    fn start_iteration(&mut self, now: Duration) {
        if self.running.is_none()
            && let Some(iteration) = self.core.plan(now)
        {
            let elapsed = self.setup.timing.iteration_time(&iteration);
            let totals = &mut self.totals;
            totals.iterations += 1;
            totals.busy += elapsed;
            totals.tokens += iteration.token_ids.len() as u64;
            totals.fillable += self.ledger.waiting().min(self.setup.limits.max_num_tokens) as u64;
            totals.needed += self.ledger.start_iteration(&iteration) as u64;
            self.running = Some(RunningIteration { iteration, elapsed, end: now + elapsed });
        }
        if self.running.is_some() {
            self.core.prepare(now);
        }
    }

    fn take_answers(&mut self) -> Vec<(usize, JobResult)> {
        let mut answers = Vec::new();
        for (id, answer) in self.core.take_answers() {
            let number = id as usize;
            self.ledger.answered(number);
            self.answered += 1;
            answers.push((self.requests[number], answer));
        }
        answers
    }
}
