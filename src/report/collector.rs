//! Rows in, columns of numbers and a few texts out.

use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Best and worst responses that the page shows.
const EXAMPLES: usize = 5;

/// One scored response.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Response {
    /// What was asked: the turns before the response.
    pub prompt: String,
    /// What was scored.
    pub text: String,
    /// Scores in the order of the attributes.
    pub scores: Vec<f64>,
}

/// What the page is made of.
#[derive(Clone, Debug, Default)]
pub struct Collector {
    /// Names of the attributes; the first (or the one chosen) decides pairs and examples.
    pub attributes: Vec<String>,
    /// Index of the attribute that decides.
    pub deciding: usize,
    /// Scores, `[attributes][responses]`.
    pub scores: Vec<Vec<f64>>,
    /// Characters of each response.
    pub lengths: Vec<f64>,
    /// Pairs: category, chosen's score less rejected's, chosen's length less rejected's.
    pub pairs: Vec<Pair>,
    /// Rows without scores.
    pub failed: usize,
    /// Rows some of whose responses have scores and some not.
    pub partly: usize,
    /// Rows with scores of other attributes than the first row's, as where a model scores steps; those
    /// responses are in nothing here.
    pub apart: usize,
    /// Best responses, best first.
    pub best: Vec<Response>,
    /// Worst responses, worst first.
    pub worst: Vec<Response>,
}

/// A chosen and a rejected response to one prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// The subset that the row names; empty where it names none.
    pub category: String,
    /// Score of the chosen one less that of the rejected one.
    pub margin: f64,
    /// Characters of the chosen one less those of the rejected one.
    pub longer: f64,
}

impl Collector {
    /// Of responses scored by `attributes`, decided by the one at `deciding`.
    pub fn new(attributes: Vec<String>, deciding: usize) -> Self {
        let scores = vec![Vec::new(); attributes.len()];
        Self { attributes, deciding, scores, ..Self::default() }
    }

    /// Takes a row of one response or several. What has not one score for every attribute is left out, and
    /// the row counted for it.
    pub fn add_row(&mut self, responses: Vec<Response>) {
        let due = self.responses() + responses.len();
        responses.into_iter().for_each(|response| self.add(response));
        self.apart += usize::from(self.responses() < due);
    }

    /// Takes a row with a pair; it is one only where both have scores.
    pub fn add_pair(&mut self, category: String, chosen: Response, rejected: Response) {
        let margin = self.deciding_of(&chosen).zip(self.deciding_of(&rejected)).map(|(c, r)| c - r);
        if let Some(margin) = margin {
            let longer = length(&chosen.text) - length(&rejected.text);
            self.pairs.push(Pair { category, margin, longer });
        }
        self.add_row(vec![chosen, rejected]);
    }

    fn deciding_of(&self, response: &Response) -> Option<f64> {
        response.scores.get(self.deciding).copied().filter(|_| self.fits(response))
    }

    fn fits(&self, response: &Response) -> bool {
        response.scores.len() == self.attributes.len() && response.scores.iter().all(|s| s.is_finite())
    }

    fn add(&mut self, response: Response) {
        if !self.fits(&response) {
            return;
        }
        for (column, score) in self.scores.iter_mut().zip(&response.scores) {
            column.push(*score);
        }
        self.lengths.push(length(&response.text));
        let deciding = self.deciding;
        keep(&mut self.best, &response, |a, b| b.scores[deciding].total_cmp(&a.scores[deciding]));
        keep(&mut self.worst, &response, |a, b| a.scores[deciding].total_cmp(&b.scores[deciding]));
    }

    /// Margins of the pairs by their category, in the order of its name; those that name none under "".
    pub fn margins_by_category(&self) -> BTreeMap<&str, Vec<f64>> {
        let mut margins = BTreeMap::<&str, Vec<f64>>::new();
        for pair in &self.pairs {
            margins.entry(&pair.category).or_default().push(pair.margin);
        }
        margins
    }

    /// Responses that have scores.
    pub fn responses(&self) -> usize {
        self.lengths.len()
    }
}

fn length(text: &str) -> f64 {
    text.chars().count() as f64
}

/// Keeps the first [`EXAMPLES`] by `order`; of equals, those that came first.
fn keep(kept: &mut Vec<Response>, response: &Response, order: impl Fn(&Response, &Response) -> Ordering) {
    let place = kept.partition_point(|other| order(other, response) != Ordering::Greater);
    if place < EXAMPLES {
        kept.insert(place, response.clone());
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
        let mut of = Collector::new(vec!["reward".into()], 0);
        for score in [3.0, -1.0, 8.0, 2.0, 2.5, 7.0, -4.0] {
            of.add_row(vec![response("x", score)]);
        }
        let scores = |of: &[Response]| of.iter().map(|response| response.scores[0]).collect::<Vec<_>>();
        assert_eq!(scores(&of.best), [8.0, 7.0, 3.0, 2.5, 2.0]);
        assert_eq!(scores(&of.worst), [-4.0, -1.0, 2.0, 2.5, 3.0]);
    }

    #[test]
    fn what_has_other_scores_is_counted_and_nothing_else() {
        let mut of = Collector::new(vec!["reward".into()], 0);
        let other = || Response { scores: vec![1.0, 2.0], ..response("x", 0.0) };
        of.add_row(vec![other()]);
        of.add_row(vec![response("x", f64::NAN), other()]);
        of.add_row(vec![response("x", 1.0), other(), response("x", 3.0)]);
        of.add_pair("chat".into(), response("long", 2.0), other());
        assert_eq!((of.apart, of.responses(), of.pairs.len()), (4, 3, 0));
        of.add_pair("chat".into(), response("long", 2.0), response("x", 3.0));
        assert_eq!(of.pairs, [Pair { category: "chat".into(), margin: -1.0, longer: 3.0 }]);
    }
}
