//! What `assay bench --simulate` prints.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use super::simulate::{Fate, Outcome, Setup, ideal};
use super::trace::Request;
use crate::scheduler::Rejection;

/// A simulation in figures. Shares are from 0 to 1.
#[derive(Clone, Debug)]
pub struct Report {
    /// Requests of the trace.
    pub requests: usize,
    /// Those answered with an output.
    pub answered: usize,
    /// The others, by reason.
    pub refused: BTreeMap<&'static str, usize>,
    /// From the first arrival to the last.
    pub span: Duration,
    /// From the first arrival to the last answer.
    pub elapsed: Duration,
    /// Prompt and generated tokens of the answered requests.
    pub tokens: usize,
    /// Least engine time for the whole trace, as a share of `span`: the load offered.
    pub load: f64,
    /// Share of `elapsed` in which the engine ran.
    pub busy: f64,
    /// From arrival to the first iteration, of those answered.
    pub queue_time: Percentiles,
    /// From arrival to the answer, of those answered.
    pub latency: Percentiles,
    /// Iterations run.
    pub iterations: u64,
    /// Tokens in an iteration, on average.
    pub tokens_per_iteration: f64,
    /// Those needed, as a share of what a perfect filler would have put into the same iterations.
    pub fill: f64,
    /// The same, as a share of `max_num_tokens`.
    pub fullness: f64,
    /// Prefix tokens not computed, as a share of those that need not be; none if nothing is shared.
    pub prefix_reuse: Option<f64>,
    /// Least engine time for what was answered, as a share of the engine time used.
    pub ideal: f64,
}

/// Percentiles of a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Percentiles {
    /// Half take no longer.
    pub p50: Duration,
    /// Nine in ten take no longer.
    pub p90: Duration,
    /// 99 in a hundred take no longer.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}

impl Percentiles {
    /// Of `times`, in any order; zero if there are none. Nearest rank.
    pub fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let rank = |share: f64| {
            let index = (times.len() as f64 * share).ceil() as usize;
            times.get(index.saturating_sub(1)).copied().unwrap_or_default()
        };
        Self { p50: rank(0.5), p90: rank(0.9), p99: rank(0.99), max: rank(1.0) }
    }
}

impl Report {
    /// Sums up what became of `requests`.
    pub fn new(setup: &Setup, requests: &[Request], outcome: &Outcome) -> Self {
        let first = requests.first().map(Request::arrival).unwrap_or_default();
        let span = requests.last().map(Request::arrival).unwrap_or_default() - first;
        let elapsed = outcome.end.saturating_sub(first);
        let answered: Vec<&Request> = requests
            .iter()
            .zip(&outcome.fates)
            .filter(|(_, fate)| matches!(fate, Fate::Answered { .. }))
            .map(|(request, _)| request)
            .collect();
        let mut refused = BTreeMap::new();
        let (mut queue_times, mut latencies, mut cached) = (Vec::new(), Vec::new(), 0);
        for fate in &outcome.fates {
            match fate {
                Fate::Answered { queue_time, latency, cached_tokens } => {
                    queue_times.push(*queue_time);
                    latencies.push(*latency);
                    cached += cached_tokens;
                }
                Fate::Refused(rejection) => *refused.entry(reason(rejection)).or_default() += 1,
            }
        }
        let shareable = shareable(&answered);
        Self {
            requests: requests.len(),
            answered: answered.len(),
            refused,
            span,
            elapsed,
            tokens: answered.iter().map(|request| request.prompt_tokens + request.output_tokens).sum(),
            load: share(ideal(setup, requests), span),
            busy: share(outcome.busy, elapsed),
            queue_time: Percentiles::of(queue_times),
            latency: Percentiles::of(latencies),
            iterations: outcome.iterations,
            tokens_per_iteration: outcome.tokens as f64 / outcome.iterations.max(1) as f64,
            fill: outcome.needed as f64 / outcome.fillable.max(1) as f64,
            fullness: outcome.needed as f64
                / (outcome.iterations as f64 * setup.limits.max_num_tokens as f64).max(1.0),
            prefix_reuse: (shareable > 0).then(|| cached as f64 / shareable as f64),
            ideal: share(ideal(setup, answered), outcome.busy),
        }
    }
}

/// Prefix tokens that need not be computed: all but the longest of each prefix.
fn shareable(requests: &[&Request]) -> usize {
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
        Rejection::TooLong { .. } => "longer than the engine takes",
        Rejection::DeadlineUnmeetable { .. } => "deadline unmeetable",
        Rejection::DeadlineExceeded => "deadline exceeded",
        _ => "other",
    }
}

fn share(part: Duration, whole: Duration) -> f64 {
    if whole.is_zero() { 0.0 } else { part.as_secs_f64() / whole.as_secs_f64() }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_second = |count: usize| count as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
        let Self { requests, answered, .. } = self;
        writeln!(out, "requests        {requests}, {answered} answered")?;
        for (reason, count) in &self.refused {
            writeln!(out, "refused         {count}: {reason}")?;
        }
        let (span, elapsed) = (self.span.as_secs_f64(), self.elapsed.as_secs_f64());
        writeln!(out, "time            {elapsed:.1} s; the last request arrived after {span:.1} s")?;
        writeln!(out, "load            {}% of the ideal capacity", percent(self.load))?;
        let (requests, tokens) = (per_second(self.answered), per_second(self.tokens));
        writeln!(out, "throughput      {requests:.1} requests/s, {tokens:.0} tokens/s")?;
        writeln!(out, "queue wait      {}", self.queue_time)?;
        writeln!(out, "latency         {}", self.latency)?;
        writeln!(out, "engine          busy {}% of the time", percent(self.busy))?;
        let (iterations, tokens) = (self.iterations, self.tokens_per_iteration);
        writeln!(
            out,
            "iterations      {iterations} of {tokens:.0} tokens, {}% full",
            percent(self.fullness)
        )?;
        writeln!(out, "batch fill      {}% of a perfect filler's", percent(self.fill))?;
        match self.prefix_reuse {
            Some(reuse) => writeln!(out, "prefix reuse    {}% of what could be", percent(reuse))?,
            None => writeln!(out, "prefix reuse    nothing to share")?,
        }
        write!(out, "engine time     {}% of it is the arithmetic minimum", percent(self.ideal))
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let Self { p50, p90, p99, max } = *self;
        write!(
            out,
            "p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
            ms(p50),
            ms(p90),
            ms(p99),
            ms(max)
        )
    }
}

fn percent(share: f64) -> String {
    format!("{:.1}", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let times = (1..=200).rev().map(Duration::from_millis).collect();
        let Percentiles { p50, p90, p99, max } = Percentiles::of(times);
        assert_eq!([p50, p90, p99, max].map(|time| time.as_millis()), [100, 180, 198, 200]);
        assert_eq!(Percentiles::of(Vec::new()), Percentiles::default());
    }

    #[test]
    fn all_but_the_longest_of_a_prefix_can_be_shared() {
        let request = |prefix: &str, prefix_tokens| Request {
            prefix: Some(prefix.to_owned()),
            prefix_tokens,
            ..Request::score(0.0, 100)
        };
        let requests = [request("a", 40), request("b", 10), request("a", 50), request("a", 30)];
        assert_eq!(shareable(&requests.iter().collect::<Vec<_>>()), 40 + 30);
    }
}
