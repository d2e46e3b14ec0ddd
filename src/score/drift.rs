//! `assay drift`: whether replicas give the same scores, bit for bit.

use std::path::PathBuf;
use std::sync::Arc;

use super::cli::{api_key, load_with, read_verify_key};
use super::client::{RequestSettings, RewardClient, server_root};
use super::row_options::RowOptions;
use super::score_source::SharedSource;
use super::{ScoreError, ScoreResult, check};
use crate::cache::ModelOptions;
use crate::cli::output::{eprint_line, print};
use crate::config::ServeOptions;
use crate::prompt::{Message, TemplateVariables};

/// Exit status if a bit differs.
const DIFFERENT: u8 = 1;
/// Conversations that a server has at once.
const CONCURRENCY: usize = 64;

/// Send the same conversations to several servers, and report every bit in which their scores differ
///
/// Each conversation is scored alone, and then all of them at once. Exits with status 1 if there is a difference.
#[derive(Clone, Debug, clap::Args)]
pub struct DriftArgs {
    /// Server to compare, for example http://localhost:8000; give the option once for each. Set their API key, if any,
    /// in ASSAY_API_KEY
    #[arg(long = "url", required = true, value_name = "URL")]
    urls: Vec<String>,
    /// Model to ask the servers for [default: the first that each lists]
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Public key, in PEM (Ed25519), that must have signed every response with scores (docs/signing.md)
    #[arg(long, value_name = "FILE")]
    verify_key: Option<PathBuf>,
    /// Engine to compare with, in this process: an engine directory, a checkpoint directory, or OWNER/NAME of a model in
    /// the Hugging Face cache
    #[arg(long, value_name = "MODEL")]
    engine: Option<PathBuf>,
    /// File of the questions that the engine is asked, if it generates text (docs/judges.md)
    #[arg(long, visible_alias = "rubric", requires = "engine", value_name = "FILE")]
    judge: Option<PathBuf>,
    /// JSONL file of conversations, {"messages": [...]} in each line [default: built-in ones]
    #[arg(long, value_name = "FILE")]
    texts: Option<PathBuf>,
    #[command(flatten)]
    build: ModelOptions,
}

/// There is nothing to compare with.
#[derive(Debug, thiserror::Error)]
#[error("one server has nothing to differ from; give a second --url, or --engine")]
struct OneReplica;

/// A server does not differ from itself.
#[derive(Debug, thiserror::Error)]
#[error("--url {0} is given twice; name each server once")]
struct RepeatedUrl(String);

/// No replica scored anything, so that nothing was compared.
#[derive(Debug, thiserror::Error)]
#[error("none of the conversations was scored: {0}")]
struct NothingScored(String);

/// What is compared.
struct Replica {
    /// Its address, or the path of the engine.
    name: String,
    source: SharedSource,
}

/// The scores of one replica: of each conversation alone, and of all at once.
struct Scores {
    alone: Vec<ScoreResult>,
    together: Vec<ScoreResult>,
}

/// Runs `assay drift`, and returns the exit status.
///
/// # Errors
/// See [`ScoreError`].
pub async fn drift(arguments: &DriftArgs) -> Result<u8, ScoreError> {
    let replicas = replicas(arguments).await?;
    for replica in &replicas {
        replica.source.check_has_scores()?;
    }
    let conversations = match &arguments.texts {
        Some(path) => check::read(path)?.into_iter().map(|(messages, _)| messages).collect(),
        None => built_in(replicas[0].source.step_token()),
    };
    for replica in &replicas {
        let engine = replica.source.engine_id().unwrap_or("unknown");
        print(format_args!("{}: engine {engine}\n", replica.name));
    }
    let first = score(&replicas[0], &conversations).await?;
    let name = &replicas[0].name;
    if first.alone.iter().all(Result::is_err) {
        let reason = first.alone.first().map_or_else(|| "there are none".to_owned(), describe);
        return Err(ScoreError::Setup(NothingScored(reason).into()));
    }
    let mut differences = compare((name, &first.alone), (&format!("{name}, all at once"), &first.together));
    for replica in &replicas[1..] {
        let scores = score(replica, &conversations).await?;
        let together = format!("{}, all at once", replica.name);
        differences += compare((name, &first.alone), (&replica.name, &scores.alone));
        differences += compare((name, &first.alone), (&together, &scores.together));
    }
    let (texts, replicas) = (conversations.len(), replicas.len());
    eprint_line(format_args!("{differences} differences among {replicas} replicas in {texts} conversations"));
    Ok(if differences > 0 { DIFFERENT } else { 0 })
}

async fn replicas(arguments: &DriftArgs) -> Result<Vec<Replica>, ScoreError> {
    if arguments.urls.len() + usize::from(arguments.engine.is_some()) < 2 {
        return Err(ScoreError::Setup(OneReplica.into()));
    }
    for (index, url) in arguments.urls.iter().enumerate() {
        if arguments.urls[..index].iter().any(|other| server_root(other) == server_root(url)) {
            return Err(ScoreError::Setup(RepeatedUrl(url.clone()).into()));
        }
    }
    let mut replicas = Vec::new();
    if let Some(engine) = &arguments.engine {
        let (directory, judge) = (Some(engine.clone()), arguments.judge.clone());
        let options = ServeOptions { directory, judge, ..ServeOptions::default() };
        let source = load_with(options, &arguments.build, "assay drift --engine").await?;
        replicas.push(Replica { name: engine.display().to_string(), source });
    }
    let verify_key = read_verify_key(arguments.verify_key.as_deref())?;
    for url in &arguments.urls {
        let (model, verify_key) = (arguments.model.clone(), verify_key.clone());
        let settings = RequestSettings { model, verify_key, ..RequestSettings::default() };
        let source =
            RewardClient::connect(std::slice::from_ref(url), settings, api_key(), CONCURRENCY).await?;
        replicas.push(Replica { name: url.clone(), source: Arc::new(source) });
    }
    Ok(replicas)
}

async fn score(replica: &Replica, conversations: &[Vec<Message>]) -> Result<Scores, ScoreError> {
    let none = TemplateVariables::default();
    let plain = RowOptions::variables(&none);
    let mut alone = Vec::with_capacity(conversations.len());
    for conversation in conversations {
        alone.extend(replica.source.score(std::slice::from_ref(conversation), plain).await?);
    }
    Ok(Scores { alone, together: replica.source.score(conversations, plain).await? })
}

/// Prints where two lists of scores differ, and returns the number of conversations in which they do.
fn compare(expected: (&str, &[ScoreResult]), found: (&str, &[ScoreResult])) -> usize {
    let mut differences = 0;
    for (index, (expected_scores, found_scores)) in expected.1.iter().zip(found.1).enumerate() {
        if bits(expected_scores) != bits(found_scores) {
            differences += 1;
            let number = index + 1;
            print(format_args!("conversation {number}: {}: {}\n", expected.0, describe(expected_scores)));
            print(format_args!("conversation {number}: {}: {}\n", found.0, describe(found_scores)));
        }
    }
    differences
}

/// What must be equal: names and bits of the scores, or that there are none. Why there are none depends on the form of
/// the request.
fn bits(scores: &ScoreResult) -> Option<Vec<(&str, u64)>> {
    let scored = scores.as_ref().ok()?;
    Some(scored.scores.iter().map(|(name, score)| (&**name, score.to_bits())).collect())
}

/// Scores with their bits.
fn describe(scores: &ScoreResult) -> String {
    match scores {
        Ok(scored) => {
            let scores = scored.scores.iter();
            let scores: Vec<_> =
                scores.map(|(name, score)| format!("{name} {score} ({:016x})", score.to_bits())).collect();
            scores.join(", ")
        }
        Err(reason) => format!("no scores: {reason}"),
    }
}

/// Conversations of everyday kinds, and longer ones that share their beginning.
fn built_in(step: Option<&str>) -> Vec<Vec<Message>> {
    let mut conversations = check::examples(step);
    let end = step.map(|step| format!(" {step}")).unwrap_or_default();
    for words in [1, 5, 17, 40] {
        let answer = "It depends on the weather, and on the day. ".repeat(words);
        let prompt = Message::new("user", "What should I see in Paris, and when?");
        conversations.push(vec![prompt, Message::new("assistant", format!("{}{end}", answer.trim_end()))]);
    }
    conversations
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::{ConversationScores, Unscored};

    fn scored(score: f64) -> ScoreResult {
        Ok(ConversationScores { scores: vec![("reward".into(), score)], tokens: 3 })
    }

    fn differences(expected: &[ScoreResult], found: &[ScoreResult]) -> usize {
        compare(("a", expected), ("b", found))
    }

    #[test]
    fn one_bit_is_a_difference_and_the_number_of_tokens_is_not() {
        let next = f64::from_bits(1.5_f64.to_bits() + 1);
        assert_eq!(differences(&[scored(1.5), scored(0.0)], &[scored(1.5), scored(0.0)]), 0);
        assert_eq!(differences(&[scored(1.5), scored(0.0)], &[scored(next), scored(-0.0)]), 2);
        let refused = || Err(Unscored::Refused("too long".into()));
        assert_eq!(differences(&[refused()], &[refused()]), 0);
        assert_eq!(differences(&[refused()], &[scored(1.0)]), 1);
        assert_eq!(describe(&scored(1.5)), "reward 1.5 (3ff8000000000000)");
    }
}
