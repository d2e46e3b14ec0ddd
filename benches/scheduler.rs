//! The time of one scheduling decision by the length of the queue, on which it must hardly depend, and what the
//! scheduler adds to a request when the engine takes no time, alone and with many at once.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a benchmark may panic")]

mod measure;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use assay::engine::simulated::SimulatedFactory;
use assay::engine::{Iteration, Limits, PrefixSharing, StepReport};
use assay::scheduler::core::{Core, StepCore};
use assay::scheduler::{Job, Priority, SchedulerOptions, Work, start};

const LIMITS: Limits = Limits {
    max_seq_len: 4096,
    max_batch_size: 64,
    max_num_tokens: 8192,
    kv_blocks: 8192,
    tokens_per_block: 16,
};

/// A core under load: as many arrive as are answered.
struct Load {
    core: StepCore,
    next: u64,
    now: Duration,
}

impl Load {
    fn new(waiting: usize) -> Self {
        let options = SchedulerOptions {
            max_queue_requests: usize::MAX,
            max_queue_tokens: usize::MAX,
            ..SchedulerOptions::default()
        };
        let core = StepCore::new(LIMITS, PrefixSharing::WithinIteration, options, Arc::new(()));
        let mut load = Self { core, next: 0, now: Duration::ZERO };
        load.arrive(waiting);
        load
    }

    fn arrive(&mut self, jobs: usize) {
        for _ in 0..jobs {
            self.now += Duration::from_micros(10);
            let seed = self.next as u32;
            // 16 responses to each prompt; a prompt and a response have 64 tokens each.
            let prompt = (0..64).map(|token| seed / 16 * 64 + token);
            let job = Job {
                tokens: prompt.chain((0..64).map(|token| seed * 64 + token)).collect(),
                work: Work::score(128),
                priority: Priority((seed % 3) as i8),
            };
            let deadline = self.now + Duration::from_secs(1 << 20);
            self.core.arrive(self.now, self.next, job, Some(deadline));
            self.next += 1;
        }
    }

    /// Everything the scheduler does from one iteration to the next, timed.
    fn decide(&mut self, running: &Iteration) -> (Iteration, Duration) {
        let wanted = running.chunks.iter().filter(|chunk| !chunk.logits.is_empty());
        let logits: Vec<_> = wanted.map(|chunk| (chunk.sequence, vec![0.0; 5])).collect();
        let started = Instant::now();
        self.core.complete(self.now, StepReport { logits, ..StepReport::default() }).unwrap_or_default();
        let iteration = self.core.plan(self.now).unwrap_or_default();
        self.core.prepare(self.now);
        let answers = self.core.take_answers();
        let elapsed = started.elapsed();
        self.arrive(black_box(answers).len());
        (iteration, elapsed)
    }
}

fn decision() {
    for waiting in [1_000, 10_000, 100_000] {
        let mut load = Load::new(waiting);
        let mut running = load.core.plan(load.now).unwrap_or_default();
        measure::report_timed(&format!("decision, {waiting} waiting"), |iterations| {
            let mut total = Duration::ZERO;
            for _ in 0..iterations {
                let (iteration, elapsed) = load.decide(&running);
                running = iteration;
                total += elapsed;
            }
            total
        });
    }
}

/// The time until jobs of 256 tokens, of which this many are in flight at once, are answered through the
/// handle.
fn round_trip() {
    let factory = SimulatedFactory::new(LIMITS, PrefixSharing::WithinIteration, 5);
    let handle = start(factory.into(), SchedulerOptions::default(), Arc::new(())).expect("an engine");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut seed = 0;
    let mut job = || {
        seed += 1;
        let tokens = (0..256).map(|token| seed + token).collect();
        Job { tokens, work: Work::score(256), priority: Priority(0) }
    };
    for at_once in [1, 64] {
        measure::report(&format!("round trip, {at_once} at once"), || {
            runtime.block_on(async {
                let tickets: Vec<_> = (0..at_once).filter_map(|_| handle.submit(job(), None).ok()).collect();
                for ticket in tickets {
                    black_box(ticket.await.is_ok());
                }
            });
        });
    }
}

fn main() {
    decision();
    round_trip();
}
