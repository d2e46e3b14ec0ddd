//! Engines for several GPUs, each rank a process: what an operator relies on, whether `mpirun` starts the ranks or the
//! library spawns them.

use std::thread;

use assay::engine::PrefixSharing;
use assay::engine::simulated::SimulatedFactory;
use serde_json::Value;

use crate::job::{Job, Sent, ask, engine, is_running, listens, request, signal, until};
use crate::server::{ATTRIBUTES, LIMITS, Server};

const CHAT: &str = "/v1/chat/completions";
const READY: &str = "/v1/health/ready";
const WORKER: &str = "worker rank: loading its shard";

const ENGINE_FAILED: i32 = 3;
const UNDRAINED: i32 = 4;

/// What the simulated engine says of a text, whose logits the stand-in has too.
async fn expected(text: &str) -> Value {
    let simulated = SimulatedFactory::new(LIMITS, PrefixSharing::WithinIteration, ATTRIBUTES.len());
    let server = Server::with(|_| {}, simulated.into());
    server.chat(request(text)).await.json()["choices"].take()
}

fn scored(address: &str, text: &str) -> Value {
    let (status, body) = ask(address, CHAT, Some(&request(text)));
    assert_eq!(status, 200, "{body}");
    serde_json::from_str::<Value>(&body).unwrap()["choices"].take()
}

type Running = Vec<thread::JoinHandle<Option<(u16, String)>>>;

/// Asks for `count` scores at once.
fn flood(address: &str, count: usize) -> Running {
    let text = |number| request(&format!("Answer {number}"));
    let sent: Vec<_> = (0..count).map(|number| Sent::new(address, CHAT, Some(&text(number)))).collect();
    sent.into_iter().map(|one| thread::spawn(move || one.answer())).collect()
}

fn wait_for_one(running: &Running) {
    until(|| running.iter().any(|one| one.is_finished()).then_some(()));
}

/// Waits until as many are in flight.
fn await_running(address: &str, count: usize) {
    until(|| {
        let metrics = ask(address, "/metrics", None).1;
        let line = metrics.lines().find(|line| line.starts_with("num_requests_running{"))?.to_owned();
        line.ends_with(&format!(" {count}")).then_some(())
    });
}

/// What each was answered with; 0 if it was not.
fn statuses(running: Running) -> Vec<u16> {
    running.into_iter().map(|one| one.join().unwrap().map_or(0, |(status, _)| status)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ranks_give_the_scores_of_one_and_only_the_first_has_a_port() {
    for (tensor_parallel, pipeline_parallel) in [(2, 1), (2, 2)] {
        let ranks = tensor_parallel * pipeline_parallel;
        let mut job = Job::start(ranks, engine(tensor_parallel, pipeline_parallel, ""), &[]);
        let address = job.address();
        job.logged("ready", 1);
        for text in ["The Louvre.", "The Seine by night, and then the Louvre."] {
            assert_eq!(scored(&address, text), expected(text).await);
        }
        let mut workers: Vec<_> =
            job.logged(WORKER, ranks - 1).iter().map(|line| line["rank"].as_u64().unwrap()).collect();
        workers.sort_unstable();
        assert_eq!(workers, (1..ranks as u64).collect::<Vec<_>>());
        let listening: Vec<bool> = job.ranks().into_iter().map(listens).collect();
        assert_eq!(listening, (0..ranks).map(|rank| rank == 0).collect::<Vec<_>>());
    }
}

#[test]
fn a_server_is_ready_once_every_rank_is() {
    let mut job = Job::start(2, engine(2, 1, "load_gate\nload_rank 1"), &[]);
    let address = job.address();
    job.logged(WORKER, 1);
    assert_eq!(ask(&address, READY, None).0, 503);
    std::fs::write(job.engine().join("gate"), "").unwrap();
    job.logged("ready", 1);
    assert_eq!(ask(&address, READY, None).0, 200);
}

#[test]
fn on_sigterm_ranks_finish_what_they_started_and_end_together() {
    for (whom, how) in [("mpirun", "USR1"), ("leader", "USR1"), ("leader", "TERM")] {
        let mut job = Job::start(2, engine(2, 1, "delay 5000"), &[]);
        let address = job.address();
        job.logged("ready", 1);
        let running = flood(&address, 40);
        wait_for_one(&running);
        signal(if whom == "mpirun" { job.id() } else { job.ranks()[0] }, how);
        let statuses = statuses(running);
        assert!(statuses.iter().all(|status| [200, 503].contains(status)), "{whom} {how}: {statuses:?}");
        assert!(statuses.contains(&200));
        assert_eq!(job.ended(), 0, "{whom} {how}");
    }
}

#[test]
fn a_follower_that_gets_sigterm_waits_for_its_leader() {
    let mut job = Job::start(2, engine(2, 1, ""), &[]);
    let address = job.address();
    job.logged("ready", 1);
    for name in ["TERM", "INT", "USR1"] {
        signal(job.ranks()[1], name);
    }
    scored(&address, "The Louvre.");
    signal(job.id(), "USR1");
    assert_eq!(job.ended(), 0);
}

#[test]
fn on_sigterm_mpirun_leaves_no_process_and_no_request_without_an_answer() {
    // The second rank never answers again: nothing in flight can be finished.
    let mut job = Job::start(2, engine(2, 1, "stall_in_step 3"), &[]);
    let address = job.address();
    job.logged("ready", 1);
    scored(&address, "The Louvre.");
    let running = flood(&address, 3);
    await_running(&address, 3);
    signal(job.id(), "TERM");
    assert_eq!(statuses(running), [503; 3]);
    assert_ne!(job.ended(), 0);
}

#[test]
fn a_rank_that_dies_is_an_error_of_every_request_and_the_end_of_the_job() {
    // Whether the library notices, or waits forever.
    for (script, error) in [("lost_rank_fails\ndelay 500000", 500), ("delay 500000", 503)] {
        let mut job = Job::start(2, engine(2, 1, script), &[]);
        let address = job.address();
        job.logged("ready", 1);
        let running = flood(&address, 16);
        await_running(&address, 16);
        signal(job.ranks()[1], "KILL");
        let statuses = statuses(running);
        assert!(statuses.iter().all(|status| [200, 500, 503].contains(status)), "{statuses:?}");
        assert!(statuses.contains(&error), "{statuses:?}");
        assert_ne!(job.ended(), 0);
    }
}

#[test]
fn a_leader_that_dies_is_the_end_of_the_job() {
    let mut job = Job::start(2, engine(2, 1, ""), &[]);
    job.logged("ready", 1);
    signal(job.ranks()[0], "KILL");
    assert_ne!(job.ended(), 0);
}

#[test]
fn an_engine_that_stalls_is_the_end_of_the_job() {
    let mut job = Job::start(2, engine(2, 1, "stall_in_step 2"), &["--stall-timeout", "0.5"]);
    let address = job.address();
    job.logged("ready", 1);
    assert_eq!(ask(&address, CHAT, Some(&request("The Louvre."))).0, 503);
    assert_eq!(job.ended(), ENGINE_FAILED);
}

#[test]
fn a_leader_that_cannot_finish_ends_after_its_grace_time() {
    let options = ["--shutdown-grace", "0.5"];
    let mut job = Job::start(2, engine(2, 1, "stall_in_step 2"), &options);
    let address = job.address();
    job.logged("ready", 1);
    let running = flood(&address, 1);
    await_running(&address, 1);
    signal(job.id(), "USR1");
    assert_eq!(statuses(running), [503]);
    assert_eq!(job.ended(), UNDRAINED);
}

#[test]
fn a_number_of_ranks_that_is_not_the_engines_is_refused() {
    for started in [1, 3] {
        let job = Job::start(started, engine(2, 1, ""), &[]);
        let sentence = format!("has 2 ranks, and mpirun started {started}; start it with `mpirun -n 2`");
        until(|| job.lines().contains(&sentence).then_some(()));
        assert_eq!(job.ended(), 1);
    }
}

#[test]
fn a_rank_that_does_not_load_says_why_and_ends_the_job() {
    for rank in [0, 1] {
        let script = format!("load_error Failed to deserialize cuda engine\nload_rank {rank}");
        let job = Job::start(2, engine(2, 1, &script), &[]);
        until(|| job.lines().contains("Failed to deserialize cuda engine").then_some(()));
        assert_eq!(job.ended(), 1);
    }
}

#[test]
fn on_sigterm_while_loading_all_ranks_end() {
    let mut job = Job::start(2, engine(2, 1, "load_gate\nload_rank 1"), &[]);
    job.address();
    job.logged(WORKER, 1);
    signal(job.id(), "USR1");
    job.ended();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_mpirun_workers_are_spawned_and_end_with_the_server() {
    for (how, status) in [("TERM", 0), ("KILL", -1)] {
        let mut job = Job::start_alone(engine(2, 1, ""), &[]);
        let address = job.address();
        job.logged("ready", 1);
        assert_eq!(scored(&address, "The Louvre."), expected("The Louvre.").await);
        let workers = job.ranks();
        assert_eq!(workers.len(), 2);
        signal(job.id(), how);
        assert_eq!(job.ended(), status);
        until(|| workers.iter().all(|&worker| !is_running(worker)).then_some(()));
    }
}

#[test]
fn a_worker_that_dies_is_an_error_and_the_end_of_the_server() {
    let mut job = Job::start_alone(engine(2, 1, ""), &["--stall-timeout", "0.5"]);
    let address = job.address();
    job.logged("ready", 1);
    scored(&address, "The Louvre.");
    signal(job.ranks()[1], "KILL");
    assert_eq!(ask(&address, CHAT, Some(&request("Another."))).0, 503);
    assert_eq!(job.ended(), ENGINE_FAILED);
}

#[test]
fn on_sigterm_a_containers_ranks_finish_what_they_started() {
    for ranks in [1, 2] {
        // Two steps of a second each: longer than mpirun leaves its ranks when it gets the signal itself.
        let mut job = Job::start_image(engine(ranks, 1, "delay 1000000"), &[]);
        let address = job.address();
        job.logged("ready", 1);
        let running = flood(&address, 16);
        await_running(&address, 16);
        signal(job.id(), "TERM");
        assert_eq!(statuses(running), [200; 16]);
        assert_eq!(job.ended(), 0, "{ranks}");
    }
}

#[test]
fn a_container_whose_rank_dies_ends_with_a_status_of_its_own() {
    let mut job = Job::start_image(engine(2, 1, ""), &[]);
    job.logged("ready", 1);
    signal(job.ranks()[1], "KILL");
    assert_ne!(job.ended(), 0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Open MPI: make test-mpirun"]
async fn pods_on_several_nodes_serve_as_one_and_end_together() {
    let mut job = Job::start_pods(2, 2, engine(2, 2, ""), &[]);
    let address = job.address();
    job.logged("ready", 1);
    assert_eq!(job.logged(WORKER, 3).len(), 3);
    assert_eq!(scored(&address, "The Louvre."), expected("The Louvre.").await);
    signal(job.id(), "TERM");
    assert_eq!(job.ended(), 0);
}
