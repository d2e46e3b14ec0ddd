//! Through the scheduler on the real CPU engine, a text has the score that it has alone, bit for
//! bit, and a generating sequence gives the same tokens, however they are batched, cut and shared.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::support::{Driver, encoder, model, random_encoder, random_engine};
use assay::engine::EngineOptions;
use assay::engine::cpu::CpuFactory;
use assay::hardware::Cpu;
use assay::manifest::{Dtype, LimitOverrides, Manifest, Pooling};
use assay::scheduler::{Handle, Job, Output, Priority, SchedulerOptions, Work, start};
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

/// Texts of 1 to 400 tokens that share prompts, some of them whole.
fn texts(rng: &mut SmallRng, count: usize) -> Vec<Vec<u32>> {
    let mut random = |len| (0..len).map(|_| rng.random_range(0..300)).collect::<Vec<u32>>();
    let prompts: Vec<_> = [0, 40, 200, 333].into_iter().map(&mut random).collect();
    let mut texts: Vec<Vec<u32>> = Vec::new();
    for n in 0..count {
        let response = random(1 + n * 31 % 67);
        texts.push(prompts[n % prompts.len()].iter().chain(&response).copied().collect());
        if n % 5 == 0 {
            texts.push(texts[n].clone());
        }
    }
    texts
}

/// How the scheduler may run them: sharing or not, long chunks or short, much room or little.
fn ways() -> Vec<(SchedulerOptions, EngineOptions)> {
    let engine = |max_num_tokens, kv_cache_tokens| EngineOptions {
        kv_cache_tokens: Some(kv_cache_tokens),
        limits: LimitOverrides {
            max_seq_len: Some(512),
            max_batch_size: Some(24),
            max_num_tokens: Some(max_num_tokens),
        },
        ..EngineOptions::default()
    };
    let scheduler = |prefix_sharing, max_chunk_tokens, score_cache| SchedulerOptions {
        prefix_sharing,
        max_chunk_tokens,
        score_cache,
        ..SchedulerOptions::default()
    };
    vec![
        (scheduler(true, None, 0), engine(2048, 16384)),
        (scheduler(false, None, 0), engine(2048, 16384)),
        (scheduler(true, Some(50), 0), engine(128, 640)),
        (scheduler(false, Some(7), 0), engine(61, 512)),
        (scheduler(true, None, 16), engine(700, 1024)),
        (scheduler(true, Some(50), 0), engine(512, 512)),
    ]
}

fn job(tokens: &[u32], work: Work, priority: i8) -> Job {
    Job { tokens: tokens.into(), work, priority: Priority(priority) }
}

/// Where a text is read: at its last token, and for some texts at two earlier positions.
fn reads(text: &[u32]) -> Vec<usize> {
    let last = text.len() - 1;
    let mut read = if text[last].is_multiple_of(3) { vec![last / 3, last / 2, last] } else { vec![last] };
    read.dedup();
    read
}

fn score(text: &[u32]) -> Work {
    Work::Score { read: reads(text).into() }
}

/// Submits each text twice, in random order and moments, among clients that leave.
async fn run(handle: &Handle, texts: &[Vec<u32>], work: Option<&Work>, seed: u64) -> Vec<(usize, Output)> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut order: Vec<usize> = (0..texts.len()).chain(0..texts.len()).collect();
    order.shuffle(&mut rng);
    let mut tickets = Vec::new();
    for text in order {
        if rng.random_bool(0.2) {
            let leaving = &texts[rng.random_range(0..texts.len())];
            drop(handle.submit(job(leaving, score(leaving), 0), None).unwrap());
        }
        let work = work.filter(|_| rng.random_bool(0.8)).cloned().unwrap_or_else(|| score(&texts[text]));
        let job = job(&texts[text], work, rng.random_range(-1..2));
        let ticket = handle.submit(job, None).unwrap();
        tickets.push((text, ticket));
        if rng.random_bool(0.2) {
            tokio::time::sleep(Duration::from_micros(rng.random_range(0..2000))).await;
        }
    }
    let mut outputs = Vec::new();
    for (text, ticket) in tickets {
        outputs.push((text, ticket.await.unwrap().output));
    }
    outputs
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|logit| logit.to_bits()).collect()
}

/// Greedy decoding, each token from the whole text run alone.
fn generate(alone: &mut Driver, text: &[u32], max_tokens: usize, stop: u32) -> Vec<u32> {
    let mut tokens = text.to_vec();
    for _ in 0..max_tokens {
        let logits = alone.score(&tokens);
        let best = (0..logits.len()).rev().max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap() as u32;
        tokens.push(best);
        if best == stop {
            break;
        }
    }
    tokens.split_off(text.len())
}

fn with_engine(dtype: Dtype, test: impl Fn(&Path, &Manifest)) {
    if dtype == Dtype::Bf16 && !Cpu::detect().bf16 {
        println!("skipped: this processor does not compute in bfloat16");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let manifest = random_engine(directory.path(), model(64, 96, 2, (4, 2, 16)), dtype, 7);
    test(directory.path(), &manifest);
}

fn check(directory: &Path, manifest: &Manifest, work: Option<&Work>, texts: &[Vec<u32>]) {
    let mut alone = Driver::start(directory, manifest, EngineOptions::default());
    let scores: Vec<_> = texts.iter().map(|text| bits(&alone.read(text, &reads(text)))).collect();
    let tokens: Vec<_> = match work {
        None | Some(Work::Score { .. }) => Vec::new(),
        Some(Work::Generate(sampling)) => {
            let (most, end) = (sampling.max_tokens, sampling.end_tokens[0]);
            texts.iter().map(|text| generate(&mut alone, text, most, end)).collect()
        }
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let is_encoder = manifest.model.variant.bidirectional.is_some();
    let has_room = |engine: &EngineOptions| engine.limits.max_num_tokens >= engine.limits.max_seq_len;
    let ways = ways().into_iter().filter(|(_, engine)| !is_encoder || has_room(engine));
    for (seed, (scheduler, engine)) in ways.enumerate() {
        let factory = CpuFactory::open(directory, manifest, &engine).unwrap();
        let handle = start(factory.into(), scheduler.clone(), Arc::new(())).unwrap();
        for (text, output) in runtime.block_on(run(&handle, texts, work, seed as u64)) {
            match output {
                Output::Logits(logits) => assert_eq!(bits(&logits), scores[text], "{scheduler:?}"),
                Output::Tokens(generated) => assert_eq!(generated, tokens[text], "{scheduler:?}"),
            }
        }
        handle.drain();
        runtime.block_on(handle.drained());
    }
}

#[test]
fn a_text_has_one_score_however_it_is_scheduled() {
    for dtype in [Dtype::F32, Dtype::Bf16] {
        with_engine(dtype, |directory, manifest| {
            check(directory, manifest, None, &texts(&mut SmallRng::seed_from_u64(1), 60));
        });
    }
}

/// Whose texts are never cut, and share nothing.
#[test]
fn a_text_of_an_encoder_has_one_score_however_it_is_scheduled() {
    let directory = tempfile::tempdir().unwrap();
    let manifest = random_encoder(directory.path(), encoder(true), Pooling::FirstToken, Dtype::F32, 7);
    check(directory.path(), &manifest, None, &texts(&mut SmallRng::seed_from_u64(3), 40));
}

/// A batch of it has room for at least one whole text.
#[test]
fn an_encoder_needs_room_for_a_whole_text() {
    let directory = tempfile::tempdir().unwrap();
    let manifest = random_encoder(directory.path(), encoder(true), Pooling::FirstToken, Dtype::F32, 7);
    let limits = LimitOverrides { max_num_tokens: Some(512), ..LimitOverrides::default() };
    let options = EngineOptions { limits, ..EngineOptions::default() };
    let error = CpuFactory::open(directory.path(), &manifest, &options).err().unwrap().to_string();
    assert!(error.contains("max_num_tokens is 512") && error.contains("lower max_seq_len"), "{error}");
}

#[test]
fn greedy_tokens_are_the_same_alone_and_among_scores() {
    with_engine(Dtype::F32, |directory, manifest| {
        // The head has three rows, so the tokens are 0, 1 and 2, and the last ends a sequence.
        let work = Work::greedy(12, vec![2]);
        check(directory, manifest, Some(&work), &texts(&mut SmallRng::seed_from_u64(2), 25));
    });
}
