//! The contents of a report: columns of numbers and a few texts.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::sample::Sample;
use super::statistics::Accuracy;

/// Number of best, and of worst, responses that are kept.
const EXAMPLES: usize = 5;

/// A scored response.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Response {
    /// The turns before the response.
    pub(crate) prompt: String,
    pub(crate) text: String,
    /// Scores in the order of the attributes.
    pub(crate) scores: Vec<f64>,
}

/// What a report, an evaluation or a summary shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReportData {
    /// Names of the attributes.
    pub(crate) attributes: Vec<String>,
    /// Index of the attribute that ranks pairs and examples.
    pub(crate) ranking: usize,
    pub(crate) sample: Sample,
    /// How often the better response of a pair scores higher, by the subset of the pair; under "" for pairs without
    /// one.
    pub(crate) subsets: BTreeMap<String, PairAccuracy>,
    /// Rows without scores.
    pub(crate) failed: usize,
    /// Rows in which only some responses have scores.
    pub(crate) partly_scored: usize,
    /// Rows with other attributes than the first row, for example where a model scores steps. Their
    /// responses are not included.
    pub(crate) other_attributes: usize,
    /// Best responses, best first.
    pub(crate) best: Vec<Response>,
    /// Worst responses, worst first.
    pub(crate) worst: Vec<Response>,
    /// The pairs whose rejected response has the largest lead, largest first.
    pub(crate) wrong: Vec<WrongPair>,
}

/// A pair whose rejected response scores higher.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WrongPair {
    pub(crate) subset: String,
    /// Below 0.
    pub(crate) margin: f64,
    pub(crate) chosen: Response,
    pub(crate) rejected: Response,
}

/// How often the better response of a pair has the higher score, and how often it is the longer one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PairAccuracy {
    pub(crate) by_score: Accuracy,
    pub(crate) by_length: Accuracy,
}

impl ReportData {
    /// Data without responses. The attribute at `ranking` ranks pairs and examples.
    pub(crate) fn new(attributes: Vec<String>, ranking: usize) -> Self {
        let sample = Sample::new(attributes.len());
        Self { attributes, ranking, sample, ..Self::default() }
    }

    /// Adds the responses of a row. Those without scores are left out. So is a response that does not have exactly
    /// one score for each attribute, and its row counts in `other_attributes`.
    pub(crate) fn add_row(&mut self, mut responses: Vec<Response>) {
        responses.retain(|response| !response.scores.is_empty());
        let expected = self.responses() + responses.len();
        for response in responses {
            self.add(&response);
        }
        self.other_attributes += usize::from(self.responses() < expected);
    }

    /// Adds a row whose first `chosen` responses are better than the others.
    pub(crate) fn add_chosen_and_rejected(&mut self, subset: &str, chosen: usize, responses: Vec<Response>) {
        let (better, worse) = responses.split_at(chosen.min(responses.len()));
        self.compare(subset, better, worse);
        self.add_row(responses);
    }

    /// Compares responses of which the `better` should score higher than the `worse`; as a pair, the lowest of the one
    /// with the highest of the other. Counts only if all have scores.
    pub(crate) fn compare(&mut self, subset: &str, better: &[Response], worse: &[Response]) {
        let lowest = self.extreme(better, |a, b| a.total_cmp(&b).is_lt());
        let highest = self.extreme(worse, |a, b| a.total_cmp(&b).is_gt());
        let (Some(lowest), Some(highest)) = (lowest, highest) else { return };
        let margin = (lowest.0 - highest.0).clamp(f64::MIN, f64::MAX);
        let accuracy = match self.subsets.get_mut(subset) {
            Some(accuracy) => accuracy,
            None => self.subsets.entry(subset.to_owned()).or_default(),
        };
        accuracy.by_score.add(margin);
        accuracy.by_length.add(lowest.1 - highest.1);
        let [chosen, rejected] = [lowest.2.clone(), highest.2.clone()];
        if margin < 0.0 {
            let wrong = WrongPair { subset: subset.to_owned(), margin, chosen, rejected };
            keep_first(&mut self.wrong, &wrong, |a, b| a.margin.total_cmp(&b.margin));
        }
    }

    /// The most extreme score and length among responses, and the response with that score; `None` unless all have
    /// scores.
    fn extreme<'r>(
        &self,
        responses: &'r [Response],
        is_more: impl Fn(f64, f64) -> bool,
    ) -> Option<(f64, f64, &'r Response)> {
        let mut extreme: Option<(f64, f64, &Response)> = None;
        for response in responses {
            if !self.has_all_scores(response) {
                return None;
            }
            let (score, length) = (response.scores[self.ranking], length(&response.text));
            extreme = Some(match extreme {
                None => (score, length, response),
                Some((most, longest, kept)) => {
                    let (score, kept) = if is_more(score, most) { (score, response) } else { (most, kept) };
                    (score, if is_more(length, longest) { length } else { longest }, kept)
                }
            });
        }
        extreme
    }

    fn has_all_scores(&self, response: &Response) -> bool {
        response.scores.len() == self.attributes.len() && response.scores.iter().all(|s| s.is_finite())
    }

    fn add(&mut self, response: &Response) {
        if !self.has_all_scores(response) {
            return;
        }
        self.sample.add(&response.scores, length(&response.text));
        let ranking = self.ranking;
        keep_first(&mut self.best, response, |a, b| b.scores[ranking].total_cmp(&a.scores[ranking]));
        keep_first(&mut self.worst, response, |a, b| a.scores[ranking].total_cmp(&b.scores[ranking]));
    }

    /// Name of the attribute that ranks pairs and examples; empty without attributes.
    pub(crate) fn ranking_attribute(&self) -> &str {
        self.attributes.get(self.ranking).map_or("", String::as_str)
    }

    /// The accuracy over all pairs; `None` without pairs.
    pub(crate) fn accuracy(&self) -> Option<PairAccuracy> {
        self.subsets.values().copied().reduce(|sum, other| PairAccuracy {
            by_score: sum.by_score.plus(other.by_score),
            by_length: sum.by_length.plus(other.by_length),
        })
    }

    /// Number of responses that have scores.
    pub(crate) fn responses(&self) -> usize {
        self.sample.count()
    }
}

fn length(text: &str) -> f64 {
    text.chars().count() as f64
}

/// Keeps the first [`EXAMPLES`] by `order`; among equals, those that were added first.
fn keep_first<T: Clone>(kept: &mut Vec<T>, new: &T, order: impl Fn(&T, &T) -> Ordering) {
    let place = kept.partition_point(|other| order(other, new) != Ordering::Greater);
    if place < EXAMPLES {
        kept.insert(place, new.clone());
        kept.truncate(EXAMPLES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(text: &str, score: f64) -> Response {
        Response { prompt: "?".into(), text: text.into(), scores: vec![score] }
    }

    #[test]
    fn the_best_and_the_worst_are_kept_in_order() {
        let mut data = ReportData::new(vec!["reward".into()], 0);
        for score in [3.0, -1.0, 8.0, 2.0, 2.5, 7.0, -4.0] {
            data.add_row(vec![response("x", score)]);
        }
        let scores = |kept: &[Response]| kept.iter().map(|response| response.scores[0]).collect::<Vec<_>>();
        assert_eq!(scores(&data.best), [8.0, 7.0, 3.0, 2.5, 2.0]);
        assert_eq!(scores(&data.worst), [-4.0, -1.0, 2.0, 2.5, 3.0]);
    }

    #[test]
    fn responses_with_other_attributes_are_only_counted() {
        let mut data = ReportData::new(vec!["reward".into()], 0);
        let other = || Response { scores: vec![1.0, 2.0], ..response("x", 0.0) };
        data.add_row(vec![other()]);
        data.add_row(vec![response("x", f64::NAN), other()]);
        data.add_row(vec![response("x", 1.0), other(), response("x", 3.0)]);
        data.add_chosen_and_rejected("chat", 1, vec![response("long", 2.0), other()]);
        assert_eq!((data.other_attributes, data.responses(), data.subsets.len()), (4, 3, 0));
        data.add_chosen_and_rejected("chat", 1, vec![response("long", 2.0), response("x", 3.0)]);
        data.add_chosen_and_rejected("chat", 1, vec![response("x", 3.0), response("x", 3.0)]);
        let accuracy = data.subsets["chat"];
        assert_eq!(accuracy.by_score, Accuracy { pairs: 2, right: 0, ties: 1 });
        assert_eq!(accuracy.by_length, Accuracy { pairs: 2, right: 1, ties: 1 });
        assert_eq!(data.accuracy(), Some(accuracy));
    }
}
