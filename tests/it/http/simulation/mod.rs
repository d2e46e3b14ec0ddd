//! The whole service in one process, while clients, the engine and the operator's files misbehave: routes, keys,
//! scheduler, supervisor, metrics and a simulated engine.
//!
//! A seed fixes the options, what each client sends and when it leaves, which iterations fail, stall or are late, how
//! the files of keys and of TLS change, and whether and when the server gets a signal to end. It does not fix how the machine
//! interleaves the threads, so an unlucky interleaving may need several repetitions.
//!
//! `ASSAY_SIMULATION_SEEDS` sets the number of seeds, `ASSAY_SIMULATION_SEED` chooses a single one. `make simulate` runs
//! a thousand, eight at a time.

mod certificates;
mod client;
mod keys;
mod periods;
mod plan;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use assay::api::serve::{Exit, drain};
use assay::scheduler::OnFailure;
use axum::http::StatusCode;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::certificates::CertificateFiles;
use self::client::{Seen, TIME_LIMIT, check, scores, send, with_key};
use self::keys::{ClientKey, KeyFile};
use self::plan::{INFLIGHT_BYTES, MS, Operations};
use super::server::{MODEL, Server, TestResponse, paris};

/// Seeds that run at once: each mostly waits.
const AT_ONCE: usize = 8;

fn count(server: &Server, name: &str) -> f64 {
    let start = format!("{name}{{model_name=\"{MODEL}\"}} ");
    let text = server.app.metrics.render().unwrap();
    text.lines().find_map(|line| line.strip_prefix(&start)).map_or(0.0, |value| value.parse().unwrap())
}

/// Waits until `condition` is true; fails if that takes too long.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < TIME_LIMIT, "{what}");
        tokio::time::sleep(MS).await;
    }
}

/// Sends a body as large as the whole budget, which is taken only if nothing else holds a part of it, until its answer has
/// this status. An engine that stalled before it became calm may still lose it.
async fn answer_to_large_body(server: &Server, status: StatusCode) -> TestResponse {
    let mut request = paris();
    request["timeout"] = json!(TIME_LIMIT.as_secs());
    let start = Instant::now();
    loop {
        let body = format!("{}{request}", " ".repeat(INFLIGHT_BYTES - 1000));
        let request = with_key("/v1/chat/completions", ClientKey::Stays, body.into());
        let answer = server.send(request).await;
        if answer.status == status {
            return answer;
        }
        assert!(start.elapsed() < TIME_LIMIT, "the server does not recover: {}", answer.text);
        tokio::time::sleep(5 * MS).await;
    }
}

/// Ends the server as SIGTERM does, with a port that closes when it should.
async fn end(server: &Server, grace: Duration) -> Exit {
    let (stop, mut stopping) = watch::channel(false);
    let mut ports = JoinSet::new();
    ports.spawn(async move {
        let _ = stopping.wait_for(|stop| *stop).await;
    });
    let start = Instant::now();
    let ended = tokio::time::timeout(TIME_LIMIT, drain(server.scheduler.clone(), stop, ports, grace)).await;
    let exit = ended.expect("the server does not end");
    assert!(exit == Exit::Drained || start.elapsed() >= grace, "{exit:?} before the grace time was over");
    exit
}

/// What the operator has given the server, and changes while it runs.
struct OperatorFiles {
    keys: Option<KeyFile>,
    certificates: Option<CertificateFiles>,
}

/// Does what the operator does while clients are there. Returns when the server was signalled to end, if it was.
async fn operate(server: &Server, files: &OperatorFiles, operations: &Operations) -> Option<Instant> {
    let change_keys = async {
        for (pause, change) in &operations.key_changes {
            tokio::time::sleep(*pause).await;
            if let Some(keys) = &files.keys {
                keys.change(&server.app, *change);
            }
        }
    };
    let change_certificates = async {
        for (pause, change) in &operations.certificate_changes {
            tokio::time::sleep(*pause).await;
            if let Some(certificates) = &files.certificates {
                certificates.change(*change);
            }
        }
    };
    let end_server = async {
        let (after, grace) = operations.end?;
        tokio::time::sleep(after).await;
        server.scheduler.drain();
        let told = Instant::now();
        end(server, grace).await;
        Some(told)
    };
    tokio::join!(change_keys, change_certificates, end_server).2
}

async fn simulate(seed: u64, calm_server: &Server) -> Seen {
    let mut random = SmallRng::seed_from_u64(seed);
    let calm = Arc::new(AtomicBool::new(false));
    let files = OperatorFiles {
        keys: random.random_bool(0.5).then(KeyFile::new),
        certificates: random.random_bool(0.5).then(CertificateFiles::new),
    };
    let mut server = Server::starting(|settings| {
        plan::change(settings, &mut random, files.keys.as_ref().map(KeyFile::path))
    });
    server.load(plan::engine(&mut random, calm.clone()).into());
    let (requests, operations) = (plan::requests(&mut random), plan::operations(&mut random));

    let send_one = |plan| send(&server, files.certificates.as_ref(), plan);
    let answers = futures_util::future::join_all(requests.iter().map(send_one));
    let (answers, ended) = tokio::join!(answers, operate(&server, &files, &operations));
    let mut seen = Seen::default();
    for (plan, answer) in requests.iter().zip(&answers) {
        let Some(answer) = answer else {
            seen.left += 1;
            continue;
        };
        let was_ending = ended.is_some_and(|told| answer.sent > told);
        assert!(
            !was_ending || answer.response.status != StatusCode::OK,
            "taken by a server that ends: {plan:?}"
        );
        check(plan, answer, files.keys.as_ref(), calm_server, &mut seen).await;
    }

    // Whoever left has left nothing behind, and the metrics add up.
    until("something still waits", || count(&server, "num_requests_waiting") == 0.0).await;
    until("something is still in flight", || count(&server, "num_requests_running") == 0.0).await;
    let failures = (seen.refused + seen.failed_items) as f64;
    assert_eq!(count(&server, "request_failure_total"), failures, "{seen:?}");

    calm.store(true, Ordering::Relaxed);
    let lost = server.app.settings.engine.on_engine_failure == OnFailure::Exit;
    if ended.is_none() && !lost {
        until("the engine does not come back", || server.app.ready()).await;
        let answer = answer_to_large_body(&server, StatusCode::OK).await;
        let right = calm_server.chat(paris()).await;
        let path = "/v1/chat/completions";
        assert_eq!(scores(path, &answer), scores(path, &right));
    }
    if ended.is_none() {
        assert_eq!(end(&server, TIME_LIMIT).await, Exit::Drained);
    }
    answer_to_large_body(&server, StatusCode::SERVICE_UNAVAILABLE).await;
    seen
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

/// Runs a seed, or says why it failed.
fn run(seed: u64, calm_server: &Server) -> Result<Seen, Box<dyn Any + Send>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    catch_unwind(AssertUnwindSafe(|| runtime.block_on(simulate(seed, calm_server))))
}

#[test]
fn every_request_gets_one_right_answer_whatever_goes_wrong() {
    let seeds = match number("ASSAY_SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("ASSAY_SIMULATION_SEEDS").unwrap_or(10),
    };
    let calm_server = Server::start();
    let (start, next) = (Instant::now(), AtomicU64::new(seeds.start));
    let (total, failed) = (Mutex::new(Seen::default()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    match run(seed, &calm_server) {
                        Ok(seen) => *total.lock().unwrap() += seen,
                        Err(_) => failed.lock().unwrap().push(seed),
                    }
                }
            });
        }
    });
    let (total, failed) = (total.into_inner().unwrap(), failed.into_inner().unwrap());
    for seed in &failed {
        eprintln!("seed {seed} failed; repeat it with ASSAY_SIMULATION_SEED={seed} make simulate");
    }
    println!("{} seeds in {:.1} s: {total:?}", seeds.count(), start.elapsed().as_secs_f64());
    assert!(failed.is_empty(), "{} seeds failed: {failed:?}", failed.len());
}
