//! What is done to scores before they are served.

use super::{RewardError, Scores};
use crate::manifest::fault_of_names;
use crate::manifest::score_options::{Normal, ScoreActivation, ScoreOptions};

/// Refuses options that do not fit scores of these names. `plain`: whether each is a logit of its own.
///
/// # Errors
/// A sentence that names the option and the attribute.
pub(crate) fn check(options: &ScoreOptions, attributes: &[String], plain: bool) -> Result<(), String> {
    if let Some(activation) = options.activation {
        check_activation(activation, attributes, plain)?;
    }
    let known = attributes.join(", ");
    let unknown = |option: &str, name: &String| {
        let reason = format!("{option} names {name}, which is no attribute of this model: it has {known}");
        (!attributes.contains(name)).then_some(reason)
    };
    for (name, normal) in &options.normalize {
        if let Some(reason) = unknown("score_normalize", name) {
            return Err(reason);
        }
        if !(normal.mean.is_finite() && normal.std.is_finite() && normal.std > 0.0) {
            let Normal { mean, std } = normal;
            return Err(format!(
                "score_normalize: {name} has the mean {mean} and the deviation {std}; give numbers, the deviation above 0"
            ));
        }
    }
    for (name, weight) in &options.weights {
        if let Some(reason) = unknown("score_weights", name) {
            return Err(reason);
        }
        if !weight.is_finite() {
            return Err(format!("score_weights: {name} has the weight {weight}, which is no number"));
        }
    }
    if let Some([least, largest]) = options.clamp
        && !(least.is_finite() && largest.is_finite() && least < largest)
    {
        return Err(format!("score_clamp is {least},{largest}; give two numbers, the lower one first"));
    }
    check_weighted_name(options, attributes)
}

fn check_activation(activation: ScoreActivation, attributes: &[String], plain: bool) -> Result<(), String> {
    match activation {
        _ if !plain => {
            Err("score_activation: this model's scores come out of a softmax already; leave it out".into())
        }
        ScoreActivation::Softmax if attributes.len() < 2 => Err(
            "score_activation: the softmax of one score is 1 whatever the text; use sigmoid, or leave it out"
                .into(),
        ),
        _ => Ok(()),
    }
}

fn check_weighted_name(options: &ScoreOptions, attributes: &[String]) -> Result<(), String> {
    let Some(name) = options.sum_name() else {
        return match &options.weighted_name {
            Some(name) => Err(format!("score_weighted_name is {name}, but score_weights gives no weights")),
            None => Ok(()),
        };
    };
    let names: Vec<String> = attributes.iter().cloned().chain([name.to_owned()]).collect();
    fault_of_names(&names).map_or(Ok(()), |reason| Err(format!("score_weighted_name: {reason}")))
}

/// Scores as they are served; `attribute` says by its place which attribute a score is one of.
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

impl Scores {
    /// Probabilities of raw scores, as servers of classifiers make them: of one score by itself, of
    /// several together.
    pub fn activated(self) -> Self {
        let mut values: Vec<f64> = self.pairs.iter().map(|(_, score)| f64::from(*score)).collect();
        match values.as_mut_slice() {
            [value] => *value = sigmoid(*value),
            values => softmax(values),
        }
        let names = self.pairs.into_iter().map(|(name, _)| name);
        Self { pairs: names.zip(values.into_iter().map(|value| value as f32)).collect() }
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

    use super::super::Head;
    use super::*;
    use crate::manifest;

    const NAMES: [&str; 3] = ["helpfulness", "correctness", "verbosity"];

    fn manifest_head(names: &[&str]) -> manifest::Head {
        manifest::Head {
            attributes: names.iter().map(|name| name.to_string()).collect(),
            ..Default::default()
        }
    }

    fn head(options: ScoreOptions) -> Result<Head, String> {
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
    fn a_sigmoid_is_of_each_and_a_softmax_of_all() {
        let of = |activation| ScoreOptions { activation: Some(activation), ..Default::default() };
        let half = "helpfulness:0.5,correctness:1.0,verbosity:0.0";
        assert_eq!(content(of(ScoreActivation::Sigmoid), &[0.0, 800.0, -800.0]), half);
        let shares = "helpfulness:0.5,correctness:0.5,verbosity:0.0";
        assert_eq!(content(of(ScoreActivation::Softmax), &[900.0, 900.0, 0.0]), shares);
    }

    #[test]
    fn a_sum_is_of_normalized_and_clamped_scores_and_follows_them() {
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
    fn what_becomes_too_large_is_no_score() {
        let options = ScoreOptions { weights: named(&[("helpfulness", 1e300)]), ..Default::default() };
        let error = head(options).unwrap().scores(&[1e10, 0.0, 0.0]).unwrap_err();
        assert!(error.to_string().contains("`weighted`"), "{error}");
    }

    #[test]
    fn options_that_do_not_fit_the_model_are_refused_by_name() {
        let one = |activation| {
            let options = ScoreOptions { activation: Some(activation), ..Default::default() };
            Head::with_options(&manifest_head(&["reward"]), None, None, options)
        };
        assert!(one(ScoreActivation::Sigmoid).is_ok());
        assert!(one(ScoreActivation::Softmax).unwrap_err().contains("the softmax of one score is 1"));
        let normal = |mean, std| named(&[("helpfulness", Normal { mean, std })]);
        for (options, words) in [
            (
                ScoreOptions { weights: named(&[("humour", 1.0)]), ..Default::default() },
                "score_weights names humour",
            ),
            (
                ScoreOptions { normalize: normal(0.0, 0.0), ..Default::default() },
                "score_normalize: helpfulness",
            ),
            (ScoreOptions { normalize: normal(f64::NAN, 1.0), ..Default::default() }, "score_normalize"),
            (ScoreOptions { clamp: Some([1.0, 1.0]), ..Default::default() }, "score_clamp is 1,1"),
            (
                ScoreOptions { weighted_name: Some("x".into()), ..Default::default() },
                "score_weighted_name is x",
            ),
            (
                ScoreOptions {
                    weights: named(&[("verbosity", 1.0)]),
                    weighted_name: Some("verbosity".into()),
                    ..Default::default()
                },
                "score_weighted_name",
            ),
        ] {
            let error = head(options).unwrap_err();
            assert!(error.contains(words), "{words}: {error}");
        }
    }

    #[test]
    fn logits_are_chosen_and_called_as_nims_variables_say() {
        let model = manifest::Head { rows: vec![4, 5, 6], ..manifest_head(&NAMES) };
        let served =
            |rows, names: Option<&[String]>| Head::with_options(&model, rows, names, ScoreOptions::default());
        let head = served(Some(5..7), Some(&list(&["a", "b"]))).unwrap();
        assert_eq!(head.scores(&[1.0, 2.0, 3.0]).unwrap().content(), "a:2.0,b:3.0");
        assert!(
            served(Some(0..1), None).unwrap_err().contains("0,1, and the engine holds the logits [4, 5, 6]")
        );
        assert!(served(Some(6..8), None).is_err());
        let error = served(None, Some(&list(&["a"]))).unwrap_err();
        assert!(error.contains("1 names (a)") && error.contains("3 scores"), "{error}");
        assert!(served(None, Some(&list(&["a", "b:c", "d"]))).unwrap_err().contains("b:c"));
    }
}
