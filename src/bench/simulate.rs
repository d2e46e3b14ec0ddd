//! Replays a trace through the real scheduler of one or several servers on simulated time.
//!
//! Time jumps from event to event. The scheduler's own time, HTTP and tokenization are not counted;
//! `docs/performance.md` says what they cost.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::replica::{EngineTotals, Replica};
use super::route::Balancer;
use super::setup::SimulationSetup;
use super::timing::{ComputeCost, TokenRun};
use super::trace::TraceRequest;
use crate::engine::StepError;
use crate::scheduler::{JobResult, Rejection};

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
    /// For each request, the server that got it.
    pub(super) replicas: Vec<usize>,
    /// Each request that found the queue full: its index, and how long it was asked to wait.
    pub(super) asked_to_wait: Vec<(usize, Duration)>,
    /// Time from the trace's start until the last answer.
    pub(super) end: Duration,
    /// What the engine of each server did.
    pub(super) engines: Vec<EngineTotals>,
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
    let mut simulation = Simulation {
        requests,
        replicas: (0..setup.replicas).map(|_| Replica::new(setup)).collect(),
        balancer: Balancer::new(setup.route, setup.replicas),
        events: BTreeSet::new(),
        now: Duration::ZERO,
        arrived: 0,
        request_outcomes: vec![None; requests.len()],
        answered: 0,
        outcome: SimulationOutcome {
            ends: vec![Duration::ZERO; requests.len()],
            replicas: Vec::with_capacity(requests.len()),
            ..SimulationOutcome::default()
        },
    };
    while simulation.step()? {
        progress(simulation.answered);
    }
    simulation.finish()
}

struct Simulation<'a> {
    requests: &'a [TraceRequest],
    replicas: Vec<Replica<'a>>,
    balancer: Balancer,
    /// The next event of each server that has one: when, and at which.
    events: BTreeSet<(Duration, usize)>,
    now: Duration,
    /// Number of requests that have arrived.
    arrived: usize,
    request_outcomes: Vec<Option<RequestOutcome>>,
    answered: usize,
    outcome: SimulationOutcome,
}

impl Simulation<'_> {
    /// Goes to the next point in time at which something happens; returns false if nothing does any more.
    fn step(&mut self) -> Result<bool, SimulationError> {
        let arrival = self.requests.get(self.arrived).map(TraceRequest::arrival);
        let event = self.events.first().map(|(time, _)| *time);
        let Some(time) = [arrival, event].into_iter().flatten().min() else { return Ok(false) };
        self.now = self.now.max(time);
        for (replica, arriving) in self.due() {
            let server = &mut self.replicas[replica];
            // Its event is another one after this step.
            if let Some(event) = server.next_event() {
                self.events.remove(&(event, replica));
            }
            let answers = server.step(self.now, self.requests, &arriving)?;
            if let Some(event) = server.next_event() {
                self.events.insert((event, replica));
            }
            for (index, answer) in answers {
                self.balancer.answered(replica);
                self.record(index, answer);
            }
        }
        Ok(true)
    }

    /// The servers at which something happens now, with the requests that arrive at them.
    fn due(&mut self) -> BTreeMap<usize, Vec<usize>> {
        let happening = self.events.iter().take_while(|(time, _)| *time <= self.now);
        let mut due: BTreeMap<usize, Vec<usize>> =
            happening.map(|(_, replica)| (*replica, Vec::new())).collect();
        while let Some(request) = self.requests.get(self.arrived)
            && request.arrival() <= self.now
        {
            let replica = self.balancer.choose(request, self.arrived);
            self.outcome.replicas.push(replica);
            due.entry(replica).or_default().push(self.arrived);
            self.arrived += 1;
        }
        due
    }

    fn record(&mut self, index: usize, answer: JobResult) {
        self.outcome.end = self.now;
        self.outcome.ends[index] = self.now;
        if let Err(Rejection::QueueFull { retry_after, .. }) = &answer {
            self.outcome.asked_to_wait.push((index, *retry_after));
        }
        let outcome = match answer {
            Ok(completed) => RequestOutcome::Answered {
                queue_time: completed.queue_time,
                latency: self.now.saturating_sub(self.requests[index].arrival()),
                cached_tokens: completed.cached_tokens,
            },
            Err(rejection) => RequestOutcome::Refused(rejection),
        };
        if self.request_outcomes[index].replace(outcome).is_none() {
            self.answered += 1;
        }
    }

    fn finish(mut self) -> Result<SimulationOutcome, SimulationError> {
        self.outcome.engines = self.replicas.iter().map(|replica| replica.totals().clone()).collect();
        self.outcome.requests = self.request_outcomes.into_iter().flatten().collect();
        match self.requests.len() - self.outcome.requests.len() {
            0 => Ok(self.outcome),
            unanswered => Err(SimulationError::Unanswered(unanswered)),
        }
    }
}

/// The minimum engine time for these requests, whenever they arrive and at any server: every iteration is full, and
/// every shared prefix is computed once.
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
