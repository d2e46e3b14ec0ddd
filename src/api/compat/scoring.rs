//! What all compatibility routes share, from the request to the scores. An error of one text fails the whole call,
//! because none of these clients' formats has a place for it.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::inputs::Input;
use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::api::items::{self, Item};
use crate::api::middleware::limits::{check_and_reserve, reserve_items};
use crate::api::request::{CommonSchema, ReceivedBody, ReceivedRequest, SchedulingFields};
use crate::api::template_variables::{
    KWARGS_ONLY, VARIABLES, VariablesSchema, first_set, not_rendered, take_kwargs, take_variables,
};
use crate::api::truncation::{LengthSchema, refuse_length_policy, take_length_policy};
use crate::api::wire::{Usage, with_truncation};
use crate::config::{RouteActivation, ScoringSettings, ServerSettings};
use crate::prompt::{TemplateVariables, is_cancelled};
use crate::reward::{Head, probability};
use crate::serving::{LengthPolicy, Model, Scored};
use serde_json::Value;
use utoipa::ToSchema;

/// The fields of every route of this folder, with those that the chat template reads.
#[derive(ToSchema)]
#[schema(as = ScoringFields)]
#[expect(dead_code, reason = "the schema of what `prepare` reads")]
pub(super) struct SharedSchema {
    #[serde(flatten)]
    common: CommonSchema,
    #[serde(flatten)]
    length: LengthSchema,
    #[serde(flatten)]
    variables: VariablesSchema,
}

/// The fields of the routes of trainers, which may have fields of their users' own.
#[derive(ToSchema)]
#[schema(as = TrainerFields)]
#[expect(dead_code, reason = "the schema of what `prepare` reads with `UnknownFields::Ignore`")]
pub(super) struct TrainerSchema {
    #[serde(flatten)]
    common: CommonSchema,
    #[serde(flatten)]
    length: LengthSchema,
}

/// The variables for the chat template that routes of trainers take, if they take conversations.
#[derive(ToSchema)]
#[schema(as = TrainerVariables)]
#[expect(dead_code, reason = "the schema of what `take_kwargs` reads")]
pub(super) struct KwargsSchema {
    /// Variables for the chat template.
    #[schema(value_type = Option<Object>)]
    chat_template_kwargs: Option<Value>,
}

/// What a route read of its request.
pub(super) struct CompatRequest<F> {
    pub(super) inputs: Vec<Input>,
    /// What else the format of the response depends on.
    pub(super) shape: F,
    pub(super) activation: Activation,
    pub(super) read_at: ReadAt,
    /// How texts that are too long are cut, if a field of the route says so, and that field; else `truncation` decides.
    pub(super) length: Option<(&'static str, LengthPolicy)>,
}

impl<F> CompatRequest<F> {
    pub(super) fn new(inputs: Vec<Input>, shape: F) -> Self {
        Self { inputs, shape, activation: Activation::Raw, read_at: ReadAt::Model, length: None }
    }
}

/// Whether a route returns the model's raw scores, or probabilities computed from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activation {
    /// The request asks for raw scores, or the server that the route comes from gives them.
    Raw,
    /// The request asks for neither, and the server that the route comes from gives probabilities. Assay gives
    /// them only with `--activation peer`.
    Peers,
    /// The field that asks for probabilities.
    Probabilities(&'static str),
}

impl Activation {
    /// Takes a field that is true for probabilities and false for raw scores.
    ///
    /// # Errors
    /// It is not a boolean.
    pub(super) fn take(fields: &mut Fields, name: &'static str) -> Result<Self, ApiError> {
        Ok(match fields.take::<bool>(name)? {
            Some(true) => Self::Probabilities(name),
            Some(false) => Self::Raw,
            None => Self::Peers,
        })
    }

    /// The same on a route of a server that gives raw scores where a request does not say.
    pub(super) fn or_raw(self) -> Self {
        if self == Self::Peers { Self::Raw } else { self }
    }

    /// Whether scores of this head become probabilities.
    ///
    /// # Errors
    /// A field asks for them, and the scores are not logits.
    fn applies(self, head: &Head, settings: &ScoringSettings) -> Result<bool, ApiError> {
        match self {
            Self::Raw => Ok(false),
            Self::Peers => Ok(head.is_raw() && settings.activation == RouteActivation::Peer),
            Self::Probabilities(_) if head.is_raw() => Ok(true),
            // A server option may have turned them into probabilities already.
            Self::Probabilities(_) if head.options().is_some_and(|options| options.activation.is_some()) => {
                Ok(false)
            }
            Self::Probabilities(field) => {
                let reason =
                    "this model's scores are not logits, so there are no probabilities of them; leave it out";
                Err(ApiError::unsupported(field, reason))
            }
        }
    }
}

/// At which tokens of a text scores are wanted.
#[derive(Clone, Copy)]
pub(super) enum ReadAt {
    /// Where the model is read.
    Model,
    /// At each token, because this field asks for it.
    EachToken(&'static str),
    /// At each token, or at the end of each step for a model that scores steps; this field asks for it.
    EachTokenOrStep(&'static str),
}

impl ReadAt {
    /// Whether the request wants scores at each token.
    ///
    /// # Errors
    /// It does, but each score of this head is made of several tokens.
    fn each_token(self, head: &Head) -> Result<bool, ApiError> {
        match self {
            Self::Model => Ok(false),
            Self::EachTokenOrStep(_) if head.scores_steps() => Ok(false),
            Self::EachToken(_) | Self::EachTokenOrStep(_) if head.scores_any_token() => Ok(true),
            Self::EachToken(field) | Self::EachTokenOrStep(field) => {
                let reason = "this model's scores are made of several tokens; leave it out";
                Err(ApiError::unsupported(field, reason))
            }
        }
    }
}

/// What a route does about fields that it does not know.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum UnknownFields {
    Refuse,
    /// Trainers add fields for their users' own reward functions.
    Ignore,
}

/// The scores of a request's texts, in their order.
pub(super) struct ScoredTexts<'a, F> {
    pub(super) model: Model<'a>,
    pub(super) head: &'a Head,
    /// The raw scores, of those attributes that the model named by the request has.
    pub(super) scored: Vec<Scored>,
    pub(super) shape: F,
    /// Whether they are answered as probabilities.
    activate: bool,
}

/// Reads a request with `read`, and scores its texts together.
///
/// # Errors
/// The request is wrong, or one of its texts has no scores; the error names the field.
pub(super) async fn score<F: Send + 'static>(
    app: &Arc<App>,
    request: Request,
    unknown: UnknownFields,
    read: fn(&mut Fields, &ServerSettings) -> Result<CompatRequest<F>, ApiError>,
) -> Result<ScoredTexts<'_, F>, ApiError> {
    let mut reader = ReceivedRequest::read(app, request).await?;
    let prepared = reader.prepare(app, move |app, body| prepare(app, body, unknown, read)).await?;
    let Prepared { model, scheduling, items, activation, shape } = prepared;
    let scheduling = reader.scheduling(app, &scheduling)?;
    let (model, scorer) = (app.model(model.as_deref())?, app.scorer()?);
    let activate = activation.applies(scorer.head(), &app.settings.scoring)?;
    let mut scored = Vec::with_capacity(items.len());
    for result in items::score_all(scorer, items.into_iter().map(Ok), scheduling).await {
        let mut text = result?;
        text.select(model);
        scored.push(text);
    }
    Ok(ScoredTexts { model, head: scorer.head(), scored, shape, activate })
}

/// A request that was read, with its texts encoded.
struct Prepared<F> {
    model: Option<String>,
    scheduling: SchedulingFields,
    items: Vec<Item>,
    activation: Activation,
    shape: F,
}

fn prepare<F>(
    app: &App,
    body: &ReceivedBody,
    unknown: UnknownFields,
    read: fn(&mut Fields, &ServerSettings) -> Result<CompatRequest<F>, ApiError>,
) -> Result<Prepared<F>, ApiError> {
    let settings = &app.settings.server;
    let mut fields = Fields::parse(&body.bytes)?;
    // A route may repeat the whole request, so it reads first.
    let CompatRequest { inputs, shape, activation, read_at, length: own_length } =
        read(&mut fields, settings)?;
    let model = fields.take::<String>("model")?;
    app.model(model.as_deref())?;
    let scheduling = SchedulingFields::take(&mut fields)?;
    if let Some((own, _)) = own_length {
        refuse_length_policy(&fields, own)?;
    }
    let others = take_length_policy(&mut fields, app)?;
    let length = own_length.map_or(others, |(_, own)| own);
    let variables = variables(&mut fields, app, unknown, &inputs)?;
    if unknown == UnknownFields::Refuse {
        fields.take_neutral()?;
        fields.end("requests of this format have no such field; leave it out")?;
    }
    let each_token = read_at.each_token(app.scorer()?.head())?;
    if !inputs.is_empty() {
        body.check_room(app, &scheduling)?;
    }
    reserve_items(inputs.len());
    check_and_reserve("chat_template_kwargs", variables.size(), inputs.iter().map(|_| 0), settings)?;
    check_questions(app, &inputs, variables.size())?;
    let mut items = Vec::with_capacity(inputs.len());
    for Input { text, path } in inputs {
        if is_cancelled() {
            break;
        }
        let item = text.encode(app, &variables, path, length)?;
        // A text that cannot be scored fails the whole call, so that is found before any is computed.
        item.check(app.scorer()?)?;
        items.push(if each_token { item.at_each_token() } else { item });
    }
    Ok(Prepared { model, scheduling, items, activation, shape })
}

/// Takes the variables for the chat template, which some input must go through.
fn variables(
    fields: &mut Fields,
    app: &App,
    unknown: UnknownFields,
    inputs: &[Input],
) -> Result<TemplateVariables, ApiError> {
    // On routes of trainers, `tools` and `documents` may be fields of the user's own.
    let names = match unknown {
        UnknownFields::Refuse => VARIABLES,
        UnknownFields::Ignore => KWARGS_ONLY,
    };
    if let Some(name) = first_set(fields, names) {
        let scorer = app.scorer()?;
        if !inputs.iter().any(|input| input.text.is_rendered(scorer)) {
            return Err(not_rendered(name));
        }
    }
    match unknown {
        UnknownFields::Refuse => take_variables(fields),
        UnknownFields::Ignore => take_kwargs(fields),
    }
}

/// Refuses texts whose prompts are too many bytes: a judge has one for each question, each with `variables` bytes of
/// variables.
/// The prompts of the first question are counted already.
fn check_questions(app: &App, inputs: &[Input], variables: usize) -> Result<(), ApiError> {
    let (Some(judge), Some(first)) = (app.scorer()?.head().judge(), inputs.first()) else { return Ok(()) };
    let others = judge.questions.len().saturating_sub(1);
    reserve_items(inputs.len() * others);
    let sizes = inputs.iter().map(|input| (input.text.bytes() + variables) * others);
    check_and_reserve(first.path.whole(), 0, sizes, &app.settings.server)
}

impl<F> ScoredTexts<'_, F> {
    /// A text's scores as they are answered.
    pub(super) fn answered<'s>(&self, scored: &'s Scored) -> Cow<'s, Scored> {
        if self.activate { Cow::Owned(scored.clone().activated()) } else { Cow::Borrowed(scored) }
    }

    /// Their numbers, in the model's order.
    pub(super) fn values(&self, scored: &Scored) -> Vec<f64> {
        self.answered(scored).scores.values().map(|(_, value)| value).collect()
    }

    /// The one score of a text for clients that want one number.
    ///
    /// # Errors
    /// There is none: a bug in Assay.
    pub(super) fn single(&self, scored: &Scored) -> Result<f64, ApiError> {
        let raw = self.model.single(self.head, &scored.scores);
        let raw = raw.ok_or_else(|| ApiError::internal("a text was scored and has no score"))?;
        // Only the score that ranks is converted: a softmax over all scores of a text would change the order of texts.
        Ok(f64::from(if self.activate { probability(raw) } else { raw }))
    }

    /// That score of each text.
    ///
    /// # Errors
    /// As [`ScoredTexts::single`].
    pub(super) fn singles(&self) -> Result<Vec<f64>, ApiError> {
        self.scored.iter().map(|scored| self.single(scored)).collect()
    }

    /// The texts and their single scores, the best first; equal ones keep their order. Raw scores decide: far
    /// from 0, different ones have the same probability.
    ///
    /// # Errors
    /// As [`ScoredTexts::single`].
    pub(super) fn ranked(&self) -> Result<Vec<(usize, f64)>, ApiError> {
        let raw = |index: usize| self.model.single(self.head, &self.scored[index].scores).unwrap_or(f32::MIN);
        let mut order: Vec<(usize, f64)> = self.singles()?.into_iter().enumerate().collect();
        order.sort_by(|a, b| raw(b.0).total_cmp(&raw(a.0)));
        Ok(order)
    }

    pub(super) fn usage(&self) -> Usage {
        let tokens = self.scored.iter().map(|scored| scored.prompt_tokens).sum();
        let cached = self.scored.iter().map(|scored| scored.cached_tokens).sum();
        Usage::new(tokens, 0, Some(cached))
    }

    /// A response with this body; its headers say how many tokens were cut off, if any.
    pub(super) fn respond(&self, body: impl Serialize) -> Response {
        self.respond_with(Json(body))
    }

    /// The same of a body that is not JSON.
    pub(super) fn respond_with(&self, body: impl IntoResponse) -> Response {
        with_truncation(body, &self.scored)
    }
}
