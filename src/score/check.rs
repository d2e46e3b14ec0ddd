//! `assay check`: scores a few conversations, for comparison with other software or with the scores on a model card.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::conversation::{parse_messages, turn};
use super::{ScoreError, in_process};
use crate::cache::ModelOptions;
use crate::cli::output::{eprint_line, print};
use crate::config::{ServeOptions, Settings};
use crate::prompt::Message;
use crate::serving::{LengthPolicy, Scheduling, Scorer};

/// Exit status if a score is not the expected one.
const DIFFERENT: u8 = 1;

/// Score a few conversations with an engine, to compare the scores with those of other software
///
/// Prints a JSON line for each conversation: its messages, its token ids and its scores.
/// tools/compare_with_transformers.py compares them with those of the checkpoint in transformers.
#[derive(Clone, Debug, clap::Args)]
pub struct CheckArgs {
    /// Engine directory, checkpoint directory, or OWNER/NAME of a model in the Hugging Face cache
    #[arg(value_name = "MODEL")]
    engine: PathBuf,
    /// File of the questions that a language model is asked: a judge, or a rubric (docs/judges.md)
    #[arg(long, visible_alias = "rubric", value_name = "FILE")]
    judge: Option<PathBuf>,
    /// JSONL file of conversations and their expected scores: {"messages": [...], "scores": {"reward": 1.5}}
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,
    /// Largest difference from an expected score
    #[arg(long, default_value_t = 0.1, value_name = "DIFFERENCE")]
    tolerance: f64,
    /// Text that ends each step, for conversations of a process reward model [default: the engine's step token]
    #[arg(long, value_name = "TEXT")]
    step_token: Option<String>,
    #[command(flatten)]
    build: ModelOptions,
}

/// A conversation and its expected scores, possibly none.
pub(super) type Case = (Vec<Message>, BTreeMap<String, f64>);

/// A line of the file.
#[derive(Deserialize)]
struct Expected {
    messages: Vec<Value>,
    #[serde(default)]
    scores: BTreeMap<String, f64>,
}

/// Runs `assay check`, and returns the exit status.
///
/// # Errors
/// See [`ScoreError`].
pub async fn check(arguments: &CheckArgs) -> Result<u8, ScoreError> {
    let (directory, judge) = (Some(arguments.engine.clone()), arguments.judge.clone());
    let options = ServeOptions { directory, judge, ..ServeOptions::default() };
    let settings = Settings::resolve(options).map_err(|error| ScoreError::Setup(error.into()))?;
    let build = arguments.build.clone();
    let load = tokio::task::spawn_blocking(move || in_process::load_scorer(settings, &build, "assay check"));
    let loaded = load.await.map_err(|error| ScoreError::Gone(error.into()))??;
    loaded.check_has_scores()?;
    let scorer = &loaded.scorer;
    let step = arguments.step_token.as_deref().or(scorer.head().step_token());
    let conversations = match &arguments.expect {
        Some(path) => read(path)?,
        None => examples(step).into_iter().map(|messages| (messages, BTreeMap::new())).collect(),
    };
    let (mut compared, mut different) = (0, 0);
    for (messages, expected) in conversations {
        let scores = score(scorer, &messages).await?;
        for (name, expected) in expected {
            compared += 1;
            let found = scores.get(&name).copied();
            if found.is_none_or(|found| (found - expected).abs().total_cmp(&arguments.tolerance).is_gt()) {
                different += 1;
                let found = found.map_or("no such score".to_owned(), |found| found.to_string());
                eprint_line(format_args!("{name}: expected {expected}, got {found}"));
            }
        }
    }
    if compared > 0 {
        let tolerance = arguments.tolerance;
        eprint_line(format_args!("{different} of {compared} scores differ by more than {tolerance}"));
    }
    Ok(if different > 0 { DIFFERENT } else { 0 })
}

/// Prints a conversation with its tokens and scores, and returns the scores.
async fn score(scorer: &Scorer, messages: &[Message]) -> Result<BTreeMap<String, f64>, ScoreError> {
    let refused = |error: crate::serving::ServingError| ScoreError::Setup(error.into());
    let prompt = scorer.encode(messages, LengthPolicy::default()).map_err(refused)?;
    // A judge has a prompt for each question.
    let ids = if let [tokens] = prompt.prompts() { json!(tokens) } else { json!(prompt.prompts()) };
    let scored = scorer.score(prompt, Scheduling::now()).await.map_err(refused)?;
    let scores: Map<String, Value> =
        scored.scores.values().map(|(name, score)| (name.to_owned(), score.into())).collect();
    let turns: Vec<Value> =
        messages.iter().map(|turn| json!({ "role": turn.role, "content": turn.content })).collect();
    print(format_args!("{}\n", json!({ "messages": turns, "ids": ids, "scores": scores })));
    Ok(scored.scores.values().map(|(name, score)| (name.to_owned(), score)).collect())
}

/// Conversations of everyday kinds. Those of a process reward model have `step` after each step.
pub(super) fn examples(step: Option<&str>) -> Vec<Vec<Message>> {
    let steps = |parts: &[&str]| match step {
        Some(step) if step.trim().is_empty() => parts.iter().map(|part| format!("{part}{step}")).collect(),
        Some(step) => parts.iter().map(|part| format!("{part} {step}")).collect(),
        None => parts.join(" "),
    };
    let question = |text: &str| turn("user", text);
    vec![
        vec![question("What is 1+1?"), turn("assistant", &steps(&["1+1=2."]))],
        vec![question("What is 1+1?"), turn("assistant", &steps(&["1+1=3."]))],
        vec![
            question("Jane has 12 apples. She gives 4 to Mark and buys 1 more. How many has she?"),
            turn(
                "assistant",
                &steps(&["She starts with 12 and gives 4 away: 8.", "With one more she has 9."]),
            ),
        ],
        vec![
            question("How do I boil an egg?"),
            turn("assistant", &steps(&["Put it into boiling water for eight minutes.", "Then cool it."])),
        ],
    ]
}

pub(super) fn read(path: &Path) -> Result<Vec<Case>, ScoreError> {
    let file = File::open(path).map_err(|error| ScoreError::read(path, error))?;
    let mut conversations = Vec::new();
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(|error| ScoreError::read(path, error))?;
        if line.trim().is_empty() {
            continue;
        }
        let wrong = |reason: String| ScoreError::read(path, format!("line {}: {reason}", number + 1));
        let expected: Expected = serde_json::from_str(&line).map_err(|error| wrong(error.to_string()))?;
        let messages = parse_messages(&expected.messages)
            .ok_or_else(|| wrong("`messages` is not a list of turns with role and content".to_owned()))?;
        conversations.push((messages, expected.scores));
    }
    if conversations.is_empty() {
        return Err(ScoreError::read(path, "it has no conversations"));
    }
    Ok(conversations)
}
