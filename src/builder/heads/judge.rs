//! Language models that judge: `--head` names a file of questions, and the scores are made of the logits of their
//! answers.

use super::from_file::HeadFile;
use super::vocabulary_rows::lm_head;
use super::{CheckpointHead, Context, has_own_head};
use crate::builder::BuildError;
use crate::manifest::score_options::ScoreOptions;
use crate::manifest::{Judge, JudgeFile, QuestionError};
use crate::prompt::AnswerTokens;
use crate::reward::check_options;

/// The head of a judge.
///
/// # Errors
/// The checkpoint is not a language model, or an answer is not one token.
pub(super) fn head(
    context: &Context<'_>,
    file: &HeadFile,
    judge: &JudgeFile,
) -> Result<CheckpointHead, BuildError> {
    let config = context.config;
    if config.architecture.class != "ForCausalLM" || has_own_head(context.checkpoint) {
        let class = &config.architecture.name;
        let reason = format!("a judge is a language model, and {class} is not one; leave --head out");
        return Err(file.error(&reason));
    }
    let JudgeFile { attributes, weights, judge: Judge { layout, mut questions } } = judge.clone();
    let mut tokens = AnswerTokens::new(context.encoder, layout, config.longest)
        .map_err(|error| file.error(&format!("`layout` {error}")))?;
    for (attribute, question) in attributes.iter().zip(&mut questions) {
        let resolved = tokens.resolve(question);
        let wrong = |error: QuestionError| format!("`attributes.{attribute}.{}` {error}", error.field());
        resolved.map_err(|error| file.error(&wrong(error)))?;
    }
    let judge = Judge { layout, questions };
    let rows = judge.tokens().into_iter().map(|token| token as usize).collect();
    let score = ScoreOptions { weights, ..ScoreOptions::default() };
    check_options(&score, &attributes, false).map_err(|error| file.error(&error.to_string()))?;
    Ok(CheckpointHead { attributes, rows, judge: Some(judge), score, ..lm_head(config, context.checkpoint)? })
}
