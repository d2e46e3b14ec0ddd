//! What `POST /v1/rewards` answers.

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::request::RewardsRequest;
use crate::api::answer::unix_time;
use crate::api::by_attribute::ByAttribute;
use crate::api::{ApiError, ErrorObject};
use crate::manifest::score_options::ScoreOptions;
use crate::prompt::Truncated;
use crate::reward::{Head, Scores, ranks};
use crate::serving::{Model, Scored};

/// The answer to one call.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Rewards<'a> {
    object: &'static str,
    id: String,
    created: u64,
    model: &'a str,
    /// The candidates, in the request's order.
    data: Vec<Reward>,
    /// What `rank` goes by: an attribute, or `min(step)` of a model that scores steps.
    ranked_by: String,
    /// What was done to the scores, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    score_options: Option<&'a ScoreOptions>,
    /// Of all that were scored.
    usage: Usage,
}

/// One candidate: its scores, or why it has none.
#[derive(Debug, Serialize, ToSchema)]
struct Reward {
    object: &'static str,
    index: usize,
    /// By attribute, in the model's order.
    #[serde(skip_serializing_if = "Option::is_none")]
    scores: Option<ByAttribute>,
    /// From 1 for the best; equal scores share the better rank.
    #[serde(skip_serializing_if = "Option::is_none")]
    rank: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timing: Option<Timing>,
    /// What was cut off it because it was too long.
    #[serde(skip_serializing_if = "Option::is_none")]
    truncated: Option<Truncated>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorObject>,
}

/// Tokens that were read, and those of them that were not computed for it.
#[derive(Clone, Copy, Debug, Default, Serialize, ToSchema)]
#[schema(as = RewardsUsage)]
struct Usage {
    prompt_tokens: usize,
    cached_tokens: usize,
}

/// Where the time went, in seconds.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
struct Timing {
    /// From arrival until the engine began.
    queue: f64,
    /// From there until the engine was done.
    engine: f64,
}

impl<'a> Rewards<'a> {
    pub(super) fn new(
        model: Model<'a>,
        head: &'a Head,
        request: &RewardsRequest,
        results: &[Result<Scored, ApiError>],
    ) -> Self {
        let rank_by = request.rank_by.as_deref();
        let value = |result: &Result<Scored, ApiError>| {
            let scores = &result.as_ref().ok()?.scores;
            rank_by.map_or_else(|| model.single(head, scores), |name| named(scores, name))
        };
        let ranks = ranks(&results.iter().map(|result| value(result).map(f64::from)).collect::<Vec<_>>());
        let data = results.iter().zip(ranks).enumerate();
        let data: Vec<_> = data
            .map(|(index, (result, rank))| match result {
                Ok(scored) => Reward::scored(index, rank, scored, request.timing),
                Err(error) => Reward::failed(index, error),
            })
            .collect();
        Self {
            object: "list",
            id: format!("rewards-{}", Uuid::new_v4().simple()),
            created: unix_time(),
            model: model.name,
            score_options: head.options(),
            usage: data.iter().filter_map(|reward| reward.usage).fold(Usage::default(), Usage::plus),
            data,
            ranked_by: rank_by.map_or_else(|| model.single_name(head), str::to_owned),
        }
    }
}

impl Reward {
    fn scored(index: usize, rank: Option<usize>, scored: &Scored, timing: bool) -> Self {
        let seconds = |time: Duration| time.as_secs_f64();
        Self {
            object: "reward",
            index,
            scores: Some((&scored.scores).into()),
            rank,
            usage: Some(Usage { prompt_tokens: scored.prompt_tokens, cached_tokens: scored.cached_tokens }),
            truncated: scored.truncated,
            timing: timing.then(|| Timing {
                queue: seconds(scored.queue_time),
                engine: seconds(scored.inference_time),
            }),
            error: None,
        }
    }

    fn failed(index: usize, error: &ApiError) -> Self {
        let error = Some(error.class().into());
        Self {
            object: "reward",
            index,
            scores: None,
            rank: None,
            usage: None,
            timing: None,
            truncated: None,
            error,
        }
    }
}

impl Usage {
    fn plus(self, other: Self) -> Self {
        Self {
            prompt_tokens: self.prompt_tokens + other.prompt_tokens,
            cached_tokens: self.cached_tokens + other.cached_tokens,
        }
    }
}

fn named(scores: &Scores, name: &str) -> Option<f32> {
    scores.pairs.iter().find(|(attribute, _)| attribute == name).map(|(_, score)| *score)
}
