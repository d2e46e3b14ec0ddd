//! One engine under several names.

use axum::http::StatusCode;
use serde_json::json;

use super::engines::instant;
use super::server::{ATTRIBUTES, MODEL, Server, paris};

fn server() -> Server {
    let aliases = ["judge", "brief=verbosity,helpfulness"].map(|alias| alias.parse().unwrap());
    Server::with(|settings| settings.server.alias = aliases.to_vec(), instant())
}

#[tokio::test]
async fn an_alias_is_listed_with_its_model_and_its_attributes() {
    let server = server();
    let list = server.get("/v1/models").await.json();
    let of = |index: usize, field: &str| list["data"][index][field].clone();
    assert_eq!((of(0, "id"), of(0, "root"), of(0, "parent")), (json!(MODEL), json!(MODEL), json!(null)));
    assert_eq!((of(1, "id"), of(1, "root"), of(1, "parent")), (json!("judge"), json!(MODEL), json!(MODEL)));
    assert_eq!(
        (of(1, "attributes"), of(2, "attributes")),
        (json!(ATTRIBUTES), json!(["verbosity", "helpfulness"]))
    );
    assert_eq!(server.get("/v1/models/brief").await.json(), list["data"][2]);
}

#[tokio::test]
async fn an_alias_answers_with_its_own_attributes_in_its_order_and_under_its_name() {
    let server = server();
    let whole = server.chat(paris()).await.json();
    let of =
        |answer: &serde_json::Value, index: usize| answer["choices"][0]["logprobs"]["content"][index].clone();
    let mut request = paris();
    request["model"] = "brief".into();
    let answer = server.chat(request).await.json();
    assert_eq!(answer["model"], "brief");
    assert_eq!((of(&answer, 0), of(&answer, 1), of(&answer, 2)), (of(&whole, 4), of(&whole, 0), json!(null)));
    let rewards = json!({"model": "brief", "conversations": [paris()["messages"]]});
    let rewards = server.ask("/v1/rewards", rewards).await.json();
    assert_eq!((&rewards["ranked_by"], &rewards["model"]), (&json!("verbosity"), &json!("brief")));
    assert_eq!(rewards["data"][0]["scores"]["helpfulness"], of(&whole, 0)["logprob"]);
}

#[tokio::test]
async fn a_name_that_is_not_served_is_404_and_names_those_that_are() {
    let mut request = paris();
    request["model"] = "other".into();
    let answer = server().chat(request).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::NOT_FOUND, "model_not_found"));
    let message = answer.json()["error"]["message"].to_string();
    assert!(message.contains(MODEL) && message.contains("judge, brief"), "{message}");
}
