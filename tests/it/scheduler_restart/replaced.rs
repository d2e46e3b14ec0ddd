//! An engine that fails or stalls is replaced, or given up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Factory, LONG, Stage, assert_failed, assert_served, no_start, quick};
use assay::engine::{EngineFactory, StepReport};
use assay::scheduler::{Rejection, SchedulerOptions, start};
use crossbeam_channel::unbounded;

#[tokio::test]
async fn an_engine_that_does_not_start_is_reported_at_once() {
    let (permits, permitted) = unbounded();
    let (starts, _started) = unbounded();
    permits.send(Err(no_start("no memory is left"))).unwrap();
    let factory = EngineFactory::step(Factory { permits: permitted, started: starts });
    let error = start(factory, SchedulerOptions::default(), Arc::new(())).err().unwrap();
    assert_eq!(error.to_string(), "cannot load engine: no memory is left");
}

#[tokio::test]
async fn a_failed_step_costs_what_it_computed_and_nothing_else() {
    let stage = Stage::set(quick());
    let first = stage.engine();
    let (one, twin) = (stage.submit(1), stage.submit(1));
    first.iteration();
    // The next iteration may be planned already; it has not begun.
    let waiting: Vec<_> = (2..5).map(|token| (token, stage.submit(token))).collect();
    first.fail("out of memory");
    assert_failed(one, "out of memory").await;
    assert_failed(twin, "out of memory").await;
    assert!(!stage.handle.ready());
    let meanwhile = stage.submit(5);
    let mut second = stage.permit();
    second.holds = None;
    let server = std::thread::spawn(move || {
        while let Ok(iteration) = second.iterations.recv() {
            second.answer(&iteration);
        }
    });
    for (token, ticket) in waiting {
        assert_served(ticket, token).await;
    }
    assert_served(meanwhile, 5).await;
    assert!(stage.handle.ready());
    assert_eq!(stage.counts.all(), (2, 1, 1), "each is refused once");
    drop(stage);
    server.join().unwrap();
}

#[tokio::test]
async fn an_engine_that_does_not_start_again_is_tried_again_while_requests_wait() {
    let stage = Stage::set(quick());
    stage.lose_engine().await;
    let waiting = stage.submit(2);
    stage.refuse();
    stage.refuse();
    let mut engine = stage.permit();
    engine.serve(1);
    assert_served(waiting, 2).await;
    assert_eq!(stage.counts.all(), (1, 1, 1));
}

#[tokio::test]
async fn the_wait_between_attempts_doubles() {
    let stage = Stage::set(SchedulerOptions {
        restart_wait: Duration::from_millis(20),
        ..SchedulerOptions::default()
    });
    let first = stage.engine();
    let lost = stage.submit(1);
    first.iteration();
    let begun = Instant::now();
    first.fail("gone");
    assert_failed(lost, "gone").await;
    for _ in 0..3 {
        stage.refuse();
    }
    stage.permit();
    assert!(begun.elapsed() >= Duration::from_millis(20 + 40 + 80), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn an_engine_that_never_starts_again_is_given_up_and_every_request_gets_an_error() {
    let stage = Stage::set(SchedulerOptions { restart_attempts: 3, ..quick() });
    stage.lose_engine().await;
    let waiting = stage.submit(2);
    let twin = stage.submit(2);
    for _ in 0..3 {
        stage.refuse();
    }
    stage.handle.failed().await;
    assert_failed(waiting, "no memory is left").await;
    assert_failed(twin, "no memory is left").await;
    assert_failed(stage.submit(3), "no memory is left").await;
    assert!(!stage.handle.ready());
    stage.handle.drain();
    stage.handle.drained().await;
}

#[tokio::test]
async fn an_engine_that_starts_but_fails_whenever_it_computes_is_given_up() {
    let stage = Stage::set(SchedulerOptions { restart_attempts: 3, ..quick() });
    let mut engine = stage.engine();
    for attempt in 0..=3 {
        let ticket = stage.submit(attempt);
        engine.iteration();
        engine.fail("gone");
        assert_failed(ticket, "gone").await;
        if attempt == 3 {
            break;
        }
        engine = stage.permit();
    }
    stage.handle.failed().await;
    assert_failed(stage.submit(9), "fails whenever it is started").await;
    assert_eq!(stage.counts.all(), (5, 4, 3));
}

#[tokio::test]
async fn failures_with_work_done_between_them_do_not_add_up() {
    let stage = Stage::set(SchedulerOptions { restart_attempts: 2, ..quick() });
    let mut engine = stage.engine();
    for n in 0..6 {
        let good = stage.submit(n);
        engine.serve(1);
        assert_served(good, n).await;
        let bad = stage.submit(100 + n);
        engine.iteration();
        engine.fail("gone");
        assert_failed(bad, "gone").await;
        engine = stage.permit();
    }
    let last = stage.submit(50);
    engine.serve(1);
    assert_served(last, 50).await;
}

#[tokio::test]
async fn an_engine_that_leaves_out_logits_is_replaced() {
    let stage = Stage::set(quick());
    let mut first = stage.engine();
    first.holds = None;
    let lost = stage.submit(1);
    first.iteration();
    first.reporter.send(Ok(StepReport::default())).unwrap();
    assert_failed(lost, "returned no logits").await;
    let waiting = stage.submit(2);
    let mut second = stage.permit();
    second.serve(1);
    assert_served(waiting, 2).await;
}

#[tokio::test]
async fn an_engine_that_stalls_is_replaced_though_it_never_ends() {
    // The second engine must answer within it.
    let stall_timeout = Duration::from_secs(1);
    let stage = Stage::set(SchedulerOptions { stall_timeout, ..quick() });
    let first = stage.engine();
    let lost = stage.submit(1);
    let iteration = first.iteration();
    assert_eq!(lost.await, Err(Rejection::EngineStalled(stall_timeout)));
    let waiting = stage.submit(2);
    let mut second = stage.permit();
    // Too late: nobody reads it, and nobody is answered with it.
    let logits = vec![(iteration.chunks[0].sequence, vec![7.0, 7.0])];
    let _ = first.reporter.try_send(Ok(StepReport { logits, ..StepReport::default() }));
    second.serve(1);
    assert_served(waiting, 2).await;
    drop(first.holds);
}

#[tokio::test]
async fn feeding_a_stalled_engine_does_not_postpone_its_timeout() {
    let stall_timeout = Duration::from_millis(300);
    let stage = Stage::set_queue(SchedulerOptions { stall_timeout, ..quick() });
    let engine = stage.engine();
    let begun = Instant::now();
    let first = stage.submit(0);
    engine.fed.recv_timeout(LONG).unwrap();
    let mut first = std::pin::pin!(first);
    let mut token = 0;
    // Clients come and leave until it is noticed.
    let answer = loop {
        assert!(begun.elapsed() < LONG, "the stall is never reported");
        token += 1;
        let _other = stage.submit(token);
        tokio::select! {
            answer = &mut first => break answer,
            () = tokio::time::sleep(Duration::from_millis(1)) => {}
        }
    };
    assert_eq!(answer, Err(Rejection::EngineStalled(stall_timeout)));
    drop(engine.holds);
}
