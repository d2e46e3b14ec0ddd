//! What the rest of the server relies on of a scheduler's handle.

use std::sync::Arc;
use std::time::Duration;

use assay::engine::simulated::{Behaviour, SimulatedFactory, expected_logits};
use assay::engine::{EngineFactory, Limits, PrefixSharing};
use assay::scheduler::{Handle, Job, OnFailure, Output, Priority, Rejection, SchedulerOptions, Work, start};

const LIMITS: Limits = Limits {
    max_seq_len: 1024,
    max_batch_size: 8,
    max_num_tokens: 256,
    kv_blocks: 256,
    tokens_per_block: 16,
};

fn factory(script: impl FnMut(u64) -> Behaviour + Send + 'static) -> EngineFactory {
    SimulatedFactory::scripted(LIMITS, PrefixSharing::WithinIteration, 3, Box::new(script)).into()
}

fn healthy() -> Handle {
    start(factory(|_| Behaviour::Report), SchedulerOptions::default(), Arc::new(())).unwrap()
}

fn job(tokens: impl IntoIterator<Item = u32>) -> Job {
    let tokens: Arc<[u32]> = tokens.into_iter().collect();
    let work = Work::score(tokens.len());
    Job { tokens, work, priority: Priority(0) }
}

#[tokio::test]
async fn a_score_is_that_of_its_tokens() {
    let handle = healthy();
    let tickets: Vec<_> = (1..50).map(|n| handle.submit(job(0..n * 13), None).unwrap()).collect();
    for (n, ticket) in (1..50).zip(tickets) {
        let tokens: Vec<u32> = (0..n * 13).collect();
        let completed = ticket.await.unwrap();
        assert_eq!(completed.output, Output::Logits(expected_logits(&tokens, 3).into()));
    }
}

#[tokio::test]
async fn draining_finishes_what_was_accepted_and_refuses_the_rest() {
    let handle = healthy();
    let tickets: Vec<_> = (1..20).map(|n| handle.submit(job(0..n), None).unwrap()).collect();
    handle.drain();
    assert!(!handle.ready());
    assert_eq!(handle.submit(job(0..9), None).err(), Some(Rejection::ShuttingDown));
    handle.drained().await;
    for ticket in tickets {
        assert!(ticket.await.is_ok());
    }
}

#[tokio::test]
async fn after_a_failed_step_the_engine_is_started_again() {
    let handle = start(
        factory(|n| if n == 0 { Behaviour::Fail("out of memory".into()) } else { Behaviour::Report }),
        SchedulerOptions::default(),
        Arc::new(()),
    )
    .unwrap();
    let error = handle.submit(job(0..9), None).unwrap().await.unwrap_err();
    assert_eq!(error.to_string(), "the engine failed: out of memory");
    assert!(handle.submit(job(0..9), None).unwrap().await.is_ok());
    assert!(handle.ready());
}

#[tokio::test]
async fn a_stalled_engine_answers_and_ends_the_process_if_asked_to() {
    let stall_timeout = Duration::from_millis(50);
    let options =
        SchedulerOptions { stall_timeout, on_failure: OnFailure::Exit, ..SchedulerOptions::default() };
    let handle = start(factory(|_| Behaviour::Stall), options, Arc::new(())).unwrap();
    let ticket = handle.submit(job(0..9), None).unwrap();
    assert_eq!(ticket.await, Err(Rejection::EngineStalled(stall_timeout)));
    handle.failed().await;
    assert!(!handle.ready());
    assert!(handle.submit(job(0..9), None).unwrap().await.is_err());
}

#[tokio::test]
async fn a_dropped_ticket_does_not_hold_up_draining() {
    let handle = healthy();
    drop(handle.submit(job(0..900), None).unwrap());
    handle.drain();
    handle.drained().await;
}

#[tokio::test]
async fn a_reader_that_comes_late_gets_every_token() {
    let handle = healthy();
    let work = Work::greedy(50, Vec::new());
    let mut ticket = handle.submit(Job { work, ..job(0..9) }, None).unwrap();
    let Output::Tokens(generated) = (&mut ticket).await.unwrap().output else { panic!("asked for tokens") };
    let mut read = Vec::new();
    while let Some(sampled) = ticket.next_token().await {
        read.push(sampled.token);
    }
    assert_eq!((read.len(), read), (50, generated));
}
