//! A server that ends, and clients that leave.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{LONG, PANICS, Stage, assert_failed, assert_served, job, quick};
use assay::scheduler::{Job, OnFailure, Rejection, SchedulerOptions, Work};

#[tokio::test]
async fn on_sigterm_a_server_whose_engine_restarts_serves_what_waits_first() {
    let stage = Stage::set(quick());
    let waiting = stage.lose_engine_after(|| stage.submit(2)).await;
    stage.handle.drain();
    assert_eq!(stage.handle.submit(job(3), None).err(), Some(Rejection::ShuttingDown));
    let mut second = stage.permit();
    second.holds = None;
    second.serve(1);
    assert_served(waiting, 2).await;
    stage.handle.drained().await;
    assert!(!stage.handle.ready());
}

#[tokio::test]
async fn on_sigterm_a_server_does_not_wait_for_an_engine_that_never_starts() {
    let stage = Stage::set(SchedulerOptions { restart_attempts: 2, ..quick() });
    let waiting = stage.lose_engine_after(|| stage.submit(2)).await;
    stage.handle.drain();
    stage.refuse();
    stage.refuse();
    assert_failed(waiting, "no memory is left").await;
    stage.handle.drained().await;
}

#[tokio::test]
async fn a_server_with_nothing_left_to_do_ends_though_its_engine_is_being_started() {
    let stage = Stage::set(quick());
    stage.lose_engine().await;
    stage.handle.drain();
    stage.handle.drained().await;
}

#[tokio::test]
async fn while_the_engine_starts_again_deadlines_and_clients_that_leave_are_heeded() {
    let stage = Stage::set(quick());
    stage.lose_engine().await;
    let deadline = Some(Instant::now() + Duration::from_millis(30));
    let late = stage.handle.submit(job(2), deadline).unwrap();
    drop(stage.submit(3));
    assert_eq!(late.await, Err(Rejection::DeadlineExceeded));
    let wanted = stage.submit(4);
    let mut second = stage.permit();
    let iteration = second.iteration();
    assert_eq!(iteration.token_ids, [4; 30], "nobody wants the others any more");
    second.answer(&iteration);
    assert_served(wanted, 4).await;
}

#[tokio::test]
async fn the_scheduler_ends_with_its_last_handle() {
    let stage = Stage::set(quick());
    let mut engine = stage.engine();
    let other = stage.handle.clone();
    let ticket = stage.submit(1);
    engine.serve(1);
    assert_served(ticket, 1).await;
    engine.holds = None;
    let Stage { handle, counts, .. } = stage;
    drop(handle);
    assert!(other.ready());
    drop(other);
    let begun = Instant::now();
    while Arc::strong_count(&counts) > 1 {
        assert!(begun.elapsed() < LONG, "its thread goes on");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_failed_engine_is_not_started_again_if_the_process_is_to_exit() {
    let stage = Stage::set(SchedulerOptions { on_failure: OnFailure::Exit, ..quick() });
    let waiting = stage.lose_engine_after(|| stage.submit(2)).await;
    assert_failed(waiting, "shutting down").await;
    stage.handle.failed().await;
    assert_eq!(stage.counts.restarted.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_engine_learns_at_once_that_a_client_left() {
    let stage = Stage::set_queue(quick());
    let engine = stage.engine();
    let ticket = stage.submit(1);
    let (fed, _) = engine.fed.recv_timeout(LONG / 2).unwrap();
    drop(ticket);
    assert_eq!(engine.fed.recv_timeout(LONG / 2).unwrap(), (Vec::new(), vec![fed[0].0]));
}

#[tokio::test]
async fn an_engine_learns_at_once_that_the_tokens_so_far_are_enough() {
    let stage = Stage::set_queue(quick());
    let engine = stage.engine();
    let ticket = stage.handle.submit(Job { work: Work::greedy(20, Vec::new()), ..job(1) }, None).unwrap();
    let (fed, _) = engine.fed.recv_timeout(LONG / 2).unwrap();
    ticket.finish();
    assert_eq!(engine.fed.recv_timeout(LONG / 2).unwrap(), (Vec::new(), vec![fed[0].0]));
}

#[tokio::test]
async fn a_panic_on_the_schedulers_thread_fails_every_request_and_ends_the_server() {
    let stage = Stage::set(quick());
    let mut engine = stage.engine();
    engine.holds = None;
    let lost = stage.submit(PANICS);
    assert_failed(lost, "the scheduler has ended").await;
    stage.handle.failed().await;
    assert!(!stage.handle.ready());
    assert_eq!(stage.handle.submit(job(2), None).err(), Some(Rejection::ShuttingDown));
}
