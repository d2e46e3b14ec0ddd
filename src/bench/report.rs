//! The report that `assay bench --simulate` prints.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use super::percentiles::Percentiles;
use super::simulate::{RequestOutcome, SimulationOutcome, SimulationSetup, ideal_time};
use super::trace::TraceRequest;
use crate::scheduler::Rejection;

/// The result of a simulation in numbers. Shares are from 0 to 1.
#[derive(Clone, Debug)]
pub(super) struct SimulationReport {
    /// Number of requests in the trace.
    requests: usize,
    answered: usize,
    /// Number of requests that were refused, by reason.
    refused: BTreeMap<&'static str, usize>,
    /// Time from the first to the last arrival.
    span: Duration,
    /// Time from the first arrival to the last answer.
    elapsed: Duration,
    /// Prompt and generated tokens of the answered requests.
    tokens: usize,
    /// Offered load: the minimum engine time for the whole trace, as a share of `span`.
    load: f64,
    /// Share of `elapsed` in which the engine was busy.
    busy: f64,
    /// Time from arrival to the first iteration, of the answered requests.
    queue_time: Percentiles,
    /// Time from arrival to the answer, of the answered requests.
    latency: Percentiles,
    iterations: u64,
    /// Mean number of tokens in an iteration.
    tokens_per_iteration: f64,
    /// Needed tokens in the iterations, as a share of what a perfect scheduler would have put into them.
    fill: f64,
    /// The same, as a share of `max_num_tokens`.
    fullness: f64,
    /// Prefix tokens that were not computed, as a share of those that need not be; `None` if nothing can be
    /// shared.
    prefix_reuse: Option<f64>,
    /// Minimum engine time for the answered requests, as a share of the engine time used.
    ideal: f64,
}

impl SimulationReport {
    pub(super) fn new(
        setup: &SimulationSetup,
        requests: &[TraceRequest],
        outcome: &SimulationOutcome,
    ) -> Self {
        let first = requests.first().map(TraceRequest::arrival).unwrap_or_default();
        let span = requests.last().map(TraceRequest::arrival).unwrap_or_default() - first;
        let elapsed = outcome.end.saturating_sub(first);
        let mut answered = Vec::new();
        let mut refused = BTreeMap::new();
        let (mut queue_times, mut latencies, mut cached) = (Vec::new(), Vec::new(), 0);
        for (request, outcome) in requests.iter().zip(&outcome.requests) {
            match outcome {
                RequestOutcome::Answered { queue_time, latency, cached_tokens } => {
                    answered.push(request);
                    queue_times.push(*queue_time);
                    latencies.push(*latency);
                    cached += cached_tokens;
                }
                RequestOutcome::Refused(rejection) => *refused.entry(reason(rejection)).or_default() += 1,
            }
        }
        let shareable = shareable_tokens(&answered);
        Self {
            requests: requests.len(),
            answered: answered.len(),
            refused,
            span,
            elapsed,
            tokens: answered.iter().map(|request| request.prompt_tokens + request.output_tokens).sum(),
            load: share(ideal_time(setup, requests), span),
            busy: share(outcome.busy, elapsed),
            queue_time: Percentiles::from_times(queue_times),
            latency: Percentiles::from_times(latencies),
            iterations: outcome.iterations,
            tokens_per_iteration: outcome.tokens as f64 / outcome.iterations.max(1) as f64,
            fill: outcome.needed as f64 / outcome.fillable.max(1) as f64,
            fullness: outcome.needed as f64
                / (outcome.iterations as f64 * setup.limits.max_num_tokens as f64).max(1.0),
            prefix_reuse: (shareable > 0).then(|| cached as f64 / shareable as f64),
            ideal: share(ideal_time(setup, answered), outcome.busy),
        }
    }
}

/// Number of prefix tokens that need not be computed: those of all but the longest prefix of each name.
fn shareable_tokens(requests: &[&TraceRequest]) -> usize {
    let mut longest: HashMap<&str, usize> = HashMap::new();
    let mut sum = 0;
    for request in requests {
        if let Some(name) = &request.prefix {
            let known = longest.entry(name).or_default();
            sum += (*known).min(request.prefix_tokens);
            *known = (*known).max(request.prefix_tokens);
        }
    }
    sum
}

fn reason(rejection: &Rejection) -> &'static str {
    match rejection {
        Rejection::QueueFull { .. } => "queue full",
        Rejection::TooLong { .. } => "too long for the engine",
        Rejection::DeadlineUnmeetable { .. } => "deadline unmeetable",
        Rejection::DeadlineExceeded => "deadline exceeded",
        _ => "other",
    }
}

fn share(part: Duration, whole: Duration) -> f64 {
    if whole.is_zero() { 0.0 } else { part.as_secs_f64() / whole.as_secs_f64() }
}

impl fmt::Display for SimulationReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, answered, iterations, tokens_per_iteration, .. } = self;
        writeln!(out, "requests        {requests}, {answered} answered")?;
        for (reason, count) in &self.refused {
            writeln!(out, "refused         {count}: {reason}")?;
        }
        let (span, elapsed) = (self.span.as_secs_f64(), self.elapsed.as_secs_f64());
        writeln!(out, "time            {elapsed:.1} s; the last request arrived after {span:.1} s")?;
        writeln!(out, "load            {}% of the ideal capacity", percent(self.load))?;
        let per_second = |count: usize| count as f64 / elapsed.max(f64::MIN_POSITIVE);
        let (requests, tokens) = (per_second(self.answered), per_second(self.tokens));
        writeln!(out, "throughput      {requests:.1} requests/s, {tokens:.0} tokens/s")?;
        writeln!(out, "queue wait      {}", self.queue_time)?;
        writeln!(out, "latency         {}", self.latency)?;
        writeln!(out, "engine          busy {}% of the time", percent(self.busy))?;
        let fullness = percent(self.fullness);
        writeln!(out, "batches         {iterations} of {tokens_per_iteration:.0} tokens, {fullness}% full")?;
        writeln!(out, "batch fill      {}% of a perfect scheduler's", percent(self.fill))?;
        match self.prefix_reuse {
            Some(reuse) => writeln!(out, "prefix reuse    {}% of the shareable tokens", percent(reuse))?,
            None => writeln!(out, "prefix reuse    nothing to share")?,
        }
        write!(out, "engine time     {}% of it is the theoretical minimum", percent(self.ideal))
    }
}

fn percent(share: f64) -> String {
    format!("{:.1}", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_the_longest_prefix_of_a_name_can_be_shared() {
        let request = |prefix: &str, prefix_tokens| TraceRequest {
            prefix: Some(prefix.to_owned()),
            prefix_tokens,
            ..TraceRequest::score(0.0, 100)
        };
        let requests = [request("a", 40), request("b", 10), request("a", 50), request("a", 30)];
        assert_eq!(shareable_tokens(&requests.iter().collect::<Vec<_>>()), 40 + 30);
    }
}
