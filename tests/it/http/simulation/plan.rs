//! What a seed decides: what clients send, how the engine behaves, and what the operator does meanwhile.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use assay::config::{Seconds, Settings};
use assay::engine::PrefixSharing;
use assay::engine::simulated::{Behaviour, Script, SimulatedFactory};
use assay::scheduler::OnFailure;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::certificates::CertificateChange;
use super::keys::{ClientKey, KeyChange};
use crate::http::server::{ATTRIBUTES, LIMITS, MODEL};

pub(super) const MS: Duration = Duration::from_millis(1);
pub(super) const INFLIGHT_BYTES: usize = 200_000;
const WORDS: [&str; 8] = ["Louvre", "Seine", "rain", "walk", "evening", "the", "and", "bread"];

/// What one client sends, and how.
#[derive(Clone, Debug)]
pub(super) struct PlannedRequest {
    pub(super) path: &'static str,
    pub(super) body: Value,
    /// What replaces the body, if it is not one that can be answered.
    pub(super) text: Option<String>,
    pub(super) key: ClientKey,
    /// When it starts.
    pub(super) after: Duration,
    /// Time after which it hangs up.
    pub(super) leaves: Option<Duration>,
    /// Pauses between the pieces of its body.
    pub(super) pieces: Vec<Duration>,
}

/// What the operator does.
#[derive(Clone, Debug)]
pub(super) struct Operations {
    /// Changes of the keys' file, each after the one before.
    pub(super) key_changes: Vec<(Duration, KeyChange)>,
    /// Changes of the certificates' files, likewise.
    pub(super) certificate_changes: Vec<(Duration, CertificateChange)>,
    /// When the server gets a signal to end, and its grace time.
    pub(super) end: Option<(Duration, Duration)>,
}

pub(super) fn requests(random: &mut SmallRng) -> Vec<PlannedRequest> {
    (0..random.random_range(5..50)).map(|_| request(random)).collect()
}

fn request(random: &mut SmallRng) -> PlannedRequest {
    // Few prompts, so that requests share them, and some are identical.
    let prompt = format!("What should I see in Paris on day {}?", random.random_range(0..4));
    let user = json!({"role": "user", "content": prompt});
    let mut response = |most: usize| {
        let words = random.random_range(1..most);
        text(random, words)
    };
    let (path, mut body) = match response(9).len() % 3 {
        0 => {
            let responses: Vec<String> = (0..1 + response(20).len() % 6).map(|_| response(30)).collect();
            ("/v1/rewards", json!({"messages": [user], "responses": responses}))
        }
        1 => {
            let answer = json!({"role": "assistant", "content": response(40)});
            ("/v1/chat/completions", json!({"messages": [user, answer]}))
        }
        _ => ("/classify", json!({"input": format!("{prompt} {}", response(40))})),
    };
    body["model"] = json!(MODEL);
    let text = match random.random_range(0..20) {
        0 => Some("{\"messages\": [".to_owned()),
        1 => Some(json!({"model": "another", "input": "a"}).to_string()),
        2 => Some(
            json!({"model": MODEL, "messages": [{"role": "user", "content": "word ".repeat(400)}]})
                .to_string(),
        ),
        3 => Some(format!("{}{body}", " ".repeat(INFLIGHT_BYTES / 2))),
        _ => None,
    };
    if random.random_bool(0.3) {
        body["priority"] = json!(random.random_range(-1..=1));
    }
    if random.random_bool(0.3) {
        body["timeout"] = json!(f64::from(random.random_range(1..200)) / 1000.0);
    }
    PlannedRequest {
        path,
        body,
        text,
        key: ClientKey::random(random),
        after: random.random_range(0..40) * MS,
        leaves: random.random_bool(0.2).then(|| random.random_range(0..30) * MS),
        pieces: (0..random.random_range(0..4)).map(|_| random.random_range(0..8) * MS).collect(),
    }
}

fn text(random: &mut SmallRng, words: usize) -> String {
    let words = (0..words).map(|_| WORDS[random.random_range(0..WORDS.len())]);
    words.collect::<Vec<_>>().join(" ")
}

pub(super) fn operations(random: &mut SmallRng) -> Operations {
    Operations {
        key_changes: changes(random, KeyChange::random),
        certificate_changes: changes(random, CertificateChange::random),
        end: random
            .random_bool(0.3)
            .then(|| (random.random_range(0..50) * MS, random.random_range(0..100) * MS)),
    }
}

fn changes<T>(random: &mut SmallRng, change: fn(&mut SmallRng) -> T) -> Vec<(Duration, T)> {
    let count = random.random_range(0..8);
    (0..count).map(|_| (random.random_range(0..12) * MS, change(random))).collect()
}

/// An engine that behaves well once `calm` is set.
pub(super) fn engine(random: &mut SmallRng, calm: Arc<AtomicBool>) -> SimulatedFactory {
    let mut random = SmallRng::seed_from_u64(random.random());
    let (fails, stalls) = (random.random_range(0.0..0.1), random.random_range(0.0..0.03));
    let late = random.random_range(0..4);
    let script: Script = Box::new(move |_| {
        if calm.load(Ordering::Relaxed) {
            return Behaviour::Report;
        }
        std::thread::sleep(random.random_range(0..=late) * MS);
        if random.random_bool(fails) {
            Behaviour::Fail("as the seed says".into())
        } else if random.random_bool(stalls) {
            Behaviour::Stall
        } else {
            Behaviour::Report
        }
    });
    SimulatedFactory::scripted(LIMITS, PrefixSharing::WithinIteration, ATTRIBUTES.len(), script)
}

pub(super) fn change(settings: &mut Settings, random: &mut SmallRng, keys: Option<PathBuf>) {
    settings.security.api_keys_file = keys;
    settings.server.max_inflight_bytes = INFLIGHT_BYTES;
    settings.server.timeout = random.random_bool(0.3).then(|| Seconds(random.random_range(20..400) * MS));
    settings.scheduling.max_queue_requests = random.random_range(1..64);
    settings.scheduling.max_queue_tokens = random.random_range(100..4000);
    settings.scheduling.score_cache = if random.random_bool(0.5) { 16 } else { 0 };
    settings.scheduling.prefix_sharing = random.random_bool(0.8);
    settings.engine.stall_timeout = Seconds(40 * MS);
    settings.engine.restart_wait = Seconds(MS);
    settings.engine.restart_attempts = 1000;
    if random.random_bool(0.1) {
        settings.engine.on_engine_failure = OnFailure::Exit;
    }
}
