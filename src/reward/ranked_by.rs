//! What ranks responses: one score by its name, or one number made of a conversation's steps.

use super::step_scores::step_number;

/// How the scores of steps become one number, by the name that requests and files use.
const SUMMARIES: [(&str, StepSummary); 4] = [
    ("min", StepSummary::Min),
    ("mean", StepSummary::Mean),
    ("last", StepSummary::Last),
    ("prod", StepSummary::Product),
];

/// The score that ranks responses, as `ranked_by`, `rank_by` and `--by` name it: an attribute, `weighted`,
/// or `min(step)`, `mean(step)`, `last(step)` or `prod(step)` of a model that scores steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RankedBy {
    name: String,
    /// For steps: how they become one number, and the name that they share.
    steps: Option<(StepSummary, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StepSummary {
    Min,
    Mean,
    Last,
    Product,
}

impl RankedBy {
    /// The score called `name`.
    pub fn parse(name: &str) -> Self {
        Self { name: name.to_owned(), steps: parse_summary(name) }
    }

    /// The names of all summaries of the steps called `step`.
    pub fn summaries(step: &str) -> Vec<String> {
        SUMMARIES.iter().map(|(summary, _)| format!("{summary}({step})")).collect()
    }

    /// The name as users write it, such as `helpfulness` or `min(step)`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name that the steps share; `None` if it is not a summary of steps.
    pub fn step(&self) -> Option<&str> {
        self.steps.as_ref().map(|(_, step)| step.as_str())
    }

    /// Its value among `scores`, in the model's order; `None` if they do not have it.
    pub fn value<'a>(&self, scores: impl Iterator<Item = (&'a str, f64)> + Clone) -> Option<f64> {
        if let Some((_, value)) = scores.clone().find(|(name, _)| *name == self.name) {
            return Some(value);
        }
        let (summary, step) = self.steps.as_ref()?;
        let steps: Vec<f64> =
            scores.filter(|(name, _)| step_number(name, step).is_some()).map(|(_, value)| value).collect();
        summary.value(&steps)
    }
}

impl StepSummary {
    fn value(self, steps: &[f64]) -> Option<f64> {
        let last = *steps.last()?;
        Some(match self {
            Self::Min => steps.iter().copied().fold(f64::INFINITY, f64::min),
            Self::Mean => steps.iter().sum::<f64>() / steps.len() as f64,
            Self::Last => last,
            Self::Product => steps.iter().product(),
        })
    }
}

/// Parses `min(step)`.
fn parse_summary(name: &str) -> Option<(StepSummary, String)> {
    let (summary, step) = name.strip_suffix(')')?.split_once('(')?;
    let (_, summary) = SUMMARIES.iter().find(|(known, _)| *known == summary)?;
    Some((*summary, step.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(name: &str, scores: &[(&str, f64)]) -> Option<f64> {
        RankedBy::parse(name).value(scores.iter().copied())
    }

    #[test]
    fn a_score_or_a_summary_of_the_steps_is_found_by_its_name() {
        let plain = [("helpfulness", 1.0), ("weighted", 2.0), ("min(step)", 7.0)];
        assert_eq!(value("weighted", &plain), Some(2.0));
        assert_eq!(value("min(step)", &plain), Some(7.0));
        assert_eq!(value("beauty", &plain), None);
        let steps = [("step_1", 0.5), ("step_2", 0.25), ("step_3", 1.0)];
        let summaries = [("min", 0.25), ("mean", 1.75 / 3.0), ("last", 1.0), ("prod", 0.125)];
        for (summary, expected) in summaries {
            assert_eq!(value(&format!("{summary}(step)"), &steps), Some(expected), "{summary}");
        }
        assert_eq!(value("step_2", &steps), Some(0.25));
        for unknown in ["max(step)", "min(stage)", "min(step", "step", "min(step_1)"] {
            assert_eq!(value(unknown, &steps), None, "{unknown}");
        }
    }
}
