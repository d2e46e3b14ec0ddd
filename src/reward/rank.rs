//! The order of several responses.

/// Rank of each score, from 1 for the highest. Equal scores share the better rank, and the ranks after it stay
/// empty: 1, 2, 2, 4. Without a score there is no rank.
pub fn ranks(scores: &[Option<f64>]) -> Vec<Option<usize>> {
    let mut sorted: Vec<f64> = scores.iter().flatten().copied().collect();
    sorted.sort_unstable_by(|a, b| b.total_cmp(a));
    let rank = |score: f64| 1 + sorted.partition_point(|other| *other > score);
    scores.iter().map(|score| score.map(rank)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_score_is_first_and_equal_ones_share_a_rank() {
        let scores = [Some(1.0), None, Some(-3.5), Some(7.0), Some(1.0), Some(f64::MIN)];
        assert_eq!(ranks(&scores), [Some(2), None, Some(4), Some(1), Some(2), Some(5)]);
        assert_eq!(ranks(&[Some(0.0), Some(-0.0)]), [Some(1), Some(1)]);
        assert!(ranks(&[]).is_empty());
    }
}
