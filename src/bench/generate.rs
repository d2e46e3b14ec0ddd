//! Generates request traces like those that reward servers get.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::trace::TraceRequest;

/// The shape of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum TraceShape {
    /// Independent requests at a constant mean rate (Poisson)
    Steady,
    /// Bursts of 32 requests on average, each within a tenth of a second
    Bursty,
    /// Groups of responses to one prompt, all at once, as in reinforcement learning
    BestOfN,
    /// Steady arrivals, some up to 32 times longer than most (Pareto)
    LongTailed,
    /// Steady arrivals, of which one in twenty has 16,384 tokens
    SomeLong,
}

/// The parameters of a trace. The same parameters give the same trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct TraceSpec {
    pub(super) shape: TraceShape,
    /// Mean number of requests per second, above 0.
    pub(super) rate: f64,
    /// Number of requests.
    pub(super) requests: usize,
    pub(super) seed: u64,
    /// Mean number of tokens of a prompt; at least 1.
    pub(super) prompt_tokens: usize,
    /// Mean number of tokens of a response; at least 1.
    pub(super) response_tokens: usize,
    /// Responses to one prompt in [`TraceShape::BestOfN`]; at least 1.
    pub(super) group: usize,
    /// Seconds after its arrival at which a request's response is no longer useful.
    pub(super) timeout: Option<f64>,
}

/// Mean number of requests in a burst.
const BURST: f64 = 32.0;
/// Length of a burst in seconds.
const BURST_SECONDS: f64 = 0.1;
/// Length of the longest text of a long-tailed trace, in units of the mean.
const TAIL: f64 = 32.0;
/// Tokens of a long text of [`TraceShape::SomeLong`], and their share.
const LONG: (usize, f64) = (16_384, 0.05);

/// Generates a trace, sorted by arrival.
///
/// Lengths are uniform from 0.5 to 1.5 times their mean, except in three shapes: in best-of-n, prompts have
/// exactly the mean length and only responses vary; in long-tailed, lengths follow a Pareto distribution; and
/// in some-long, some have one large, fixed length.
pub(super) fn generate(spec: &TraceSpec) -> Vec<TraceRequest> {
    let mut random = SmallRng::seed_from_u64(spec.seed);
    let mut requests = match spec.shape {
        TraceShape::Steady => independent(spec, &mut random, uniform_text),
        TraceShape::LongTailed => independent(spec, &mut random, long_tailed_text),
        TraceShape::SomeLong => independent(spec, &mut random, sometimes_long_text),
        TraceShape::Bursty => bursts(spec, &mut random),
        TraceShape::BestOfN => groups(spec, &mut random),
    };
    requests.truncate(spec.requests);
    requests.sort_by(|a, b| a.arrival.total_cmp(&b.arrival));
    for request in &mut requests {
        // Microseconds are precise enough, and keep the files small.
        request.arrival = (request.arrival * 1e6).round() / 1e6;
        request.timeout = spec.timeout;
    }
    requests
}

fn independent(
    spec: &TraceSpec,
    random: &mut SmallRng,
    text: fn(&TraceSpec, &mut SmallRng) -> usize,
) -> Vec<TraceRequest> {
    let mut requests = Vec::with_capacity(spec.requests);
    let mut now = 0.0;
    for _ in 0..spec.requests {
        now += exponential(random, spec.rate);
        requests.push(TraceRequest::score(now, text(spec, random)));
    }
    requests
}

fn bursts(spec: &TraceSpec, random: &mut SmallRng) -> Vec<TraceRequest> {
    let mut requests = Vec::with_capacity(spec.requests);
    let mut start = 0.0;
    while requests.len() < spec.requests {
        start += exponential(random, spec.rate / BURST);
        // Geometric with the mean BURST.
        let size = 1.0 + exponential(random, 1.0 / (BURST - 0.5)).floor();
        for _ in 0..size as usize {
            let arrival = start + random.random_range(0.0..BURST_SECONDS);
            requests.push(TraceRequest::score(arrival, uniform_text(spec, random)));
        }
    }
    requests
}

fn groups(spec: &TraceSpec, random: &mut SmallRng) -> Vec<TraceRequest> {
    let mut requests = Vec::with_capacity(spec.requests);
    let mut arrival = 0.0;
    while requests.len() < spec.requests {
        arrival += exponential(random, spec.rate / spec.group as f64);
        let prefix = format!("prompt-{}", requests.len() / spec.group);
        for _ in 0..spec.group {
            let response = uniform_around(spec.response_tokens, random);
            requests.push(TraceRequest {
                prefix: Some(prefix.clone()),
                prefix_tokens: spec.prompt_tokens,
                ..TraceRequest::score(arrival, spec.prompt_tokens + response)
            });
        }
    }
    requests
}

fn uniform_text(spec: &TraceSpec, random: &mut SmallRng) -> usize {
    uniform_around(spec.prompt_tokens, random) + uniform_around(spec.response_tokens, random)
}

fn sometimes_long_text(spec: &TraceSpec, random: &mut SmallRng) -> usize {
    let (tokens, share) = LONG;
    if random.random::<f64>() < share { tokens } else { uniform_text(spec, random) }
}

/// Pareto with shape 1.5, whose mean is 3 times its minimum, cut off at [`TAIL`] times the mean.
fn long_tailed_text(spec: &TraceSpec, random: &mut SmallRng) -> usize {
    let mean = (spec.prompt_tokens + spec.response_tokens) as f64;
    let min = mean / 3.0;
    let drawn = min * (1.0 - random.random::<f64>()).powf(-1.0 / 1.5);
    drawn.min(mean * TAIL).max(1.0) as usize
}

/// Uniform from 0.5 to 1.5 times `mean`.
fn uniform_around(mean: usize, random: &mut SmallRng) -> usize {
    random.random_range(mean.div_ceil(2)..=mean + mean / 2)
}

fn exponential(random: &mut SmallRng, rate: f64) -> f64 {
    -(1.0 - random.random::<f64>()).ln() / rate
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(shape: TraceShape) -> TraceSpec {
        TraceSpec {
            shape,
            rate: 50.0,
            requests: 20_000,
            seed: 7,
            prompt_tokens: 512,
            response_tokens: 128,
            group: 16,
            timeout: None,
        }
    }

    const SHAPES: [TraceShape; 5] = [
        TraceShape::Steady,
        TraceShape::Bursty,
        TraceShape::BestOfN,
        TraceShape::LongTailed,
        TraceShape::SomeLong,
    ];

    #[test]
    fn a_trace_has_the_requested_rate_and_number() {
        for shape in SHAPES {
            let requests = generate(&spec(shape));
            assert_eq!(requests.len(), 20_000);
            let rate = 20_000.0 / requests.last().unwrap().arrival;
            assert!((45.0..55.0).contains(&rate), "{shape:?}: {rate}");
            assert!(requests.is_sorted_by(|a, b| a.arrival <= b.arrival), "{shape:?}");
        }
    }

    #[test]
    fn one_seed_gives_one_trace() {
        for shape in SHAPES {
            assert_eq!(generate(&spec(shape)), generate(&spec(shape)));
            assert_ne!(generate(&spec(shape)), generate(&TraceSpec { seed: 8, ..spec(shape) }));
        }
    }

    #[test]
    fn texts_have_the_requested_mean_length() {
        for shape in [TraceShape::Steady, TraceShape::Bursty, TraceShape::BestOfN] {
            let requests = generate(&spec(shape));
            let mean = requests.iter().map(|r| r.prompt_tokens).sum::<usize>() as f64 / 20_000.0;
            assert!((630.0..650.0).contains(&mean), "{shape:?}: {mean}");
        }
    }

    #[test]
    fn best_of_n_responses_share_their_prompt_and_arrive_together() {
        let requests = generate(&spec(TraceShape::BestOfN));
        for group in requests.chunks(16) {
            assert!(group.iter().all(|r| r.prefix == group[0].prefix && r.arrival == group[0].arrival));
            assert!(group.iter().all(|r| r.prefix_tokens == 512 && r.prompt_tokens > 512));
        }
        assert_ne!(requests[0].prefix, requests[16].prefix);
    }

    #[test]
    fn a_long_tail_is_long_but_limited() {
        let requests = generate(&spec(TraceShape::LongTailed));
        let longest = requests.iter().map(|request| request.prompt_tokens).max().unwrap();
        assert!((5_000..=20_480).contains(&longest), "{longest}");
    }

    #[test]
    fn the_shape_some_long_makes_one_text_in_twenty_long() {
        let requests = generate(&spec(TraceShape::SomeLong));
        let long = requests.iter().filter(|request| request.prompt_tokens == 16_384).count();
        assert!((900..1100).contains(&long), "{long}");
    }

    #[test]
    fn requests_of_a_burst_are_closer_together_than_steady_ones() {
        let median_gap = |shape| {
            let requests = generate(&spec(shape));
            let mut gaps: Vec<f64> = requests.windows(2).map(|w| w[1].arrival - w[0].arrival).collect();
            gaps.sort_by(f64::total_cmp);
            gaps[gaps.len() / 2]
        };
        assert!(median_gap(TraceShape::Bursty) * 3.0 < median_gap(TraceShape::Steady));
    }
}
