//! Heads of language models that judge: the score of a question is made of the logits of its answers.

use super::error::{RewardError, check_finite};
use crate::manifest::judge::{AnswerScore, Judge, JudgeAnswer, Question};

/// Where a judge's logits are, and what is made of them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct JudgeScores {
    judge: Judge,
    /// The tokens that the outputs are logits of; empty for those of the whole vocabulary.
    rows: Vec<usize>,
    /// For each question, which outputs are its answers' logits; `None` where there is no such output.
    columns: Vec<Vec<Option<usize>>>,
}

impl JudgeScores {
    pub(super) fn new(judge: &Judge, rows: &[usize]) -> Self {
        let mut scores = Self { judge: judge.clone(), rows: rows.to_vec(), columns: Vec::new() };
        scores.find_columns();
        scores
    }

    pub(super) fn judge(&self) -> &Judge {
        &self.judge
    }

    /// Changes the questions, whose answers may get their tokens by it.
    pub(super) fn update<E>(
        &mut self,
        update: impl FnOnce(&mut [Question]) -> Result<(), E>,
    ) -> Result<(), E> {
        update(&mut self.judge.questions)?;
        self.find_columns();
        Ok(())
    }

    fn find_columns(&mut self) {
        let column = |answer: &JudgeAnswer| {
            let token = answer.token? as usize;
            if self.rows.is_empty() { Some(token) } else { self.rows.iter().position(|&row| row == token) }
        };
        let questions = self.judge.questions.iter();
        self.columns = questions.map(|question| question.answers.iter().map(column).collect()).collect();
    }

    /// The score of each question, from its outputs: `[questions, outputs]`.
    pub(super) fn scores(&self, names: &[String], outputs: &[f32]) -> Result<Vec<f32>, RewardError> {
        let mut scores = Vec::with_capacity(names.len());
        for (index, name, logits) in self.each(names, outputs)? {
            let answers = self.answers(index, name, logits)?;
            scores.push(score(&self.judge.questions[index], &answers) as f32);
        }
        Ok(scores)
    }

    /// The probability, over the whole vocabulary, that the model answers each question with one of its answers;
    /// nothing if the engine has only the answers' logits.
    pub(super) fn answer_mass(&self, names: &[String], outputs: &[f32]) -> Result<Vec<f32>, RewardError> {
        if !self.rows.is_empty() {
            return Ok(Vec::new());
        }
        let mut masses = Vec::with_capacity(names.len());
        for (index, name, logits) in self.each(names, outputs)? {
            let answers = self.answers(index, name, logits)?;
            let all = log_sum_exp(logits.iter().map(|&logit| f64::from(logit)));
            check_finite(name, &[all as f32])?;
            masses.push((log_sum_exp(answers.iter().copied()) - all).exp().min(1.0) as f32);
        }
        Ok(masses)
    }

    /// The questions by their index, with their names and outputs.
    fn each<'a>(
        &'a self,
        names: &'a [String],
        outputs: &'a [f32],
    ) -> Result<impl Iterator<Item = (usize, &'a str, &'a [f32])>, RewardError> {
        let count = self.judge.questions.len();
        let width = outputs.len() / count.max(1);
        let expected = if self.rows.is_empty() { width } else { self.rows.len() } * count;
        if width == 0 || outputs.len() != expected {
            return Err(RewardError::Count { logits: outputs.len(), expected });
        }
        let named = names.iter().zip(outputs.chunks_exact(width)).take(count).enumerate();
        Ok(named.map(|(index, (name, logits))| (index, name.as_str(), logits)))
    }

    /// The logits of a question's answers.
    fn answers(&self, index: usize, name: &str, logits: &[f32]) -> Result<Vec<f64>, RewardError> {
        let mut found = Vec::with_capacity(self.columns[index].len());
        for column in &self.columns[index] {
            let Some(&logit) = column.and_then(|column| logits.get(column)) else {
                let expected = column.unwrap_or(usize::MAX).saturating_add(1);
                return Err(RewardError::Count { logits: logits.len(), expected });
            };
            check_finite(name, &[logit])?;
            found.push(f64::from(logit));
        }
        Ok(found)
    }
}

fn score(question: &Question, logits: &[f64]) -> f64 {
    let best = question.best();
    let others = || logits.iter().enumerate().filter(|(index, _)| *index != best).map(|(_, logit)| *logit);
    let log_odds = || logits[best] - log_sum_exp(others());
    match question.score {
        AnswerScore::Expectation => {
            let all = log_sum_exp(logits.iter().copied());
            let answers = question.answers.iter().zip(logits);
            answers.map(|(answer, logit)| (logit - all).exp() * answer.worth).sum()
        }
        AnswerScore::Probability => (logits[best] - log_sum_exp(logits.iter().copied())).exp(),
        AnswerScore::Logit => logits[best],
        // There is one other.
        AnswerScore::LogitDifference => logits[best] - others().sum::<f64>(),
        AnswerScore::LogOdds => log_odds(),
    }
}

/// The logarithm of the sum of the exponentials, in the order of the numbers.
fn log_sum_exp(numbers: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = numbers.clone().fold(f64::NEG_INFINITY, f64::max);
    if !largest.is_finite() {
        return largest;
    }
    largest + numbers.map(|number| (number - largest).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(score: AnswerScore, answers: &[(u32, f64)]) -> Question {
        let answer =
            |&(token, worth): &(u32, f64)| JudgeAnswer { text: token.to_string(), worth, token: Some(token) };
        Question { ask: "?".into(), answers: answers.iter().map(answer).collect(), score }
    }

    fn judge(questions: Vec<Question>, rows: &[usize]) -> (JudgeScores, Vec<String>) {
        let names = (0..questions.len()).map(|index| format!("q{index}")).collect();
        (JudgeScores::new(&Judge { questions, ..Judge::default() }, rows), names)
    }

    #[test]
    fn each_score_is_made_of_the_answers_logits() {
        let ln = f32::ln;
        // Tokens 1, 3 and 4 have the probabilities 0.2, 0.5 and 0.1 of the vocabulary.
        let logits = [ln(0.15), ln(0.2), ln(0.05), ln(0.5), ln(0.1)];
        let three = [(4, 0.0), (1, 1.0), (3, 4.0)];
        for (kind, answers, expected) in [
            (AnswerScore::Expectation, &three[..], (0.2 + 2.0) / 0.8),
            (AnswerScore::Probability, &three, 0.5 / 0.8),
            (AnswerScore::Logit, &three, 0.5f64.ln()),
            (AnswerScore::LogOdds, &three, (0.5f64 / 0.3).ln()),
            (AnswerScore::LogitDifference, &three[1..], (0.5f64 / 0.2).ln()),
            (AnswerScore::LogOdds, &three[1..], (0.5f64 / 0.2).ln()),
        ] {
            let (scores, names) = judge(vec![question(kind, answers)], &[]);
            let found = f64::from(scores.scores(&names, &logits).unwrap()[0]);
            assert!((found - expected).abs() < 1e-6, "{kind:?}: {found} is not {expected}");
        }
        let (scores, names) = judge(vec![question(AnswerScore::Expectation, &three)], &[]);
        assert!((scores.answer_mass(&names, &logits).unwrap()[0] - 0.8).abs() < 1e-6);
    }

    #[test]
    fn an_engine_of_the_answers_rows_gives_the_same_scores_and_no_mass() {
        let questions = vec![
            question(AnswerScore::Expectation, &[(4, 0.0), (1, 1.0)]),
            question(AnswerScore::LogOdds, &[(3, 2.0), (1, 1.0)]),
        ];
        let whole = [0.5, -1.25, 7.0, 2.0, 0.75, 3.0, 0.25, -7.0, 1.0, 1.5];
        let rows = [-1.25, 2.0, 0.75, 0.25, 1.0, 1.5];
        let ((all, names), (few, _)) = (judge(questions.clone(), &[]), judge(questions, &[1, 3, 4]));
        assert_eq!(all.scores(&names, &whole).unwrap(), few.scores(&names, &rows).unwrap());
        assert!(few.answer_mass(&names, &rows).unwrap().is_empty());
        assert!(few.scores(&names, &whole).is_err());
        assert!(all.scores(&names, &whole[..6]).is_err(), "the token 4 has no logit");
        assert!(all.scores(&names, &[]).is_err());
    }

    #[test]
    fn a_logit_that_is_not_finite_is_not_a_score() {
        let (scores, names) = judge(vec![question(AnswerScore::Expectation, &[(0, 0.0), (1, 1.0)])], &[]);
        for logits in [[f32::NAN, 1.0], [1.0, f32::INFINITY], [f32::NEG_INFINITY, 1.0]] {
            assert!(scores.scores(&names, &logits).is_err(), "{logits:?}");
        }
        assert_eq!(scores.scores(&names, &[3e38, -3e38]).unwrap(), [0.0]);
    }
}
