//! Judges and rubrics over files.

use std::path::Path;
use std::process::Command;

use assay::manifest::Dtype;
use serde_json::{Value, json};

use super::server::{Server, conversation};
use crate::generation::language::Built;

pub(super) const RUBRIC: &str = r#"[
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

pub(super) fn rows() -> Vec<Value> {
    let answer = |index: i32| format!("Answer {index} ") + &"and more ".repeat(index as usize % 7);
    (0..20).map(|index| json!({"messages": conversation(&answer(index)), "rating": index % 4})).collect()
}

#[tokio::test]
async fn a_file_gets_the_scores_of_the_route_and_is_compared_with_labels() {
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

/// A file of lines.
pub(super) fn write_lines(path: &str, rows: &[Value]) {
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    std::fs::write(path, lines).unwrap();
}

pub(super) fn lines(path: &str) -> Vec<Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn each_row_is_asked_the_rubric_in_its_own_column() {
    let built = Built::new("lm-head-tiny", Dtype::F32);
    let engine = built.path();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (input, output) = (path("in.jsonl"), path("out.jsonl"));
    let item = |name: &str, weight: i32| json!({"name": name, "ask": format!("Is it {name}?"), "answers": {"a": 1, "b": 0}, "weight": weight});
    let rubrics = [json!([item("short", 2)]), json!([item("polite", 1), item("true", -3)])];
    let rows = [
        json!({"messages": conversation("Yes."), "rubric": rubrics[0]}),
        // Tables hold lists as text.
        json!({"messages": conversation("No."), "rubric": rubrics[1].to_string()}),
        json!({"messages": conversation("Why?")}),
        json!({"messages": conversation("Why?"), "rubric": [{"name": "a", "ask": " "}]}),
    ];
    write_lines(&input, &rows);
    let (_, _, error) = run("score", &engine, &[&input, "--output", &output]);
    assert!(error.contains("2 rows"), "{error}");
    let scored = lines(&output);
    // One of the rows has the score to rank by.
    let (_, _, error) = run("score", &engine, &[&input, "--by", "short", "--output", &path("by.jsonl")]);
    assert!(error.contains("3 rows"), "{error}");
    let by = lines(&path("by.jsonl"));
    assert_eq!(by[0]["score_short"], scored[0]["score_short"]);
    assert_eq!(
        by[1]["score_error"],
        "--by names `short`, but the scores are polite, true, weighted; add an item of that name to the row's rubric, or \
         choose another --by"
    );
    let server = Server::on(built, None).unwrap();
    for (row, rubric) in scored.iter().zip(&rubrics) {
        let body = json!({"conversations": [row["messages"]], "rubric": rubric});
        let scores = server.rewards(&body).await["data"][0]["scores"].clone();
        for (name, score) in scores.as_object().unwrap() {
            assert_eq!(&row[format!("score_{name}")], score, "{row}");
        }
    }
    assert_eq!(scored[2]["score_error"], "the row has no `rubric`");
    let error = scored[3]["score_error"].as_str().unwrap();
    assert!(error.contains("`rubric[0].ask` is empty"), "{error}");
}

#[test]
fn a_rubric_in_a_row_that_is_not_asked_is_refused_and_not_passed_over() {
    let built = super::files::built_with_judge("lm-head-tiny", super::server::JUDGE).unwrap();
    let plain = Built::new("lm-head-tiny", Dtype::F32);
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (input, output, rubric) = (path("in.jsonl"), path("out.jsonl"), path("rubric.json"));
    std::fs::write(&rubric, RUBRIC).unwrap();
    let items = json!([{"name": "short", "ask": "Is it short?", "answers": {"a": 1, "b": 0}}]);
    let row = |rubric: Value| json!({"messages": conversation("Yes."), "rubric": rubric});
    for (engine, options) in [(&built, vec![]), (&plain, vec!["--rubric", &*rubric])] {
        write_lines(&input, &[row(items.clone()), row(items.clone())]);
        let arguments = [&[&*input, "--output", &*output], &options[..]].concat();
        let (succeeded, _, error) = run("score", &engine.path(), &arguments);
        let expected = "the first row has a `rubric`, and --judge, --rubric or the engine says what is asked";
        assert!(!succeeded && error.contains(expected), "{error}");
        // Texts are not questions. A later row has its own error.
        write_lines(&input, &[row(json!("5 points: polite")), row(json!(items.to_string()))]);
        let (_, _, error) = run("score", &engine.path(), &arguments);
        let rows = lines(&output);
        assert!(rows[0]["score_quality"].is_number(), "{error} {rows:?}");
        let error = rows[1]["score_error"].as_str().unwrap();
        assert!(error.starts_with("the row has a `rubric`, and --judge, --rubric or the engine"), "{error}");
        std::fs::remove_file(&output).unwrap();
    }
    let head = path("head.yaml");
    std::fs::write(&head, "rows: [0]").unwrap();
    let reward = Built::with("lm-head-tiny", |options| options.common.checkpoint.head = Some(head.into()));
    write_lines(&input, &[row(items)]);
    let (succeeded, _, error) = run("score", &reward.path(), &[&input, "--output", &output]);
    let expected = "the first row has a `rubric`, and the model has scores of its own; name a model";
    assert!(!succeeded && error.contains(expected), "{error}");
}

/// A template that puts a principle where a message with its role is.
const TEMPLATE: &str = "{% for message in messages %}{% if message.role == 'principle' %}[judge by \
                        {{ message.content }}]{% else %}<{{ message.role }}>{{ message.content }}{% endif %}{% endfor %}";

#[tokio::test(flavor = "multi_thread")]
async fn the_principle_of_a_row_scores_it_as_in_a_request() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (input, output) = (path("in.jsonl"), path("out.jsonl"));
    std::fs::write(path("head.yaml"), "rows: [0]").unwrap();
    let build = |template: Option<&str>| {
        Built::with("lm-head-tiny", |options| {
            options.dtype = Some(Dtype::F32);
            options.common.checkpoint.head = Some(path("head.yaml").into());
            if let Some(template) = template {
                std::fs::write(options.common.model.join("chat_template.jinja"), template).unwrap();
            }
        })
    };
    let row = |principle: Value| json!({"messages": conversation("Yes."), "principle": principle});
    write_lines(&input, &[row(json!("truth")), row(json!("brevity")), row(json!("")), row(json!(5))]);
    let plain = build(None);
    let (succeeded, _, error) = run("score", &plain.path(), &[&input, "--output", &output]);
    let expected = "the first row has a `principle`, and the model was not trained with principles";
    assert!(!succeeded && error.contains(expected), "{error}");

    let trained = build(Some(TEMPLATE));
    let engine = trained.path();
    let (_, _, error) = run("score", &engine, &[&input, "--output", &output]);
    let scored = lines(&output);
    let server = Server::on(trained, None).unwrap();
    let url = server.listen().await;
    for (row, principle) in scored.iter().zip([json!("truth"), json!("brevity"), Value::Null]) {
        let body = json!({"conversations": [row["messages"]], "principle": principle});
        assert_eq!(
            row["score_reward"],
            server.rewards(&body).await["data"][0]["scores"]["reward"],
            "{error}"
        );
    }
    assert_ne!(scored[0]["score_reward"], scored[1]["score_reward"]);
    assert!(scored[3]["score_error"].as_str().unwrap().contains("`principle`, which is not a text"));
    let by_url = path("by-url.jsonl");
    let arguments = ["score", "--url", &*url, &*input, "--output", &*by_url].map(str::to_owned);
    let command = move || Command::new(env!("CARGO_BIN_EXE_assay")).args(arguments).output().unwrap();
    tokio::task::spawn_blocking(command).await.unwrap();
    assert_eq!(lines(&by_url), scored);
}

#[test]
fn what_keeps_rows_from_being_scored_is_reported_before_the_first() {
    let built = Built::new("lm-head-tiny", Dtype::F32);
    let engine = built.path();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (input, output, rubric) = (path("in.jsonl"), path("out.jsonl"), path("rubric.json"));
    std::fs::write(&rubric, RUBRIC).unwrap();
    let mut rows = rows();
    for (index, row) in rows.iter_mut().enumerate() {
        row["score_q"] = json!(index);
        row["grade"] = json!("good");
    }
    write_lines(&input, &rows);
    let (succeeded, _, error) = run("score", &engine, &[&input, "--output", &output, "--prefix", "s_"]);
    assert!(!succeeded && error.contains("ask it questions with --rubric FILE"), "{error}");
    let ask = ["--rubric", &*rubric, "--by", "quality", &*input];
    let (succeeded, _, error) = run("eval", &engine, &[&ask[..], &["--label", "grade"]].concat());
    assert!(!succeeded && error.contains("--label grade: the first row has \"good\" there"), "{error}");
    // Evaluation adds no columns, so that those of the file may be called as they like.
    let (succeeded, table, error) = run("eval", &engine, &[&ask[..], &["--label", "score_q"]].concat());
    assert!(succeeded && table.contains("20 rows"), "{table} {error}");
    write_lines(&input, &rows[..1]);
    let (succeeded, table, error) = run("eval", &engine, &[&ask[..], &["--label", "score_q"]].concat());
    assert!(succeeded && table.contains("against score_q: 1 row\n"), "{table} {error}");
}

#[test]
fn one_conversation_can_be_checked_by_a_judge() {
    let built = Built::new("lm-head-tiny", Dtype::F32);
    let folder = tempfile::tempdir().unwrap();
    let rubric = folder.path().join("rubric.json");
    std::fs::write(&rubric, RUBRIC).unwrap();
    let check = |arguments: &[&str]| {
        let mut assay = Command::new(env!("CARGO_BIN_EXE_assay"));
        let output = assay.arg("check").arg(built.path()).args(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&output.stdout), text(&output.stderr))
    };
    let (printed, error) = check(&["--judge", &rubric.display().to_string()]);
    let first: Value =
        serde_json::from_str(printed.lines().next().unwrap_or_else(|| panic!("{error}"))).unwrap();
    let names: Vec<&String> = first["scores"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["quality", "letter", "weighted"]);
    assert_eq!(first["ids"].as_array().unwrap().len(), 2, "token ids of each question: {first}");
    let (_, error) = check(&[]);
    assert!(error.contains("ask it questions with --judge FILE"), "{error}");
}
