//! Makes request traces of the shapes that reward servers see.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::trace::Request;

/// The shape of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Shape {
    /// Independent requests at a constant mean rate (Poisson)
    Steady,
    /// Bursts of 32 requests on average, each within a tenth of a second
    Bursty,
    /// Groups of responses to one prompt, all at once, as in reinforcement learning
    BestOfN,
    /// Steady arrivals, some up to 32 times longer than most (Pareto)
    LongTailed,
}

/// What to make.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recipe {
    /// Shape.
    pub shape: Shape,
    /// Mean requests per second, above 0.
    pub rate: f64,
    /// How many.
    pub requests: usize,
    /// Equal seeds and recipes make equal traces.
    pub seed: u64,
    /// Mean tokens of a prompt; at least 1.
    pub prompt_tokens: usize,
    /// Mean tokens of a response; at least 1.
    pub response_tokens: usize,
    /// Responses to one prompt in [`Shape::BestOfN`]; at least 1.
    pub group: usize,
}

/// Mean size of a burst.
const BURST: f64 = 32.0;
/// Length of a burst in seconds.
const BURST_SECONDS: f64 = 0.1;
/// The longest text of a long-tailed trace, in typical ones.
const TAIL: f64 = 32.0;

/// Makes a trace, ordered by arrival.
///
/// Lengths are uniform from half to one and a half of their mean, except in best-of-n, where
/// prompts are exact and only responses vary, and in long-tailed.
pub fn generate(recipe: &Recipe) -> Vec<Request> {
    let mut random = SmallRng::seed_from_u64(recipe.seed);
    let mut requests = match recipe.shape {
        Shape::Steady => independent(recipe, &mut random, uniform_text),
        Shape::LongTailed => independent(recipe, &mut random, long_tailed_text),
        Shape::Bursty => bursts(recipe, &mut random),
        Shape::BestOfN => groups(recipe, &mut random),
    };
    requests.truncate(recipe.requests);
    requests.sort_by(|a, b| a.arrival.total_cmp(&b.arrival));
    for request in &mut requests {
        // Microseconds are enough, and keep the files small.
        request.arrival = (request.arrival * 1e6).round() / 1e6;
    }
    requests
}

fn independent(
    recipe: &Recipe,
    random: &mut SmallRng,
    text: fn(&Recipe, &mut SmallRng) -> usize,
) -> Vec<Request> {
    let mut now = 0.0;
    let mut next = || {
        now += exponential(random, recipe.rate);
        Request::score(now, text(recipe, random))
    };
    (0..recipe.requests).map(|_| next()).collect()
}

fn bursts(recipe: &Recipe, random: &mut SmallRng) -> Vec<Request> {
    let mut requests = Vec::with_capacity(recipe.requests);
    let mut start = 0.0;
    while requests.len() < recipe.requests {
        start += exponential(random, recipe.rate / BURST);
        // Geometric with the mean BURST.
        let size = 1.0 + exponential(random, 1.0 / (BURST - 0.5)).floor();
        for _ in 0..size as usize {
            let arrival = start + random.random_range(0.0..BURST_SECONDS);
            requests.push(Request::score(arrival, uniform_text(recipe, random)));
        }
    }
    requests
}

fn groups(recipe: &Recipe, random: &mut SmallRng) -> Vec<Request> {
    let mut requests = Vec::with_capacity(recipe.requests);
    let mut arrival = 0.0;
    while requests.len() < recipe.requests {
        arrival += exponential(random, recipe.rate / recipe.group as f64);
        let prefix = format!("prompt-{}", requests.len() / recipe.group);
        for _ in 0..recipe.group {
            let response = around(recipe.response_tokens, random);
            requests.push(Request {
                prefix: Some(prefix.clone()),
                prefix_tokens: recipe.prompt_tokens,
                ..Request::score(arrival, recipe.prompt_tokens + response)
            });
        }
    }
    requests
}

fn uniform_text(recipe: &Recipe, random: &mut SmallRng) -> usize {
    around(recipe.prompt_tokens, random) + around(recipe.response_tokens, random)
}

/// Pareto with shape 1.5, whose mean is 3 times its least, cut at [`TAIL`] times the mean asked for.
fn long_tailed_text(recipe: &Recipe, random: &mut SmallRng) -> usize {
    let mean = (recipe.prompt_tokens + recipe.response_tokens) as f64;
    let least = mean / 3.0;
    let drawn = least * (1.0 - random.random::<f64>()).powf(-1.0 / 1.5);
    drawn.min(mean * TAIL).max(1.0) as usize
}

/// Uniform from half to one and a half of `mean`.
fn around(mean: usize, random: &mut SmallRng) -> usize {
    random.random_range(mean.div_ceil(2)..=mean + mean / 2)
}

fn exponential(random: &mut SmallRng, rate: f64) -> f64 {
    -(1.0 - random.random::<f64>()).ln() / rate
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(shape: Shape) -> Recipe {
        Recipe {
            shape,
            rate: 50.0,
            requests: 20_000,
            seed: 7,
            prompt_tokens: 512,
            response_tokens: 128,
            group: 16,
        }
    }

    const SHAPES: [Shape; 4] = [Shape::Steady, Shape::Bursty, Shape::BestOfN, Shape::LongTailed];

    #[test]
    fn a_trace_has_the_rate_and_number_asked_for() {
        for shape in SHAPES {
            let requests = generate(&recipe(shape));
            assert_eq!(requests.len(), 20_000);
            let rate = 20_000.0 / requests.last().unwrap().arrival;
            assert!((45.0..55.0).contains(&rate), "{shape:?}: {rate}");
            assert!(requests.is_sorted_by(|a, b| a.arrival <= b.arrival), "{shape:?}");
        }
    }

    #[test]
    fn a_seed_means_one_trace() {
        for shape in SHAPES {
            assert_eq!(generate(&recipe(shape)), generate(&recipe(shape)));
            assert_ne!(generate(&recipe(shape)), generate(&Recipe { seed: 8, ..recipe(shape) }));
        }
    }

    #[test]
    fn texts_have_the_mean_length_asked_for() {
        for shape in [Shape::Steady, Shape::Bursty, Shape::BestOfN] {
            let requests = generate(&recipe(shape));
            let mean = requests.iter().map(|r| r.prompt_tokens).sum::<usize>() as f64 / 20_000.0;
            assert!((630.0..650.0).contains(&mean), "{shape:?}: {mean}");
        }
    }

    #[test]
    fn best_of_n_responses_share_their_prompt_and_arrive_together() {
        let requests = generate(&recipe(Shape::BestOfN));
        for group in requests.chunks(16) {
            assert!(group.iter().all(|r| r.prefix == group[0].prefix && r.arrival == group[0].arrival));
            assert!(group.iter().all(|r| r.prefix_tokens == 512 && r.prompt_tokens > 512));
        }
        assert_ne!(requests[0].prefix, requests[16].prefix);
    }

    #[test]
    fn a_long_tail_is_long_but_bounded() {
        let requests = generate(&recipe(Shape::LongTailed));
        let longest = requests.iter().map(|request| request.prompt_tokens).max().unwrap();
        assert!((5_000..=20_480).contains(&longest), "{longest}");
    }

    #[test]
    fn bursts_come_closer_together_than_steady_requests() {
        let median_gap = |shape| {
            let requests = generate(&recipe(shape));
            let mut gaps: Vec<f64> = requests.windows(2).map(|w| w[1].arrival - w[0].arrival).collect();
            gaps.sort_by(f64::total_cmp);
            gaps[gaps.len() / 2]
        };
        assert!(median_gap(Shape::Bursty) * 3.0 < median_gap(Shape::Steady));
    }
}
