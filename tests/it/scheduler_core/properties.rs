//! Random arrivals, cancellations, deadlines, priorities, shortages and faults.

use std::collections::BTreeSet;
use std::time::Duration;

use assay::engine::{Limits, PrefixSharing};
use assay::scheduler::{SchedulerOptions, Work};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::world::World;

#[derive(Clone, Debug)]
enum Operation {
    Arrive {
        conversation: Conversation,
        work: Ask,
        priority: i8,
        timeout: Option<u64>,
    },
    /// Cancels the job that came this many before the last.
    Cancel(usize),
    Pass(u64),
    Step,
    Finish,
    Fail,
}

/// Few prompts and few responses, so that prefixes and whole conversations recur.
#[derive(Clone, Debug)]
struct Conversation {
    prompt: u32,
    prompt_len: usize,
    response: u32,
    response_len: usize,
}

impl Conversation {
    fn tokens(&self) -> Vec<u32> {
        let prompt = (0..self.prompt_len as u32).map(|token| token * 2 + self.prompt);
        prompt.chain((0..self.response_len as u32).map(|token| token * 5 + self.response)).collect()
    }
}

fn conversation() -> impl Strategy<Value = Conversation> {
    (0..2u32, 0..60usize, 0..3u32, 1..20usize).prop_map(|(prompt, prompt_len, response, response_len)| {
        Conversation { prompt, prompt_len, response, response_len }
    })
}

/// What to do with a conversation, of whatever length it is.
#[derive(Clone, Debug)]
enum Ask {
    /// Read these tokens and the last.
    Score(Vec<Index>),
    Generate(usize, Vec<u32>),
}

impl Ask {
    fn work(self, prompt: usize) -> Work {
        match self {
            Self::Score(places) => {
                let places = places.iter().map(|place| place.index(prompt)).chain([prompt - 1]);
                let ascending: BTreeSet<_> = places.collect();
                Work::Score { read: ascending.into_iter().collect() }
            }
            Self::Generate(max_tokens, stop) => Work::greedy(max_tokens, stop),
        }
    }
}

fn ask() -> impl Strategy<Value = Ask> {
    prop_oneof![
        2 => Just(Ask::Score(Vec::new())),
        1 => vec(any::<Index>(), 1..4).prop_map(Ask::Score),
        1 => (1..40usize, vec(0..5u32, 0..2)).prop_map(|(max_tokens, stop)| Ask::Generate(max_tokens, stop)),
    ]
}

fn operation(faults: u32) -> impl Strategy<Value = Operation> {
    let timeout = prop_oneof![3 => Just(None), 1 => (0..50u64).prop_map(Some)];
    let arrive =
        (conversation(), ask(), -2..3i8, timeout).prop_map(|(conversation, work, priority, timeout)| {
            Operation::Arrive { conversation, work, priority, timeout }
        });
    prop_oneof![
        6 => arrive,
        2 => (0..12usize).prop_map(Operation::Cancel),
        2 => (0..20u64).prop_map(Operation::Pass),
        5 => Just(Operation::Step),
        1 => Just(Operation::Finish),
        faults => Just(Operation::Fail),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    (1..8usize, 1..64usize, 16..64usize, 1..9usize).prop_map(
        |(max_batch_size, max_num_tokens, kv_blocks, per_block)| Limits {
            max_seq_len: 90,
            max_batch_size,
            max_num_tokens,
            kv_blocks,
            tokens_per_block: per_block,
        },
    )
}

fn options() -> impl Strategy<Value = SchedulerOptions> {
    let chunk = prop_oneof![Just(None), (1..40usize).prop_map(Some)];
    (0..30u64, any::<bool>(), chunk, 0..4usize, 5..40usize).prop_map(
        |(hold, sharing, chunk, scores, requests)| SchedulerOptions {
            ageing: Duration::from_millis(40),
            max_prefix_wait: Duration::from_millis(hold),
            prefix_sharing: sharing,
            max_chunk_tokens: chunk,
            score_cache: scores,
            max_queue_requests: requests,
            max_queue_tokens: 600,
            ..SchedulerOptions::default()
        },
    )
}

fn sharing() -> impl Strategy<Value = PrefixSharing> {
    prop_oneof![Just(PrefixSharing::WithinIteration), Just(PrefixSharing::Cached)]
}

fn apply(world: &mut World, operation: Operation) {
    match operation {
        Operation::Arrive { conversation, work, priority, timeout } => {
            let tokens = conversation.tokens();
            let work = work.work(tokens.len());
            world.arrive(tokens, work, priority, timeout.map(Duration::from_millis));
        }
        Operation::Cancel(back) => {
            if let Some(id) = world.jobs.len().checked_sub(back + 1) {
                world.cancel(id as u64);
            }
        }
        Operation::Pass(millis) => world.pass(Duration::from_millis(millis)),
        Operation::Step => {
            world.step();
        }
        Operation::Finish => world.finish(),
        Operation::Fail => world.fail(),
    }
    world.prepare();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Every job gets exactly one answer and the right one, within all budgets; no block leaks.
    #[test]
    fn every_job_is_answered_once_and_rightly(
        limits in limits(),
        sharing in sharing(),
        options in options(),
        operations in vec(operation(1), 1..120),
    ) {
        let mut world = World::new(limits, sharing, options);
        for operation in operations {
            apply(&mut world, operation);
        }
        world.run_dry();
    }

    /// Without faults, deadlines and cancellations, everything is answered with its output, and
    /// within a class what came first begins first.
    #[test]
    fn within_a_priority_the_first_to_arrive_starts_first(
        limits in limits(),
        sharing in sharing(),
        mut options in options(),
        arrivals in vec((conversation(), -1..2i8, 0..3u8), 1..60),
    ) {
        options.prefix_sharing = false;
        options.score_cache = 0;
        options.max_queue_requests = 1000;
        options.max_queue_tokens = 1 << 20;
        let chunk = options.max_chunk_tokens.unwrap_or(limits.max_num_tokens / 2).clamp(1, limits.max_num_tokens);
        let mut world = World::new(limits, sharing, options);
        for (conversation, priority, steps) in arrivals {
            let timeout = None;
            let tokens = conversation.tokens();
            let work = Work::score(tokens.len());
            // Long prompts have a lane of their own in the queue, so that short ones need not wait for them.
            let fits = tokens.len().div_ceil(limits.tokens_per_block) <= limits.kv_blocks;
            if fits {
                world.arrive(tokens, work, priority, timeout);
            }
            for _ in 0..steps {
                world.step();
                world.pass(Duration::from_millis(1));
            }
        }
        world.run_dry();
        prop_assert_eq!(world.begun.len(), world.jobs.len());
        for long in [false, true] {
            for priority in -1..2i8 {
                let of_kind = |id: &&u64| {
                    let job = &world.jobs[id];
                    job.priority.0 == priority && (job.tokens.len() > chunk) == long
                };
                let begun: Vec<_> = world.begun.iter().filter(of_kind).collect();
                prop_assert!(begun.is_sorted(), "{begun:?}");
            }
        }
    }
}
