//! Process reward models: one or two outputs at the end of each step, and how they become its score.

use std::sync::Arc;

use super::error::{RewardError, Unscorable, check_count, check_finite};
use crate::manifest::StepValue;

/// Where the steps of a conversation end, and how their scores are made.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct StepScores {
    pub(super) ends: StepEnds,
    pub(super) value: StepValue,
}

/// Where steps are read.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum StepEnds {
    /// At every occurrence of a token.
    Token { text: String, id: u32 },
    /// At the last token of every occurrence of these.
    Pattern(Vec<u32>),
    /// Where the encoder says, which encodes each step by itself. This is the text between two steps.
    Encoded { separator: String },
}

impl StepScores {
    /// Positions of the steps.
    pub(super) fn positions(&self, tokens: &[u32]) -> Result<Arc<[usize]>, Unscorable> {
        let (steps, missing): (Arc<[usize]>, _) = match &self.ends {
            StepEnds::Encoded { .. } => return Err(Unscorable::StepsOfATurn),
            StepEnds::Token { text, id } => (
                (0..tokens.len()).filter(|&position| tokens[position] == *id).collect(),
                Unscorable::NoStep { token: text.clone() },
            ),
            StepEnds::Pattern(pattern) => {
                let width = pattern.len().max(1);
                let found = tokens.windows(width).enumerate().filter(|(_, window)| window == pattern);
                (found.map(|(start, _)| start + width - 1).collect(), Unscorable::NoTurn)
            }
        };
        if steps.is_empty() { Err(missing) } else { Ok(steps) }
    }

    /// The scores of all steps from `outputs`, `[steps, outputs]`: `NAME_1`, `NAME_2` and so on.
    pub(super) fn scores(&self, name: &str, outputs: &[f32]) -> Result<Vec<(String, f32)>, RewardError> {
        let width = self.value.outputs();
        check_count(outputs.len(), width * (outputs.len() / width).max(1))?;
        let mut scores = Vec::new();
        for (step, outputs) in outputs.chunks_exact(width).enumerate() {
            let name = format!("{name}_{}", step + 1);
            check_finite(&name, outputs)?;
            let score = match (self.value, outputs) {
                // The softmax's second value, in the form that neither over- nor underflows.
                (StepValue::Softmax, &[no, yes]) => 1.0 / (1.0 + (no - yes).exp()),
                (StepValue::Sigmoid, &[logit]) => 1.0 / (1.0 + (-logit).exp()),
                (StepValue::Raw, &[score]) => score,
                _ => unreachable!("chunks have the width of the value"),
            };
            scores.push((name, score));
        }
        Ok(scores)
    }
}

/// The number, from 1, of the step whose score is called `attribute`, if steps share the name `name`.
pub(super) fn step_number(attribute: &str, name: &str) -> Option<usize> {
    attribute.strip_prefix(name)?.strip_prefix('_')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps() -> StepScores {
        let ends = StepEnds::Token { text: "<extra_0>".into(), id: 7 };
        StepScores { ends, value: StepValue::Softmax }
    }

    #[test]
    fn one_output_is_a_score_or_a_probability() {
        let raw = StepScores { value: StepValue::Raw, ..steps() };
        assert_eq!(raw.scores("step", &[-3.5]).unwrap(), [("step_1".to_owned(), -3.5)]);
        let sigmoid = StepScores { value: StepValue::Sigmoid, ..steps() };
        let scores = sigmoid.scores("step", &[0.0, 200.0, -200.0]).unwrap();
        assert_eq!(scores.iter().map(|(_, score)| *score).collect::<Vec<_>>(), [0.5, 1.0, 0.0]);
        assert!(raw.scores("step", &[]).is_err());
    }

    #[test]
    fn turns_are_read_at_the_end_of_what_precedes_them() {
        let turns = StepScores { ends: StepEnds::Pattern(vec![1, 2]), ..steps() };
        assert_eq!(*turns.positions(&[1, 2, 7, 1, 1, 2, 7]).unwrap(), [1, 5]);
        assert_eq!(turns.positions(&[1, 7, 2]), Err(Unscorable::NoTurn));
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
