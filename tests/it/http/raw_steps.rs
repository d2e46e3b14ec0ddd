//! Steps whose values are taken as they are, of an engine that computes them.

use serde_json::json;

use super::engines::of_checkpoint_with;
use super::steps::serve_built;
use crate::support::http::post;

#[tokio::test]
async fn raw_values_of_steps_are_not_probabilities_on_any_route() {
    let head = "rows: [420]\nstep_token: ' b'\nstep_value: raw";
    let (server, _engine) = serve_built(of_checkpoint_with("lm-head-tiny", Some(head)));
    let messages = json!([{"role": "user", "content": "?"}, {"role": "assistant", "content": "a b, c b"}]);
    let (_, rewards) = post(&server, "/v1/rewards", &json!({"conversations": [messages]})).await;
    let scores: Vec<f64> = rewards["data"][0]["scores"]
        .as_object()
        .unwrap()
        .values()
        .map(|score| score.as_f64().unwrap())
        .collect();
    assert!(scores.len() == 2 && scores.iter().any(|score| !(0.0..=1.0).contains(score)), "{rewards}");
    let (_, pooled) = post(&server, "/pooling", &json!({"messages": messages})).await;
    let rows = pooled["data"][0]["data"].as_array().unwrap();
    assert_eq!(rows.len(), 2, "{pooled}");
    for (row, score) in rows.iter().zip(&scores) {
        assert_eq!(row.as_array().unwrap().len(), 1, "{pooled}");
        assert!((row[0].as_f64().unwrap() - score).abs() < 1e-5, "{pooled}: {score}");
    }
}
