//! What a request says about texts that are too long.

use utoipa::ToSchema;

use super::app::App;
use super::error::ApiError;
use super::fields::Fields;
use crate::prompt::Truncation;
use crate::serving::LengthPolicy;

/// What is done about texts that are too long.
#[derive(ToSchema)]
#[schema(as = Length)]
#[expect(dead_code, reason = "the schema of what `take_length_policy` reads")]
pub(super) struct LengthSchema {
    truncation: Option<Truncation>,
    #[serde(flatten)]
    prompt_tokens: PromptTokensSchema,
}

/// How many tokens of a text are kept.
#[derive(ToSchema)]
#[schema(as = TruncatePromptTokens)]
#[expect(dead_code, reason = "the schema of what `take_prompt_tokens` reads")]
pub(super) struct PromptTokensSchema {
    /// Tokens to keep, up to as many as the engine takes; -1 for as many. Not together with `truncation`.
    #[schema(minimum = -1)]
    truncate_prompt_tokens: Option<i64>,
    /// Where `truncate_prompt_tokens` cuts; `left` if absent.
    truncation_side: Option<TruncationSide>,
}

#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "the schema of `truncation_side`")]
enum TruncationSide {
    Left,
    Right,
}

/// Takes out what a request says about texts that are too long: `truncation`, or vLLM's
/// `truncate_prompt_tokens` and `truncation_side`. The server's option is the default.
///
/// # Errors
/// There is no such truncation or side, the number of tokens is more than the engine takes, or both ways are asked for.
pub(super) fn take_length_policy(fields: &mut Fields, app: &App) -> Result<LengthPolicy, ApiError> {
    if fields.has("truncation") && fields.has("truncate_prompt_tokens") {
        let reason = "cannot be combined with `truncate_prompt_tokens`, which cuts at the start or, with `truncation_side` \
                      `right`, at the end: send one of them";
        return Err(ApiError::invalid(fields.path("truncation"), reason));
    }
    let policy = truncation(fields, app.settings.server.truncation)?;
    Ok(take_prompt_tokens(fields, app)?.unwrap_or(policy))
}

/// Refuses what [`take_length_policy`] takes, except for a side, beside `own`, a field of the route that says the same.
///
/// # Errors
/// There is such a field.
pub(super) fn refuse_length_policy(fields: &Fields, own: &str) -> Result<(), ApiError> {
    match ["truncation", "truncate_prompt_tokens"].into_iter().find(|name| fields.has(name)) {
        None => Ok(()),
        Some(name) => {
            let reason = format!(
                "cannot be combined with `{own}`, which also says how texts are cut: send one of them"
            );
            Err(ApiError::invalid(fields.path(name), reason))
        }
    }
}

/// Takes vLLM's `truncate_prompt_tokens` and `truncation_side`; without the first, the second has no effect.
///
/// # Errors
/// There is no such side, or the number of tokens is more than the engine takes.
pub(super) fn take_prompt_tokens(fields: &mut Fields, app: &App) -> Result<Option<LengthPolicy>, ApiError> {
    let side = fields.take_one_of("truncation_side", &["left", "right"])?;
    let Some(tokens) = fields.take::<i64>("truncate_prompt_tokens")? else { return Ok(None) };
    let tokens = match usize::try_from(tokens) {
        Err(_) if tokens == -1 => None,
        Ok(count) if (1..=app.max_seq_len).contains(&count) => Some(count),
        _ => {
            let reason = format!(
                "is {tokens}: send a number of tokens from 1 to {}, which is as many as the engine takes, or -1 \
                 for that many",
                app.max_seq_len
            );
            return Err(ApiError::invalid(fields.path("truncate_prompt_tokens"), reason));
        }
    };
    let truncation = if side == Some("right") { Truncation::Right } else { Truncation::Left };
    Ok(Some(LengthPolicy { truncation, tokens }))
}

fn truncation(fields: &mut Fields, default: Truncation) -> Result<LengthPolicy, ApiError> {
    let truncation = match fields.take::<String>("truncation")? {
        None => default,
        Some(name) => Truncation::from_name(&name).ok_or_else(|| {
            let known = Truncation::ALL.map(Truncation::name).join(", ");
            ApiError::invalid(fields.path("truncation"), format!("must be one of {known}"))
        })?,
    };
    Ok(LengthPolicy { truncation, tokens: None })
}
