//! Texts that are read at several positions, each of which is a request to the library.

use std::time::Duration;

use assay::engine::simulated::expected_logits;
use assay::manifest::Pooling;
use assay::scheduler::{self, Handle, Rejection};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::engine_directory::{Engine, read, reading};

/// Classes of a step.
const ROWS: usize = 2;

/// An engine whose texts may be read at any number of positions.
fn steps(script: &str) -> Engine {
    let mut engine = Engine::new(&format!("tokens_per_block 8\nkv_blocks 64\n{script}"));
    engine.manifest.head.pooling =
        Pooling::EachStep { token: "<step>".into(), id: 7, value: Default::default() };
    engine
}

/// What the stand-in gives there: of each position, the logits of the text up to it.
fn expected(text: &[u32], positions: &[usize]) -> Vec<f32> {
    positions.iter().flat_map(|&position| expected_logits(&text[..=position], ROWS)).collect()
}

/// Texts with beginnings in common, and where they are read.
fn texts(count: u32) -> Vec<(Vec<u32>, Vec<usize>)> {
    let mut random = SmallRng::seed_from_u64(7);
    let text = |number: u32| {
        let length = random.random_range(1..250);
        let tokens: Vec<u32> =
            (0..length).map(|token| token % 9 + if token < 40 { number % 4 } else { number }).collect();
        let share = random.random_range(0.01..0.3);
        let mut positions: Vec<usize> = (0..tokens.len()).filter(|_| random.random_bool(share)).collect();
        if positions.is_empty() {
            positions.push(random.random_range(0..tokens.len()));
        }
        (tokens, positions)
    };
    (0..count).map(text).collect()
}

/// Reads all texts at once.
async fn read_all(handle: &Handle, texts: &[(Vec<u32>, Vec<usize>)]) -> Vec<Result<Vec<f32>, Rejection>> {
    let running: Vec<_> = texts
        .iter()
        .map(|(text, positions)| {
            let (handle, text, positions) = (handle.clone(), text.clone(), positions.clone());
            tokio::spawn(async move { read(&handle, &text, &positions).await })
        })
        .collect();
    let mut answers = Vec::new();
    for answer in running {
        answers.push(answer.await.unwrap());
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn each_position_has_the_logits_of_the_text_up_to_it() {
    let engine = steps("reorder\njitter 200\npartial_share 200000\ntwice_share 200000");
    let handle = engine.schedule(scheduler::SchedulerOptions::default());
    let texts = texts(150);
    for ((text, positions), logits) in texts.iter().zip(read_all(&handle, &texts).await) {
        assert_eq!(logits.unwrap(), expected(text, positions));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_with_more_positions_than_the_library_takes_at_once_is_scored_and_so_are_the_others() {
    let engine = steps("echo\ndelay 200");
    let handle = engine.schedule(scheduler::SchedulerOptions::default());
    let everywhere: Vec<(Vec<u32>, Vec<usize>)> =
        (0..8).map(|number| ((0..250).map(|token| token + number).collect(), (0..250).collect())).collect();
    let both = [everywhere, texts(40)].concat();
    for ((text, positions), logits) in both.iter().zip(read_all(&handle, &both).await) {
        assert_eq!(logits.unwrap(), expected(text, positions));
    }
    // Two iterations' requests twice over, and those of the longest text.
    let asked_for = std::fs::read_to_string(engine.directory.path().join("asked-for")).unwrap();
    assert!(asked_for.contains(&format!("max_queue_size {}\n", 2 * 2 * 8 + 256)), "{asked_for}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_to_a_position_its_text_has_one_answer() {
    for fault in [
        "error_share 60000",
        "time_out_share 60000",
        "unfinished_share 60000",
        "refuse_share 200000",
        "fail_step_share 200000",
        "error_share 30000\ntime_out_share 30000\nrefuse_share 100000\nfail_step_share 50000\ntwice_share 300000",
    ] {
        let engine = steps(&format!("reorder\ncalm_steps 2\n{fault}"));
        let handle = engine.schedule(scheduler::SchedulerOptions::default());
        let texts = texts(120);
        let (mut right, mut failed) = (0, 0);
        for ((text, positions), answer) in texts.iter().zip(read_all(&handle, &texts).await) {
            match answer {
                Ok(logits) => {
                    assert_eq!(logits, expected(text, positions), "{fault}");
                    right += 1;
                }
                Err(Rejection::EngineFailed(_)) => failed += 1,
                Err(other) => panic!("{fault}: {other}"),
            }
        }
        assert!(right > 0 && failed > 0 && handle.ready(), "{fault}: {right} {failed}");
        // Nothing is left behind that would have to be waited for.
        handle.drain();
        handle.drained().await;
    }
}

#[tokio::test]
async fn a_text_whose_every_position_fails_reports_one_reason() {
    // What loads has taken one step.
    for (fault, words) in [
        ("calm_steps 2\nerror_share 1000000", "when fetching new request"),
        ("calm_steps 2\ntime_out_share 1000000", "longer for the sequence than it was allowed"),
        ("calm_steps 1\nrefuse_share 1000000", "Maximum queue size"),
    ] {
        let handle = steps(fault).schedule(scheduler::SchedulerOptions::default());
        let error = read(&handle, &[1, 2, 3, 4], &[0, 2, 3]).await.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_leaves_nothing_behind() {
    let engine = steps("delay 10000");
    let handle = engine.schedule(scheduler::SchedulerOptions::default());
    let (text, positions): (Vec<u32>, Vec<usize>) = ((0..250).collect(), (0..250).collect());
    for wait in [0, 5, 30] {
        let ticket = handle.submit(reading(&text, &positions), None).unwrap();
        tokio::time::sleep(Duration::from_millis(wait)).await;
        drop(ticket);
    }
    assert_eq!(read(&handle, &text, &[3, 9]).await.unwrap(), expected(&text, &[3, 9]));
    handle.drain();
    handle.drained().await;
}
