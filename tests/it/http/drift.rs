//! `assay drift` over servers on real ports.

use assay::config::Settings;
use assay::score::drift::{DriftArgs, drift};
use clap::Parser;

use super::engines::instant;
use super::server::Server;

#[derive(Parser)]
struct Drift {
    #[command(flatten)]
    args: DriftArgs,
}

/// Serves on a port of its own; returns the address.
async fn listen(server: &Server) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = server.router();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

async fn compare(urls: &[&str]) -> Result<u8, String> {
    let urls = urls.iter().flat_map(|url| ["--url", url]);
    let Drift { args } = Drift::parse_from(std::iter::once("drift").chain(urls));
    drift(&args).await.map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_differ_in_one_bit_are_found() {
    let (one, same) = (Server::start(), Server::start());
    let clamp = |settings: &mut Settings| settings.scoring.score_clamp = Some("-0.5,0.5".parse().unwrap());
    let other = Server::with(clamp, instant());
    let (one, same, other) = (listen(&one).await, listen(&same).await, listen(&other).await);
    assert_eq!(compare(&[&one, &same]).await, Ok(0));
    assert_eq!(compare(&[&one, &same, &other]).await, Ok(1));
    let refusal = compare(&[&one]).await.unwrap_err();
    assert!(refusal.contains("a second --url, or --engine"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_score_nothing_are_not_called_equal() {
    let (one, two) = (Server::start(), Server::start());
    let (one, two) = (listen(&one).await, listen(&two).await);
    let texts = tempfile::NamedTempFile::new().unwrap();
    let long = serde_json::json!({"messages": [{"role": "user", "content": "a b ".repeat(100_000)}]});
    std::fs::write(texts.path(), long.to_string()).unwrap();
    let arguments = ["drift", "--url", &one, "--url", &two, "--texts", texts.path().to_str().unwrap()];
    let refusal = drift(&Drift::parse_from(arguments).args).await.unwrap_err().to_string();
    assert!(refusal.contains("none of the conversations was scored"), "{refusal}");
}
