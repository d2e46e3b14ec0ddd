//! The whole server over it. The stand-in's logits are the simulated engine's, so answers are too.

use assay::engine::PrefixSharing;
use assay::engine::simulated::SimulatedFactory;
use axum::http::StatusCode;
use serde_json::json;

use crate::engines::scripted;
use crate::server::{ATTRIBUTES, LIMITS, Server, paris};

fn serve(script: &str) -> Server {
    Server::with(|_| {}, scripted(script))
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_cannot_tell_which_engine_answers() {
    let server = serve("");
    let simulated = SimulatedFactory::new(LIMITS, PrefixSharing::WithinIteration, ATTRIBUTES.len());
    let simulated = Server::with(|_| {}, simulated.into());
    for text in ["The Louvre.", "Nothing at all.", "The Seine by night, and then the Louvre."] {
        let mut request = paris();
        request["messages"][1]["content"] = json!(text);
        let (ours, theirs) = (server.chat(request.clone()).await, simulated.chat(request).await);
        assert_eq!(ours.status, StatusCode::OK, "{}", ours.text);
        assert_eq!(ours.json()["choices"], theirs.json()["choices"]);
    }
    assert_eq!(server.get("/v1/health/ready").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_in_a_step_is_an_error_and_never_a_score() {
    let server = serve("fail_step_share 500000\ncalm_steps 2");
    let mut seen = [false, false];
    for number in 0..40 {
        let mut request = paris();
        request["messages"][1]["content"] = json!(format!("Answer {number}"));
        let answer = server.chat(request).await;
        let scored = answer.status == StatusCode::OK;
        assert!(scored || answer.status.is_server_error(), "{}", answer.text);
        assert_eq!(scored, answer.json().get("choices").is_some(), "{}", answer.text);
        seen[usize::from(scored)] = true;
    }
    assert_eq!(seen, [true, true]);
}
