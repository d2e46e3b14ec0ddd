//! The report that `assay bench --simulate` prints.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use super::percentiles::Percentiles;
use super::replica::EngineTotals;
use super::setup::SimulationSetup;
use super::simulate::{RequestOutcome, SimulationOutcome, ideal_time};
use super::trace::TraceRequest;
use crate::scheduler::Rejection;

/// The result of a simulation in numbers. Shares are from 0 to 1.
#[derive(Clone, Debug)]
pub(super) struct SimulationReport {
    /// Number of requests in the trace.
    requests: usize,
    /// Number of servers.
    replicas: usize,
    /// Tokens that the engines of the least busy and of the busiest server computed, as a share of their mean.
    balance: [f64; 2],
    answered: usize,
    /// Number of requests that were refused, by reason.
    refused: BTreeMap<&'static str, usize>,
    /// Number of requests that were answered after their deadline; `None` if none has one.
    late: Option<usize>,
    /// How long refused requests were asked to wait, as a share of the time that the queue then took; `None` if none was.
    retry_after: Option<Spread>,
    /// Time from the first to the last arrival.
    span: Duration,
    /// Time from the first arrival to the last answer.
    elapsed: Duration,
    /// Prompt and generated tokens of the answered requests.
    tokens: usize,
    /// Offered load: the minimum engine time for the whole trace, as a share of `span` on every server.
    load: f64,
    /// Share of `elapsed` in which the engines were busy.
    busy: f64,
    /// Time from arrival to the first iteration, of the answered requests.
    queue_time: Percentiles,
    /// Time from arrival to the answer, of the answered requests.
    latency: Percentiles,
    /// The same for those that fit into one iteration; `None` if all do.
    short_latency: Option<Percentiles>,
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
        let (mut short_latencies, mut late) = (Vec::new(), 0);
        let is_short = |request: &TraceRequest| request.prompt_tokens <= setup.limits.max_num_tokens;
        for (request, outcome) in requests.iter().zip(&outcome.requests) {
            match outcome {
                RequestOutcome::Answered { queue_time, latency, cached_tokens } => {
                    answered.push(request);
                    queue_times.push(*queue_time);
                    latencies.push(*latency);
                    if is_short(request) {
                        short_latencies.push(*latency);
                    }
                    late +=
                        usize::from(request.timeout.is_some_and(|timeout| latency.as_secs_f64() > timeout));
                    cached += cached_tokens;
                }
                RequestOutcome::Refused(rejection) => *refused.entry(reason(rejection)).or_default() += 1,
            }
        }
        let shareable = shareable_tokens(&answered);
        let totals = sum(&outcome.engines);
        let EngineTotals { iterations, busy, .. } = totals;
        let replicas = setup.replicas;
        let servers = u32::try_from(replicas).unwrap_or(u32::MAX);
        Self {
            requests: requests.len(),
            replicas,
            balance: balance(&outcome.engines, totals.tokens),
            answered: answered.len(),
            refused,
            late: requests.iter().any(|request| request.timeout.is_some()).then_some(late),
            retry_after: Spread::new(retry_after_shares(requests, outcome)),
            span,
            elapsed,
            tokens: answered.iter().map(|request| request.prompt_tokens + request.output_tokens).sum(),
            load: share(ideal_time(setup, requests), span * servers),
            busy: share(busy, elapsed * servers),
            queue_time: Percentiles::from_times(queue_times),
            latency: Percentiles::from_times(latencies),
            short_latency: (!requests.iter().all(is_short)).then(|| Percentiles::from_times(short_latencies)),
            iterations,
            tokens_per_iteration: totals.tokens as f64 / iterations.max(1) as f64,
            fill: totals.needed as f64 / totals.fillable.max(1) as f64,
            fullness: totals.needed as f64
                / (iterations as f64 * setup.limits.max_num_tokens as f64).max(1.0),
            prefix_reuse: (shareable > 0).then(|| cached as f64 / shareable as f64),
            ideal: share(ideal_time(setup, answered), busy),
        }
    }
}

/// What all engines did.
fn sum(engines: &[EngineTotals]) -> EngineTotals {
    let mut sum = EngineTotals::default();
    for engine in engines {
        sum.iterations += engine.iterations;
        sum.busy += engine.busy;
        sum.tokens += engine.tokens;
        sum.needed += engine.needed;
        sum.fillable += engine.fillable;
    }
    sum
}

/// The tokens of the engine that computed the least, and of the one that computed the most, as a share of the mean.
/// All of them computed `total` tokens.
fn balance(engines: &[EngineTotals], total: u64) -> [f64; 2] {
    let mean = total as f64 / engines.len().max(1) as f64;
    let tokens = engines.iter().map(|engine| engine.tokens);
    [tokens.clone().min(), tokens.max()].map(|tokens| tokens.unwrap_or_default() as f64 / mean.max(1.0))
}

/// For each request that found the queue full, how long it was asked to wait, as a share of the time until all that was
/// at its server before it was answered.
fn retry_after_shares(requests: &[TraceRequest], outcome: &SimulationOutcome) -> Vec<f64> {
    // For each request, when everything was answered that its server had got before.
    let mut last_ends = vec![Duration::ZERO; outcome.engines.len()];
    let mut queue_ends = Vec::with_capacity(requests.len());
    for (replica, end) in outcome.replicas.iter().zip(&outcome.ends) {
        queue_ends.push(last_ends[*replica]);
        last_ends[*replica] = last_ends[*replica].max(*end);
    }
    let asked = outcome.asked_to_wait.iter().filter(|(index, _)| !queue_ends[*index].is_zero());
    let shares = asked
        .map(|(index, wait)| share(*wait, queue_ends[*index].saturating_sub(requests[*index].arrival())));
    shares.collect()
}

/// The median and the extremes of shares.
#[derive(Clone, Copy, Debug)]
struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    /// `None` if there are no shares.
    fn new(mut shares: Vec<f64>) -> Option<Self> {
        shares.sort_by(f64::total_cmp);
        Some(Self { least: *shares.first()?, median: shares[shares.len() / 2], most: *shares.last()? })
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
        if self.replicas > 1 {
            let [least, most] = self.balance.map(percent);
            writeln!(
                out,
                "balance         servers computed from {least}% to {most}% of their mean number of tokens"
            )?;
        }
        for (reason, count) in &self.refused {
            writeln!(out, "refused         {count}: {reason}")?;
        }
        if let Some(late) = self.late {
            writeln!(out, "late            {late} answered after their deadline")?;
        }
        if let Some(Spread { least, median, most }) = self.retry_after {
            let [least, median, most] = [least, median, most].map(percent);
            writeln!(out, "retry after     {median}% of the queue's time, from {least}% to {most}%")?;
        }
        let (span, elapsed) = (self.span.as_secs_f64(), self.elapsed.as_secs_f64());
        writeln!(out, "time            {elapsed:.1} s; the last request arrived after {span:.1} s")?;
        writeln!(out, "load            {}% of the ideal capacity", percent(self.load))?;
        let per_second = |count: usize| count as f64 / elapsed.max(f64::MIN_POSITIVE);
        let (requests, tokens) = (per_second(self.answered), per_second(self.tokens));
        writeln!(out, "throughput      {requests:.1} requests/s, {tokens:.0} tokens/s")?;
        writeln!(out, "queue wait      {}", self.queue_time)?;
        writeln!(out, "latency         {}", self.latency)?;
        if let Some(latency) = self.short_latency {
            writeln!(out, "short prompts   {latency}")?;
        }
        let engine = if self.replicas > 1 { "engines" } else { "engine " };
        writeln!(out, "{engine}         busy {}% of the time", percent(self.busy))?;
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
