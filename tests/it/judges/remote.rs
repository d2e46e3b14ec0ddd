//! Judges and rubrics through a server on a port: `assay score --url` and `assay drift`.

use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::score::{RUBRIC, lines, rows, write_lines};
use super::server::{JUDGE, Server};

/// A folder with a file of rows.
struct Folder(TempDir);

impl Folder {
    fn new(rows: &[Value]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        write_lines(&folder.path("in.jsonl"), rows);
        folder
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }
}

/// Runs `assay`; returns whether it succeeded, and its errors.
async fn assay(arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
    command.args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_asked_the_rubric_of_the_command_line_or_of_each_row() {
    let server = Server::start("lm-head-tiny", None);
    let url = server.listen().await;
    let rubric: Value = serde_json::from_str(RUBRIC).unwrap();
    let expected = async |row: &Value| {
        let body = json!({"conversations": [row["messages"]], "rubric": rubric});
        server.rewards(&body).await["data"][0]["scores"].clone()
    };
    let plain = Folder::new(&rows()[..3]);
    std::fs::write(plain.path("rubric.json"), RUBRIC).unwrap();
    let with_rubrics: Vec<Value> =
        rows()[..3].iter().map(|row| json!({"messages": row["messages"], "rubric": rubric})).collect();
    let own = Folder::new(&with_rubrics);
    let file = plain.path("rubric.json");
    for (folder, options) in [(&plain, &["--rubric", &*file][..]), (&own, &[])] {
        let (input, output) = (folder.path("in.jsonl"), folder.path("out.jsonl"));
        let arguments = [&["score", "--url", &*url, &*input, "--output", &*output], options].concat();
        let (succeeded, error) = assay(&arguments).await;
        assert!(succeeded, "{error}");
        for row in lines(&output) {
            for (name, score) in expected(&row).await.as_object().unwrap() {
                assert_eq!(&row[format!("score_{name}")], score, "{row}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_cannot_score_ends_the_run_with_its_error() {
    let generates = Server::start("lm-head-tiny", None).listen().await;
    let built = Server::on(super::files::built_with_judge("lm-head-tiny", JUDGE).unwrap(), None).unwrap();
    let has_few = built.listen().await;
    let folder = Folder::new(&rows()[..3]);
    let (input, output, rubric) = (folder.path("in.jsonl"), folder.path("out.jsonl"), folder.path("rubric"));
    std::fs::write(&rubric, RUBRIC).unwrap();
    let judge = folder.path("judge.yaml");
    std::fs::write(&judge, JUDGE).unwrap();
    for (url, options, expected) in [
        (&generates, vec![], "generates text and has no scores; ask it questions with --rubric FILE"),
        (&has_few, vec!["--rubric", &*rubric], "only the logits of its own scores"),
        (&generates, vec!["--rubric", &*judge], "a server takes rubrics, which are lists of items"),
        (&generates, vec!["--rubric", &*rubric, "--model", "zz"], "the model `zz` does not exist here"),
        (&generates, vec!["--rubric", &*rubric, "--judge", &*judge], "cannot be used with '--judge <FILE>'"),
    ] {
        let arguments = [&["score", "--url", &**url, &*input, "--output", &*output], &options[..]].concat();
        let (succeeded, error) = assay(&arguments).await;
        assert!(!succeeded && error.contains(expected), "{options:?}: {error}");
        assert!(!error.contains("to continue from here"), "{error}");
        let journal = std::fs::read_to_string(folder.path("out.jsonl.partial")).unwrap_or_default();
        assert!(journal.lines().count() <= 1, "{journal}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_are_told_apart_before_they_are_compared() {
    let judge = Server::start("lm-head-tiny", Some(JUDGE)).listen().await;
    let generates = Server::start("lm-head-tiny", None).listen().await;
    let again = format!("{judge}/v1/");
    for (urls, options, expected) in [
        ([&judge, &again], vec![], "/v1/ is given twice; name each server once"),
        (
            [&judge, &generates],
            vec![],
            "tiny generates text and has no scores; give questions by --judge FILE",
        ),
        (
            [&judge, &generates],
            vec!["--model", "zz"],
            "the model `zz` does not exist here; this server serves tiny",
        ),
    ] {
        let [one, two] = urls;
        let arguments = [&["drift", "--url", &**one, "--url", &**two], &options[..]].concat();
        let (succeeded, error) = assay(&arguments).await;
        assert!(!succeeded && error.contains(expected), "{options:?}: {error}");
    }
}
