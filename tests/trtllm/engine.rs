//! The engine under the scheduler: right answers, and every fault an error for the requests it concerns.

use std::sync::Arc;
use std::time::Duration;

use assay::engine::simulated::expected_logits;
use assay::engine::trtllm::TrtllmFactory;
use assay::engine::{EngineOptions, GpuOptions, StartEngine};
use assay::manifest::{LimitOverrides, SlidingWindow, Target, Task};
use assay::sampling::Sampling;
use assay::scheduler::{self, OnFailure, Output, Rejection};

use crate::engine_directory::{Engine, score};
use crate::server::LIMITS;

const ROWS: usize = 5;

#[tokio::test(flavor = "multi_thread")]
async fn texts_that_share_prefixes_each_get_their_own_score() {
    let engine = Engine::new("reorder\njitter 200\ntokens_per_block 8\nkv_blocks 64");
    let handle = engine.schedule(scheduler::SchedulerOptions::default());
    let texts: Vec<Vec<u32>> = (0..400)
        .map(|i: u32| {
            let prompt = (0..40 + i % 3).map(move |token| token * (1 + i % 4));
            prompt.chain((0..i % 60).map(move |token| token + i)).collect()
        })
        .collect();
    let running: Vec<_> = texts
        .iter()
        .map(|text| {
            let (handle, text) = (handle.clone(), text.clone());
            tokio::spawn(async move { score(&handle, &text).await })
        })
        .collect();
    for (text, answer) in texts.iter().zip(running) {
        assert_eq!(answer.await.unwrap().unwrap(), expected_logits(text, ROWS));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_is_computed_once_for_all_its_responses_though_they_come_together() {
    let engine = Engine::new("tokens_per_block 8\ndelay 1000");
    let handle = engine.schedule(scheduler::SchedulerOptions::default());
    let texts: Vec<Vec<u32>> = (0..16).map(|i| (0..64).chain(300 + 10 * i..310 + 10 * i).collect()).collect();
    let tickets: Vec<_> = texts.iter().map(|text| handle.submit(job(text), None).unwrap()).collect();
    let mut cached = Vec::new();
    for ticket in tickets {
        cached.push(ticket.await.unwrap().cached_tokens);
    }
    cached.sort_unstable();
    assert_eq!((cached[0], &cached[1..]), (0, [64; 15].as_slice()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sequence_that_the_library_refuses_does_not_affect_the_others() {
    let engine = Engine::new("error_share 300000\ncalm_steps 2\ndelay 500");
    let handle = engine.schedule(scheduler::SchedulerOptions::default());
    let answers = (0..100u32).map(|i| {
        let handle = handle.clone();
        tokio::spawn(async move { score(&handle, &[i, i + 1]).await })
    });
    let (mut right, mut refused) = (0, 0);
    for (i, answer) in (0..).zip(answers.collect::<Vec<_>>()) {
        match answer.await.unwrap() {
            Ok(logits) => {
                assert_eq!(logits, expected_logits(&[i, i + 1], ROWS));
                right += 1;
            }
            Err(Rejection::EngineFailed(failure)) => {
                let text = failure.to_string();
                assert!(text.contains("when fetching new request"), "{text}");
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(right > 0 && refused > 0 && handle.ready(), "{right} {refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_library_that_ends_is_an_error_and_is_loaded_again() {
    let engine = Engine::new("die_in_step 3");
    let handle = engine.schedule(scheduler::SchedulerOptions::default());
    // The first step is that of loading.
    assert_eq!(score(&handle, &[1]).await.unwrap(), expected_logits(&[1], ROWS));
    let error = score(&handle, &[2]).await.unwrap_err();
    assert!(error.to_string().contains("TensorRT-LLM has stopped"), "{error}");
    assert_eq!(score(&handle, &[3]).await.unwrap(), expected_logits(&[3], ROWS));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_library_that_stalls_is_an_error() {
    let engine = Engine::new("stall_in_step 2");
    let options = scheduler::SchedulerOptions {
        stall_timeout: Duration::from_millis(300),
        on_failure: OnFailure::Exit,
        ..scheduler::SchedulerOptions::default()
    };
    let handle = engine.schedule(options);
    let error = score(&handle, &[1]).await.unwrap_err();
    assert!(matches!(error, Rejection::EngineStalled(_)), "{error}");
    handle.failed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_accepted_is_answered_before_the_server_goes() {
    let engine = Engine::new("delay 2000");
    let handle = engine.schedule(scheduler::SchedulerOptions::default());
    let answers: Vec<_> = (0..200u32)
        .map(|i| {
            let handle = handle.clone();
            tokio::spawn(async move { score(&handle, &[i]).await })
        })
        .collect();
    while handle.submit(job(&[999]), None).is_err() {}
    tokio::time::sleep(Duration::from_millis(20)).await;
    handle.drain();
    handle.drained().await;
    for answer in answers {
        let answer = answer.await.unwrap();
        assert!(answer.is_ok() || answer == Err(Rejection::ShuttingDown), "{answer:?}");
    }
}

fn job(tokens: &[u32]) -> scheduler::Job {
    scheduler::Job {
        tokens: tokens.into(),
        work: scheduler::Work::score(tokens.len()),
        priority: scheduler::Priority(0),
    }
}

#[tokio::test]
async fn the_heads_bias_is_added_by_the_server() {
    let engine = Engine::biased("logits 1 2 3 4 5 77 77", &[0.5, 0.0, -1.0, 0.25, 0.0]);
    let handle = engine.schedule(scheduler::SchedulerOptions::default());
    assert_eq!(score(&handle, &[1, 2]).await.unwrap(), [1.5, 2.0, 2.0, 4.25, 5.0]);
}

fn load_error(engine: &Engine) -> String {
    match engine.factory().start() {
        Err(error) => error.to_string(),
        Ok(_) => panic!("it loads"),
    }
}

#[test]
fn what_cannot_be_served_is_found_out_when_it_is_loaded() {
    for (script, words) in [
        (
            "load_error Assertion failed: Failed to deserialize cuda engine",
            "Failed to deserialize cuda engine",
        ),
        ("follows", "is a worker rank"),
        ("logits_half", "--logits_dtype float32"),
        ("vocabulary 4\nrows 4", "fewer than the head has rows"),
        ("die_in_step 1", "TensorRT-LLM has stopped"),
    ] {
        let engine = Engine::new(script);
        let error = load_error(&engine);
        assert!(error.contains(words), "{script}: {error}");
        assert!(error.contains(&engine.directory.path().display().to_string()), "{error}");
    }
}

#[test]
fn options_reach_the_library() {
    let engine = Engine::new("echo");
    let options = EngineOptions {
        kv_cache_tokens: Some(4096),
        limits: LimitOverrides {
            max_batch_size: Some(4),
            max_num_tokens: Some(128),
            ..LimitOverrides::default()
        },
        gpu: GpuOptions {
            kv_cache_fraction: 0.5,
            kv_cache_host_bytes: 1 << 20,
            block_reuse: false,
            chunked_context: false,
            ..GpuOptions::default()
        },
        ..EngineOptions::default()
    };
    let mut factory = TrtllmFactory::open(engine.directory.path(), &engine.manifest, &options).unwrap();
    drop(factory.start().unwrap());
    let asked_for = std::fs::read_to_string(engine.directory.path().join("asked-for")).unwrap();
    assert_eq!(
        asked_for.lines().collect::<Vec<_>>(),
        [
            "max_batch_size 4",
            "max_num_tokens 128",
            "max_queue_size 16",
            "block_reuse 0",
            "chunked_context 0",
            "kv_cache_fraction 0.5",
            "kv_cache_tokens 4096",
            "host_cache 1048576",
            "top_k_only 1",
            "windows",
        ]
    );
}

/// Without a window, the library would let every layer see everything; beyond one, it reuses blocks of other
/// texts.
#[tokio::test(flavor = "multi_thread")]
async fn windows_reach_the_library_and_prefixes_are_not_shared_beyond_them() {
    for (keys, shares) in [(20, false), (LIMITS.max_seq_len, false), (LIMITS.max_seq_len + 1, true)] {
        let mut engine = Engine::new("echo\ntokens_per_block 8");
        let window = SlidingWindow { keys, layers: vec![0, 2], rope: None };
        engine.manifest.model.variant.sliding_window = Some(window);
        let handle = engine.schedule(scheduler::SchedulerOptions::default());
        let asked_for = std::fs::read_to_string(engine.directory.path().join("asked-for")).unwrap();
        let windows = format!("windows {keys} {} {keys}\n", LIMITS.max_seq_len + 1);
        assert_eq!(asked_for.contains(&windows), !shares, "{asked_for}");
        assert!(asked_for.contains(if shares { "block_reuse 1" } else { "block_reuse 0" }), "{asked_for}");
        for end in 0..3 {
            let text: Vec<u32> = (0..60).chain([end]).collect();
            assert_eq!(score(&handle, &text).await.unwrap(), expected_logits(&text, ROWS));
        }
    }
}

/// The library does not check, and its fault would end every sequence in flight.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_the_model_does_not_have_fails_only_its_own_text() {
    let engine = Engine::new("embedding 640\ndelay 2000");
    let handle = engine.schedule(scheduler::SchedulerOptions::default());
    let tickets: Vec<_> = (630..650).map(|token| handle.submit(job(&[1, token]), None).unwrap()).collect();
    for (token, ticket) in (630..650).zip(tickets) {
        match ticket.await {
            Ok(_) => assert!(token < 640, "{token}"),
            Err(Rejection::EngineFailed(failure)) => {
                let reason = failure.to_string();
                assert!(
                    token >= 640 && reason.contains(&format!("token id {token} is not one of the 640")),
                    "{reason}"
                );
            }
            Err(other) => panic!("{token}: {other}"),
        }
    }
}

/// The library's own limit would leave out the time in its queue.
#[tokio::test(flavor = "multi_thread")]
async fn the_time_for_a_sequence_counts_from_when_the_library_gets_it() {
    let mut engine = Engine::new("delay 200000");
    engine.manifest.limits.max_batch_size = 4;
    let gpu = GpuOptions { allotted: Some(Duration::from_millis(300)), ..GpuOptions::default() };
    let options = EngineOptions { gpu, ..EngineOptions::default() };
    let factory = TrtllmFactory::open(engine.directory.path(), &engine.manifest, &options).unwrap();
    let handle =
        scheduler::start(factory.into(), scheduler::SchedulerOptions::default(), Arc::new(())).unwrap();
    // The library computes four at a time, in steps of 200 ms, and has eight.
    let tickets: Vec<_> = (0..8).map(|token| handle.submit(job(&[token]), None).unwrap()).collect();
    let (mut scored, mut expired) = (0, 0);
    for ticket in tickets {
        match ticket.await {
            Ok(_) => scored += 1,
            Err(Rejection::EngineFailed(failure)) => {
                let reason = failure.to_string();
                assert!(reason.contains("--allotted-time"), "{reason}");
                expired += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(scored > 0 && expired > 0, "{scored} scored, {expired} expired");
}

/// The library reserves the logits of all that a request may generate when it fetches the request.
#[tokio::test(flavor = "multi_thread")]
async fn log_probabilities_wait_for_host_memory_and_never_exceed_it() {
    const ROW: usize = 64 * size_of::<f32>();
    let mut engine = Engine::new(&format!("vocabulary 64\nrows 64\npinned_bytes {}", 20 * ROW));
    engine.manifest.model.vocab_size = 64;
    engine.manifest.task = Task::Completion;
    engine.manifest.limits.max_batch_size = 8;
    let gpu = GpuOptions { logits_host_bytes: 20 * ROW, ..GpuOptions::default() };
    let options = EngineOptions { gpu, ..EngineOptions::default() };
    let factory = TrtllmFactory::open(engine.directory.path(), &engine.manifest, &options).unwrap();
    let handle =
        scheduler::start(factory.into(), scheduler::SchedulerOptions::default(), Arc::new(())).unwrap();
    assert_eq!(handle.capabilities().max_logprobs_tokens, 20);
    let with_logprobs = |token: u32, max_tokens| {
        let sampling = Sampling { logprobs: Some(1), ..Sampling::greedy(max_tokens, Vec::new()) };
        scheduler::Job { work: scheduler::Work::Generate(Arc::new(sampling)), ..job(&[token]) }
    };
    let tickets: Vec<_> =
        (0..12).map(|token| handle.submit(with_logprobs(token, 8), None).unwrap()).collect();
    for ticket in tickets {
        let Output::Tokens(tokens) = ticket.await.unwrap().output else { panic!("asked for tokens") };
        assert_eq!(tokens.len(), 8);
    }
    let refused = handle.submit(with_logprobs(1, 21), None).unwrap().await.unwrap_err();
    assert!(refused.to_string().contains("up to 20 tokens, not 21"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn short_texts_do_not_wait_for_a_long_generation() {
    let engine = Engine::new("delay 200000");
    let handle = engine.schedule(scheduler::SchedulerOptions::default());
    // Its 200 steps take 40 seconds at least, which no short text needs.
    let long = tokio::spawn(handle.submit(generate(&[1, 2], 200), None).unwrap());
    for i in 0..3 {
        assert_eq!(score(&handle, &[i]).await.unwrap(), expected_logits(&[i], ROWS));
    }
    assert!(!long.is_finished());
    long.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_ends_its_generation() {
    let delay = Duration::from_millis(200);
    let engine = Engine::new(&format!("delay {}", delay.as_micros()));
    let handle = engine.schedule(scheduler::SchedulerOptions::default());
    let ticket = handle.submit(generate(&[1, 2], 240), None).unwrap();
    let started = std::time::Instant::now();
    assert!(score(&handle, &[1]).await.is_ok());
    drop(ticket);
    handle.drain();
    handle.drained().await;
    assert!(started.elapsed() < 240 * delay, "it went on to its end");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_generated_one_after_the_other() {
    let engine = Engine::new("");
    let handle = engine.schedule(scheduler::SchedulerOptions::default());
    let Output::Tokens(tokens) = handle.submit(generate(&[1, 2], 20), None).unwrap().await.unwrap().output
    else {
        panic!("asked for tokens")
    };
    let mut text = vec![1, 2];
    for _ in 0..20 {
        let logits = expected_logits(&text, ROWS);
        let best = (0..ROWS).rev().max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
        text.push(best as u32);
    }
    assert_eq!(tokens, text[2..]);
}

fn generate(tokens: &[u32], max_tokens: usize) -> scheduler::Job {
    scheduler::Job { work: scheduler::Work::greedy(max_tokens, Vec::new()), ..job(tokens) }
}

#[test]
fn a_bias_is_supported_if_the_library_does_not_pad_the_vocabulary() {
    for (vocabulary, stages, takes) in [(6, 1, true), (7, 1, false), (6, 2, false), (8, 2, true)] {
        let mut engine = Engine::new(&format!("vocabulary {vocabulary}"));
        engine.manifest.model.vocab_size = vocabulary;
        if let Target::TensorrtLlm(gpus) = &mut engine.manifest.target {
            gpus.tensor_parallel = 2;
            gpus.pipeline_parallel = stages;
        }
        assert_eq!(engine.schedule(scheduler::SchedulerOptions::default()).capabilities().logit_bias, takes);
    }
}

#[test]
fn more_than_the_engine_was_built_for_is_refused() {
    let engine = Engine::new("");
    let limits = LimitOverrides { max_batch_size: Some(9), ..LimitOverrides::default() };
    let options = EngineOptions { limits, ..EngineOptions::default() };
    let error = TrtllmFactory::open(engine.directory.path(), &engine.manifest, &options).err().unwrap();
    assert!(error.to_string().contains("max_batch_size is 9, but the engine was built for 8"), "{error}");
}
