//! Process reward models: two classes at each step token, and the second one's probability as the score.

use std::sync::Arc;

use super::error::{RewardError, Unscorable, check_count, check_finite};

/// The token that ends a step.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct StepScores {
    pub(super) token: String,
    pub(super) id: u32,
}

impl StepScores {
    /// Positions of the steps.
    pub(super) fn positions(&self, tokens: &[u32]) -> Result<Arc<[usize]>, Unscorable> {
        let steps: Arc<[usize]> = (0..tokens.len()).filter(|&position| tokens[position] == self.id).collect();
        if steps.is_empty() { Err(Unscorable::NoStep { token: self.token.clone() }) } else { Ok(steps) }
    }

    /// The scores of all steps from `outputs`, `[steps, 2]`: `NAME_1`, `NAME_2` and so on.
    pub(super) fn scores(&self, name: &str, outputs: &[f32]) -> Result<Vec<(String, f32)>, RewardError> {
        let (classes, _) = outputs.as_chunks::<2>();
        check_count(outputs.len(), 2 * classes.len().max(1))?;
        let mut scores = Vec::new();
        for (step, [no, yes]) in classes.iter().enumerate() {
            let name = format!("{name}_{}", step + 1);
            check_finite(&name, &[*no, *yes])?;
            // The softmax's second value, in the form that neither over- nor underflows.
            scores.push((name, 1.0 / (1.0 + (no - yes).exp())));
        }
        Ok(scores)
    }
}

/// The number of the step that `attribute` is the score of, from 1, where steps share the name `name`.
pub(super) fn step_number(attribute: &str, name: &str) -> Option<usize> {
    attribute.strip_prefix(name)?.strip_prefix('_')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps() -> StepScores {
        StepScores { token: "<extra_0>".into(), id: 7 }
    }

    #[test]
    fn every_step_is_read_and_has_a_probability() {
        assert_eq!(*steps().positions(&[1, 7, 3, 7, 7, 4]).unwrap(), [1, 3, 4]);
        let scores = steps().scores("step", &[0.0, 0.0, 200.0, -200.0, -200.0, 200.0]).unwrap();
        let expected = [("step_1", 0.5), ("step_2", 0.0), ("step_3", 1.0)];
        assert_eq!(scores, expected.map(|(name, score)| (name.to_owned(), score)));
    }

    #[test]
    fn a_conversation_without_steps_is_refused_with_what_is_missing() {
        let error = steps().positions(&[1, 2]).unwrap_err().to_string();
        assert!(error.contains("put <extra_0> after each step"), "{error}");
    }

    #[test]
    fn outputs_that_are_not_finite_or_not_pairs_are_not_scores() {
        assert!(steps().scores("step", &[f32::INFINITY, 0.0]).is_err());
        for outputs in [&[][..], &[1.0], &[1.0, 2.0, 3.0]] {
            let error = steps().scores("step", outputs).unwrap_err();
            assert!(matches!(error, RewardError::Count { .. }), "{outputs:?}");
        }
    }
}
