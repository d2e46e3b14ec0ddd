//! Judges and rubrics over files.

use std::path::Path;
use std::process::Command;

use assay::manifest::Dtype;
use serde_json::{Value, json};

use super::server::{Server, conversation};
use crate::generation::language::Built;

const RUBRIC: &str = r#"[
    {"name": "quality", "ask": "How good is it, from 0 to 2?", "answers": {"0": 0, "1": 1, "2": 2}, "weight": 2},
    {"name": "letter", "ask": "Which letter is right, a or b?", "answers": {"a": 1, "b": 0}}
]"#;

/// What a command prints, of which errors and progress are the second part.
fn run(command: &str, engine: &Path, arguments: &[&str]) -> (bool, String, String) {
    let mut assay = Command::new(env!("CARGO_BIN_EXE_assay"));
    assay.arg(command).arg("--engine").arg(engine).args(arguments);
    let output = assay.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

fn rows() -> Vec<Value> {
    let answer = |index: i32| format!("Answer {index} ") + &"and more ".repeat(index as usize % 7);
    (0..20).map(|index| json!({"messages": conversation(&answer(index)), "rating": index % 4})).collect()
}

#[tokio::test]
async fn a_file_gets_the_scores_of_the_route_and_is_held_against_labels() {
    let built = Built::new("lm-head-tiny", Dtype::F32);
    let engine = built.path();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let lines: String = rows().iter().map(|row| format!("{row}\n")).collect();
    std::fs::write(path("in.jsonl"), lines).unwrap();
    std::fs::write(path("rubric.json"), RUBRIC).unwrap();

    let (input, output, rubric) = (path("in.jsonl"), path("out.jsonl"), path("rubric.json"));
    let arguments = ["--rubric", &rubric, &input, "--output", &output];
    let (succeeded, _, error) = run("score", &engine, &arguments);
    assert!(succeeded, "{error}");
    let scored = std::fs::read_to_string(&output).unwrap();
    let arguments = ["--judge", &rubric, "--by", "quality", "--label", "rating", &input];
    let (succeeded, table, error) = run("eval", &engine, &arguments);
    assert!(succeeded, "{error}");
    for expected in
        ["quality of tiny against rating: 20 rows", "Pearson", "Spearman", "agreement", "mean label"]
    {
        assert!(table.contains(expected), "{table}");
    }
    let (succeeded, _, error) = run("eval", &engine, &["--judge", &rubric, "--label", "stars", &input]);
    assert!(!succeeded && error.contains("--label stars: the rows have no such column"), "{error}");

    let server = Server::on(built, None).unwrap();
    for (row, line) in rows().iter().zip(scored.lines()) {
        let line: Value = serde_json::from_str(line).unwrap();
        let body: Value = serde_json::from_str(RUBRIC).unwrap();
        let body = json!({"conversations": [row["messages"]], "rubric": body});
        let scores = server.rewards(&body).await["data"][0]["scores"].clone();
        for name in ["quality", "letter", "weighted"] {
            assert_eq!(line[format!("score_{name}")], scores[name], "{line}");
        }
    }
}
