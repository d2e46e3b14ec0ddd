//! `compare` of `POST /v1/rewards`: a language model says of each pair of responses which is better, in both orders.

use serde::Serialize;
use utoipa::ToSchema;

use super::request::{Candidates, RewardsRequest};
use super::rubric::COMPARE;
use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::item_path::ItemPath;
use crate::api::items::Item;
use crate::api::middleware::limits::{check_and_reserve, check_questions, reserve_items};
use crate::manifest::wording::counted;
use crate::prompt::{Message, is_cancelled};
use crate::reward::{Unscorable, strengths};
use crate::serving::{RubricError, Scored};

/// Most responses of a comparison, whose number of prompts grows with the square.
const MOST: usize = 16;
/// All pairs of responses.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Comparison {
    pairs: Vec<Pair>,
    /// How much more probable than 0.5 the model says that the response named first is better, on average. 0 is without
    /// bias.
    position_bias: f64,
}

/// Two responses, by their indices.
#[derive(Debug, Serialize, ToSchema)]
struct Pair {
    responses: [usize; 2],
    /// The probability that the first of the two is better, if the prompt names it first.
    named_first: f64,
    /// The same if the prompt names it second.
    named_second: f64,
    /// The mean of both, by which responses are ranked.
    preference: f64,
    /// The probability that the model answers with the name of a response at all; the lower of both orders.
    answer_mass: f64,
}

/// The prompts of all pairs in both orders, as [`orders`] has them.
///
/// # Errors
/// There are too few or too many responses, or a prompt cannot be made.
pub(super) fn items(
    app: &App,
    request: &RewardsRequest,
    candidates: &Candidates,
) -> Result<Vec<Result<Item, ApiError>>, ApiError> {
    let Candidates::Responses { conversation, responses } = candidates else {
        return Err(ApiError::internal("conversations were compared"));
    };
    if request.encoding.continue_final_message {
        return Err(ApiError::unsupported("continue_final_message", Unscorable::Continued.to_string()));
    }
    let count = responses.len();
    if !(2..=MOST).contains(&count) {
        let reason = format!("has {}; `compare` takes 2 to {MOST}", counted(count, "item"));
        return Err(ApiError::invalid("responses", reason));
    }
    let (scorer, settings) = (app.rubric_scorer()?, &app.settings.server);
    let orders = orders(count);
    check_questions("responses", (orders.len(), "comparisons, each pair in both orders"), settings)?;
    reserve_items(orders.len());
    let bytes = Message::total_bytes(conversation);
    let sizes = orders.iter().map(|&[one, other]| responses[one].len() + responses[other].len());
    check_and_reserve("responses", bytes + request.variables.size(), sizes, settings)?;
    let head = scorer.comparison().map_err(|error| match error {
        RubricError::NoVocabulary(error) => ApiError::unsupported(COMPARE, error.to_string()),
        RubricError::Layout(source) | RubricError::Item { source, .. } => ApiError::unsupported(
            COMPARE,
            format!("this model cannot be asked which response is better: {source}"),
        ),
    })?;
    let mut items = Vec::with_capacity(orders.len());
    for [one, other] in orders {
        if is_cancelled() {
            return Err(ApiError::internal("the client has left"));
        }
        let longer = if responses[one].len() < responses[other].len() { other } else { one };
        let path = ItemPath::response("messages", conversation.len(), format!("responses[{longer}]"));
        let path = path.with_bytes(bytes, responses[longer].len());
        let pair = [responses[one].as_str(), responses[other].as_str()];
        let prompt = scorer.encode_comparison(conversation, pair, &request.variables, &head);
        // The ranking needs every pair.
        items.push(Ok(Item::new(path, prompt)?));
    }
    Ok(items)
}

/// Every pair of `count` responses in both orders, by the response that is named first.
fn orders(count: usize) -> Vec<[usize; 2]> {
    let others = |one: usize| (0..count).filter(move |other| *other != one).map(move |other| [one, other]);
    (0..count).flat_map(others).collect()
}

impl Comparison {
    /// The comparison of responses from the scores of all [`orders`], and the strength of each response.
    pub(super) fn new(scored: &[Scored]) -> (Self, Vec<f32>) {
        let count = (2..MOST).find(|count| count * (count - 1) >= scored.len()).unwrap_or(MOST);
        let first = |scored: &Scored| scored.scores.values().next().map_or(0.5, |(_, value)| value);
        let mass = |scored: &Scored| scored.answer_mass.first().map_or(0.0, |(_, mass)| f64::from(*mass));
        // Where a response is named first, its others follow one another.
        let of = |one: usize, other: usize| &scored[one * (count - 1) + other - usize::from(other > one)];
        let preference = |one: usize, other: usize| {
            let [named_first, named_second] = [first(of(one, other)), 1.0 - first(of(other, one))];
            f64::midpoint(named_first, named_second)
        };
        let mut pairs = Vec::new();
        for [one, other] in orders(count).into_iter().filter(|[one, other]| one < other) {
            pairs.push(Pair {
                responses: [one, other],
                named_first: first(of(one, other)),
                named_second: 1.0 - first(of(other, one)),
                preference: preference(one, other),
                answer_mass: mass(of(one, other)).min(mass(of(other, one))),
            });
        }
        let mean = scored.iter().map(first).sum::<f64>() / scored.len() as f64;
        let strengths = strengths(count, preference).into_iter().map(|strength| strength as f32).collect();
        (Self { pairs, position_bias: mean - 0.5 }, strengths)
    }
}
