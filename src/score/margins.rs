//! Ranks of a row's responses, and margins between their scores.

use super::forms::Found;
use crate::reward::ranks;

/// The scores of the responses to the prompt of the response at `index`; null for the others.
pub(super) fn rival_scores(ranking: &[Option<f64>], found: &Found, index: usize) -> Vec<Option<f64>> {
    let scores = ranking.iter().enumerate();
    scores.map(|(other, score)| score.filter(|_| found.are_rivals(index, other))).collect()
}

/// The rank of each response among those to the same prompt.
pub(super) fn ranks_of_rivals(ranking: &[Option<f64>], found: &Found) -> Vec<Option<usize>> {
    if found.prompts.is_empty() {
        return ranks(ranking);
    }
    let mut all = vec![None; ranking.len()];
    for (index, prompt) in found.prompts.iter().enumerate() {
        if found.prompts[..index].contains(prompt) {
            continue;
        }
        for (rank, place) in ranks(&rival_scores(ranking, found, index)).into_iter().zip(&mut all) {
            *place = rank.or(*place);
        }
    }
    all
}

/// The highest score minus the second highest; `None` for fewer than two.
pub(super) fn margin(scores: &[Option<f64>]) -> Option<f64> {
    let mut sorted: Vec<f64> = scores.iter().flatten().copied().collect();
    sorted.sort_by(|a, b| b.total_cmp(a));
    Some(sorted.first()? - sorted.get(1)?)
}

/// The lowest score of the `chosen` first minus the highest of the others: above 0 if all of the chosen are better.
/// `None` unless all have scores.
pub(super) fn lists_margin(scores: &[Option<f64>], chosen: usize) -> Option<f64> {
    let scores: Vec<f64> = scores.iter().copied().collect::<Option<_>>()?;
    let (chosen, rejected) = scores.split_at_checked(chosen)?;
    let lowest = chosen.iter().copied().min_by(f64::total_cmp)?;
    Some(lowest - rejected.iter().copied().max_by(f64::total_cmp)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_ranked_among_those_to_the_same_prompt() {
        let found = Found { prompts: vec![0, 0, 1, 1, 1], ..Found::default() };
        let ranking = [Some(1.0), Some(2.5), Some(9.0), None, Some(7.0)];
        assert_eq!(ranks_of_rivals(&ranking, &found), [Some(2), Some(1), Some(1), None, Some(2)]);
        assert_eq!(margin(&rival_scores(&ranking, &found, 0)), Some(1.5));
    }

    #[test]
    fn the_margin_of_a_group_is_between_its_best_two() {
        assert_eq!(margin(&[Some(1.0), None, Some(3.0), Some(2.5)]), Some(0.5));
        assert_eq!(margin(&[Some(1.0), None]), None);
    }
}
