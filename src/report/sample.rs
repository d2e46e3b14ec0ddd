//! Scores in bounded memory: the moments of all responses, and the scores of a sample of them.

use super::statistics::{Moments, Summary};

/// Responses whose scores are kept.
const SIZE: usize = 100_000;

/// Scores and lengths of responses. Up to [`SIZE`] of them are kept as they are; of more, a random sample of at least
/// half that size, which is the same for the same responses.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    size: usize,
    /// Number of responses, kept or not.
    count: usize,
    /// The scores of those kept, `[attributes][kept]`.
    pub(crate) scores: Vec<Vec<f64>>,
    /// The length of each in characters.
    pub(crate) lengths: Vec<f64>,
    /// Random numbers that decide which are kept: those below `limit`.
    keys: Vec<u64>,
    limit: u64,
    moments: Vec<Moments>,
}

impl Default for Sample {
    fn default() -> Self {
        Self::new(0)
    }
}

impl Sample {
    /// No response yet.
    pub(super) fn new(attributes: usize) -> Self {
        Self {
            size: SIZE,
            count: 0,
            scores: vec![Vec::new(); attributes],
            lengths: Vec::new(),
            keys: Vec::new(),
            limit: u64::MAX,
            moments: vec![Moments::default(); attributes],
        }
    }

    /// Adds a response with a score for each attribute.
    pub(super) fn add(&mut self, scores: &[f64], length: f64) {
        for (moments, score) in self.moments.iter_mut().zip(scores) {
            moments.add(*score);
        }
        let key = mixed(self.count as u64);
        self.count += 1;
        if key > self.limit {
            return;
        }
        for (column, score) in self.scores.iter_mut().zip(scores) {
            column.push(*score);
        }
        self.lengths.push(length);
        self.keys.push(key);
        while self.keys.len() > self.size {
            self.halve();
        }
    }

    /// Number of responses that were added.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Number of responses that are kept, if these are not all.
    pub(crate) fn sampled(&self) -> Option<usize> {
        (self.keys.len() < self.count).then_some(self.keys.len())
    }

    /// Describes the scores of an attribute. Percentiles are of the sample, the rest is of all responses.
    pub(crate) fn summary(&self, attribute: usize) -> Option<Summary> {
        let summary = Summary::from_values(self.scores.get(attribute)?)?;
        if self.sampled().is_none() {
            Some(summary)
        } else {
            Some(self.moments.get(attribute)?.complete(&summary))
        }
    }

    fn halve(&mut self) {
        self.limit /= 2;
        let kept: Vec<bool> = self.keys.iter().map(|key| *key <= self.limit).collect();
        for column in self.scores.iter_mut().chain([&mut self.lengths]) {
            keep(column, &kept);
        }
        keep(&mut self.keys, &kept);
    }
}

fn keep<T>(values: &mut Vec<T>, kept: &[bool]) {
    let mut kept = kept.iter();
    values.retain(|_| kept.next().is_some_and(|kept| *kept));
}

/// A number that looks random (Steele et al. 2014, `SplitMix64`). Every second response of a file may be a rejected
/// one, so that a sample must not take every nth.
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_bounded_and_describes_all() {
        let mut sample = Sample { size: 1000, ..Sample::new(1) };
        for number in 0..50_000 {
            // Every second one is a rejected response.
            sample.add(&[f64::from(number % 2) * 10.0 + f64::from(number) / 50_000.0], f64::from(number));
        }
        let kept = sample.sampled().unwrap();
        assert!(
            (500..=1000).contains(&kept) && sample.scores[0].len() == kept && sample.lengths.len() == kept
        );
        let summary = sample.summary(0).unwrap();
        assert_eq!((summary.count, summary.min, summary.max), (50_000, 0.0, 10.99998));
        assert!((summary.mean - 5.5).abs() < 1e-4 && (summary.deviation - 5.0).abs() < 0.1, "{summary:?}");
        assert!((summary.p5 - 0.1).abs() < 0.05 && (summary.p95 - 10.9).abs() < 0.05, "{summary:?}");
        let upper = sample.scores[0].iter().filter(|score| **score >= 10.0).count() as f64 / kept as f64;
        assert!((upper - 0.5).abs() < 0.1, "{upper}");
    }

    #[test]
    fn few_responses_are_all_kept() {
        let mut sample = Sample::new(2);
        sample.add(&[1.0, 2.0], 3.0);
        sample.add(&[3.0, 2.0], 4.0);
        assert_eq!((sample.count(), sample.sampled()), (2, None));
        assert_eq!(
            (sample.scores.as_slice(), sample.lengths.as_slice()),
            (&[vec![1.0, 3.0], vec![2.0, 2.0]][..], &[3.0, 4.0][..])
        );
        assert_eq!(sample.summary(0), Summary::from_values(&[1.0, 3.0]));
        assert_eq!(sample.summary(2), None);
    }
}
