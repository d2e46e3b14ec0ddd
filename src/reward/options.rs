//! Changes to scores before they are served: activation, normalization, clamping and a weighted sum.

use super::Scores;
use super::error::{RewardError, ScoreOptionsError};
use crate::manifest::check_attribute_names;
use crate::manifest::judge::LARGEST_WORTH;
use crate::manifest::score_options::{Normal, ScoreActivation, ScoreOptions};

/// Checks that options fit scores of these names. `plain`: whether each score is a logit of its own.
///
/// # Errors
/// An option does not fit.
pub(crate) fn check(
    options: &ScoreOptions,
    attributes: &[String],
    plain: bool,
) -> Result<(), ScoreOptionsError> {
    match options.activation {
        Some(_) if !plain => return Err(ScoreOptionsError::ActivationOfProbabilities),
        Some(ScoreActivation::Softmax) if attributes.len() < 2 => {
            return Err(ScoreOptionsError::SoftmaxOfOne);
        }
        _ => {}
    }
    for (name, &Normal { mean, std }) in &options.normalize {
        let name = name.clone();
        if !attributes.contains(&name) {
            return Err(ScoreOptionsError::NormalOfUnknown { name, attributes: attributes.to_vec() });
        }
        if !(mean.is_finite() && std.is_finite() && std > 0.0) {
            return Err(ScoreOptionsError::InvalidNormal { name, mean, std });
        }
    }
    for (name, &weight) in &options.weights {
        let name = name.clone();
        if !attributes.contains(&name) {
            return Err(ScoreOptionsError::WeightOfUnknown { name, attributes: attributes.to_vec() });
        }
        if !(-LARGEST_WORTH..=LARGEST_WORTH).contains(&weight) {
            return Err(ScoreOptionsError::InvalidWeight { name, weight });
        }
    }
    if let Some([least, largest]) = options.clamp
        && !(least.is_finite() && largest.is_finite() && least < largest)
    {
        return Err(ScoreOptionsError::InvalidClamp { least, largest });
    }
    check_weighted_name(options, attributes)
}

fn check_weighted_name(options: &ScoreOptions, attributes: &[String]) -> Result<(), ScoreOptionsError> {
    let Some(name) = options.sum_name() else {
        let name = options.weighted_name.clone();
        return name.map_or(Ok(()), |name| Err(ScoreOptionsError::NameWithoutWeights(name)));
    };
    let names = [attributes, &[name.to_owned()]].concat();
    check_attribute_names(&names).map_err(ScoreOptionsError::UnusableName)
}

/// Applies the options. `attribute` gives the attribute of a score by its index.
///
/// # Errors
/// A number became too large.
pub(super) fn apply<'a>(
    options: &ScoreOptions,
    scores: Scores,
    attribute: impl Fn(usize) -> &'a str,
) -> Result<Scores, RewardError> {
    if options.is_off() {
        return Ok(scores);
    }
    let mut values: Vec<f64> = scores.pairs.iter().map(|(_, score)| f64::from(*score)).collect();
    match options.activation {
        Some(ScoreActivation::Sigmoid) => values.iter_mut().for_each(|value| *value = sigmoid(*value)),
        Some(ScoreActivation::Softmax) => softmax(&mut values),
        None => {}
    }
    let mut weighted = 0.0;
    for (index, value) in values.iter_mut().enumerate() {
        let attribute = attribute(index);
        if let Some(Normal { mean, std }) = options.normalize.get(attribute) {
            *value = (*value - mean) / std;
        }
        if let Some([least, largest]) = options.clamp {
            *value = value.clamp(least, largest);
        }
        weighted += options.weights.get(attribute).map_or(0.0, |weight| weight * *value);
    }
    let names = scores.pairs.into_iter().map(|(name, _)| name);
    let mut pairs: Vec<(String, f32)> = names.zip(values.into_iter().map(|value| value as f32)).collect();
    if let Some(name) = options.sum_name() {
        pairs.push((name.to_owned(), weighted as f32));
    }
    match pairs.iter().find(|(_, value)| !value.is_finite()) {
        Some((attribute, value)) => {
            Err(RewardError::NotFinite { attribute: attribute.clone(), value: *value })
        }
        None => Ok(Scores { pairs }),
    }
}

/// The probability that belongs to a raw score: its sigmoid.
pub(crate) fn probability(score: f32) -> f32 {
    sigmoid(f64::from(score)) as f32
}

impl Scores {
    /// Probabilities from raw scores, as servers of classifiers compute them: the sigmoid of a single score, the
    /// softmax of several. The weighted sum, called `sum`, is not one of the classes: it gets its own sigmoid.
    pub fn activated(mut self, sum: Option<&str>) -> Self {
        let is_class = |name: &str| Some(name) != sum;
        let classes = self.pairs.iter().filter(|(name, _)| is_class(name));
        let mut values: Vec<f64> = classes.map(|(_, score)| f64::from(*score)).collect();
        match values.as_mut_slice() {
            [value] => *value = sigmoid(*value),
            several => softmax(several),
        }
        let mut classes = values.into_iter();
        for (name, score) in &mut self.pairs {
            let class = if is_class(name) { classes.next() } else { None };
            *score = class.map_or_else(|| probability(*score), |value| value as f32);
        }
        self
    }
}

fn sigmoid(value: f64) -> f64 {
    1.0 / (1.0 + (-value).exp())
}

fn softmax(values: &mut [f64]) {
    let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    values.iter_mut().for_each(|value| *value = (*value - largest).exp());
    let sum: f64 = values.iter().sum();
    values.iter_mut().for_each(|value| *value /= sum);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{Head, HeadError};
    use super::*;
    use crate::manifest;

    const NAMES: [&str; 3] = ["helpfulness", "correctness", "verbosity"];

    fn manifest_head(names: &[&str]) -> manifest::ManifestHead {
        manifest::ManifestHead {
            attributes: names.iter().map(|name| name.to_string()).collect(),
            ..Default::default()
        }
    }

    fn head(options: ScoreOptions) -> Result<Head, HeadError> {
        Head::with_options(&manifest_head(&NAMES), None, None, options)
    }

    fn content(options: ScoreOptions, logits: &[f32]) -> String {
        head(options).unwrap().scores(logits).unwrap().content()
    }

    fn list(parts: &[&str]) -> Vec<String> {
        parts.iter().map(|part| part.to_string()).collect()
    }

    fn named<T: Clone>(values: &[(&str, T)]) -> BTreeMap<String, T> {
        values.iter().map(|(name, value)| (name.to_string(), value.clone())).collect()
    }

    #[test]
    fn scores_are_raw_unless_something_is_asked_for() {
        assert_eq!(head(ScoreOptions::default()).unwrap().options(), None);
        let odd = 0.1f32 + 0.2;
        assert_eq!(
            content(ScoreOptions::default(), &[odd, 1.0, -3.0]),
            format!("helpfulness:{},correctness:1.0,verbosity:-3.0", f64::from(odd))
        );
    }

    #[test]
    fn a_sigmoid_applies_to_each_score_and_a_softmax_to_all() {
        let of = |activation| ScoreOptions { activation: Some(activation), ..Default::default() };
        let half = "helpfulness:0.5,correctness:1.0,verbosity:0.0";
        assert_eq!(content(of(ScoreActivation::Sigmoid), &[0.0, 800.0, -800.0]), half);
        let shares = "helpfulness:0.5,correctness:0.5,verbosity:0.0";
        assert_eq!(content(of(ScoreActivation::Softmax), &[900.0, 900.0, 0.0]), shares);
    }

    #[test]
    fn the_weighted_sum_uses_changed_scores_and_comes_last() {
        let options = ScoreOptions {
            normalize: named(&[("helpfulness", Normal { mean: 1.0, std: 0.5 })]),
            clamp: Some([-1.0, 4.0]),
            weights: named(&[("helpfulness", 0.5), ("verbosity", -2.0)]),
            weighted_name: Some("total".into()),
            ..Default::default()
        };
        let expected = "helpfulness:3.0,correctness:4.0,verbosity:-1.0,total:3.5";
        assert_eq!(content(options, &[2.5, 100.0, -7.0]), expected);
    }

    #[test]
    fn the_weighted_sum_is_not_one_of_the_classes_of_a_softmax() {
        let scores = |values: &[(&str, f32)]| Scores {
            pairs: values.iter().map(|(name, value)| (name.to_string(), *value)).collect(),
        };
        let both = scores(&[("helpfulness", 1.0), ("correctness", 1.0), ("total", 0.0)]);
        let expected = scores(&[("helpfulness", 0.5), ("correctness", 0.5), ("total", 0.5)]);
        assert_eq!(both.activated(Some("total")), expected);
        let one = scores(&[("helpfulness", 0.0), ("total", 0.0)]).activated(Some("total"));
        assert_eq!(one, scores(&[("helpfulness", 0.5), ("total", 0.5)]));
        // The scores of an alias are in the order that it names them in.
        let first = scores(&[("total", 0.0), ("helpfulness", 1.0), ("correctness", 1.0)]);
        let expected = scores(&[("total", 0.5), ("helpfulness", 0.5), ("correctness", 0.5)]);
        assert_eq!(first.activated(Some("total")), expected);
        let alone = scores(&[("total", 0.0)]);
        assert_eq!(alone.activated(Some("total")), scores(&[("total", 0.5)]));
    }

    #[test]
    fn a_number_that_overflows_is_not_a_score() {
        let options = ScoreOptions { weights: named(&[("helpfulness", 1e9)]), ..Default::default() };
        let error = head(options).unwrap().scores(&[1e38, 0.0, 0.0]).unwrap_err();
        assert!(error.to_string().contains("`weighted`"), "{error}");
    }

    #[test]
    fn options_that_do_not_fit_the_model_are_refused() {
        let one = |activation| {
            let options = ScoreOptions { activation: Some(activation), ..Default::default() };
            Head::with_options(&manifest_head(&["reward"]), None, None, options)
        };
        assert!(one(ScoreActivation::Sigmoid).is_ok());
        assert_eq!(one(ScoreActivation::Softmax), Err(ScoreOptionsError::SoftmaxOfOne.into()));
        let normal = |mean, std| named(&[("helpfulness", Normal { mean, std })]);
        let verbosity = named(&[("verbosity", 1.0)]);
        for (options, field, words) in [
            (
                ScoreOptions { weights: named(&[("humour", 1.0)]), ..Default::default() },
                "weights",
                "no attribute `humour`; it has helpfulness, correctness, verbosity",
            ),
            (
                ScoreOptions { normalize: normal(0.0, 0.0), ..Default::default() },
                "normalize",
                "helpfulness has mean 0 and deviation 0",
            ),
            (ScoreOptions { normalize: normal(f64::NAN, 1.0), ..Default::default() }, "normalize", "NaN"),
            (ScoreOptions { clamp: Some([1.0, 1.0]), ..Default::default() }, "clamp", "1,1"),
            (
                ScoreOptions { weighted_name: Some("x".into()), ..Default::default() },
                "weighted_name",
                "no weights are given",
            ),
            (
                ScoreOptions {
                    weights: verbosity,
                    weighted_name: Some("verbosity".into()),
                    ..Default::default()
                },
                "weighted_name",
                "two labels are called verbosity",
            ),
        ] {
            let HeadError::Options(error) = head(options).unwrap_err() else { panic!("{words}") };
            assert_eq!(error.field(), field);
            assert!(error.to_string().contains(words), "{words}: {error}");
        }
    }

    #[test]
    fn logits_are_chosen_and_named() {
        let model = manifest::ManifestHead { rows: vec![4, 5, 6], ..manifest_head(&NAMES) };
        let served =
            |rows, names: Option<&[String]>| Head::with_options(&model, rows, names, ScoreOptions::default());
        let head = served(Some(5..7), Some(&list(&["a", "b"]))).unwrap();
        assert_eq!(head.scores(&[1.0, 2.0, 3.0]).unwrap().content(), "a:2.0,b:3.0");
        let held = vec![4, 5, 6];
        let unknown = |first, last| Err(HeadError::UnknownRows { first, last, held: held.clone() });
        assert_eq!(served(Some(0..1), None), unknown(0, 0));
        assert_eq!(served(Some(6..8), None), unknown(6, 7));
        let attributes = list(&NAMES);
        assert_eq!(
            served(None, Some(&list(&["a"]))),
            Err(HeadError::NameCount { given: 1, attributes: attributes.clone() })
        );
        let error = served(None, Some(&list(&["a", "b:c", "d"]))).unwrap_err();
        assert!(
            matches!(&error, HeadError::UnusableName(error) if error.to_string().contains("b:c")),
            "{error}"
        );
    }
}
