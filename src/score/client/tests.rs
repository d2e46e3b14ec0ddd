//! Several servers, one of which misbehaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{get, post};
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::*;
use crate::score::row_options::RowOptions;

const CONCURRENCY: usize = 4;
/// How long the tests' servers may answer nothing.
const SHORT: Duration = Duration::from_secs(1);

/// How a server of a test answers requests for scores.
#[derive(Clone, Copy, PartialEq)]
enum Answers {
    Scores,
    /// Only those that do not spell "poison".
    ScoresUnlessPoison,
    Errors,
    Never,
}

/// A server's address, and how many requests for scores it got.
struct Fake {
    url: String,
    asked: Arc<AtomicUsize>,
    hangs: tokio::sync::watch::Sender<bool>,
}

impl Fake {
    async fn start(answers: Answers) -> Self {
        let asked = Arc::new(AtomicUsize::new(0));
        let hangs = tokio::sync::watch::Sender::new(false);
        let (counter, mut receiver) = (asked.clone(), hangs.subscribe());
        let models = async move || {
            if receiver.wait_for(|hangs| !hangs).await.is_err() {
                std::future::pending::<()>().await;
            }
            r#"{"data": [{"id": "m"}]}"#
        };
        let rewards = async move |body: String| {
            let request: Value = serde_json::from_str(&body).unwrap();
            if request == json!({}) {
                let error = json!({"error": {"message": "`messages` is missing", "param": "messages"}});
                return (StatusCode::BAD_REQUEST, error.to_string());
            }
            counter.fetch_add(1, Ordering::Relaxed);
            let fails = match answers {
                Answers::Never => std::future::pending().await,
                Answers::Errors => true,
                Answers::ScoresUnlessPoison => body.contains("poison"),
                Answers::Scores => false,
            };
            if fails {
                let error = json!({"error": {"message": "it failed", "code": "engine_failed"}});
                return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
            }
            (StatusCode::OK, json!({"data": [{"index": 0, "scores": {"a": 1.0}}]}).to_string())
        };
        let router = Router::new().route("/v1/models", get(models)).route("/v1/rewards", post(rewards));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, asked, hangs }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

async fn client(servers: &[&Fake]) -> RewardClient {
    let urls: Vec<String> = servers.iter().map(|server| server.url.clone()).collect();
    let mut client =
        RewardClient::connect(&urls, RequestSettings::default(), None, CONCURRENCY).await.unwrap();
    client.silence = SHORT;
    client
}

/// Scores a row for each of the prompts, one after the other or all at once.
async fn score_rows(client: &RewardClient, prompts: &[String]) -> Vec<ScoreResult> {
    let rows: Vec<Vec<Vec<Message>>> = prompts
        .iter()
        .map(|prompt| vec![vec![Message::new("user", prompt), Message::new("assistant", "a")]])
        .collect();
    let variables = TemplateVariables::default();
    let row = RowOptions::variables(&variables);
    let scored = join_all(rows.iter().map(|row_turns| client.score(row_turns, row))).await;
    scored.into_iter().flat_map(Result::unwrap).collect()
}

fn prompts(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("What is {number}+1?")).collect()
}

#[tokio::test]
async fn a_server_that_fails_on_everything_rests_and_its_rows_are_scored_by_the_others() {
    let (good, broken) = (Fake::start(Answers::Scores).await, Fake::start(Answers::Errors).await);
    let client = client(&[&broken, &good]).await;
    for prompt in prompts(100) {
        let scored = score_rows(&client, &[prompt]).await;
        assert!(scored.iter().all(Result::is_ok), "{scored:?}");
    }
    assert_eq!(good.asked(), 100);
    // Half of the rows are the broken server's by their prompts. It is asked again after each rest, and rests double, so
    // a slow machine asks it some times more.
    assert!((3..20).contains(&broken.asked()), "{}", broken.asked());
}

#[tokio::test]
async fn a_row_that_fails_on_two_servers_is_at_fault_itself_and_neither_server_rests() {
    let answers = Answers::ScoresUnlessPoison;
    let (one, two) = (Fake::start(answers).await, Fake::start(answers).await);
    let client = client(&[&one, &two]).await;
    for number in 0..4 {
        let scored = score_rows(&client, &[format!("poison {number}")]).await;
        assert!(
            matches!(&scored[..], [Err(Unscored::Refused(reason))] if reason == "it failed"),
            "{scored:?}"
        );
    }
    assert!(client.servers.iter().all(|server| !server.is_resting()));
    assert!(score_rows(&client, &prompts(20)).await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_server_that_hangs_leaves_its_rows_to_the_others() {
    let (good, hung) = (Fake::start(Answers::Scores).await, Fake::start(Answers::Never).await);
    let client = client(&[&hung, &good]).await;
    hung.hangs.send_replace(true);
    // More rows than the hung server may have at once.
    let scored = score_rows(&client, &prompts(40)).await;
    assert!(scored.iter().all(Result::is_ok), "{scored:?}");
    assert!((1..=CONCURRENCY + 4).contains(&hung.asked()), "{}", hung.asked());
}

#[tokio::test]
async fn a_server_that_works_on_a_large_request_is_waited_for() {
    let (good, busy) = (Fake::start(Answers::Scores).await, Fake::start(Answers::Never).await);
    let client = client(&[&busy, &good]).await;
    // It still says what models it has.
    let waiting = tokio::time::timeout(3 * SHORT, score_rows(&client, &prompts(40))).await;
    assert!(waiting.is_err(), "{waiting:?}");
    assert!(client.servers.iter().all(|server| !server.is_resting()));
}

/// A server that answers every request with `response`.
async fn fixed(response: &'static str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut request).await;
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, response.as_bytes()).await;
        }
    });
    url
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_names_the_other_address() {
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let response: &'static str = format!(
            "HTTP/1.1 {status}\r\nlocation: https://other/v1/models\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        )
        .leak();
        let urls = [fixed(response).await];
        let refused = RewardClient::connect(&urls, RequestSettings::default(), None, CONCURRENCY).await;
        let error = refused.err().unwrap().to_string();
        assert!(
            error.contains(" redirects to https://other/v1/models; name the server with --url"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_response_without_end_is_not_read_into_memory() {
    let response: &'static str =
        format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}", "[".repeat(65 << 20)).leak();
    let urls = [fixed(response).await];
    let refused = RewardClient::connect(&urls, RequestSettings::default(), None, CONCURRENCY).await;
    let error = refused.err().unwrap().to_string();
    assert!(error.contains("its response has more than 67108864 bytes"), "{error}");
}
