//! Where a conversation is read, and what its logits there are called.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use super::{RewardError, Scores, options};
use crate::manifest::score_options::ScoreOptions;
use crate::manifest::{self, Gating, Pooling, fault_of_names};

/// How the logits of a sequence become scores.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// Names of the scores, in the model's order.
    attributes: Vec<String>,
    kind: Kind,
    options: ScoreOptions,
}

/// Kinds of heads.
#[derive(Clone, Debug, PartialEq)]
enum Kind {
    /// A score for each of these logits at the last token, of so many.
    Last { chosen: Vec<usize>, outputs: usize },
    /// Two classes at each step token; a step's score is the probability of the second.
    Steps { token: String, id: u32 },
    /// Scores at the last token, and one that mixes them by shares read where the prompt ends.
    Gated(Gating),
}

/// Why a conversation has no place to read its score at: the request's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unscorable {
    /// A process reward model and no step.
    #[error("the model scores steps, and no assistant's turn holds {token}: put {token} behind each step")]
    NoStep {
        /// The step token.
        token: String,
    },
    /// ArmoRM and no answer.
    #[error("the model scores an answer to a prompt: send a user's turn and behind it the assistant's")]
    NoAnswer,
}

impl Head {
    /// The head that an engine's manifest describes.
    pub fn new(head: &manifest::Head) -> Self {
        let kind = match (&head.pooling, &head.gating) {
            (Pooling::EachStep { token, id }, _) => Kind::Steps { token: token.clone(), id: *id },
            (Pooling::LastToken, Some(gating)) => Kind::Gated(gating.clone()),
            (Pooling::LastToken, None) => {
                let outputs = head.outputs();
                Kind::Last { chosen: (0..outputs).collect(), outputs }
            }
        };
        Self { attributes: head.attributes.clone(), kind, options: head.score.clone() }
    }

    /// The head that a manifest describes, as whoever serves it wants its scores chosen, called and
    /// changed; where these say nothing, the manifest does.
    ///
    /// # Errors
    /// They do not fit the model; the sentence says which and why.
    pub fn with_options(
        head: &manifest::Head,
        rows: Option<Range<usize>>,
        names: Option<&[String]>,
        options: ScoreOptions,
    ) -> Result<Self, String> {
        let mut served = Self::new(head);
        if let Some(rows) = rows {
            served.choose(head, &rows)?;
        }
        if let Some(names) = names {
            served.rename(names)?;
        }
        served.options = options.or(served.options);
        let plain = matches!(served.kind, Kind::Last { .. });
        super::check_options(&served.options, &served.attributes, plain)?;
        if matches!(served.kind, Kind::Steps { .. }) && !served.options.weights.is_empty() {
            return Err(
                "score_weights: this model gives a score for each step, and steps have no weights".into()
            );
        }
        Ok(served)
    }

    /// Keeps the scores of some rows of the model's own head: logits, as NIM counts them.
    fn choose(&mut self, head: &manifest::Head, rows: &Range<usize>) -> Result<(), String> {
        let Kind::Last { chosen, .. } = &mut self.kind else {
            return Err("reward_logits_range: this model's scores are no single logits; leave it out".into());
        };
        let held: Vec<usize> = if head.rows.is_empty() { chosen.clone() } else { head.rows.clone() };
        let named = chosen.len().min(self.attributes.len());
        let place = |row: usize| held.iter().position(|&held| held == row).filter(|place| *place < named);
        let places: Option<Vec<usize>> = rows.clone().map(place).collect();
        let places = places.filter(|places| !places.is_empty()).ok_or_else(|| {
            let (first, end) = (rows.start, rows.end);
            format!(
                "reward_logits_range is {first},{end}, and the engine holds the logits {held:?} of the model; \
                 choose among these, or build it again with --head and the rows you want"
            )
        })?;
        self.attributes = places.iter().map(|&place| self.attributes[place].clone()).collect();
        *chosen = places;
        Ok(())
    }

    fn rename(&mut self, names: &[String]) -> Result<(), String> {
        let (given, due) = (names.len(), self.attributes.len());
        if given != due {
            let served = self.attributes.join(", ");
            return Err(format!(
                "reward_model_string has {given} names ({}), and the model {due} scores ({served}); give one \
                 name for each",
                names.join(", ")
            ));
        }
        match fault_of_names(names) {
            Some(reason) => Err(format!("reward_model_string: {reason}")),
            None => {
                self.attributes = names.to_vec();
                Ok(())
            }
        }
    }

    /// What is done to the scores, if anything.
    pub fn options(&self) -> Option<&ScoreOptions> {
        (!self.options.is_off()).then_some(&self.options)
    }

    /// Whether the scores are logits as the model gave them, of which probabilities can be made.
    pub fn is_raw(&self) -> bool {
        matches!(self.kind, Kind::Last { .. }) && self.options.activation.is_none()
    }

    /// Whether the scores are of steps.
    pub fn scores_steps(&self) -> bool {
        matches!(self.kind, Kind::Steps { .. })
    }

    /// Names of the scores, in the model's order; of steps, what they all are called.
    pub fn attributes(&self) -> &[String] {
        &self.attributes
    }

    /// The positions at which a conversation is read, ascending; none of an empty one.
    ///
    /// # Errors
    /// It lacks what the model is read at.
    pub fn read(&self, tokens: &[u32]) -> Result<Arc<[usize]>, Unscorable> {
        let last = tokens.len().saturating_sub(1);
        match &self.kind {
            Kind::Last { .. } => Ok([last].into()),
            Kind::Steps { token, id } => {
                let steps = tokens.iter().enumerate().filter(|(_, token)| *token == id);
                let steps: Arc<[usize]> = steps.map(|(position, _)| position).collect();
                if steps.is_empty() { Err(Unscorable::NoStep { token: token.clone() }) } else { Ok(steps) }
            }
            Kind::Gated(gating) => {
                let width = gating.pattern.len().max(1);
                let end = tokens.windows(width).rposition(|window| window == gating.pattern);
                let end = end.ok_or(Unscorable::NoAnswer)?;
                Ok([end, last].into())
            }
        }
    }

    /// Names `logits`, `[positions read, outputs]`; raw unless there are options.
    ///
    /// # Errors
    /// Another number of logits, or one that is not finite: never served as a score.
    pub fn scores(&self, logits: &[f32]) -> Result<Scores, RewardError> {
        let scores = match &self.kind {
            Kind::Last { chosen, outputs } => {
                check_count(logits.len(), *outputs)?;
                self.named(&chosen.iter().map(|&place| logits[place]).collect::<Vec<_>>())
            }
            Kind::Steps { .. } => self.steps(logits),
            Kind::Gated(gating) => self.mixed(logits, gating),
        }?;
        // Steps, of which there may be any number, are all of the one attribute.
        let attribute = |place: usize| self.attributes.get(place).or(self.attributes.last());
        options::apply(&self.options, scores, |place| attribute(place).map_or("", String::as_str))
    }

    /// Names of the scores that every conversation has, in their order; none of a model that scores
    /// steps, of which there may be any number.
    pub fn names(&self) -> Vec<&str> {
        match &self.kind {
            Kind::Steps { .. } => Vec::new(),
            _ => self.attributes.iter().map(String::as_str).chain(self.options.sum_name()).collect(),
        }
    }

    /// What [`Head::single`] gives is called.
    pub fn single_name(&self) -> String {
        match (&self.kind, self.names().as_slice()) {
            (Kind::Steps { .. }, _) => format!("min({})", self.attributes.join(",")),
            (_, [.., last]) if self.ends_with_mixture() => (*last).to_owned(),
            (_, names) => names.first().copied().unwrap_or_default().to_owned(),
        }
    }

    /// The score that stands for all where a client wants one number: of steps the lowest, else the
    /// weighted sum or mixture where there is one, else the first. `None` if there are no scores.
    pub fn single(&self, scores: &Scores) -> Option<f32> {
        let mut values = scores.pairs.iter().map(|(_, value)| *value);
        match &self.kind {
            Kind::Steps { .. } => values.min_by(f32::total_cmp),
            _ if self.ends_with_mixture() => values.next_back(),
            _ => values.next(),
        }
    }

    fn ends_with_mixture(&self) -> bool {
        matches!(self.kind, Kind::Gated(_)) || self.options.sum_name().is_some()
    }

    /// Scores under the names by which they are counted: steps all have one, since there may be any
    /// number of them.
    pub fn counted<'a>(&self, scores: &'a Scores) -> Cow<'a, [(String, f32)]> {
        match (&self.kind, self.attributes.first()) {
            (Kind::Steps { .. }, Some(name)) => {
                scores.pairs.iter().map(|(_, score)| (name.clone(), *score)).collect()
            }
            _ => Cow::Borrowed(&scores.pairs),
        }
    }

    fn named(&self, values: &[f32]) -> Result<Scores, RewardError> {
        check_count(values.len(), self.attributes.len())?;
        let pair = |(name, value): (&String, &f32)| {
            check_finite(name, &[*value])?;
            Ok((name.clone(), *value))
        };
        self.attributes.iter().zip(values).map(pair).collect::<Result<_, _>>().map(|pairs| Scores { pairs })
    }

    /// `step_1`, `step_2` and so on.
    fn steps(&self, logits: &[f32]) -> Result<Scores, RewardError> {
        let (classes, _) = logits.as_chunks::<2>();
        check_count(logits.len(), 2 * classes.len().max(1))?;
        let name = self.attributes.first().map_or("step", String::as_str);
        // The probability of the second of two classes, in the form that neither over- nor underflows.
        let score = |(step, [no, yes]): (usize, &[f32; 2])| {
            let name = format!("{name}_{}", step + 1);
            check_finite(&name, &[*no, *yes])?;
            Ok((name, 1.0 / (1.0 + (no - yes).exp())))
        };
        classes.iter().enumerate().map(score).collect::<Result<_, _>>().map(|pairs| Scores { pairs })
    }

    /// The objectives at the last token, and their mixture.
    fn mixed(&self, logits: &[f32], gating: &Gating) -> Result<Scores, RewardError> {
        let objectives = gating.transform.len();
        check_count(logits.len(), 4 * objectives)?;
        let (prompt, last) = logits.split_at(2 * objectives);
        check_finite("score", logits)?;
        let (scores, shares) = (&last[..objectives], softmax(&prompt[objectives..], gating.temperature));
        // What the shares weigh is `scores * transform`; its sum, by the scores.
        let weight = |row: &Vec<f32>| row.iter().zip(&shares).map(|(a, b)| a * b).sum::<f32>();
        let mixture: f32 =
            gating.transform.iter().zip(scores).map(|(row, score)| score * weight(row)).sum::<f32>();
        self.named(&[scores, &[gating.scale * mixture]].concat())
    }
}

fn check_count(logits: usize, due: usize) -> Result<(), RewardError> {
    if logits == due { Ok(()) } else { Err(RewardError::Count { logits, due }) }
}

/// Refuses values that no score can be made of: through a softmax they might look like one.
fn check_finite(attribute: &str, values: &[f32]) -> Result<(), RewardError> {
    match values.iter().find(|value| !value.is_finite()) {
        Some(&value) => Err(RewardError::NotFinite { attribute: attribute.to_owned(), value }),
        None => Ok(()),
    }
}

/// The shares of `logits / temperature`.
fn softmax(logits: &[f32], temperature: f32) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = logits.iter().map(|logit| ((logit - largest) / temperature).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps() -> Head {
        let pooling = Pooling::EachStep { token: "<extra_0>".into(), id: 7 };
        Head::new(&manifest::Head { attributes: vec!["step".into()], pooling, ..Default::default() })
    }

    fn gated() -> Head {
        let gating = Gating {
            pattern: vec![1, 2],
            hidden: vec![],
            bias: true,
            temperature: 2.0,
            scale: 0.5,
            transform: vec![vec![1.0, 0.0], vec![-0.25, 1.0]],
        };
        let attributes = ["help", "length", "score"].map(str::to_owned).to_vec();
        Head::new(&manifest::Head { attributes, gating: Some(gating), ..Default::default() })
    }

    #[test]
    fn every_step_is_read_and_has_a_probability() {
        assert_eq!(*steps().read(&[1, 7, 3, 7, 7, 4]).unwrap(), [1, 3, 4]);
        let content = steps().scores(&[0.0, 0.0, 200.0, -200.0, -200.0, 200.0]).unwrap().content();
        assert_eq!(content, "step_1:0.5,step_2:0.0,step_3:1.0");
    }

    #[test]
    fn a_conversation_without_steps_is_told_what_is_missing() {
        let error = steps().read(&[1, 2]).unwrap_err().to_string();
        assert!(error.contains("put <extra_0> behind each step"), "{error}");
    }

    #[test]
    fn scores_are_mixed_by_shares_read_where_the_last_prompt_ends() {
        assert_eq!(*gated().read(&[1, 2, 5, 1, 2, 6]).unwrap(), [3, 5]);
        assert_eq!(gated().read(&[2, 1, 5]), Err(Unscorable::NoAnswer));
        // Shares of 2 ln 3 over a temperature of 2: three to one.
        let prompt = [9.0, 9.0, 2.0 * 3f32.ln(), 0.0];
        let last = [4.0, 8.0, 9.0, 9.0];
        let scores = gated().scores(&[prompt, last].concat()).unwrap();
        // 4 * 1 - 8 * 0.25 = 2 and 8, weighed 0.75 and 0.25, times 0.5.
        let expected = 0.5 * (0.75 * 2.0 + 0.25 * 8.0);
        assert_eq!(scores.pairs[..2], [("help".to_owned(), 4.0), ("length".to_owned(), 8.0)]);
        assert!((scores.pairs[2].1 - expected).abs() < 1e-6, "{scores:?}");
    }

    #[test]
    fn one_number_is_the_lowest_step_the_mixture_the_sum_or_the_first() {
        let scores =
            |pairs: &[f32]| Scores { pairs: pairs.iter().map(|score| (String::new(), *score)).collect() };
        let three = scores(&[0.5, 0.25, 0.75]);
        let attributes = ["a", "b"].map(str::to_owned).to_vec();
        let plain = Head::new(&manifest::Head { attributes, ..Default::default() });
        let mut summed = plain.clone();
        summed.options.weights.insert("a".into(), 1.0);
        for (head, single, name) in [
            (steps(), 0.25, "min(step)"),
            (gated(), 0.75, "score"),
            (summed, 0.75, "weighted"),
            (plain, 0.5, "a"),
        ] {
            assert_eq!((head.single(&three), head.single_name()), (Some(single), name.to_owned()));
        }
        assert!(steps().names().is_empty());
    }

    #[test]
    fn a_logit_that_is_no_number_is_no_score_though_a_softmax_would_hide_it() {
        assert!(steps().scores(&[f32::INFINITY, 0.0]).is_err());
        assert!(gated().scores(&[0.0, 0.0, f32::NEG_INFINITY, 0.0, 1.0, 1.0, 0.0, 0.0]).is_err());
        for logits in [&[][..], &[1.0], &[1.0, 2.0, 3.0]] {
            assert!(matches!(steps().scores(logits), Err(RewardError::Count { .. })), "{logits:?}");
        }
    }
}
