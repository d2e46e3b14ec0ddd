//! `assay score` over several servers on real ports, some of which stop, refuse or run something else.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use assay::config::Settings;
use assay::engine::EngineFactory;
use assay::engine::simulated::Behaviour;
use assay::score::cli::{ScoreArgs, score};
use axum::Router;
use clap::Parser;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::engines::{instant, scripted};
use super::server::Server;

const GROUPS: usize = 60;

#[derive(Parser)]
struct Score {
    #[command(flatten)]
    args: ScoreArgs,
}

/// A server on a port of its own, which stops when its runtime does.
struct Listening {
    url: String,
    server: Server,
    runtime: Option<Runtime>,
}

pub(super) fn bind(address: &str) -> TcpListener {
    let listener = TcpListener::bind(address).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

/// Serves until the runtime is shut down.
pub(super) fn serve(listener: TcpListener, router: Router) -> Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.spawn(async move { axum::serve(tokio::net::TcpListener::from_std(listener)?, router).await });
    runtime
}

impl Listening {
    fn start(server: Server) -> Self {
        let listener = bind("127.0.0.1:0");
        let url = format!("http://{}", listener.local_addr().unwrap());
        let runtime = Some(serve(listener, server.router()));
        Self { url, server, runtime }
    }

    /// Closes the port and every connection.
    fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// How many sequences it has scored.
    async fn scored(&self) -> u64 {
        let metrics = self.server.get("/metrics").await.text;
        let value = metrics.lines().find_map(|line| line.strip_prefix("request_success_total{"));
        value.and_then(|rest| rest.rsplit(' ').next()).map_or(0, |count| count.parse().unwrap())
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A folder with an input: four answers to each of [`GROUPS`] prompts, in rows of their own, far from each other.
pub(super) fn input() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("in.jsonl");
    let mut rows = String::new();
    for answer in 0..4 {
        for prompt in 0..GROUPS {
            let row = serde_json::json!({"prompt": format!("What is {prompt}+1?"), "response": format!("It is {answer}.")});
            rows += &format!("{row}\n");
        }
    }
    std::fs::write(&path, rows).unwrap();
    (directory, path)
}

pub(super) async fn run(input: &Path, output: &str, urls: &[&str]) -> Result<Vec<u8>, String> {
    run_with(input, output, urls, &[]).await
}

/// The same with further options.
pub(super) async fn run_with(
    input: &Path,
    output: &str,
    urls: &[&str],
    options: &[&str],
) -> Result<Vec<u8>, String> {
    let output = input.with_file_name(output);
    let mut arguments = vec!["score", input.to_str().unwrap(), "--output", output.to_str().unwrap()];
    arguments.extend(urls.iter().flat_map(|url| ["--url", url]));
    arguments.extend(options);
    let Score { args } = Score::parse_from(arguments);
    match score(&args).await {
        Ok(0) => Ok(std::fs::read(output).unwrap()),
        Ok(status) => Err(format!("status {status}")),
        Err(error) => Err(error.to_string()),
    }
}

/// An engine that says when it has computed for the `nth` time.
fn signalling(nth: u64) -> (EngineFactory, mpsc::Receiver<()>) {
    let (send, receive) = mpsc::channel();
    let factory = scripted(Box::new(move |number| {
        if number == nth {
            let _ = send.send(());
        }
        Behaviour::Report
    }));
    (factory, receive)
}

#[tokio::test(flavor = "multi_thread")]
async fn several_servers_share_the_prompts_and_give_the_bytes_of_one() {
    let (one, two, three) = (
        Listening::start(Server::start()),
        Listening::start(Server::start()),
        Listening::start(Server::start()),
    );
    let (_folder, input) = input();
    let expected = run(&input, "one.jsonl", &[&one.url]).await.unwrap();
    let before = one.scored().await;
    let found = run(&input, "three.jsonl", &[&one.url, &two.url, &three.url]).await.unwrap();
    assert_eq!(found, expected);
    let counts = [one.scored().await - before, two.scored().await, three.scored().await];
    assert_eq!(counts.iter().sum::<u64>(), before, "every row was scored once");
    // Each server got whole groups of four.
    assert!(counts.iter().all(|count| count % 4 == 0 && *count > 20), "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_stopped_in_the_middle_of_a_run_leaves_its_rows_to_the_others() {
    let (factory, computed) = signalling(5);
    let (mut one, two) = (Listening::start(Server::with(|_| {}, factory)), Listening::start(Server::start()));
    let (_folder, input) = input();
    let expected = run(&input, "one.jsonl", &[&two.url]).await.unwrap();
    let (url, before) = (one.url.clone(), two.scored().await);
    let stopping = tokio::task::spawn_blocking(move || {
        computed.recv_timeout(Duration::from_secs(60)).unwrap();
        one.stop();
        one
    });
    let found = run(&input, "both.jsonl", &[&url, &two.url]).await.unwrap();
    let one = stopping.await.unwrap();
    assert_eq!(found, expected);
    let (first, second) = (one.scored().await, two.scored().await - before);
    assert!(first > 0 && second > 0 && first < 4 * GROUPS as u64, "{first} and {second}");
    // One that is not there from the start does not matter, either.
    assert_eq!(run(&input, "again.jsonl", &[&url, &two.url]).await.unwrap(), expected);
    let refusal = run(&input, "none.jsonl", &[&url]).await.unwrap_err();
    assert!(refusal.contains("does not answer") && refusal.contains("--url"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_or_fails_leaves_its_rows_to_the_others() {
    let (good, full) = (Listening::start(Server::start()), Listening::start(Server::with(full, instant())));
    let failing = Listening::start(Server::with(|_| {}, super::engines::failing("out of memory")));
    let loading = Listening::start(Server::starting(|_| {}));
    let (_folder, input) = input();
    let expected = run(&input, "one.jsonl", &[&good.url]).await.unwrap();
    for (name, other) in [("full", &full), ("failing", &failing), ("loading", &loading)] {
        let found = run(&input, &format!("{name}.jsonl"), &[&other.url, &good.url]).await;
        assert_eq!(found.as_ref(), Ok(&expected), "{name}");
        assert_eq!(other.scored().await, 0, "{name}");
    }
}

/// No request fits into its queue.
fn full(settings: &mut Settings) {
    settings.scheduling.max_queue_requests = 0;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_run_goes_on_with_other_servers_of_the_same_engine_only() {
    let (_folder, input) = input();
    let journal = input.with_file_name("out.jsonl.partial");
    let lines = move || std::fs::read_to_string(&journal).map_or(0, |text| text.lines().count());
    // The first server computes until the journal has rows, and then no more.
    let seen = lines.clone();
    let behaviour = move |_| if seen() < 5 { Behaviour::Report } else { Behaviour::Stall };
    let (one, two, three) = (
        Listening::start(Server::with(|_| {}, scripted(Box::new(behaviour)))),
        Listening::start(Server::start()),
        Listening::start(Server::start()),
    );
    let clamp = |settings: &mut Settings| settings.scoring.score_clamp = Some("-0.5,0.5".parse().unwrap());
    let other = Listening::start(Server::with(clamp, instant()));
    let expected = run(&input, "one.jsonl", &[&two.url]).await.unwrap();
    let (only, kept) = ([one.url.as_str()], async {
        while lines() < 5 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    // With few rows in flight, few are computed that are not in the journal yet.
    let few = ["--concurrency", "8"];
    tokio::select! {
        found = run_with(&input, "out.jsonl", &only, &few) => panic!("the run ended: {:?}", found.map(|_| ())),
        () = kept => {}
    }
    assert!(lines() < 4 * GROUPS, "{}", lines());
    let refusal = run(&input, "out.jsonl", &[&other.url]).await.unwrap_err();
    assert!(refusal.contains("different engine or server"), "{refusal}");
    let left = 4 * GROUPS + 1 - lines();
    assert_eq!(run(&input, "out.jsonl", &[&three.url, &two.url]).await.unwrap(), expected);
    let scored = three.scored().await + two.scored().await - 4 * GROUPS as u64;
    assert_eq!(scored, left as u64, "what the journal has is not scored again");
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_of_different_engines_or_options_are_refused_before_anything_is_scored() {
    let clamp = |settings: &mut Settings| settings.scoring.score_clamp = Some("-0.5,0.5".parse().unwrap());
    let renamed = |settings: &mut Settings| settings.server.served_model_name = vec!["other".into()];
    let one = Listening::start(Server::start());
    let (_folder, input) = input();
    for change in [&clamp as &dyn Fn(&mut Settings), &renamed] {
        let other = Listening::start(Server::with(change, instant()));
        let refusal = run(&input, "out.jsonl", &[&one.url, &other.url]).await.unwrap_err();
        assert!(refusal.contains(&one.url) && refusal.contains(&other.url), "{refusal}");
        assert!(refusal.contains("different engines"), "{refusal}");
        assert_eq!(other.scored().await, 0);
    }
    assert!(!input.with_file_name("out.jsonl.partial").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_back_goes_on_unless_it_has_other_options() {
    let clamp = |settings: &mut Settings| settings.scoring.score_clamp = Some("-0.5,0.5".parse().unwrap());
    let (_folder, input) = input();
    let expected = run(&input, "expected.jsonl", &[&Listening::start(Server::start()).url]).await.unwrap();
    for (name, change) in [("same", None), ("other", Some(clamp))] {
        let (factory, computed) = signalling(5);
        let mut server = Listening::start(Server::with(|_| {}, factory));
        let url = server.url.clone();
        let replacing = tokio::task::spawn_blocking(move || {
            computed.recv_timeout(Duration::from_secs(60)).unwrap();
            server.stop();
            // First it is not there, then it is loading.
            std::thread::sleep(Duration::from_millis(300));
            let mut other = Server::starting(|settings| {
                if let Some(change) = change {
                    change(settings);
                }
            });
            let runtime = serve(bind(server.url.strip_prefix("http://").unwrap()), other.router());
            std::thread::sleep(Duration::from_millis(700));
            other.load(instant());
            Listening { url: server.url.clone(), server: other, runtime: Some(runtime) }
        });
        let found = run(&input, &format!("{name}.jsonl"), &[&url, "http://127.0.0.1:1"]).await;
        match change {
            None => assert_eq!(found.as_ref(), Ok(&expected)),
            Some(_) => {
                assert!(found.as_ref().is_err_and(|error| error.contains("another engine")), "{found:?}")
            }
        }
        drop(replacing.await.unwrap());
    }
}
