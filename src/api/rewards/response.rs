//! What `POST /v1/rewards` answers.

use std::iter::Sum;

use serde::Serialize;
use utoipa::ToSchema;

use super::compare::Comparison;
use super::request::RewardsRequest;
use super::rubric::are_same;
use crate::api::error::{ApiError, ErrorObject};
use crate::api::wire::{ScoreMap, new_id, unix_time};
use crate::manifest::score_options::ScoreOptions;
use crate::prompt::Truncated;
use crate::reward::{Head, RankedBy, ranks};
use crate::serving::{Model, Scored};

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Rewards<'a> {
    object: &'static str,
    id: String,
    created: u64,
    model: &'a str,
    /// The candidates, in the request's order.
    data: Vec<Reward>,
    /// What `rank` goes by: an attribute, the weighted sum of a rubric, or `min(step)` if the model scores steps. Null if
    /// candidates have no ranks.
    ranked_by: Option<String>,
    /// The pairs that the ranks are made of, if responses were compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    comparison: Option<Comparison>,
    /// Why candidates that have scores have no ranks.
    #[serde(skip_serializing_if = "Option::is_none")]
    unranked: Option<&'static str>,
    /// What was done to the scores, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    score_options: Option<&'a ScoreOptions>,
    /// The sum over the candidates that were scored.
    usage: RewardUsage,
}

/// One candidate: its scores, or why it has none.
#[derive(Debug, Default, Serialize, ToSchema)]
struct Reward {
    object: &'static str,
    index: usize,
    /// By attribute, in the model's order.
    #[serde(skip_serializing_if = "Option::is_none")]
    scores: Option<ScoreMap>,
    /// The probability that a judge answers each question with one of the answers that count, if the engine has the
    /// logits of the whole vocabulary.
    #[serde(skip_serializing_if = "Option::is_none")]
    answer_mass: Option<ScoreMap>,
    /// From 1 for the best; equal scores share the better rank.
    #[serde(skip_serializing_if = "Option::is_none")]
    rank: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<RewardUsage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timing: Option<Timing>,
    /// What was cut off because the candidate was too long.
    #[serde(skip_serializing_if = "Option::is_none")]
    truncated: Option<Truncated>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorObject>,
}

#[derive(Clone, Copy, Debug, Default, Serialize, ToSchema)]
struct RewardUsage {
    prompt_tokens: usize,
    /// How many of the prompt's tokens were not computed for this candidate, but shared or found in the cache.
    cached_tokens: usize,
}

/// Where the time went, in seconds.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
struct Timing {
    /// From arrival until the engine's first iteration.
    queue: f64,
    /// From there until the engine's output.
    engine: f64,
}

/// The score of a response among those that it was compared with.
const STRENGTH: &str = "bradley_terry";
/// Why candidates are not ranked that are asked different questions.
const UNRANKED: &str = "the candidates have different rubrics, whose scores cannot be compared; send one `rubric` for \
                        the whole call to rank them";

impl<'a> Rewards<'a> {
    pub(super) fn new(
        model: Model<'a>,
        head: &'a Head,
        request: &'a RewardsRequest,
        results: &'a [Result<Scored, ApiError>],
    ) -> Self {
        let rank_by = request.rank_by.as_deref().map(RankedBy::parse);
        let mut rubrics = results.iter().flatten().map(|scored| scored.rubric.as_deref());
        let rubric = rubrics.next().unwrap_or(request.criteria.head());
        let comparable = rubrics.all(|other| are_same(other, rubric));
        let mut values = Vec::with_capacity(results.len());
        for result in results {
            values.push(result.as_ref().ok().filter(|_| comparable).and_then(|scored| match &rank_by {
                Some(rank_by) => rank_by.value(scored.scores.values()),
                None => match &scored.rubric {
                    Some(rubric) => rubric.single(&scored.scores).map(f64::from),
                    None => model.single(head, &scored.scores).map(f64::from),
                },
            }));
        }
        let ranked_by = match (&rank_by, rubric) {
            (Some(rank_by), _) => rank_by.name().to_owned(),
            (None, Some(rubric)) => rubric.single_name(),
            (None, None) => model.single_name(head),
        };
        let mut data = Vec::with_capacity(results.len());
        for (index, (result, rank)) in results.iter().zip(ranks(&values)).enumerate() {
            data.push(match result {
                Ok(scored) => Reward::scored(index, rank, scored, request.timing),
                Err(error) => Reward::failed(index, error),
            });
        }
        Self {
            ranked_by: Some(ranked_by).filter(|name| comparable && !name.is_empty()),
            unranked: (!comparable).then_some(UNRANKED),
            score_options: rubric.unwrap_or(head).options().filter(|_| comparable),
            ..Self::list(model, data)
        }
    }

    /// The ranking of candidates that were compared, from the scores of all pairs. A candidate's usage and timing are those
    /// of the prompts that name it first.
    pub(super) fn compared(model: Model<'a>, scored: &[Scored], timing: bool) -> Self {
        let (comparison, strengths) = Comparison::new(scored);
        let values: Vec<Option<f64>> = strengths.iter().map(|strength| Some(f64::from(*strength))).collect();
        let mut data = Vec::with_capacity(strengths.len());
        let prompts = scored.chunks((strengths.len() - 1).max(1));
        for (index, ((strength, rank), prompts)) in
            strengths.iter().zip(ranks(&values)).zip(prompts).enumerate()
        {
            data.push(Reward {
                object: "reward",
                index,
                scores: Some(ScoreMap::from(&[(STRENGTH.to_owned(), *strength)][..])),
                rank,
                usage: Some(prompts.iter().map(RewardUsage::of).sum()),
                timing: timing.then(|| Timing::of_all(prompts)),
                ..Reward::default()
            });
        }
        Self { ranked_by: Some(STRENGTH.to_owned()), comparison: Some(comparison), ..Self::list(model, data) }
    }

    /// The response about candidates, without what says how they are ranked.
    fn list(model: Model<'a>, data: Vec<Reward>) -> Self {
        Self {
            object: "list",
            id: new_id("rewards"),
            created: unix_time(),
            model: model.name,
            usage: data.iter().filter_map(|reward| reward.usage).sum(),
            data,
            ranked_by: None,
            comparison: None,
            unranked: None,
            score_options: None,
        }
    }
}

impl RewardUsage {
    fn of(scored: &Scored) -> Self {
        Self { prompt_tokens: scored.prompt_tokens, cached_tokens: scored.cached_tokens }
    }
}

impl Sum for RewardUsage {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |sum, part| Self {
            prompt_tokens: sum.prompt_tokens + part.prompt_tokens,
            cached_tokens: sum.cached_tokens + part.cached_tokens,
        })
    }
}

impl Timing {
    /// The time of several prompts: until the first of them was started, and until the last was answered.
    fn of_all(prompts: &[Scored]) -> Self {
        let queue = prompts.iter().map(|scored| scored.queue_time).min().unwrap_or_default();
        let engine = prompts.iter().map(|scored| scored.inference_time).max().unwrap_or_default();
        Self { queue: queue.as_secs_f64(), engine: engine.as_secs_f64() }
    }
}

impl Reward {
    fn scored(index: usize, rank: Option<usize>, scored: &Scored, timing: bool) -> Self {
        Self {
            object: "reward",
            index,
            scores: Some((&scored.scores).into()),
            answer_mass: (!scored.answer_mass.is_empty()).then(|| ScoreMap::from(&scored.answer_mass[..])),
            rank,
            usage: Some(RewardUsage::of(scored)),
            timing: timing.then(|| Timing::of_all(std::slice::from_ref(scored))),
            truncated: scored.truncated,
            error: None,
        }
    }

    fn failed(index: usize, error: &ApiError) -> Self {
        Self { object: "reward", index, error: Some(error.classify().into()), ..Self::default() }
    }
}
