//! ArmoRM: objectives at the last token, mixed into one more score by shares read where the prompt ends.

use std::sync::Arc;

use super::error::{RewardError, Unscorable, check_count, check_finite};
use crate::manifest::Gating;

/// Where a conversation is read: at the end of the last prompt, then at its last token.
pub(super) fn positions(gating: &Gating, tokens: &[u32]) -> Result<Arc<[usize]>, Unscorable> {
    let width = gating.pattern.len().max(1);
    let prompt_end = tokens.windows(width).rposition(|window| window == gating.pattern);
    let prompt_end = prompt_end.ok_or(Unscorable::NoAnswer)?;
    Ok([prompt_end, tokens.len() - 1].into())
}

/// The objectives and then their mixture. `outputs` are `[2 positions, 2 * objectives]`: at each position the
/// objectives, then their gates.
pub(super) fn scores(gating: &Gating, outputs: &[f32]) -> Result<Vec<f32>, RewardError> {
    let objectives = gating.transform.len();
    check_count(outputs.len(), 4 * objectives)?;
    check_finite("score", outputs)?;
    let (prompt, last) = outputs.split_at(2 * objectives);
    let (mut scores, gates) = (last[..objectives].to_vec(), &prompt[objectives..]);
    let shares = softmax(gates, gating.temperature);
    // The shares weigh `scores * transform`. Summed by row of the matrix, that is one product per score.
    let mut mixture = 0.0;
    for (row, score) in gating.transform.iter().zip(&scores) {
        mixture += score * row.iter().zip(&shares).map(|(a, b)| a * b).sum::<f32>();
    }
    scores.push(gating.scale * mixture);
    Ok(scores)
}

/// The softmax of `logits / temperature`.
fn softmax(logits: &[f32], temperature: f32) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = logits.iter().map(|logit| ((logit - largest) / temperature).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gating() -> Gating {
        Gating {
            pattern: vec![1, 2],
            hidden: vec![],
            bias: true,
            temperature: 2.0,
            scale: 0.5,
            transform: vec![vec![1.0, 0.0], vec![-0.25, 1.0]],
        }
    }

    #[test]
    fn scores_are_mixed_by_shares_read_where_the_last_prompt_ends() {
        assert_eq!(*positions(&gating(), &[1, 2, 5, 1, 2, 6]).unwrap(), [3, 5]);
        assert_eq!(positions(&gating(), &[2, 1, 5]), Err(Unscorable::NoAnswer));
        // Gates of 2 ln 3 and 0 at a temperature of 2 give shares of 0.75 and 0.25.
        let prompt = [9.0, 9.0, 2.0 * 3f32.ln(), 0.0];
        let last = [4.0, 8.0, 9.0, 9.0];
        let scores = scores(&gating(), &[prompt, last].concat()).unwrap();
        // 4 * 1 - 8 * 0.25 = 2 and 8, times their shares, times 0.5.
        let expected = 0.5 * (0.75 * 2.0 + 0.25 * 8.0);
        assert_eq!(scores[..2], [4.0, 8.0]);
        assert!((scores[2] - expected).abs() < 1e-6, "{scores:?}");
    }

    #[test]
    fn an_infinite_gate_is_not_hidden_by_the_softmax() {
        assert!(scores(&gating(), &[0.0, 0.0, f32::NEG_INFINITY, 0.0, 1.0, 1.0, 0.0, 0.0]).is_err());
    }
}
