//! Ranks responses by how often each is preferred to each other: the Bradley-Terry model.

/// Preferences nearer to 0 or 1 than this count as this, so that strengths are finite.
const MARGIN: f64 = 1e-6;
/// Steps at most; a few dozen are usual.
const MOST_STEPS: usize = 10_000;
/// The relative change of all strengths at which the fit ends.
const PRECISION: f64 = 1e-12;

/// The strengths of `count` responses: under the model, the difference of two is the log-odds that the first is
/// preferred. Their mean is 0. `preference` gives the probability that one response, by its index, is better than another.
///
/// Fitted by minorization-maximization (Hunter 2004). All sums have a fixed order, so that the bits are always the same.
pub(crate) fn strengths(count: usize, preference: impl Fn(usize, usize) -> f64) -> Vec<f64> {
    let others = |one: usize| (0..count).filter(move |other| *other != one);
    let wins: Vec<f64> = (0..count)
        .map(|one| others(one).map(|other| preference(one, other).clamp(MARGIN, 1.0 - MARGIN)).sum())
        .collect();
    let mut weights = vec![1.0; count];
    for _ in 0..MOST_STEPS {
        let next = |one: usize| {
            let games: f64 = others(one).map(|other| 1.0 / (weights[one] + weights[other])).sum();
            wins[one] / games
        };
        let found = with_mean_one((0..count).map(next).collect());
        let is_near = |(new, old): (&f64, &f64)| (new - old).abs() <= PRECISION * old;
        let is_done = found.iter().zip(&weights).all(is_near);
        weights = found;
        if is_done {
            break;
        }
    }
    weights.into_iter().map(f64::ln).collect()
}

/// The weights times a factor that makes their geometric mean 1.
fn with_mean_one(weights: Vec<f64>) -> Vec<f64> {
    let logarithms: f64 = weights.iter().map(|weight| weight.ln()).sum();
    let mean = (logarithms / weights.len().max(1) as f64).exp();
    weights.into_iter().map(|weight| weight / mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strengths_that_made_the_preferences_are_found_again() {
        let made = [0.75, -1.5, 0.0, 2.0, -1.25];
        let preference = |one: usize, other: usize| 1.0 / (1.0 + f64::exp(made[other] - made[one]));
        for (found, made) in strengths(5, preference).iter().zip(made) {
            assert!((found - made).abs() < 1e-6, "{found} {made}");
        }
        assert_eq!(strengths(5, preference), strengths(5, preference));
    }

    #[test]
    fn two_responses_differ_by_the_log_odds_of_their_preference() {
        let found = strengths(2, |one, _| if one == 0 { 0.8 } else { 0.2 });
        assert!((found[0] - found[1] - f64::ln(4.0)).abs() < 1e-9 && (found[0] + found[1]).abs() < 1e-9);
    }

    #[test]
    fn certain_preferences_and_circles_have_finite_strengths() {
        let certain = strengths(16, |one, other| f64::from(u8::from(one < other)));
        assert!(certain.iter().all(|strength| strength.is_finite()), "{certain:?}");
        assert!(certain.windows(2).all(|pair| pair[0] > pair[1]), "{certain:?}");
        let circle = strengths(3, |one, other| if (one + 1) % 3 == other { 0.9 } else { 0.1 });
        assert!(circle.iter().all(|strength| strength.abs() < 1e-9), "{circle:?}");
    }
}
