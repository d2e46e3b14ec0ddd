//! Figures of the benchmarks' own code over random scores, which `tools/make_eval_goldens.py` records.

use serde_json::Value;

use super::*;
use crate::report::{ReportData, Response};
use crate::score::subset::judgebench_group;

fn golden(benchmark: &str) -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/eval.json");
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    golden[benchmark].clone()
}

fn rows(golden: &Value) -> Vec<BenchmarkRow> {
    let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    let row = |row: &Value| BenchmarkRow {
        id: text(row, "id"),
        subset: text(row, "subset"),
        scores: serde_json::from_value(row["scores"].clone()).unwrap(),
        chosen: row["chosen"].as_u64().unwrap_or(0) as usize,
        first_error: row["label"].as_i64(),
    };
    golden["rows"].as_array().unwrap().iter().map(row).collect()
}

fn assert_figure(figures: &[Figure], name: &str, expected: &Value) {
    let figure =
        figures.iter().find(|figure| figure.name == name).unwrap_or_else(|| panic!("no figure {name}"));
    assert_close(figure.value, expected, name);
}

fn assert_close(value: Option<f64>, expected: &Value, name: &str) {
    let (value, expected) = (value.unwrap(), expected.as_f64().unwrap());
    assert!((value - expected).abs() < 1e-12, "{name}: {value}, and the authors have {expected}");
}

/// The evaluation of pairs of scores; the first of each pair is that of the chosen response.
fn evaluate_pairs(pairs: impl Iterator<Item = (String, [f64; 2])>) -> PairEvaluation {
    let mut data = ReportData::new(vec!["reward".into()], 0);
    for (subset, scores) in pairs {
        let responses = scores.map(|score| Response { scores: vec![score], ..Response::default() });
        data.add_chosen_and_rejected(&subset, 1, responses.into());
    }
    PairEvaluation::new(&data, "m")
}

#[test]
fn pairs_are_evaluated_as_by_rewardbench() {
    let golden = golden("rewardbench");
    let pairs = rows(&golden).into_iter().map(|row| (row.subset, [row.scores[0], row.scores[1]]));
    let evaluation = evaluate_pairs(pairs);
    for (subset, expected) in golden["subsets"].as_object().unwrap() {
        let found = evaluation.subsets.iter().find(|found| found.name == *subset).unwrap();
        assert_close(Some(found.accuracy), expected, subset);
    }
    for (section, expected) in golden["sections"].as_object().unwrap() {
        let found = evaluation.sections.iter().find(|found| found.name == section).unwrap();
        assert_close(Some(found.accuracy), expected, section);
    }
}

#[test]
fn judgebench_is_evaluated_by_groups_of_sources() {
    let golden = golden("judgebench");
    let pairs = golden["rows"].as_array().unwrap().iter().map(|row| {
        let [a, b] = [0, 1].map(|index| row["scores"][index].as_f64().unwrap());
        let scores = if row["label"] == "A>B" { [a, b] } else { [b, a] };
        (judgebench_group(row["source"].as_str().unwrap()).to_owned(), scores)
    });
    let evaluation = evaluate_pairs(pairs);
    for (group, expected) in golden["figures"].as_object().unwrap() {
        let found = match evaluation.subsets.iter().find(|subset| subset.name == *group) {
            Some(subset) => subset.accuracy,
            None => evaluation.all.accuracy,
        };
        assert_close(Some(found), expected, group);
    }
    assert_eq!(evaluation.subsets.len(), 4);
}

#[test]
fn lists_are_evaluated_as_by_rewardbench_2_with_ties_separately() {
    let golden = golden("rewardbench2");
    let (figures, score) = rewardbench2::figures(&rows(&golden));
    for (subset, expected) in golden["subsets"].as_object().unwrap() {
        assert_figure(&figures, subset, expected);
    }
    assert_close(score, &golden["score"], "score");
    let (_, none) = rewardbench2::figures(&rows(&golden)[..30]);
    assert_eq!(none, None, "without all subsets there is no overall score");
}

#[test]
fn lists_with_domains_are_evaluated_as_by_rm_bench() {
    let golden = golden("rm_bench");
    let (figures, score) = rm_bench::figures(&rows(&golden));
    let expected = &golden["figures"];
    for domain in ["chat", "math", "code", "safety"] {
        assert_figure(&figures, domain, &expected[domain]);
    }
    for (name, theirs) in [("hard", "hard_acc"), ("normal", "normal_acc"), ("easy", "easy_acc")] {
        assert_figure(&figures, name, &expected[theirs]);
    }
    assert_close(score, &expected["total_avg_acc"], "score");
}

#[test]
fn steps_are_evaluated_as_by_processbench() {
    let golden = golden("process_bench");
    let (figures, score) = process_bench::figures(&rows(&golden));
    let mut f1 = Vec::new();
    for (subset, expected) in golden["figures"].as_object().unwrap() {
        for (name, theirs) in [("error", "error"), ("correct", "correct"), ("F1", "f1")] {
            assert_figure(&figures, &format!("{subset} {name}"), &expected[theirs]);
        }
        f1.push(expected["f1"].as_f64().unwrap());
    }
    assert_close(score, &Value::from(f1.iter().sum::<f64>() / 4.0), "score");
}
