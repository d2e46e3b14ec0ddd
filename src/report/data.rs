//! The contents of a report: columns of numbers and a few texts.

use std::cmp::Ordering;
use std::collections::BTreeMap;

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
    /// Scores, `[attributes][responses]`.
    pub(crate) scores: Vec<Vec<f64>>,
    /// Length of each response in characters.
    pub(crate) lengths: Vec<f64>,
    pub(crate) pairs: Vec<Pair>,
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

/// A chosen and a rejected response to one prompt.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pair {
    /// Name of the subset; empty if the row has none.
    pub(crate) subset: String,
    /// Score of the chosen response minus that of the rejected one.
    pub(crate) margin: f64,
    /// Characters of the chosen response minus those of the rejected one.
    pub(crate) length_difference: f64,
}

impl ReportData {
    /// Data without responses. The attribute at `ranking` ranks pairs and examples.
    pub(crate) fn new(attributes: Vec<String>, ranking: usize) -> Self {
        let scores = vec![Vec::new(); attributes.len()];
        Self { attributes, ranking, scores, ..Self::default() }
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
        self.pairs.push(Pair { subset: subset.to_owned(), margin, length_difference: lowest.1 - highest.1 });
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
        for (column, score) in self.scores.iter_mut().zip(&response.scores) {
            column.push(*score);
        }
        self.lengths.push(length(&response.text));
        let ranking = self.ranking;
        keep_first(&mut self.best, response, |a, b| b.scores[ranking].total_cmp(&a.scores[ranking]));
        keep_first(&mut self.worst, response, |a, b| a.scores[ranking].total_cmp(&b.scores[ranking]));
    }

    /// Name of the attribute that ranks pairs and examples; empty without attributes.
    pub(crate) fn ranking_attribute(&self) -> &str {
        self.attributes.get(self.ranking).map_or("", String::as_str)
    }

    /// Margins of the pairs of each subset, by its name; under "" for those without one.
    pub(crate) fn margins_by_subset(&self) -> BTreeMap<&str, Vec<f64>> {
        let mut margins = BTreeMap::<&str, Vec<f64>>::new();
        for pair in &self.pairs {
            margins.entry(&pair.subset).or_default().push(pair.margin);
        }
        margins
    }

    /// Number of responses that have scores.
    pub(crate) fn responses(&self) -> usize {
        self.lengths.len()
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
        assert_eq!((data.other_attributes, data.responses(), data.pairs.len()), (4, 3, 0));
        data.add_chosen_and_rejected("chat", 1, vec![response("long", 2.0), response("x", 3.0)]);
        assert_eq!(data.pairs, [Pair { subset: "chat".into(), margin: -1.0, length_difference: 3.0 }]);
    }
}
