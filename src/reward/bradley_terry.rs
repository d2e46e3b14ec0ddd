//! Ranks responses by how often each is preferred to each other: the Bradley-Terry model.

/// Preferences nearer to 0 or 1 than this count as this, so that strengths are finite.
const MARGIN: f64 = 1e-6;
/// How far a strength moves in a step at most. Newton's steps overshoot where preferences are nearly certain.
const LONGEST_STEP: f64 = 1.0;
/// Steps at most. Sixteen responses in a nearly certain order need about a hundred.
const MAX_STEPS: usize = 1_000;
/// The step at which the fit ends.
const PRECISION: f64 = 1e-10;

/// The strengths of `count` responses: under the model, the difference of two is the log-odds that the first is
/// preferred. Their mean is 0. `preference` gives the probability that one response, by its index, is better than another.
///
/// The likeliest strengths, by Newton's method. All sums have a fixed order, so that the bits are always the same.
pub(crate) fn strengths(count: usize, preference: impl Fn(usize, usize) -> f64) -> Vec<f64> {
    let mut strengths = vec![0.0; count];
    for _ in 0..MAX_STEPS {
        let step = newton_step(&strengths, &preference);
        let longest = step.iter().fold(0.0, |longest: f64, part| longest.max(part.abs()));
        let scale = if longest > LONGEST_STEP { LONGEST_STEP / longest } else { 1.0 };
        for (strength, part) in strengths.iter_mut().zip(&step) {
            *strength += part * scale;
        }
        if longest <= PRECISION {
            break;
        }
    }
    let mean = strengths.iter().sum::<f64>() / count.max(1) as f64;
    strengths.into_iter().map(|strength| strength - mean).collect()
}

/// The gradient of the log-likelihood, divided by its curvature.
fn newton_step(strengths: &[f64], preference: impl Fn(usize, usize) -> f64) -> Vec<f64> {
    let count = strengths.len();
    let mut gradient = vec![0.0; count];
    // Strengths may all move together; a constant in every place makes the sum of a step 0.
    let mut curvature = vec![vec![1.0 / count as f64; count]; count];
    for one in 0..count {
        for other in (0..count).filter(|other| *other != one) {
            let expected = 1.0 / (1.0 + f64::exp(strengths[other] - strengths[one]));
            gradient[one] += preference(one, other).clamp(MARGIN, 1.0 - MARGIN) - expected;
            let slope = expected * (1.0 - expected);
            curvature[one][one] += slope;
            curvature[one][other] -= slope;
        }
    }
    solve(curvature, gradient)
}

/// Solves `matrix x = vector` for a symmetric, positive definite matrix, by Gaussian elimination.
fn solve(mut matrix: Vec<Vec<f64>>, mut vector: Vec<f64>) -> Vec<f64> {
    let count = vector.len();
    for pivot in 0..count {
        let (done, rest) = matrix.split_at_mut(pivot + 1);
        let above = &done[pivot];
        for (offset, row) in rest.iter_mut().enumerate() {
            let factor = row[pivot] / above[pivot];
            for (element, from) in row.iter_mut().zip(above) {
                *element -= factor * from;
            }
            vector[pivot + 1 + offset] -= factor * vector[pivot];
        }
    }
    for row in (0..count).rev() {
        for column in row + 1..count {
            vector[row] -= matrix[row][column] * vector[column];
        }
        vector[row] /= matrix[row][row];
    }
    vector
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
    fn nearly_certain_orders_are_fitted_to_the_end() {
        for (count, chance) in [(4, 0.9999), (8, 0.9999), (16, 1.0)] {
            let order = |one: usize, other: usize| if one < other { chance } else { 1.0 - chance };
            let found = strengths(count, order);
            // The expected number of wins of the likeliest strengths is the number given.
            for one in 0..count {
                let others = (0..count).filter(|other| *other != one);
                let surplus: f64 = others
                    .map(|other| {
                        let given = order(one, other).clamp(MARGIN, 1.0 - MARGIN);
                        given - 1.0 / (1.0 + f64::exp(found[other] - found[one]))
                    })
                    .sum();
                assert!(surplus.abs() < 1e-12, "{count} {one} {surplus}");
                assert!((found[one] + found[count - 1 - one]).abs() < 1e-6, "{found:?}");
            }
        }
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
