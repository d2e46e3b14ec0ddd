//! `POST /aggregate_metrics` and `GET /reverify_mode`, which NeMo Gym's agents call on a resources server, in addition to `/verify`. The metrics are those of Gym's own base class.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::fields::{Fields, wrong_type};
use crate::api::openapi::Errors;
use crate::api::request::ReceivedRequest;

/// Gym's names for the index of a rollout's task, and for the rollout's index within it.
const TASK: &str = "_ng_task_index";
const ROLLOUT: &str = "_ng_rollout_index";

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(aggregate_metrics)).routes(routes!(reverify_mode))
}

/// Responses of `/verify`, usually without the rollouts themselves.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of what `aggregated` reads")]
struct AggregateMetricsRequest {
    verify_responses: Vec<BTreeMap<String, Value>>,
}

#[derive(Debug, Default, Serialize, ToSchema)]
struct AggregateMetrics {
    /// The metrics of each task, in the order of their indices: statistics of each number that its rollouts have, such
    /// as `mean/reward`, and the rollouts.
    #[schema(value_type = Vec<Object>)]
    group_level_metrics: Vec<Map<String, Value>>,
    /// The same statistics of all rollouts.
    #[schema(value_type = Object)]
    agent_metrics: Map<String, Value>,
    /// The means among them.
    #[schema(value_type = Object)]
    key_metrics: Map<String, Value>,
}

/// Summarises the rewards of rollouts.
#[utoipa::path(
    post,
    path = "/aggregate_metrics",
    tag = "compatibility",
    request_body(content = AggregateMetricsRequest, example = json!({"verify_responses": [
        {"_ng_task_index": 0, "_ng_rollout_index": 0, "reward": 0.25},
        {"_ng_task_index": 0, "_ng_rollout_index": 1, "reward": 0.75}
    ]})),
    responses((status = 200, body = AggregateMetrics), Errors),
)]
async fn aggregate_metrics(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Json<AggregateMetrics>, ApiError> {
    let mut reader = ReceivedRequest::read(&app, request).await?;
    reader.prepare(&app, |_, body| Ok(Json(aggregated(&body.bytes)?))).await
}

/// Says that rollouts may be verified again at any time: this server keeps nothing of them.
#[utoipa::path(
    get,
    path = "/reverify_mode",
    tag = "compatibility",
    responses((status = 200, body = String, content_type = "application/json")),
)]
async fn reverify_mode() -> Json<&'static str> {
    Json("stateless")
}

fn aggregated(body: &[u8]) -> Result<AggregateMetrics, ApiError> {
    let mut fields = Fields::parse(body)?;
    let list: Vec<Value> = fields.require("verify_responses")?;
    let mut rollouts = Vec::with_capacity(list.len());
    for (index, value) in list.into_iter().enumerate() {
        rollouts.push(Rollout::read(format!("verify_responses[{index}]"), value)?);
    }
    if rollouts.is_empty() {
        return Ok(AggregateMetrics::default());
    }
    let mut tasks: BTreeMap<i64, Vec<&Rollout>> = BTreeMap::new();
    for rollout in &rollouts {
        tasks.entry(rollout.task).or_default().push(rollout);
    }
    let agent_metrics = statistics(&rollouts.iter().collect::<Vec<_>>());
    let means = agent_metrics.iter().filter(|(name, _)| name.starts_with("mean/"));
    Ok(AggregateMetrics {
        key_metrics: means.map(|(name, value)| (name.clone(), value.clone())).collect(),
        group_level_metrics: tasks.into_iter().map(|(task, rollouts)| group(task, rollouts)).collect(),
        agent_metrics,
    })
}

/// What is known of a rollout.
struct Rollout {
    task: i64,
    index: i64,
    /// Its numbers, by name; what the model used is among them.
    numbers: Vec<(String, f64)>,
    /// What a response lists of it.
    info: Map<String, Value>,
}

impl Rollout {
    /// Reads a response of `/verify` at `path`.
    ///
    /// # Errors
    /// It is not an object, or one of its indices is not a whole number.
    fn read(path: String, value: Value) -> Result<Self, ApiError> {
        let mut fields = Fields::from_value(path, value)?;
        let task = fields.take::<i64>(TASK)?.unwrap_or(0);
        let index = fields.take::<i64>(ROLLOUT)?.unwrap_or(0);
        let usage = match fields.take::<Value>("response")? {
            None => Map::new(),
            Some(Value::Object(mut response)) => match response.swap_remove("usage") {
                Some(Value::Object(usage)) => usage,
                _ => Map::new(),
            },
            Some(other) => return Err(wrong_type(fields.path("response"), "an object", &other)),
        };
        let own = fields.take_rest();
        let mut info = Map::new();
        info.insert("rollout_id".into(), format!("{task}:{index}").into());
        info.insert(TASK.into(), task.into());
        info.insert(ROLLOUT.into(), index.into());
        info.extend(own.get("reward").map(|reward| ("reward".to_owned(), reward.clone())));
        for (name, value) in usage.iter().chain(&own) {
            if let Some(number) = number(value) {
                info.insert(name.clone(), number);
            }
        }
        let mut all = own;
        all.extend(usage);
        let numbers = all.iter().filter_map(|(name, value)| Some((name.clone(), number(value)?.as_f64()?)));
        Ok(Self { task, index, numbers: numbers.collect(), info })
    }
}

/// A number, or a boolean as one.
fn number(value: &Value) -> Option<Value> {
    match value {
        Value::Number(_) => Some(value.clone()),
        Value::Bool(flag) => Some(i32::from(*flag).into()),
        _ => None,
    }
}

/// The metrics of a task.
fn group(task: i64, mut rollouts: Vec<&Rollout>) -> Map<String, Value> {
    let mut metrics = statistics(&rollouts);
    rollouts.sort_by_key(|rollout| rollout.index);
    let infos: Vec<Value> = rollouts.iter().map(|rollout| rollout.info.clone().into()).collect();
    for (name, value) in [
        (TASK, json!(task)),
        ("sample", json!({"agent_ref": {"name": "agent"}})),
        ("num_rollouts", json!(rollouts.len())),
        ("expected_num_rollouts", json!(rollouts.len())),
        ("missing_num_rollouts", json!(0)),
        ("reward_profile_completion_pct", json!(100.0)),
        ("rollout_infos", json!(infos)),
    ] {
        metrics.insert(name.into(), value);
    }
    metrics
}

/// A number that rollouts have.
struct Column<'a> {
    name: &'a str,
    values: Vec<f64>,
}

/// The columns of rollouts, in the order in which they first occur.
fn columns<'a>(rollouts: &[&'a Rollout]) -> Vec<Column<'a>> {
    let (mut columns, mut places) = (Vec::<Column<'_>>::new(), HashMap::new());
    for (name, value) in rollouts.iter().flat_map(|rollout| &rollout.numbers) {
        let place = *places.entry(name.as_str()).or_insert(columns.len());
        if place == columns.len() {
            columns.push(Column { name, values: Vec::new() });
        }
        columns[place].values.push(*value);
    }
    columns
}

/// A number that describes several.
type Statistic = fn(&[f64]) -> f64;

/// Mean, largest and smallest value, median and standard deviation of each number, as pandas computes them.
fn statistics(rollouts: &[&Rollout]) -> Map<String, Value> {
    let columns = columns(rollouts);
    let mut metrics = Map::new();
    let statistics: [(&str, Statistic); 4] = [
        ("mean", mean),
        ("max", |values| values.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
        ("min", |values| values.iter().copied().fold(f64::INFINITY, f64::min)),
        ("median", median),
    ];
    for (name, compute) in statistics {
        for column in &columns {
            metrics.insert(format!("{name}/{}", column.name), compute(&column.values).into());
        }
    }
    let none = columns.iter().all(|column| column.values.len() < 2);
    for column in &columns {
        // If no number varies, numbers that every rollout has deviate by 0; otherwise a number with a single value has
        // no deviation.
        let zero = (none && column.values.len() == rollouts.len()).then_some(0.0);
        if let Some(deviation) = deviation(&column.values).or(zero) {
            metrics.insert(format!("std/{}", column.name), deviation.into());
        }
    }
    metrics
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

/// The standard deviation of a sample; `None` for fewer than two values.
fn deviation(values: &[f64]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}
