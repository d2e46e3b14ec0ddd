//! Objectives at the last token, mixed into one more score by shares that a second network gives: ArmoRM, QRM, URM and
//! LDL.

use std::sync::Arc;

use super::error::{RewardError, Unscorable, check_count, check_finite};
use crate::manifest::Gating;

/// Where a conversation is read: at the end of the last prompt, if the shares are read there, and at its last token.
pub(super) fn positions(gating: &Gating, tokens: &[u32]) -> Result<Arc<[usize]>, Unscorable> {
    let width = gating.pattern.len();
    let last = tokens.len().saturating_sub(1);
    if width == 0 {
        return Ok([last].into());
    }
    let prompt_end = tokens.windows(width).rposition(|window| window == gating.pattern);
    let prompt_end = prompt_end.ok_or(Unscorable::NoAnswer)?;
    Ok([prompt_end, last].into())
}

/// The objectives and then their mixture. `outputs` are those at each position: for each objective one number or one
/// for each of its classes, then the objectives' gates.
pub(super) fn scores(gating: &Gating, outputs: &[f32]) -> Result<Vec<f32>, RewardError> {
    let objectives = gating.transform.len();
    let positions = if gating.pattern.is_empty() { 1 } else { 2 };
    let width = gating.outputs();
    check_count(outputs.len(), positions * width)?;
    check_finite("score", outputs)?;
    let (first, last) = (&outputs[..width], &outputs[outputs.len() - width..]);
    let gates = &first[objectives * gating.classes..];
    let shares = if gating.plain { gates.to_vec() } else { softmax(gates, gating.temperature) };
    let objectives = &last[..objectives * gating.classes];
    let mut scores: Vec<f32> = if gating.classes == 1 {
        objectives.to_vec()
    } else {
        objectives.chunks(gating.classes).map(mean_of_classes).collect()
    };
    // The shares weigh `scores * transform`. Summed by row of the matrix, that is one product per score.
    let mut mixture = 0.0;
    for (row, score) in gating.transform.iter().zip(&scores) {
        mixture += score * row.iter().zip(&shares).map(|(a, b)| a * b).sum::<f32>();
    }
    scores.push(gating.scale * mixture);
    Ok(scores)
}

/// The mean of a distribution over classes, whose values go from 0 to 1 in equal steps.
fn mean_of_classes(logits: &[f32]) -> f32 {
    let last = logits.len().saturating_sub(1).max(1) as f32;
    softmax(logits, 1.0).iter().enumerate().map(|(class, share)| class as f32 / last * share).sum()
}

/// The softmax of `logits / temperature`.
fn softmax(logits: &[f32], temperature: f32) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = logits.iter().map(|logit| ((logit - largest) / temperature).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::manifest::HeadActivation;

    /// Two objectives, whose shares are read where the prompt ends.
    pub(in crate::reward) fn gating() -> Gating {
        Gating {
            pattern: vec![1, 2],
            hidden: vec![],
            bias: true,
            activation: HeadActivation::Relu,
            plain: false,
            classes: 1,
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

    #[test]
    fn distributions_become_their_means_and_gates_weigh_as_they_are() {
        let gating = Gating {
            pattern: vec![],
            plain: true,
            classes: 3,
            scale: 1.0,
            transform: vec![vec![1.0, 0.0], vec![0.0, 1.0]],
            ..gating()
        };
        assert_eq!(*positions(&gating, &[7, 8, 9]).unwrap(), [2]);
        // Shares of 1/6, 2/6 and 3/6 of the values 0, 1/2 and 1; and all of the value 1.
        let outputs = [0.0, 2f32.ln(), 3f32.ln(), -200.0, -200.0, 0.0, 3.0, -0.5];
        let scores = scores(&gating, &outputs).unwrap();
        let expected = [2.0 / 3.0, 1.0, 2.0 - 0.5];
        for (score, expected) in scores.iter().zip(expected) {
            assert!((score - expected).abs() < 1e-6, "{scores:?}");
        }
    }
}
