use super::*;
use crate::reward::gated_mixture::tests::gating;

fn steps() -> Head {
    let pooling = Pooling::EachStep { token: "<extra_0>".into(), id: 7, value: StepValue::Softmax };
    Head::new(&manifest::ManifestHead { attributes: vec!["step".into()], pooling, ..Default::default() })
}

fn gated() -> Head {
    let attributes = ["help", "length", "score"].map(str::to_owned).to_vec();
    Head::new(&manifest::ManifestHead { attributes, gating: Some(gating()), ..Default::default() })
}

fn plain(attributes: &[&str]) -> Head {
    let attributes = attributes.iter().map(|name| name.to_string()).collect();
    Head::new(&manifest::ManifestHead { attributes, ..Default::default() })
}

#[test]
fn scores_are_named_by_the_kind_of_head() {
    assert_eq!(steps().scores(&[0.0, 0.0, 0.0, 0.0]).unwrap().content(), "step_1:0.5,step_2:0.5");
    let scores = gated().scores(&[9.0, 9.0, 0.0, 0.0, 4.0, 8.0, 9.0, 9.0]).unwrap();
    let names: Vec<&str> = scores.pairs.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["help", "length", "score"]);
    assert_eq!(*gated().positions(&[1, 2, 6]).unwrap(), [0, 2]);
}

#[test]
fn a_last_step_without_its_token_is_refused() {
    for text in ["a<extra_0>", "a<extra_0>b<extra_0>\n", "no step at all", ""] {
        assert_eq!(steps().check_last_step(text), Ok(()), "{text}");
    }
    let error = steps().check_last_step("a<extra_0>and so").unwrap_err().to_string();
    assert!(error.contains("does not end with <extra_0>"), "{error}");
    assert_eq!(gated().check_last_step("a<extra_0>b"), Ok(()));
}

#[test]
fn one_number_is_the_lowest_step_the_mixture_the_sum_or_the_first() {
    let scores =
        |pairs: &[f32]| Scores { pairs: pairs.iter().map(|score| (String::new(), *score)).collect() };
    let three = scores(&[0.5, 0.25, 0.75]);
    let attributes = ["a", "b"].map(str::to_owned).to_vec();
    let plain = Head::new(&manifest::ManifestHead { attributes, ..Default::default() });
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
    assert_eq!(steps().ranking_names(), ["min(step)", "mean(step)", "last(step)", "prod(step)"]);
}

#[test]
fn rows_and_weights_of_steps_are_refused_for_heads_without_them() {
    let gating = match gated().kind {
        Kind::Gated(gating) => gating,
        _ => unreachable!("a gated head"),
    };
    let attributes = ["help", "length", "score"].map(str::to_owned).to_vec();
    let head = manifest::ManifestHead { attributes, gating: Some(gating), ..Default::default() };
    let error = Head::with_options(&head, Some(0..1), None, ScoreOptions::default());
    assert_eq!(error, Err(HeadError::NoRows));

    let pooling = Pooling::EachStep { token: "<extra_0>".into(), id: 7, value: StepValue::Softmax };
    let head = manifest::ManifestHead { attributes: vec!["step".into()], pooling, ..Default::default() };
    let weights = [("step".to_owned(), 1.0)].into();
    let options = ScoreOptions { weights, ..Default::default() };
    let error = Head::with_options(&head, None, None, options);
    assert_eq!(error, Err(ScoreOptionsError::WeightsOfSteps.into()));
}

#[test]
fn a_logit_that_is_not_finite_names_its_attribute() {
    let error = plain(&["helpfulness", "verbosity"]).scores(&[1.0, f32::NAN]).unwrap_err();
    insta::assert_snapshot!(error, @"the engine returned NaN for the attribute `verbosity`, which is not a score");
    assert!(plain(&["reward"]).scores(&[f32::NEG_INFINITY]).is_err());
}

#[test]
fn a_missing_logit_is_an_error() {
    let error = plain(&["helpfulness", "verbosity"]).scores(&[1.0]).unwrap_err();
    insta::assert_snapshot!(error, @"the engine returned 1 logits, expected 2");
}
